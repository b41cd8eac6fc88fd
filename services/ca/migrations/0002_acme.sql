-- Younger roots, and a site's own, certified by an older root of ours, for who knows that one alone.
create table cross_certificate (
    id text primary key, -- SHA-256 of the certificate, in hexadecimal
    subject text not null, -- the certified root's fingerprint
    issuer text not null references authority (id),
    certificate bytea not null,
    not_before timestamptz not null,
    not_after timestamptz not null
);

-- Intermediates under a site's own root: a key and its request first, then the chain that the site made of it.
create table site_authority (
    id text primary key, -- SHA-256 of the request
    request bytea not null, -- PKCS #10, DER
    sealed bytea not null,
    made timestamptz not null,
    chain bytea[] not null default '{}', -- from the intermediate to the site's root, DER
    usable_from timestamptz -- none: the request was not answered yet
);

-- ACME (RFC 8555). Ids are random; whoever knows one still has to sign.
create table acme_account (
    id text primary key,
    thumbprint text not null constraint acme_account_key unique, -- RFC 7638
    jwk text not null, -- the key in its one spelling
    contact text[] not null,
    status text not null constraint acme_account_status check (status in ('valid', 'deactivated')),
    eab text, -- the external account's key that admitted it
    created timestamptz not null
);

create table acme_eab (
    id text primary key,
    sealed bytea not null,
    description text not null,
    created timestamptz not null
);

create table acme_certificate (
    id text primary key,
    serial text not null constraint acme_certificate_serial unique, -- hexadecimal
    account text not null references acme_account (id),
    issuer text not null, -- the intermediate's fingerprint
    identifiers text[] not null,
    chain_pem text not null,
    alternate_pem text,
    not_before timestamptz not null,
    not_after timestamptz not null,
    replaced boolean not null default false, -- an order that names it was finalized (RFC 9773 section 5)
    revoked timestamptz,
    reason smallint
);
create index acme_certificate_revoked on acme_certificate (issuer) where revoked is not null;

create table acme_order (
    id text primary key,
    account text not null references acme_account (id),
    profile text not null,
    replaces text, -- the certificate's id
    identifiers text[] not null,
    expires timestamptz not null,
    created timestamptz not null,
    certificate text references acme_certificate (id)
);
create index acme_order_account on acme_order (account, created);

create table acme_authorization (
    id text primary key,
    acme_order text not null references acme_order (id) on delete cascade,
    account text not null references acme_account (id),
    identifier text not null,
    token text not null,
    status text not null constraint acme_authorization_status
        check (status in ('pending', 'processing', 'valid', 'invalid', 'deactivated')),
    expires timestamptz not null,
    challenge text, -- the kind that was asked for
    tried timestamptz, -- since when it is looked for, or when it was found
    problem text -- why it is invalid, as ACME says it
);
create index acme_authorization_order on acme_authorization (acme_order);
