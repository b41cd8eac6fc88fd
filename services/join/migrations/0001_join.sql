-- What a node is known by: its TPM's endorsement key, or the host keys of its SSH server.
create table enrolment (
    node text not null,
    kind text not null constraint enrolment_kind check (kind in ('ek', 'host-keys')),
    -- ek: the SHA-256 of its public key; host-keys: public keys in OpenSSH's form, one a line.
    value text not null,
    -- Whether it was taken on first use, not from an administrator.
    first_use boolean not null default false,
    created timestamptz not null default now(),
    constraint enrolment_pkey primary key (node, kind)
);

-- The one key that tokens are pushed with, sealed under the service's sealing key.
create table ssh_key (
    single boolean constraint ssh_key_pkey primary key default true check (single),
    public text not null,
    sealed bytea not null,
    created timestamptz not null default now()
);
