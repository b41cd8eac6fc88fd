-- A transfer that takes a while is told when it begins, too.
alter table event drop constraint event_result;
alter table event
    add constraint event_result check (result in ('ok', 'failed', 'timeout', 'begun'));
