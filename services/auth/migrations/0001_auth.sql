-- Keys that sign tokens, sealed under the service's sealing key. The newest signs; all of them are published.
create table signing_key (
    kid text primary key,
    sealed bytea not null,
    created timestamptz not null default now()
);

-- Programs that fetch tokens with an identifier and a secret (RFC 6749 section 4.4).
create table client (
    id text constraint client_pkey primary key,
    secret_sha256 bytea not null constraint client_secret_length check (length(secret_sha256) = 32),
    role text not null constraint client_role check (role in ('viewer', 'operator', 'admin')),
    description text not null default '',
    created timestamptz not null default now()
);
