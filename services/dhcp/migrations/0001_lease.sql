-- The addresses that machines without one of their own hold. Whoever comes first has an address, also where
-- several heads share this table.
create table lease (
    address inet not null,
    mac macaddr not null,
    expires timestamptz not null,
    constraint lease_address_key primary key (address)
);
create index lease_mac on lease (mac);
create index lease_expires on lease (expires);
