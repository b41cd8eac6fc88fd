-- Who did what, whence, with what result: a chain for each head, in which each record holds the hash of the one before.
create table audit (
    head text not null, -- the machine's id (machine-id(5)): heads on one database keep a chain each
    id bigint not null, -- counted from 1, without holes
    time timestamptz not null,
    source text not null, -- the service, `ssh`
    actor text not null,
    whence text not null,
    what text not null,
    result text not null,
    node text, -- the xname
    previous bytea not null,
    hash bytea not null,
    constraint audit_pkey primary key (head, id),
    constraint audit_hashes check (octet_length(previous) = 32 and octet_length(hash) = 32)
);
create index audit_time on audit (time);

-- Where each chain stands, where the journal was read to, and what was removed when it was old.
create table audit_chain (
    head text not null constraint audit_chain_pkey primary key,
    cursor text,
    last bigint not null,
    last_hash bytea not null,
    pruned bigint not null, -- all up to this one are gone
    pruned_hash bytea not null
);
