-- A commit sets both for its transaction; who asks for a task outside of a batch says neither, and no batch has number 0.
alter table millrace.task_requests alter column pipeline set default current_setting('millrace.pipeline');
alter table millrace.task_requests alter column batch set default coalesce(nullif(current_setting('millrace.batch', true), ''), '0')::bigint;

-- When each schedule is due next, by the database's clock: whoever moves it on asks for its task.
create table millrace.schedules (
  pipeline  text not null,
  task      text not null,
  due_at    timestamptz not null,
  primary key (pipeline, task)
);

-- Answers in a cache outside of this database that a committed change has made old. They go when they are dropped there.
create table millrace.cache_drops (
  id        bigint generated always as identity primary key,
  key       text not null,
  asked_at  timestamptz not null default clock_timestamp()
);

-- Of those settled, and of late rows, by age: what is archived is found by these.
create index dead_letters_settled on millrace.dead_letters (settled_at) where settled is not null;
create index late_rows_by_time on millrace.late_rows (arrived_at);
