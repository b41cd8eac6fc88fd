//! Where everything is (RFC 8555 section 7.1.1), and nonces (section 7.2).

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::{AcmeProblem, Based, NONCE, Signed};
use crate::api::Ca;

pub(super) async fn show(State(ca): State<Ca>, Extension(base): Based) -> web::Json<Value> {
    let profiles: Map<String, Value> = ca
        .acme
        .config
        .profiles
        .iter()
        .map(|(name, it)| {
            let life = format!("certificates of {}", it.life);
            let text = if it.description.is_empty() { life } else { it.description.clone() };
            (name.clone(), text.into())
        })
        .collect();
    web::Json(json!({
        "newNonce": base.url("new-nonce"),
        "newAccount": base.url("new-account"),
        "newOrder": base.url("new-order"),
        "revokeCert": base.url("revoke-cert"),
        "keyChange": base.url("key-change"),
        "renewalInfo": base.url("renewal-info"),
        "meta": {"externalAccountRequired": ca.acme.config.eab, "profiles": profiles},
    }))
}

/// HEAD is answered as GET without a body, but for its status.
pub(super) async fn show_nonce(method: Method) -> Response {
    let status = if method == Method::HEAD { StatusCode::OK } else { StatusCode::NO_CONTENT };
    let mut headers = HeaderMap::new();
    // The real one is put in on the way out.
    headers.insert(NONCE, HeaderValue::from_static(""));
    (status, headers).into_response()
}

/// POST-as-GET; axum answers HEAD by the handler of GET.
pub(super) async fn post_nonce(signed: Signed) -> Result<Response, AcmeProblem> {
    signed.reads()?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn refuse_method() -> AcmeProblem {
    AcmeProblem::new(StatusCode::METHOD_NOT_ALLOWED, "malformed", "this path is asked by POST")
}
