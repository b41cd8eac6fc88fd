//! A Redfish client that is thin and puts up with odd BMCs (DMTF DSP0266, the schemas of DSP8010).
//!
//! | module | what |
//! | --- | --- |
//! | [`Client`] | log-in by SessionService or basic authentication, reading, power, boot source, accounts |
//! | [`Resource`] | a system or chassis as far as power goes: state, resets it allows, boot source |
//! | [`Trust`], [`Fingerprint`] | whose certificate is believed: one seen before, a root's, anybody's |
//!
//! One connection a client, one request at a time: a BMC bears no more. An answer has 8 MiB at most; a redirect is
//! followed only to another path of the same BMC. What changes something is sent once: an answer that is lost is
//! [`Error::Lost`], and whoever asked looks at the state before asking again. Only reads are repeated.

pub use crate::client::{Client, Options, Target};
pub use crate::error::Error;
pub use crate::resource::{BootSource, PowerState, Resource};
pub use crate::tls::{Fingerprint, Trust};

mod account;
mod client;
mod error;
mod http;
mod resource;
mod tls;
