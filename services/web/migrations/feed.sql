-- The change feed (INTERFACES 1): the rows others follow, each with the transaction that last changed it.
-- A deleted row stays, with a null row, until it is pruned; whoever asks from before `pruned` starts anew.
create table feed (
    single boolean primary key default true constraint feed_single check (single),
    epoch uuid not null default gen_random_uuid(),
    seq bigint not null default 0,
    pruned bigint not null default 0
);
insert into feed default values;

create table feed_row (
    kind text not null,
    id text not null,
    row json,
    seq bigint not null,
    changed timestamptz not null default now(),
    primary key (kind, id)
);
create index feed_row_seq on feed_row (seq);
