-- What a commit drops from a cache outside of this database: answers under keys that begin with `prefix`, or of them these.
alter table millrace.cache_drops add column prefix text not null default '', add column keys text[];
update millrace.cache_drops set keys = array[key];
alter table millrace.cache_drops alter column prefix drop default, drop column key;
