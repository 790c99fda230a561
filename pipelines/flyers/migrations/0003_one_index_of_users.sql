-- One index for the key and for answers in the order of users: each row of a large run is written to it.
drop index flyer_time_per_user_in_order;
alter table flyer_time_per_user
  drop constraint flyer_time_per_user_pkey,
  alter column user_id type text collate "C",
  add primary key (user_id) include (avg_hours);
