//! The decisions of ca: for which names, with which content and for how long certificates are made; what becomes of
//! an order. Pure but for serial numbers.

mod certificate;
mod identifier;
mod order;
mod policy;
mod request;
mod validity;

pub(crate) use certificate::{authority_key_id, fingerprint, key_id, pem, root_params};
pub(crate) use identifier::{Identifier, IdentifierError};
pub(crate) use order::{AuthorizationStatus, OrderStatus, order_status, renewal_window};
pub(crate) use policy::{Policy, crl_name};
pub(crate) use request::{Request, RequestError, read_address};
pub(crate) use validity::{AUTHORITY_BACKDATE, Validity};

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::policy as test_policy;
