//! What the tests of the whole and `cargo xtask` stand on: real processes, a throwaway PostgreSQL, network namespaces,
//! simulated BMCs, virtual machines. Whatever is started here ends with the value that stands for it, and with the
//! process that started it.

pub mod accounts;
pub mod appliance;
pub mod bmc;
pub mod console;
pub mod demo;
pub mod document;
pub mod fleet;
pub mod folder;
pub mod front;
pub mod head;
pub mod keyboard;
pub mod lab;
pub mod net;
pub mod node;
pub mod pg;
pub mod process;
pub mod program;
pub mod redfish;
pub mod replay;
pub mod settle;
pub mod sol;
pub mod steps;
pub mod swarm;
pub mod terminal;
pub mod vm;

pub use appliance::Appliance;
pub use bmc::Bmc;
pub use console::Console;
pub use head::{Head, HeadOptions};
pub use keyboard::Keyboard;
pub use net::Net;
pub use node::Node;
pub use pg::Pg;
pub use process::{Process, Run};
pub use swarm::Swarm;
pub use vm::Vm;
