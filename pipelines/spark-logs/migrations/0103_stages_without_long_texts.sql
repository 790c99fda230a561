-- Call stacks and accumulables of stages are most of what a log says of them, and are asked for one stage at a time: they
-- are read from the Parquet of the log.
alter table spark_stages
  drop column details,
  drop column accumulables;
