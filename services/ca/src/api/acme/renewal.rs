//! When a certificate is best renewed (RFC 9773).

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use web::Path;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{AcmeProblem, certificate, now, show_time};
use crate::api::Ca;
use crate::model::{Validity, authority_key_id, renewal_window};
use crate::store;
use crate::wire::decode;

/// Clients ask again after a twentieth of the life, within these bounds in seconds.
const RETRY_S: std::ops::RangeInclusive<i64> = 10..=6 * 3600;

pub(super) async fn show(State(ca): State<Ca>, Path(asked): Path<String>) -> Result<Response, AcmeProblem> {
    let serial = serial(&asked).ok_or_else(|| AcmeProblem::malformed("this names no certificate"))?;
    let found = store::find_certificate_by_serial(ca.acme.database.pool()?, &serial).await?;
    let found = found.filter(|it| id(&it.chain_pem).as_deref() == Some(asked.as_str()));
    let found = found.ok_or_else(|| AcmeProblem::not_found("certificate"))?;
    let validity = Validity { not_before: found.not_before, not_after: found.not_after };
    let (start, end) = renewal_window(validity, found.revoked.is_some(), now());
    let life_s = (found.not_after - found.not_before).whole_seconds();
    let mut headers = HeaderMap::new();
    headers.insert(
        header::RETRY_AFTER,
        HeaderValue::from((life_s / 20).clamp(*RETRY_S.start(), *RETRY_S.end())),
    );
    let body = json!({"suggestedWindow": {"start": show_time(start), "end": show_time(end)}});
    Ok((headers, web::Json(body)).into_response())
}

/// A certificate's name there: its issuer's key identifier and its serial number.
pub(super) fn id(chain_pem: &str) -> Option<String> {
    let der = certificate::leaf(chain_pem)?;
    let key = URL_SAFE_NO_PAD.encode(authority_key_id(&der)?);
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    Some(format!("{key}.{}", URL_SAFE_NO_PAD.encode(certificate.raw_serial())))
}

/// The serial number, in hexadecimal, of such a name.
pub(super) fn serial(id: &str) -> Option<String> {
    let (_, serial) = id.split_once('.')?;
    decode(serial).filter(|it| (1..=20).contains(&it.len())).map(hex)
}

/// The serial number of a certificate, in hexadecimal.
pub(super) fn serial_of(der: &[u8]) -> Option<String> {
    let (rest, certificate) = X509Certificate::from_der(der).ok()?;
    rest.is_empty().then(|| hex(certificate.raw_serial()))
}

fn hex(octets: impl AsRef<[u8]>) -> String {
    octets.as_ref().iter().map(|it| format!("{it:02x}")).collect()
}
