-- Jobs of event logs among the others: whoever reads `job_analytics` reads both. Their numbers begin at 0 in each application,
-- so that they are unique here, and not there; `only job_analytics` has those that were posted one by one.
create table spark_job_analytics (
  app_id   text not null,
  attempt  text not null,
  primary key (app_id, attempt, job_id)
) inherits (job_analytics);
create index spark_job_analytics_by_end on spark_job_analytics (end_time, job_id);

-- a log that was read before this table was there is told anew
update spark_event_logs set mark = '';
