//! IPMI 2.0 sessions and serial over LAN, asynchronous, fit to be used by itself.
//!
//! What it covers, with the sections of the IPMI specification (second generation, v2.0, revision 1.1):
//!
//! | module | what | sections |
//! | --- | --- | --- |
//! | [`wire`] | packets as bytes, both directions, pure | 13.1–13.8, 13.17–13.24, 15.9 |
//! | [`crypto`] | RAKP codes, session keys, integrity, AES-CBC | 13.28–13.32 |
//! | [`Session`] | handshake, requests, keep-alive, close | 13.14, 22.17–22.19 |
//! | [`chassis`], [`boot`] | power, identify, boot device | 28.2–28.13 |
//! | [`Sol`] | the serial line | 15, 24.1–24.7 |
//!
//! Cipher suites are 17 (HMAC-SHA256-128, AES-CBC-128) and 3 (HMAC-SHA1-96, AES-CBC-128). Those without
//! authentication or encryption (0, 1, 2) do not exist in [`CipherSuite`], so no setting can ask for them.
//!
//! Commands and completion codes are `ipmi-rs-core`'s, re-exported as [`core`]: any of its `IpmiCommand`s,
//! and those of a caller's own, go through [`Session::request`].
//!
//! ```no_run
//! # async fn example() -> Result<(), ipmi::Error> {
//! use ipmi::{Session, SessionOptions, SolOptions, Target, chassis::PowerAction};
//! let target = Target::new(([172, 16, 0, 101], 623).into(), "admin", "secret");
//! let session = Session::open(&target, SessionOptions::default()).await?;
//! session.chassis_control(PowerAction::On).await?;
//! let mut console = session.activate_sol(SolOptions::default()).await?;
//! while let Ok(event) = console.recv().await {
//!     println!("{event:?}");
//! }
//! # Ok(()) }
//! ```

pub use ipmi_rs_core as core;
pub use ipmi_rs_core::app::DeviceId;
pub use ipmi_rs_core::app::auth::PrivilegeLevel;

pub use crate::commands::{boot, chassis};
pub use crate::error::{AuthFailure, Error, RakpStatus};
pub use crate::session::{Repeat, Session};
pub use crate::sol::{Deactivation, Sol, SolEvent, SolOptions, SolWriter};
pub use crate::target::{CipherSuite, SessionOptions, Target};

mod commands;
pub mod crypto;
mod error;
mod session;
mod sol;
mod target;
pub mod wire;
