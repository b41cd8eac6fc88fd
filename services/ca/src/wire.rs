//! What ACME clients sign: JSON Web Keys and Signatures. Pure.

mod jwk;
mod jws;

pub(crate) use jwk::Jwk;
pub(crate) use jws::{Jws, Key, Refused, decode};
