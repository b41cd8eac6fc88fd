//! The ACME server (RFC 8555): `/acme/…`, which the gateway leads here over TLS. Nobody needs a token: every request
//! is signed by an account.

mod account;
mod authorization;
mod certificate;
mod directory;
mod external;
mod order;
mod problem;
mod renewal;
mod signed;

use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::rand;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::Service;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use web::{Caller, Database, SealKey};

use crate::api::Ca;
use crate::config::Config;
use crate::nonce::Nonces;
use crate::probe::Probe;
use crate::sources::Sources;

pub(crate) use problem::AcmeProblem;
use signed::{Signed, Signer};

const NONCE: HeaderName = HeaderName::from_static("replay-nonce");

/// What the ACME server works with.
pub(crate) struct Acme {
    pub(crate) config: Config,
    pub(crate) database: Database,
    pub(crate) seal: SealKey,
    pub(crate) nonces: Nonces,
    pub(crate) sources: Sources,
    pub(crate) probe: Probe,
    /// The host and port of our URLs for who names none.
    pub(crate) host: String,
    pub(crate) began: Instant,
    pub(crate) stop: CancellationToken,
    /// Challenges that are looked for.
    pub(crate) looking: TaskTracker,
}

impl Acme {
    /// For nonces: a clock that never goes back.
    fn uptime_s(&self) -> u64 {
        self.began.elapsed().as_secs()
    }
}

/// The scheme, host and port by which a request came; every URL in its answer begins so.
#[derive(Clone, Debug)]
struct Base(Arc<str>);

impl Base {
    fn url(&self, path: &str) -> String {
        format!("{}/acme/{path}", self.0)
    }
}

pub(super) fn router(ca: &Ca) -> Router<Ca> {
    Router::new()
        .route("/acme/directory", get(directory::show))
        .route("/acme/new-nonce", get(directory::show_nonce).post(directory::post_nonce))
        .route("/acme/new-account", post(account::create))
        .route("/acme/account/{id}", post(account::update))
        .route("/acme/account/{id}/orders", post(order::list))
        .route("/acme/key-change", post(account::change_key))
        .route("/acme/new-order", post(order::create))
        .route("/acme/order/{id}", post(order::show))
        .route("/acme/order/{id}/finalize", post(order::finalize))
        .route("/acme/authorization/{id}", post(authorization::show))
        .route("/acme/challenge/{id}/{kind}", post(authorization::challenge))
        .route("/acme/certificate/{id}", post(certificate::show))
        .route("/acme/certificate/{id}/short", post(certificate::show_short))
        .route("/acme/revoke-cert", post(certificate::revoke))
        .route("/acme/renewal-info/{id}", get(renewal::show))
        .method_not_allowed_fallback(directory::refuse_method)
        .layer(from_fn_with_state(ca.clone(), frame))
}

/// What every ACME answer has: a nonce, where the directory is, and that it is not to be kept.
async fn frame(State(ca): State<Ca>, caller: Caller, mut request: Request, next: Next) -> Response {
    let base = base(&caller, request.headers(), &ca.acme.host);
    let method = request.method().clone();
    let is_directory = request.uri().path() == "/acme/directory";
    request.extensions_mut().insert(base.clone());
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    // A plain GET gives no nonce away, but for the path that is there for it.
    if (method == Method::POST || headers.contains_key(&NONCE))
        && let Ok(nonce) = HeaderValue::try_from(ca.acme.nonces.give(ca.acme.uptime_s()))
    {
        headers.insert(NONCE, nonce);
    }
    if !is_directory {
        link(headers, &base.url("directory"), "index");
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Our URLs begin as the client's do; the gateway alone says whether it came over TLS.
fn base(caller: &Caller, headers: &HeaderMap, host: &str) -> Base {
    let text = |name: &str| headers.get(name).and_then(|it| it.to_str().ok());
    let trusted = caller.uid == Some(0) || caller.uid == Some(Service::Gateway.uid());
    let scheme = if trusted && text("x-forwarded-proto") == Some("http") { "http" } else { "https" };
    let forwarded = text("x-forwarded-host").filter(|it| trusted && is_host(it));
    let given = forwarded.or_else(|| text("host").filter(|it| is_host(it)));
    Base(format!("{scheme}://{}", given.unwrap_or(host)).into())
}

fn is_host(text: &str) -> bool {
    let fits = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'-' | b':' | b'[' | b']');
    (1..=255).contains(&text.len()) && text.bytes().all(fits) && text != "localhost"
}

fn link(headers: &mut HeaderMap, url: &str, relation: &str) {
    if let Ok(value) = HeaderValue::try_from(format!("<{url}>;rel=\"{relation}\"")) {
        headers.append(header::LINK, value);
    }
}

/// An id that nobody guesses.
fn new_id() -> Result<String, AcmeProblem> {
    let mut octets = [0; 16];
    rand::fill(&mut octets).map_err(|_| AcmeProblem::bad("serverInternal", "there is no randomness"))?;
    Ok(URL_SAFE_NO_PAD.encode(octets))
}

fn show_time(moment: OffsetDateTime) -> String {
    moment.replace_nanosecond(0).unwrap_or(moment).format(&Rfc3339).unwrap_or_default()
}

fn now() -> OffsetDateTime {
    // What PostgreSQL keeps: microseconds.
    let now = OffsetDateTime::now_utc();
    now.replace_microsecond(now.microsecond()).unwrap_or(now)
}

type Based = Extension<Base>;
