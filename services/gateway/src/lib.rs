//! NOTE to colleagues: the gateway is being written by another engineer now; leave this crate alone.
