-- Roots and issuing intermediates, keys sealed under the service's sealing key. Heads that share a database share
-- the root; each takes the newest intermediate that is bound to its own names.
create table authority (
    id text primary key, -- SHA-256 of the certificate, in hexadecimal
    kind text not null constraint authority_kind check (kind in ('root', 'intermediate')),
    root text not null references authority (id), -- itself for a root
    constraints text[] not null, -- what an intermediate may issue for, `dns:…` and `ip:…`, sorted
    certificate bytea not null,
    sealed bytea not null,
    not_before timestamptz not null,
    not_after timestamptz not null
);
