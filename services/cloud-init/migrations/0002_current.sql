-- The present API: what it keeps for groups, for nodes by xname, and for the whole cluster. The columns hold what
-- the API takes, whole.
create table cloud_init_group (
    name text constraint cloud_init_group_pkey primary key,
    data jsonb not null,
    changed timestamptz not null default now()
);

create table cloud_init_instance (
    node text constraint cloud_init_instance_pkey primary key,
    data jsonb not null,
    changed timestamptz not null default now()
);

create table cloud_init_defaults (
    only_one boolean default true constraint cloud_init_defaults_pkey primary key,
    data jsonb not null,
    changed timestamptz not null default now(),
    constraint cloud_init_defaults_only_one check (only_one)
);
insert into cloud_init_defaults (data) values ('{}');
