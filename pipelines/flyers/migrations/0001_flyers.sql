-- Each time a reader opened a flyer, and what became of it; and closes without an open.
create table flyer_sessions (
  pair_id      text primary key,
  user_id      text not null,
  flyer_id     text not null,
  merchant_id  text,
  opened_at    timestamptz,
  closed_at    timestamptz,
  outcome      text not null,
  seconds      numeric(18,6)
);
create index flyer_sessions_by_outcome on flyer_sessions (outcome, opened_at desc);
create index flyer_sessions_by_user on flyer_sessions (user_id, opened_at);

-- How long each reader looks at a flyer, over all sessions.
create table flyer_time_per_user (
  user_id        text primary key,
  total_seconds  numeric(38,6) not null,
  sessions       bigint not null,
  -- halves are rounded up
  avg_hours      numeric(20,2) not null generated always as (round(total_seconds / sessions / 3600, 2)) stored
);

-- For merchants: a day (UTC) of a flyer.
create table merchant_flyer_daily (
  merchant_id     text not null,
  flyer_id        text not null,
  day             timestamptz not null,
  opens           bigint not null,
  readers         bigint not null,
  sessions        bigint not null,
  mean_minutes    double precision,
  median_minutes  double precision,
  expired         bigint not null,
  expired_share   double precision,
  primary key (merchant_id, flyer_id, day)
);
create index merchant_flyer_daily_by_day on merchant_flyer_daily (day desc);
