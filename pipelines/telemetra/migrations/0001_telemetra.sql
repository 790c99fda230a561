-- What was said and watched in each window of each stream. A row changes until its window is closed: then it is final.
create table chat_summary_minute (
  stream_id        text not null,
  window_start     timestamptz not null,
  window_end       timestamptz not null,
  chat_count       bigint not null,
  unique_chatters  bigint not null,
  avg_sentiment    double precision,
  positive_count   bigint not null,
  negative_count   bigint not null,
  top_emotes       text[] not null,
  emote_counts     jsonb not null,
  chat_rate        double precision not null,
  avg_viewers      double precision,
  peak_viewers     bigint,
  final            boolean not null,
  updated_at       timestamptz not null default now(),
  primary key (stream_id, window_start)
);
create index chat_summary_minute_by_time on chat_summary_minute (window_start desc);

create function chat_summary_minute_changed() returns trigger language plpgsql as $$
begin
  new.updated_at := now();
  return new;
end $$;
create trigger chat_summary_minute_changed before update on chat_summary_minute
for each row execute function chat_summary_minute_changed();

-- Windows unlike the ones before them.
create table moments (
  id            bigint generated always as identity primary key,
  moment_type   text not null,
  stream_id     text not null,
  window_start  timestamptz not null,
  value         double precision not null,
  mean          double precision not null,
  deviation     double precision not null,
  z_score       double precision not null,
  detected_at   timestamptz not null default now(),
  -- what the value was held against, for whoever reads the row alone
  details       jsonb not null default '{}',
  unique (stream_id, window_start, moment_type)
);
create index moments_by_time on moments (window_start desc);

create function moments_in_detail() returns trigger language plpgsql as $$
begin
  new.details := jsonb_build_object(
    'windows', 10, 'expected', new.mean, 'difference', new.value - new.mean, 'deviations', new.z_score);
  return new;
end $$;
create trigger moments_in_detail before insert on moments
for each row execute function moments_in_detail();
