-- What visitors did, each event once.
create table user_activity (
  event_id      varchar primary key check (event_id <> ''),
  user_id       varchar not null check (user_id <> ''),
  event_type    varchar not null check (event_type in ('view', 'purchase')),
  product_id    varchar not null check (product_id <> ''),
  product_name  varchar not null check (product_name <> ''),
  category      varchar not null check (category <> ''),
  -- to Postgres NaN is a numeric greater than all others
  price         numeric(12, 2) not null check (price >= 0 and price <> 'NaN'),
  quantity      bigint,
  event_time    timestamptz not null,
  -- where the row came from
  source_file   text not null,
  batch         bigint not null,
  ingested_at   timestamptz not null default now(),
  constraint quantity_fits_type check (
    case event_type
      when 'purchase' then coalesce(quantity >= 1, false)
      else coalesce(quantity = 0, true)
    end
  )
);

create index user_activity_event_time on user_activity (event_time);
-- Rows lie in the order of both, so an index of block ranges is enough, and costs next to nothing.
create index user_activity_arrival on user_activity using brin (batch, ingested_at);

-- What is wrong with the rows that did not land, until they are replayed or discarded. The id is what `dead-letters`
-- show, edit, replay and discard take.
create view user_activity_errors as
-- a view that begins like this can only be read: from a plain one Postgres would let letters be deleted
with letters as not materialized (
  select *
  from   millrace.dead_letters
  where  pipeline = 'user-activity' and settled is null
)
select
  id,
  -- null where the row could not be told into fields
  fields ->> 'event_id' as event_id,
  fields ->> 'user_id' as user_id,
  fields ->> 'event_type' as event_type,
  fields ->> 'product_id' as product_id,
  fields ->> 'product_name' as product_name,
  fields ->> 'category' as category,
  fields ->> 'price' as price,
  fields ->> 'quantity' as quantity,
  fields ->> 'event_time' as event_time,
  raw,
  place as file,
  line,
  stage,
  code,
  column_name,
  message as reason,
  batch,
  rejected_at
from letters;
