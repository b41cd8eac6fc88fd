//! External account binding (RFC 8555 section 7.3.4): who may have an account, by keys that an administrator gave.

use serde_json::Value;

use super::AcmeProblem;
use crate::api::{Ca, eab};
use crate::store;
use crate::wire::{Jwk, Jws, Key};

/// The id of the key that admits an account.
pub(super) async fn check(ca: &Ca, binding: &Value, key: &Jwk, url: &str) -> Result<String, AcmeProblem> {
    let unknown =
        || AcmeProblem::unauthorized("the external account's key is not known, or did not sign this");
    let jws = Jws::parse(binding.to_string().as_bytes())?;
    let Key::Kid(kid) = &jws.key else {
        return Err(AcmeProblem::malformed("the binding names its key: kid"));
    };
    if jws.algorithm != "HS256" {
        return Err(AcmeProblem::bad("badSignatureAlgorithm", "the binding is signed with HS256"));
    }
    if jws.nonce.is_some() || jws.url != url {
        return Err(AcmeProblem::malformed("the binding has no nonce, and the url of the request around it"));
    }
    let sealed = store::find_eab(ca.acme.database.pool()?, kid).await?.ok_or_else(unknown)?;
    let secret = ca.acme.seal.open(&sealed, &eab::row(kid)).map_err(crate::error::Error::from)?;
    if !jws.is_of_secret(&secret) {
        return Err(unknown());
    }
    let bound = serde_json::from_slice(&jws.payload).ok().and_then(|it| Jwk::read(&it).ok());
    if bound.as_ref() != Some(key) {
        return Err(AcmeProblem::malformed("the binding is to hold the account's key"));
    }
    Ok(kid.clone())
}
