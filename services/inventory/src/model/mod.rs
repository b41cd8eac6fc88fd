//! The decisions: pure functions and types, no async, no I/O.

pub(crate) mod board;
pub(crate) mod catalog;
pub(crate) mod component;
pub(crate) mod filter;
pub(crate) mod group;
pub(crate) mod hosts;
pub(crate) mod import;
pub(crate) mod interface;
pub(crate) mod node;
pub(crate) mod nodes_file;
pub(crate) mod partition;
pub(crate) mod redfish;
pub(crate) mod redfish_json;
pub(crate) mod words;
