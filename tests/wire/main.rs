//! Real clients in network namespaces: each test is a lab of its own (`harness/lab.rs`).

mod acme;
mod boots;
mod canary;
mod cli;
mod console;
mod desk;
mod discover;
mod faults;
mod fleet;
mod join;
mod lab;
mod ochami;
mod ochami_lists;
mod oidc;
mod outage;
mod pcs;
mod power;
mod powerman;
mod recover;
mod relay;
mod rights;
mod rotation;
mod schema;
mod swarm;
mod swarm_faults;
mod table;
