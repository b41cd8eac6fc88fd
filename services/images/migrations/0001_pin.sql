-- Images that another service needs: clean-up leaves them alone (INTERFACES 9).
create table pin (
    service text not null,
    id text not null,
    image text not null,
    pinned timestamptz not null default now(),
    constraint pin_pkey primary key (service, id)
);
