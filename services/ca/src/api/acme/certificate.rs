//! Certificates: read (RFC 8555 section 7.4.2) and revoked (section 7.6).

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;
use web::Path;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{AcmeProblem, Signed, Signer, link, now, renewal};
use crate::api::Ca;
use crate::store::{self, Certificate};
use crate::wire::decode;

/// What a client may say of itself (RFC 5280 section 5.3.1).
const REASONS: [u8; 6] = [0, 1, 3, 4, 5, 9];

#[derive(Debug, Deserialize)]
struct Revocation {
    certificate: String,
    #[serde(default)]
    reason: i64,
}

pub(super) async fn show(
    State(ca): State<Ca>,
    Path(id): Path<String>,
    signed: Signed,
) -> Result<Response, AcmeProblem> {
    let certificate = own(&ca, &signed, &id).await?;
    let mut headers = pem();
    if certificate.alternate_pem.is_some() {
        link(&mut headers, &signed.base.url(&format!("certificate/{id}/short")), "alternate");
    }
    Ok((headers, certificate.chain_pem).into_response())
}

/// The same without certificates by older roots.
pub(super) async fn show_short(
    State(ca): State<Ca>,
    Path(id): Path<String>,
    signed: Signed,
) -> Result<Response, AcmeProblem> {
    let certificate = own(&ca, &signed, &id).await?;
    let chain = certificate.alternate_pem.ok_or_else(|| AcmeProblem::not_found("chain"))?;
    let mut headers = pem();
    link(&mut headers, &signed.base.url(&format!("certificate/{id}")), "alternate");
    Ok((headers, chain).into_response())
}

fn pem() -> HeaderMap {
    let mut headers = HeaderMap::new();
    let kind = HeaderValue::from_static("application/pem-certificate-chain");
    headers.insert(header::CONTENT_TYPE, kind);
    headers
}

async fn own(ca: &Ca, signed: &Signed, id: &str) -> Result<Certificate, AcmeProblem> {
    signed.reads()?;
    let found = store::find_certificate(ca.acme.database.pool()?, id).await?;
    let found = found.ok_or_else(|| AcmeProblem::not_found("certificate"))?;
    let is_own = found.account == signed.account()?.id;
    is_own.then_some(found).ok_or_else(|| AcmeProblem::unauthorized("this is another account's certificate"))
}

/// By the account that was given it, or by who has its key.
pub(super) async fn revoke(State(ca): State<Ca>, signed: Signed) -> Result<Response, AcmeProblem> {
    let asked: Revocation = signed.json()?;
    let reason = u8::try_from(asked.reason).ok().filter(|it| REASONS.contains(it));
    let reason = reason.ok_or_else(|| {
        AcmeProblem::bad("badRevocationReason", format!("the reasons that are taken are {REASONS:?}"))
    })?;
    let der = decode(&asked.certificate);
    let der = der.ok_or_else(|| AcmeProblem::malformed("certificate is DER in base64url"))?;
    let serial = renewal::serial_of(&der);
    let serial = serial.ok_or_else(|| AcmeProblem::malformed("certificate is no X.509 certificate"))?;
    let db = ca.acme.database.pool()?;
    let found = store::find_certificate_by_serial(db, &serial).await?;
    let found = found.filter(|it| leaf(&it.chain_pem).as_deref() == Some(der.as_slice()));
    let found = found.ok_or_else(|| AcmeProblem::not_found("certificate; it was not made here"))?;
    let may = match &signed.signer {
        Signer::Account(account) => account.id == found.account,
        Signer::Key(key) => {
            X509Certificate::from_der(&der).is_ok_and(|(_, certificate)| key.is_of(certificate.public_key()))
        }
    };
    if !may {
        return Err(AcmeProblem::unauthorized(
            "neither the account nor the key of this certificate signed this",
        ));
    }
    if !store::revoke_certificate(db, &found.id, reason, now()).await? {
        return Err(AcmeProblem::bad("alreadyRevoked", "the certificate was revoked before"));
    }
    tracing::info!("revoked {serial} for {}, reason {reason}", found.identifiers.join(", "));
    Ok(StatusCode::OK.into_response())
}

/// The first certificate of a chain, DER.
pub(super) fn leaf(chain_pem: &str) -> Option<Vec<u8>> {
    CertificateDer::from_pem_slice(chain_pem.as_bytes()).ok().map(|it| it.to_vec())
}
