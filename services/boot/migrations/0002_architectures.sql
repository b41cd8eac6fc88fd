-- What machines of an architecture boot instead: {"arm64": {"kernel", "initrd"?, "params"?}}, by iPXE's word.
alter table boot_parameters add column architectures jsonb not null default '{}';
