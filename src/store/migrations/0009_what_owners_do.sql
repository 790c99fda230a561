-- What the owner of a pipeline says that it does, while a batch takes long.
alter table millrace.leases add column doing text;
