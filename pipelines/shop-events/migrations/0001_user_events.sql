-- What happened in the shop, each event once.
create table user_events (
  id               bigserial primary key,
  event_id         varchar not null unique check (event_id <> ''),
  user_id          varchar not null check (user_id <> ''),
  event_type       varchar not null check (event_type in ('view', 'add_to_cart', 'purchase')),
  product_id       varchar not null check (product_id <> ''),
  -- to Postgres NaN is a numeric greater than all others
  price            numeric(12, 2) not null check (price >= 0 and price <> 'NaN'),
  event_timestamp  timestamptz not null,
  created_at       timestamptz not null default now()
);

-- For v_recent_activity; the views that count read the table. An index over the ids of purchases would make
-- v_top_products quicker, but an index refuses a row whose ids are longer than 2,700 bytes, and such a row is good.
create index user_events_event_timestamp on user_events (event_timestamp);

-- avg_price is the mean over all events of the type, not over products; revenue is what was paid.
create view v_event_summary as
-- by user first: on a million rows half the time of count(distinct)
with per_user as (
  select
    event_type,
    user_id,
    count(*) as events,
    sum(price) as prices,
    min(event_timestamp) as first_event,
    max(event_timestamp) as last_event
  from user_events
  group by event_type, user_id
)
select
  event_type,
  sum(events)::bigint as events,
  count(*) as users,
  case when event_type = 'purchase' then sum(prices) else 0.00 end as revenue,
  round(sum(prices) / sum(events), 2) as avg_price,
  min(first_event) as first_event,
  max(last_event) as last_event
from per_user
group by event_type;

-- The hour is one of UTC, whatever the time zone of the session.
create view v_hourly_events as
select
  date_trunc('hour', event_timestamp, 'UTC') as hour,
  event_type,
  count(*) as events,
  count(distinct user_id) as users,
  case when event_type = 'purchase' then sum(price) else 0.00 end as revenue
from user_events
group by hour, event_type;

-- Users, not events: how many looked, how many put something in a cart, how many bought.
create view v_purchase_funnel as
with per_user as (
  select
    user_id,
    bool_or(event_type = 'view') as viewed,
    bool_or(event_type = 'add_to_cart') as carted,
    bool_or(event_type = 'purchase') as bought
  from user_events
  group by user_id
),
funnel as (
  select
    count(*) filter (where viewed) as viewers,
    count(*) filter (where carted) as carts,
    count(*) filter (where bought) as buyers
  from per_user
)
select
  viewers,
  carts,
  buyers,
  -- null while nobody has come so far
  round(carts::numeric / nullif(viewers, 0), 4) as cart_rate,
  round(buyers::numeric / nullif(carts, 0), 4) as purchase_rate
from funnel;

create view v_top_products as
select
  product_id,
  count(*) as purchases,
  sum(price) as revenue,
  count(distinct user_id) as buyers
from user_events
where event_type = 'purchase'
group by product_id
order by revenue desc, product_id;

create view v_recent_activity as
select
  id,
  event_id,
  user_id,
  event_type,
  product_id,
  price,
  event_timestamp,
  created_at
from user_events
order by event_timestamp desc, id desc
limit 100;
