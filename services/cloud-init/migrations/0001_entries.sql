-- What groups and nodes are given, by name, in two stores: open under /cloud-init, with tokens under
-- /cloud-init-secure. A part that was never given is null.
create table cloud_init_entry (
    store text not null constraint cloud_init_entry_store check (store in ('open', 'secure')),
    name text not null,
    userdata jsonb,
    metadata jsonb,
    vendordata jsonb,
    changed timestamptz not null default now(),
    constraint cloud_init_entry_pkey primary key (store, name)
);
