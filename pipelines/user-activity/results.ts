import type { Chart, Route } from 'millrace'

const minutes = { type: 'integer', minimum: 1, maximum: 60, default: 5, says: 'so many minutes back' } as const

export const routes: Route[] = [
  {
    name: 'rate',
    says: 'Events a second as they came in, over the last minutes',
    query: { minutes },
    answers: { second: 'timestamp', views: 'integer', purchases: 'integer' },
    handle: ({ query }, { sql }) =>
      sql(
        `
        select date_trunc('second', ingested_at) as second,
               count(*) filter (where event_type = 'view') as views,
               count(*) filter (where event_type = 'purchase') as purchases
        from   user_activity
        where  ingested_at > now() - $1 * interval '1 minute'
        group by second
        order by second`,
        [query['minutes']],
      ),
  },
  {
    name: 'latency',
    says: 'Milliseconds from the arrival of a file to its rows being visible, by the second of the commit',
    query: { minutes },
    answers: { second: 'timestamp', p50: 'number', p99: 'number' },
    handle: ({ query }, { sql }) =>
      sql(
        `
        select date_trunc('second', b.committed_at) as second,
               percentile_cont(0.5) within group (order by waited.ms) as p50,
               percentile_cont(0.99) within group (order by waited.ms) as p99
        from   millrace.batches b
        join   millrace.files f using (pipeline, batch)
        cross join lateral (select 1000 * extract(epoch from b.committed_at - f.arrived_at)::float8 as ms) waited
        where  b.pipeline = 'user-activity'
        and    b.committed_at > now() - $1 * interval '1 minute'
        and    f.state = 'done'
        group by second
        order by second`,
        [query['minutes']],
      ),
  },
  {
    name: 'errors',
    says: 'Rows that did not land, by reason',
    answers: { reason: 'text', errors: 'integer' },
    handle: (_request, { sql }) =>
      sql(`
        select code as reason, count(*) as errors
        from   user_activity_errors
        group by code
        order by errors desc, code
        limit  50`),
  },
]

export const charts: Chart[] = [
  {
    title: 'Events per second',
    says: 'the last five minutes',
    route: 'rate',
    draws: 'line',
    x: 'second',
    y: ['views', 'purchases'],
    unit: 'events/s',
    refreshSeconds: 2,
  },
  {
    title: 'Latency',
    says: 'from a file to its rows being visible',
    route: 'latency',
    draws: 'line',
    x: 'second',
    y: ['p50', 'p99'],
    unit: 'ms',
    limit: { value: 5000, label: 'promised: 5 s' },
    refreshSeconds: 2,
  },
  {
    title: 'Errors by reason',
    route: 'errors',
    draws: 'bars',
    x: 'reason',
    y: ['errors'],
    refreshSeconds: 5,
  },
]
