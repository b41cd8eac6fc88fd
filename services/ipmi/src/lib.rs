//! IPMI 2.0 sessions and serial over LAN, asynchronous, fit to be used by itself.
//!
//! What it covers, with the sections of the IPMI specification (second generation, v2.0, revision 1.1):
//!
//! | module | what | sections |
//! | --- | --- | --- |
//! | [`wire`] | packets as bytes, both directions, pure | 13.1–13.8, 13.17–13.24, 15.9 |
//! | [`crypto`] | RAKP codes, session keys, integrity, AES-CBC | 13.28–13.32 |
//! | [`Session`] | handshake, requests, keep-alive, close | 13.14, 22.17–22.19 |
//! | [`Pool`] | a few sockets for any number of sessions | |
//! | [`SessionRecord`], [`Ledger`] | going on with a session in another process | 6.12.13 |
//! | [`Workarounds`] | BMCs that do otherwise | |
//! | [`chassis`], [`boot`] | power, identify, boot device | 28.2–28.13 |
//! | [`Sol`] | the serial line | 15, 24.1–24.7, 26 |
//! | [`sel`], [`sensors`], [`sdr`], [`fru`] | log, readings, inventory | 31, 33–36, 43 |
//! | [`lan`], [`users`] | addresses, accounts | 22.26–22.30, 23 |
//! | [`dcmi`] | power readings and limits | DCMI 1.5, 6.6 |
//!
//! Cipher suites are 17 (HMAC-SHA256-128, AES-CBC-128) and 3 (HMAC-SHA1-96, AES-CBC-128). Those without
//! authentication or encryption (0, 1, 2) do not exist in [`CipherSuite`], so no setting can ask for them.
//!
//! Completion codes, messages and many commands are `ipmi-rs-core`'s, re-exported as [`core`]: any of its
//! `IpmiCommand`s, and those of a caller's own, go through [`Session::request`]. What a BMC sends and can be
//! longer or shorter than it should be is decoded here, where no input ends in a panic.
//!
#![doc = include_str!("../README.md")]

pub use ipmi_rs_core as core;
pub use ipmi_rs_core::app::DeviceId;
pub use ipmi_rs_core::app::auth::PrivilegeLevel;

pub use crate::commands::{boot, chassis, dcmi, fru, lan, sdr, sel, sensors, users};
pub use crate::error::{AuthFailure, Cause, Error, RakpStatus};
pub use crate::ping::ping;
pub use crate::pool::{Pool, SOCKETS};
pub use crate::record::{Ledger, RECORD_BYTES, RecordError, SessionRecord};
pub use crate::session::{Repeat, Session};
pub use crate::sol::{BitRate, Deactivation, Sol, SolEvent, SolOptions, SolSettings, SolWriter};
pub use crate::target::{CipherSuite, SessionOptions, Target};
pub use crate::workarounds::{UnknownWorkaround, Workarounds};

mod commands;
pub mod crypto;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod ping;
mod pool;
mod record;
mod session;
mod sol;
mod target;
pub mod wire;
mod workarounds;
