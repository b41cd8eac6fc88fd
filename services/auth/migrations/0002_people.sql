-- RS256 beside ES256; a key is published before it signs.
alter table signing_key add column algorithm text not null default 'ES256'
    constraint signing_key_algorithm check (algorithm in ('ES256', 'RS256'));
alter table signing_key add column signs_from timestamptz;

-- Clients without a secret: public ones, and those that sign what they ask with a key of their own (RFC 7523).
alter table client alter column secret_sha256 drop not null;
alter table client add column redirect_uris text[] not null default '{}';
alter table client add column jwks json;
alter table client add column algorithm text not null default 'ES256'
    constraint client_algorithm check (algorithm in ('ES256', 'RS256'));

-- People with a password here.
create table account (
    name text constraint account_pkey primary key,
    password text not null,
    role text not null constraint account_role check (role in ('viewer', 'operator', 'admin')),
    created timestamptz not null default now()
);

-- A log-in of someone at a client; all that is given for it goes with it.
create table session (
    id uuid primary key,
    account text not null constraint session_account references account (name) on delete cascade,
    client text not null,
    scope text not null,
    nonce text,
    authenticated timestamptz not null,
    expires timestamptz not null,
    -- Counts the renewals: a refresh token names the one it is for, so an old one shows.
    generation integer not null default 0
);
create index session_account on session (account, authenticated);
create index session_expires on session (expires);

-- Codes of the authorization endpoint, by their digest (RFC 6749 section 4.1, RFC 7636).
create table code (
    digest text primary key,
    session uuid not null references session (id) on delete cascade,
    redirect_uri text not null,
    challenge text not null,
    used boolean not null default false,
    expires timestamptz not null
);
create index code_expires on code (expires);

-- Devices that wait for someone's word (RFC 8628).
create table device (
    digest text primary key,
    user_code text not null constraint device_user_code unique,
    client text not null,
    scope text not null,
    session uuid references session (id) on delete cascade,
    refused boolean not null default false,
    polled timestamptz,
    interval_s integer not null,
    expires timestamptz not null
);
create index device_expires on device (expires);

-- Assertions of clients that were taken once (RFC 7523 section 3).
create table assertion (
    digest text constraint assertion_pkey primary key,
    expires timestamptz not null
);
create index assertion_expires on assertion (expires);

-- What is no longer good though it has not ended; none lives longer than a token.
create table revoked (
    id text primary key,
    kind text not null constraint revoked_kind check (kind in ('token', 'session', 'subject')),
    value text not null,
    before bigint,
    expires timestamptz not null
);
create index revoked_expires on revoked (expires);
