-- What each target boots: one row a MAC address, host word (xname, node name, group label, Default) or NID.
-- Targets with equal kernel, initrd and params are one entry of the API.
create table boot_parameters (
    kind text not null constraint boot_parameters_kind check (kind in ('mac', 'host', 'nid')),
    target text not null,
    kernel text not null,
    initrd text not null default '',
    params text not null default '',
    changed timestamptz not null default now(),
    constraint boot_parameters_pkey primary key (kind, target)
);
