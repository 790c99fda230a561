-- How many rows of the batch each step handed on: {"validate": 98, "filter": 40}.
alter table millrace.batches add column step_rows jsonb not null default '{}';
