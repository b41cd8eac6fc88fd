-- Steps of boots, as the services told of them. A partition a day: the service makes them ahead and drops the oldest.
create table event (
    time timestamptz not null,
    node text, -- the xname; none: in no inventory
    mac text,
    ip text,
    boot timestamptz, -- when the boot began that it belongs to; none: it belongs to none
    service text not null,
    stage text not null,
    result text not null constraint event_result check (result in ('ok', 'failed', 'timeout')),
    bytes bigint,
    duration_ms bigint,
    image text,
    facts jsonb not null default '{}',
    detail text not null
) partition by range (time);
create index event_boot on event (node, boot);
create index event_mac on event (mac, boot) where node is null;

-- The boots that they make up.
create table boot (
    node text not null, -- the xname, else the MAC address, else the address
    started timestamptz not null,
    updated timestamptz not null,
    stage text not null, -- the last one that was reached
    result text not null constraint boot_result check (result in ('running', 'good', 'failed', 'stopped')),
    data jsonb not null, -- all of it, as it is in memory
    constraint boot_pkey primary key (node, started)
) partition by range (started);
create index boot_started on boot (started);
