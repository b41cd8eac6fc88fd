//! The service from outside: its router, a real PostgreSQL, its own Mirror following it.
#![expect(clippy::unwrap_used, reason = "tests")]

mod it {
    pub(crate) mod lab;

    mod accounts;
    mod bad_input;
    mod boards;
    mod bulk;
    mod components;
    mod discovery;
    mod groups;
    mod interfaces;
    mod nodes;
    mod partitions;
    mod shape;
}
