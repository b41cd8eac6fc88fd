//! The signature that every request has (RFC 8555 section 6.2).

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use http_body_util::{BodyExt, Limited};
use serde::de::DeserializeOwned;

use super::{AcmeProblem, Base};
use crate::api::Ca;
use crate::store::{self, Account};
use crate::wire::{Jwk, Jws, Key};

/// The longest request.
const BODY_MAX: usize = 64 << 10;
const KIND: &str = "application/jose+json";

/// Who signed.
pub(super) enum Signer {
    /// Someone with this key.
    Key(Jwk),
    /// An account that is not deactivated.
    Account(Box<Account>),
}

/// A request whose signature holds.
pub(super) struct Signed {
    pub(super) base: Base,
    pub(super) url: String,
    pub(super) signer: Signer,
    pub(super) payload: Vec<u8>,
}

impl Signed {
    /// The account that signed.
    pub(super) fn account(&self) -> Result<&Account, AcmeProblem> {
        match &self.signer {
            Signer::Account(account) => Ok(account),
            Signer::Key(_) => Err(AcmeProblem::malformed("this is signed by an account: kid instead of jwk")),
        }
    }

    /// The payload as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, AcmeProblem> {
        serde_json::from_slice(&self.payload).map_err(|error| {
            AcmeProblem::malformed(format!("the payload is not what this path takes: {error}"))
        })
    }

    /// A reading request has no payload (RFC 8555 section 6.3).
    pub(super) fn reads(&self) -> Result<(), AcmeProblem> {
        let empty = self.payload.is_empty();
        empty.then_some(()).ok_or_else(|| AcmeProblem::malformed("who reads sends an empty payload"))
    }
}

/// The account of a `kid`, by whatever name the head was reached when it was made.
pub(super) fn account_id(kid: &str) -> Option<&str> {
    let (_, rest) = kid.split_once("://")?;
    let (_, path) = rest.split_once('/')?;
    path.strip_prefix("acme/account/").filter(|it| !it.contains('/'))
}

impl FromRequest<Ca> for Signed {
    type Rejection = AcmeProblem;
    async fn from_request(request: Request, ca: &Ca) -> Result<Self, AcmeProblem> {
        let (parts, body) = request.into_parts();
        let base = parts.extensions.get::<Base>().cloned();
        let base = base.ok_or_else(|| AcmeProblem::malformed("the request has no place"))?;
        let url = format!("{}{}", base.0, parts.uri.path_and_query().map_or("", |it| it.as_str()));
        let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
        if kind.and_then(|it| it.split(';').next()).is_none_or(|it| !it.trim().eq_ignore_ascii_case(KIND)) {
            let detail = format!("the body is to be {KIND}");
            return Err(AcmeProblem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "malformed", detail));
        }
        let jws = Jws::parse(&read(body).await?)?;
        let nonce = jws.nonce.as_deref().ok_or_else(|| AcmeProblem::bad("badNonce", "there is no nonce"))?;
        if !ca.acme.nonces.take(nonce, ca.acme.uptime_s()) {
            let detail =
                "the nonce is not one of ours, too old, or used; try again with the one of this answer";
            return Err(AcmeProblem::bad("badNonce", detail));
        }
        if jws.url != url {
            let detail = format!("the signature is for {:?}, the request went to {url:?}", shorten(&jws.url));
            return Err(AcmeProblem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail));
        }
        let signer = match &jws.key {
            Key::Jwk(key) => {
                jws.verify(key)?;
                Signer::Key(key.clone())
            }
            Key::Kid(kid) => Signer::Account(Box::new(find_signer(ca, &jws, kid).await?)),
        };
        Ok(Self { base, url, signer, payload: jws.payload })
    }
}

async fn find_signer(ca: &Ca, jws: &Jws, kid: &str) -> Result<Account, AcmeProblem> {
    let unknown = || AcmeProblem::bad("accountDoesNotExist", "there is no account of this kid");
    let id = account_id(kid).ok_or_else(unknown)?;
    let account = store::find_account(ca.acme.database.pool()?, id).await?.ok_or_else(unknown)?;
    let key = Jwk::parse(&account.jwk).ok_or_else(unknown)?;
    jws.verify(&key)?;
    if account.status != "valid" {
        let detail = "the account is deactivated";
        return Err(AcmeProblem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail));
    }
    Ok(account)
}

async fn read(body: Body) -> Result<Bytes, AcmeProblem> {
    let body = Limited::new(body, BODY_MAX).collect().await;
    let detail = format!("the body is longer than {} KiB, or broke off", BODY_MAX >> 10);
    body.map(http_body_util::Collected::to_bytes)
        .map_err(|_| AcmeProblem::new(StatusCode::PAYLOAD_TOO_LARGE, "malformed", detail))
}

fn shorten(text: &str) -> String {
    text.chars().take(200).collect()
}
