-- The image that kernel and initrd are of, `name:tag@sha256:…`; empty if they were named themselves.
alter table boot_parameters add column image text not null default '';

-- What a node boots the next time alone; a row goes when the node is about to start that kernel.
create table boot_once (
    node text not null constraint boot_once_pkey primary key,
    id uuid not null,
    settings jsonb not null,
    created timestamptz not null default now()
);
