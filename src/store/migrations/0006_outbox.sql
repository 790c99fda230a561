-- Messages of committed batches that wait to be published to their topics. They go when they are.
create table millrace.outbox (
  pipeline  text collate "C" not null default current_setting('millrace.pipeline'),
  batch     bigint not null default current_setting('millrace.batch')::bigint,
  -- the sink
  step      text collate "C" not null,
  topic     text not null,
  -- its number among those of the batch and step
  n         bigint not null,
  -- as JSON: a text of its own cannot hold U+0000
  key       text,
  value     text not null,
  -- the order in which they are published
  primary key (pipeline, batch, step, n)
);
