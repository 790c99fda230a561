import type { Chart, Route } from 'millrace'

const limit = { type: 'integer', minimum: 1, maximum: 10_000, default: 100, says: 'so many at most' } as const
const days = {
  type: 'integer',
  minimum: 1,
  maximum: 3660,
  default: 30,
  says: 'so many days back from the newest',
} as const

/** An event that is dated far ahead does not hide the others. */
const latestDay = 'select least(max(day), now()) from merchant_flyer_daily'

export const routes: Route[] = [
  {
    name: 'time-per-user',
    path: '/api/report',
    says: 'Hours per session and reader, by the name of the reader',
    query: {
      limit,
      after: { type: 'string', maxLength: 1000, default: '', says: 'only readers that come after this one' },
    },
    answers: {
      user_id: 'text',
      avg_time_on_flyer_per_user_hours: 'number',
      sessions: 'integer',
      total_hours: 'number',
    },
    handle: ({ query }, { sql }) =>
      sql(
        `
        select user_id, avg_hours::float8 as avg_time_on_flyer_per_user_hours, sessions,
               round(total_seconds / 3600, 2)::float8 as total_hours
        from   flyer_time_per_user
        where  user_id > $1
        order by user_id
        limit  $2`,
        [query['after'], query['limit']],
      ),
  },
  {
    name: 'hours-per-user',
    says: 'How many readers spend how long with a flyer, in classes of minutes',
    answers: { minutes: 'text', readers: 'integer' },
    handle: (_, { sql }) =>
      sql(`
        with classes (place, minutes, least, most) as (
          values (1, 'below 1', 0, 60), (2, '1 to 2', 60, 120), (3, '2 to 5', 120, 300), (4, '5 to 10', 300, 600),
                 (5, '10 to 30', 600, 1800), (6, '30 to 60', 1800, 3600), (7, '60 and more', 3600, null)
        )
        select minutes, count(user_id) as readers
        from   classes
        left join flyer_time_per_user
          on   total_seconds / sessions >= least and (most is null or total_seconds / sessions < most)
        group by place, minutes
        order by place`),
  },
  {
    name: 'top-flyers',
    says: 'The flyers that are opened most',
    query: { limit, days },
    answers: { flyer_id: 'text', merchant_id: 'text', opens: 'integer', sessions: 'integer', mean_minutes: 'number' },
    handle: ({ query }, { sql }) =>
      sql(
        `
        select flyer_id, merchant_id, sum(opens)::bigint as opens, sum(sessions)::bigint as sessions,
               round((sum(mean_minutes * sessions) / nullif(sum(sessions), 0))::numeric, 2)::float8 as mean_minutes
        from   merchant_flyer_daily
        where  day > (${latestDay}) - $1 * interval '1 day'
        group by flyer_id, merchant_id
        order by opens desc, flyer_id, merchant_id
        limit  $2`,
        [query['days'], query['limit']],
      ),
  },
  {
    name: 'merchants',
    path: '/api/report/merchants',
    says: 'The report for merchants: each day of each flyer, the latest first',
    query: {
      limit,
      days,
      merchant: { type: 'string', maxLength: 1000, default: '', says: 'only of this merchant; without it, of all' },
    },
    answers: {
      day: 'timestamp',
      merchant_id: 'text',
      flyer_id: 'text',
      opens: 'integer',
      readers: 'integer',
      sessions: 'integer',
      mean_minutes: 'number',
      median_minutes: 'number',
      expired_share: 'number',
    },
    handle: ({ query }, { sql }) =>
      sql(
        `
        select day, merchant_id, flyer_id, opens, readers, sessions, mean_minutes, median_minutes, expired_share
        from   merchant_flyer_daily
        where  day > (${latestDay}) - $1 * interval '1 day'
        and    ($2 = '' or merchant_id = $2)
        order by day desc, merchant_id, opens desc, flyer_id
        limit  $3`,
        [query['days'], query['merchant'], query['limit']],
      ),
  },
  {
    name: 'outcomes',
    says: 'What became of opens, and closes without one',
    answers: { outcome: 'text', events: 'integer' },
    handle: (_, { sql }) =>
      sql('select outcome, count(*) as events from flyer_sessions group by outcome order by events desc, outcome'),
  },
]

export const charts: Chart[] = [
  {
    title: 'Time with a flyer',
    says: 'readers by the mean minutes of their sessions',
    route: 'hours-per-user',
    draws: 'bars',
    x: 'minutes',
    y: ['readers'],
    unit: 'readers',
    refreshSeconds: 5,
  },
  {
    title: 'Top flyers',
    says: 'of the last 30 days',
    route: 'top-flyers?limit=10',
    draws: 'bars',
    x: 'flyer_id',
    y: ['opens'],
    unit: 'opens',
    refreshSeconds: 5,
  },
  {
    title: 'What became of opens',
    says: 'and closes without one',
    route: 'outcomes',
    draws: 'bars',
    x: 'outcome',
    y: ['events'],
    refreshSeconds: 5,
  },
  {
    title: 'Report for merchants',
    says: 'days in UTC',
    route: 'merchants?limit=50',
    takes: 'merchants?limit=10000',
    draws: 'table',
    x: 'day',
    y: ['opens'],
    refreshSeconds: 10,
  },
]
