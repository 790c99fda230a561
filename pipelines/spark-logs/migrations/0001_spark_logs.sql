create type event_type_enum as enum ('SparkListenerJobStart', 'SparkListenerTaskEnd', 'SparkListenerJobEnd');
create type log_status_enum as enum ('pending', 'processed');

-- Every event, as it came. A row may be put here by whoever likes to: what is pending is computed in the end.
create table raw_logs (
  id              uuid primary key default gen_random_uuid(),
  event           event_type_enum not null,
  job_id          int not null,
  "user"          text,
  timestamp       timestamptz not null,
  task_id         text,
  -- the whole payload
  log             jsonb not null,
  insertion_time  timestamptz default now(),
  status          log_status_enum not null default 'pending',
  -- the start and the end of a job have no task
  unique nulls not distinct (job_id, event, task_id)
);
create index raw_logs_pending on raw_logs (job_id) where status = 'pending';

create table job_analytics (
  id                uuid primary key default gen_random_uuid(),
  job_id            int not null unique,
  "user"            text not null,
  start_time        timestamptz not null,
  end_time          timestamptz not null,
  duration_seconds  int not null,
  task_count        int not null,
  failed_tasks      int not null,
  success_rate      double precision not null,
  insertion_time    timestamptz not null default now()
);
create index job_analytics_by_end on job_analytics (end_time, job_id);

-- A time as a log may have it: ISO 8601, without an offset in UTC, or milliseconds since 1970; null when it is neither.
create function spark_log_time(told jsonb) returns timestamptz
language plpgsql stable parallel safe
set timezone = 'UTC'
as $$
begin
  if jsonb_typeof(told) = 'number' then
    return to_timestamp((told #>> '{}')::numeric / 1000);
  end if;
  if told #>> '{}' ~ '^\d{4}-\d\d-\d\d[T ]\d\d:\d\d' then
    return (told #>> '{}')::timestamptz;
  end if;
  return null;
exception when data_exception then
  return null;
end
$$;
