-- How often the fields of a letter were edited: a replay settles it as it was read, and not what it became meanwhile.
alter table millrace.dead_letters add column revision integer not null default 0;
