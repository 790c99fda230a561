-- The watermark by which the next batch judges its rows; null before the first. Each batch says to where it moved it.
alter table millrace.pipelines add column watermark timestamptz;

-- State of windows: the numbers of a pane of a key, as they are now; of anomalies, a closed window's values.
create table millrace.pane_numbers (
  pipeline  text not null default current_setting('millrace.pipeline') references millrace.pipelines on delete cascade,
  step      text not null,
  -- the values of the key as a JSON list of texts
  key       text not null,
  -- its number since 1970; of anomalies, microseconds
  pane      bigint not null,
  -- by number, as text, so that no digit is lost
  numbers   jsonb not null,
  primary key (pipeline, step, pane, key)
);

-- State of windows: different values and counts by item. A batch adds a row with what is new in it, and rewrites none;
-- many of one pane are folded into one.
create table millrace.pane_sets (
  pipeline   text not null default current_setting('millrace.pipeline') references millrace.pipelines on delete cascade,
  batch      bigint not null default current_setting('millrace.batch')::bigint,
  step       text not null,
  aggregate  text not null,
  key        text not null,
  pane       bigint not null,
  -- hashes of the values
  members    bigint[],
  -- {"item": how often}
  items      jsonb,
  primary key (pipeline, step, pane, aggregate, key, batch)
);
