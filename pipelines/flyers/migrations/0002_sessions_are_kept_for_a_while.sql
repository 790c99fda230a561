-- When the row came: it goes FLYERS_SESSIONS_KEEP later.
alter table flyer_sessions add column landed_at timestamptz not null default now();
create index flyer_sessions_by_landing on flyer_sessions (landed_at);
