//! What is decided about a request before anything of it is forwarded; and the gateway's own socket.

use std::io::Write as _;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::routing::{get, post};
use domain::{BootStage, Scope, Service};
use http::header::{CONTENT_LENGTH, DATE};
use prometheus_client::metrics::counter::Counter;
use serde_json::json;
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::time::Instant;

use crate::access::{Access, Logged};
use crate::certificate::Certificate;
use crate::error::Error;
use crate::front::{Front, Link};
use crate::model::{Id, PathError, find_plain_target, find_target, normalise, stage_of};
use crate::wire::{self, Framing, Request};

static REQUESTS: LazyLock<Counter> =
    LazyLock::new(|| web::counter("gateway_requests", "Requests that came over the network"));
static FAILURES: LazyLock<Counter> =
    LazyLock::new(|| web::counter("gateway_service_failures", "Requests whose service did not answer"));
static REFUSALS: LazyLock<Counter> =
    LazyLock::new(|| web::counter("gateway_refusals", "Requests that were not forwarded"));

/// The longest body of an answer of our own.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// The gateway's own socket; `/healthz` and `/metrics` come with every service.
pub(crate) fn own_router(certificate: Arc<Certificate>, needs_certificate: bool) -> Router {
    let renewed = Arc::clone(&certificate);
    let show_readiness = async move || match certificate.not_after() {
        Some(not_after) => Ok(web::Json(json!({"certificate": "in memory", "not_after": not_after}))),
        None if needs_certificate => {
            Err(web::Problem::unavailable("there is no certificate yet: ca has not answered; 8081 is served"))
        }
        None => Ok(web::Json(json!({"certificate": "none"}))),
    };
    let renew = async move || match renewed.renew_now().await {
        Ok(()) => Ok(web::Json(json!({"renewed": true, "not_after": renewed.not_after()}))),
        Err(text) => Err(web::Problem::unavailable(text)),
    };
    Router::new()
        .route("/readyz", get(show_readiness))
        .route("/pilothouse/v1/renew", web::scoped(post(renew), Scope::Write(Service::Gateway)))
}

