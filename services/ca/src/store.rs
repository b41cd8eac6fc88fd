//! All SQL of ca.

mod accounts;
mod authorities;
mod certificates;
mod orders;

pub(crate) use accounts::*;
pub(crate) use authorities::*;
pub(crate) use certificates::*;
pub(crate) use orders::*;
