create table user_events (
  id bigserial primary key, event_id varchar not null unique, user_id varchar not null, event_type varchar not null,
  product_id varchar not null, price numeric(12,2) not null, event_timestamp timestamptz not null, created_at timestamptz not null default now());