/// What is to be done with a request.
pub(crate) struct Plan {
    /// Who answers it, or why nobody does.
    pub(crate) way: Result<Service, Error>,
    pub(crate) framing: Framing,
    pub(crate) head_only: bool,
    pub(crate) is_old: bool,
    pub(crate) keeps: bool,
    pub(crate) websocket: bool,
    pub(crate) asks_first: bool,
    /// Whether it may be sent again: it only reads, and has no body.
    pub(crate) is_repeatable: bool,
    pub(crate) id: Id,
    pub(crate) begun: Instant,
    /// How long its head was.
    pub(crate) head_bytes: usize,
    pub(crate) access: Option<Box<Access>>,
    /// What a booting node asks for.
    pub(crate) stage: Option<(BootStage, &'static str)>,
}

impl Plan {
    /// For a head that cannot be read.
    pub(crate) fn unreadable(link: &Link) -> Self {
        Self {
            way: Ok(Service::Gateway),
            framing: Framing::UntilClose,
            head_only: false,
            is_old: false,
            keeps: false,
            websocket: false,
            asks_first: false,
            is_repeatable: false,
            id: link.hop.request_id(None),
            begun: Instant::now(),
            head_bytes: 0,
            access: None,
            stage: None,
        }
    }
}

/// Reads a request's head, decides, and writes it to `ask` as the service gets it; none if some of it is still to
/// come.
///
/// # Errors
///
/// If it cannot be read, so that the connection has to end.
pub(crate) fn plan(
    front: &Front,
    link: &Link,
    bytes: &[u8],
    ask: &mut Vec<u8>,
    begun: Instant,
) -> Result<Option<Plan>, Error> {
    let mut slots = wire::slots();
    let Some(request) = wire::read_request(bytes, &mut slots)? else { return Ok(None) };
    REQUESTS.inc();
    let id = link.hop.request_id(request.id);
    let reads = matches!(request.method, "GET" | "HEAD" | "OPTIONS");
    let logged = match front.config.access_log {
        Logged::All => true,
        Logged::Writes => !reads || tracing::enabled!(tracing::Level::DEBUG),
        Logged::None => false,
    };
    let access = logged.then(|| Box::new(Access::new(link, &request, id.as_str(), begun)));
    let way =
        if link.may_ask(begun) { find_way(front, link, &request, ask, &id) } else { Err(Error::TooMany) };
    Ok(Some(Plan {
        way,
        framing: request.framing,
        head_only: request.method == "HEAD",
        is_old: request.is_old,
        keeps: request.keeps && !front.stop.is_cancelled(),
        websocket: request.websocket,
        asks_first: request.asks_first && request.framing != Framing::None,
        is_repeatable: request.framing == Framing::None && matches!(request.method, "GET" | "HEAD"),
        id,
        begun,
        head_bytes: request.length,
        access,
        stage: if reads { stage_of(request.target.path) } else { None },
    }))
}

/// Decides by path, method and port.
fn find_way(
    front: &Front,
    link: &Link,
    request: &Request<'_, '_>,
    ask: &mut Vec<u8>,
    id: &Id,
) -> Result<Service, Error> {
    if request.method == "CONNECT" {
        return Err(Error::Malformed("CONNECT is not answered here"));
    }
    if request.target.query.is_some_and(|it| !it.bytes().all(|it| it.is_ascii_graphic())) {
        return Err(Error::Path(PathError::Forbidden));
    }
    let path = normalise(request.target.path)?;
    let target = if link.tls {
        find_target(&path).ok_or_else(|| Error::NoRoute { path: path.to_string() })?
    } else {
        let secure_over_http = front.config.secure_over_http;
        find_plain_target(request.method, &path, request.has_token, secure_over_http)
            .map_err(|it| Error::over_http(it, &path, &front.https))?
    };
    let limit = front.config.body_limit;
    if matches!(request.framing, Framing::Length(length) if length > limit.0) {
        return Err(Error::TooLong(limit));
    }
    let hop = &link.hop;
    let of_proxy;
    let client = if hop.trusted {
        let name = "x-forwarded-for";
        let listed = request.words_of(name).next().is_some();
        let words = request.words_of(if listed { name } else { "x-real-ip" });
        of_proxy = hop.client_of(words, |it| front.config.trusts(it));
        &of_proxy
    } else {
        &hop.shown
    };
    ask.clear();
    wire::write_request(ask, request, target.path, (client, hop.scheme, hop.trusted), id.as_str());
    Ok(target.service)
}

/// Writes the gateway's own answer, whole.
///
/// # Errors
///
/// If it cannot be made.
pub(crate) async fn write_refusal(
    error: Error,
    plan: &Plan,
    keeps: bool,
    tell: &mut Vec<u8>,
) -> anyhow::Result<()> {
    let counter = if matches!(error, Error::Service { .. }) { &FAILURES } else { &REFUSALS };
    counter.inc();
    let (head, body) = error.into_response(plan.id.as_str()).into_parts();
    let body = axum::body::to_bytes(body, REFUSAL_BYTES_MAX).await?;
    tell.clear();
    write!(tell, "HTTP/1.1 {} {}\r\n", head.status.as_str(), head.status.canonical_reason().unwrap_or("-"))?;
    for (name, value) in head.headers.iter().filter(|it| *it.0 != CONTENT_LENGTH && *it.0 != DATE) {
        write!(tell, "{name}: ")?;
        tell.extend_from_slice(value.as_bytes());
        tell.extend_from_slice(b"\r\n");
    }
    let imf = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    let now = OffsetDateTime::now_utc().format(imf)?;
    write!(tell, "date: {now}\r\nx-request-id: {}\r\ncontent-length: {}\r\n", plan.id.as_str(), body.len())?;
    tell.extend_from_slice(match (keeps, plan.is_old) {
        (false, _) => b"connection: close\r\n\r\n".as_slice(),
        (true, true) => b"connection: keep-alive\r\n\r\n",
        (true, false) => b"\r\n",
    });
    if !plan.head_only {
        tell.extend_from_slice(&body);
    }
    Ok(())
}
