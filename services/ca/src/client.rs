//! How others ask ca.

use axum::http::Method;
use serde::Deserialize;
use serde_json::json;
use web::{Client, ClientError};

/// The head's certificate as ca gives it.
#[derive(Clone, Debug, Deserialize)]
pub struct HeadCertificate {
    /// The certificate and the intermediate behind it, in PEM.
    pub chain_pem: String,
    /// RFC 3339.
    pub not_before: String,
    /// RFC 3339.
    pub not_after: String,
}

/// The head's certificate for the key of this request (PKCS #10, PEM); for the gateway's process alone.
///
/// # Errors
///
/// If ca does not answer, or refuses.
pub async fn head_certificate(ca: &Client, csr_pem: &str) -> Result<HeadCertificate, ClientError> {
    let body = json!({"csr_pem": csr_pem});
    ca.call(Method::POST, "/pilothouse/v1/head-certificate", Some(&body)).await
}

/// The root certificate, in PEM.
///
/// # Errors
///
/// If ca does not answer, or has none yet.
pub async fn root_pem(ca: &Client) -> Result<Vec<u8>, ClientError> {
    ca.text(Method::GET, "/pilothouse/v1/root.pem", None::<&()>).await
}
