-- What Millrace remembers. Tables a user may query are described in docs; their columns are a contract.
create schema if not exists millrace;

-- One row per pipeline: the plan it was started with, so that stored state is never read by another plan.
create table millrace.pipelines (
  pipeline    text primary key,
  plan_hash   text not null,
  plan        jsonb not null,
  -- the number of the last committed batch
  batch       bigint not null default 0,
  created_at  timestamptz not null default now(),
  updated_at  timestamptz not null default now()
);

-- Who may commit. The epoch is checked by the last statement of every batch.
create table millrace.leases (
  pipeline    text primary key references millrace.pipelines on delete cascade,
  owner       text,
  epoch       bigint not null default 0,
  expires_at  timestamptz not null default '-infinity',
  -- the owner's sessions: [{"pid": 1, "started": "..."}]
  backends    jsonb not null default '[]',
  -- a bounded run that would like to borrow the lease
  wanted_by   text,
  -- who lent it, so that status can say so
  lent_by     text
);

-- How far each partition of a source has been read and committed.
create table millrace.positions (
  pipeline    text not null references millrace.pipelines on delete cascade,
  source      text not null,
  partition   text not null,
  position    bigint not null,
  watermark   timestamptz,
  primary key (pipeline, source, partition)
);

-- Every file a source has taken. `id` is the claim's name, or the path for files read where they lie.
create table millrace.files (
  pipeline    text not null references millrace.pipelines on delete cascade,
  source      text not null,
  id          text not null,
  path        text not null,
  size        bigint not null,
  mtime_ns    numeric(20) not null,
  inode       numeric(20) not null,
  state       text not null check (state in ('reading', 'done', 'quarantined')),
  -- bytes of the file that are committed, and the physical lines in them
  bytes_done  bigint not null default 0,
  lines_done  bigint not null default 0,
  rows_done   bigint not null default 0,
  code        text,
  message     text,
  arrived_at  timestamptz not null,
  batch       bigint not null,
  primary key (pipeline, source, id)
);
create index files_by_batch on millrace.files (pipeline, batch);

-- The ledger. Each input row of a batch has exactly one verdict, and the database holds the sum.
create table millrace.batches (
  pipeline           text not null references millrace.pipelines on delete cascade,
  batch              bigint not null,
  epoch              bigint not null,
  kind               text not null check (kind in ('stream', 'backfill', 'replay', 'spark')),
  started_at         timestamptz not null,
  committed_at       timestamptz not null default clock_timestamp(),
  rows_in            bigint not null check (rows_in >= 0),
  written            bigint not null check (written >= 0),
  filtered           bigint not null check (filtered >= 0),
  duplicates         bigint not null check (duplicates >= 0),
  late               bigint not null check (late >= 0),
  dead               bigint not null check (dead >= 0),
  files_quarantined  bigint not null default 0 check (files_quarantined >= 0),
  -- per sink: {"table": {"inserted": 1, "updated": 0, "deleted": 0}}
  rows_out           jsonb not null default '{}',
  watermark          timestamptz,
  -- what was read: [{"partition": "...", "from": 0, "to": 10}]
  ranges             jsonb not null default '[]',
  phases_ms          jsonb not null default '{}',
  primary key (pipeline, batch),
  constraint books_balance check (rows_in = written + filtered + duplicates + late + dead)
);
create index batches_by_time on millrace.batches (committed_at);

-- A commit sets millrace.pipeline and millrace.batch for its transaction, so that COPY need not carry them.
create table millrace.dead_letters (
  id           bigint generated always as identity primary key,
  pipeline     text not null default current_setting('millrace.pipeline'),
  batch        bigint not null default current_setting('millrace.batch')::bigint,
  source       text not null,
  -- the path of the file, or topic/partition/offset
  place        text not null,
  -- the physical line on which the row starts; the header is line 1
  line         bigint,
  stage        text not null,
  code         text not null,
  column_name  text,
  message      text not null,
  -- the row as it was read; bytes that text cannot hold are written \xNN
  raw          text not null,
  -- the bytes themselves, only where raw could not hold them
  raw_bytes    bytea,
  -- the row's fields as text, by name, where they could be told apart
  fields       jsonb,
  rejected_at  timestamptz not null default clock_timestamp(),
  settled      text check (settled in ('replayed', 'discarded')),
  settled_at   timestamptz,
  -- the batch of the replay, or the reason of the discard
  settled_by   text
);
create index dead_letters_open on millrace.dead_letters (pipeline, id) where settled is null;
create index dead_letters_by_batch on millrace.dead_letters (pipeline, batch);

create table millrace.late_rows (
  id            bigint generated always as identity primary key,
  pipeline      text not null default current_setting('millrace.pipeline'),
  batch         bigint not null default current_setting('millrace.batch')::bigint,
  step          text not null,
  place         text not null,
  event_time    timestamptz not null,
  window_start  timestamptz,
  late_by_ms    bigint not null,
  raw           text not null,
  arrived_at    timestamptz not null default clock_timestamp()
);
create index late_rows_by_batch on millrace.late_rows (pipeline, batch);

-- How far each effect has come. Effects are derived from what is committed, and repeated when in doubt.
create table millrace.effects (
  pipeline  text not null references millrace.pipelines on delete cascade,
  effect    text not null,
  batch     bigint not null,
  primary key (pipeline, effect)
);

-- State of dedup steps without a horizon: the keys seen, over all time.
create table millrace.dedup_keys (
  pipeline  text not null default current_setting('millrace.pipeline') references millrace.pipelines on delete cascade,
  step      text not null,
  key       text not null,
  primary key (pipeline, step, key)
);

-- Background work asked for by a commit.
create table millrace.task_requests (
  id            bigint generated always as identity primary key,
  pipeline      text not null,
  batch         bigint not null,
  task          text not null,
  key           text not null,
  requested_at  timestamptz not null default clock_timestamp()
);
