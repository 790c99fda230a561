-- State of steps that read only the keys of a batch: events of pairs, totals and how often each of their values comes.
create table millrace.keyed_state (
  pipeline  text not null default current_setting('millrace.pipeline') references millrace.pipelines on delete cascade,
  -- the step, or a part of it: step/part
  step      text not null,
  -- the values of the key as a JSON list of texts; of a long one, its hash
  key       text not null,
  -- which of the things that are kept of a key
  item      text not null,
  -- a JSON object of texts, so that no digit is lost
  state     text not null,
  -- microseconds since 1970: once the watermark has passed it, there is something to say without any row
  due       bigint,
  primary key (pipeline, step, key, item)
);
create index keyed_state_by_due on millrace.keyed_state (pipeline, due) where due is not null;
