-- A hardware address of InfiniBand has twenty octets, which macaddr does not hold; the form of the text is the service's.
alter table ethernet_interface alter column mac type text;
alter table redfish_endpoint alter column mac type text;

-- Who wants a node left alone: {"by", "reason", "since"}; null: nobody.
alter table component add column lock jsonb;

create table node_partition (
    name text constraint node_partition_pkey primary key,
    description text not null default '',
    tags text[] not null default '{}'
);

-- A component is in one partition at most.
create table partition_member (
    component text constraint partition_member_pkey primary key
        constraint partition_member_component references component on delete cascade,
    partition text not null constraint partition_member_partition references node_partition on delete cascade
);
create index partition_member_partition_index on partition_member (partition);
