-- Images by content: blobs, manifests of a kernel, an initrd and perhaps a root, and the tags that stand for them.
create table blob (
    digest text constraint blob_pkey primary key,
    bytes bigint not null,
    -- When it was last uploaded, or let go: clean-up leaves alone what is younger than an hour.
    touched timestamptz not null default now()
);

create table manifest (
    digest text constraint manifest_pkey primary key,
    architecture text not null,
    kernel text not null constraint manifest_kernel references blob (digest),
    initrd text not null constraint manifest_initrd references blob (digest),
    root text constraint manifest_root references blob (digest),
    touched timestamptz not null default now()
);

create table tag (
    name text not null,
    tag text not null,
    architecture text not null,
    manifest text not null constraint tag_manifest references manifest (digest),
    published timestamptz not null default now(),
    constraint tag_pkey primary key (name, tag, architecture)
);
create index tag_of_manifest on tag (manifest);

-- What the image of a pin stood for when it was pinned: the tag may move on, the nodes boot these.
alter table pin add column manifests text[] not null default '{}';
