import type { Chart, Route } from 'millrace'

const limit = { type: 'integer', minimum: 1, maximum: 1000, default: 10, says: 'so many at most' } as const

export const routes: Route[] = [
  {
    name: 'funnel',
    says: 'How many users looked, put something in a cart, and bought',
    answers: { stage: 'text', users: 'integer' },
    handle: (_request, { sql }) =>
      sql(`
        select stage.name as stage, stage.users
        from   v_purchase_funnel
        cross join lateral (values ('viewed', viewers), ('put in a cart', carts), ('bought', buyers)) stage(name, users)`),
  },
  {
    name: 'top-products',
    says: 'The products that brought the most revenue',
    query: { limit },
    answers: { product_id: 'text', purchases: 'integer', revenue: 'number', buyers: 'integer' },
    handle: ({ query }, { sql }) =>
      sql('select product_id, purchases, revenue::float8 as revenue, buyers from v_top_products limit $1', [
        query['limit'],
      ]),
  },
  {
    name: 'hourly',
    says: 'Events, users and revenue by the hour (UTC) and type of event, the newest hours first',
    query: { hours: { ...limit, default: 48, says: 'so many hours at most' } },
    answers: { hour: 'timestamp', event_type: 'text', events: 'integer', users: 'integer', revenue: 'number' },
    handle: ({ query }, { sql }) =>
      sql(
        `
        select hour, event_type, events, users, revenue::float8 as revenue
        from   v_hourly_events
        where  hour > (select max(event_timestamp) from user_events) - $1 * interval '1 hour'
        order by hour desc, event_type`,
        [query['hours']],
      ),
  },
]

export const charts: Chart[] = [
  { title: 'Funnel', route: 'funnel', draws: 'funnel', x: 'stage', y: ['users'], unit: 'users', refreshSeconds: 5 },
  {
    title: 'Top products',
    says: 'by revenue',
    route: 'top-products?limit=10',
    draws: 'bars',
    x: 'product_id',
    y: ['revenue'],
    refreshSeconds: 5,
  },
  {
    title: 'Events per hour',
    says: 'the last two days, UTC',
    route: 'hourly',
    draws: 'line',
    x: 'hour',
    y: ['events'],
    by: 'event_type',
    unit: 'events',
    refreshSeconds: 5,
  },
]
