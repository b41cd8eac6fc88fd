-- What there is. Each rule has a named constraint; the service turns the name into the client's error.
-- Columns without a value in the SMD API are null here, never an empty string.

create table component (
    id text constraint component_pkey primary key,
    state text,
    flag text,
    enabled boolean,
    software_status text,
    role text,
    sub_role text,
    nid bigint, -- Not unique: the SMD API lets several components have one.
    net_type text,
    arch text,
    class text,
    name text constraint component_name unique deferrable initially deferred -- One import may swap two names.
);

-- `origin` says who made the row: `api` (an explicit POST), `endpoint` (a RedfishEndpoint POST; the first explicit
-- POST takes it over), `import` (nodes.yaml; the next import may take it away again).
create table ethernet_interface (
    id text constraint ethernet_interface_pkey primary key,
    mac macaddr not null constraint ethernet_interface_mac unique,
    component text,
    description text not null default '',
    last_update timestamptz not null,
    origin text not null constraint ethernet_interface_origin check (origin in ('api', 'endpoint', 'import'))
);
create index ethernet_interface_component on ethernet_interface (component);

-- Addresses are text: the SMD API promises no more, and the order is the client's.
create table interface_address (
    interface text not null constraint interface_address_interface references ethernet_interface on delete cascade,
    position integer not null,
    address text not null,
    network text not null default '',
    constraint interface_address_pkey primary key (interface, position)
);

create table redfish_endpoint (
    id text constraint redfish_endpoint_pkey primary key,
    name text,
    hostname text not null default '',
    domain text not null default '',
    fqdn text not null constraint redfish_endpoint_fqdn unique,
    enabled boolean not null,
    uuid text,
    username text, -- Only while there is no password; with one, both are a bmc_credential.
    mac macaddr,
    ip_address text,
    rediscover_on_update boolean not null default false,
    template_id text,
    protocol text not null default 'auto'
        constraint redfish_endpoint_protocol check (protocol in ('auto', 'ipmi', 'redfish')),
    port integer constraint redfish_endpoint_port check (port between 1 and 65535),
    cipher_suites smallint[],
    workarounds text[] not null default '{}',
    class text,
    credential_version bigint not null default 0
);

create table component_endpoint (
    id text constraint component_endpoint_pkey primary key,
    endpoint text not null constraint component_endpoint_endpoint references redfish_endpoint on delete cascade,
    redfish_type text not null,
    redfish_subtype text not null default '',
    uuid text,
    odata_id text not null,
    enabled boolean not null,
    name text not null default '',
    actions text[],
    command_shell text[],
    nics jsonb not null
);
create index component_endpoint_endpoint_index on component_endpoint (endpoint);

create table node_group (
    label text constraint node_group_pkey primary key,
    description text not null default '',
    tags text[] not null default '{}',
    exclusive_group text,
    constraint node_group_exclusive unique (label, exclusive_group)
);

-- The copy of `exclusive_group` lets a unique constraint keep a component out of two groups of one set.
create table group_member (
    label text not null constraint group_member_group references node_group on delete cascade,
    component text not null constraint group_member_component references component on delete cascade,
    exclusive_group text,
    imported boolean not null default false,
    constraint group_member_pkey primary key (label, component),
    constraint group_member_exclusive unique (component, exclusive_group)
);

-- Scope: an xname, `class:<name>` or `default`; `sealed` is AES-256-GCM with the scope as associated data.
create table bmc_credential (
    scope text constraint bmc_credential_pkey primary key,
    username text not null,
    sealed bytea not null,
    changed timestamptz not null default now()
);
