//! One request: its path, its service, its answer. And the gateway's own socket.

use std::convert::Infallible;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use axum::Router;
use axum::routing::get;
use domain::Service;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use prometheus_client::metrics::counter::Counter;
use serde_json::json;

use crate::body::{Access, Download, End, Upload};
use crate::certificate::Certificate;
use crate::error::Error;
use crate::front::{Front, Link};
use crate::model::{self, find_plain_target, find_target};
use crate::stream::Turn;
use crate::upstream::Lease;

/// A path in the log is cut off here.
const LOGGED_PATH_MAX: usize = 256;

static REQUESTS: LazyLock<Counter> =
    LazyLock::new(|| web::counter("gateway_requests", "Requests that came over the network"));
static FAILURES: LazyLock<Counter> =
    LazyLock::new(|| web::counter("gateway_service_failures", "Requests whose service did not answer"));
static REFUSALS: LazyLock<Counter> =
    LazyLock::new(|| web::counter("gateway_refusals", "Requests that were not forwarded"));

/// The gateway's own socket; `/healthz` and `/metrics` come with every service.
pub(crate) fn own_router(certificate: Arc<Certificate>, needs_certificate: bool) -> Router {
    let show_readiness = async move || match certificate.not_after() {
        Some(not_after) => Ok(web::Json(json!({"certificate": "in memory", "not_after": not_after}))),
        None if needs_certificate => {
            Err(web::Problem::unavailable("there is no certificate yet: ca has not answered; 8081 is served"))
        }
        None => Ok(web::Json(json!({"certificate": "none"}))),
    };
    Router::new().route("/readyz", get(show_readiness))
}

/// Where a request goes, decided.
struct Way {
    service: Service,
    uri: Uri,
}

/// Answers one request of a connection.
pub(crate) async fn answer(
    front: Arc<Front>,
    link: Arc<Link>,
    request: Request<Incoming>,
) -> Result<Response<Download>, Infallible> {
    REQUESTS.inc();
    let turn = link.activity.begin();
    let id = link.hop.request_id(request.headers());
    let access = start_access(&link, &request, &id);
    let answered = match find_way(&front, &link, &request) {
        Ok(way) => forward(&front, &link, request, way, &id).await,
        Err(error) => {
            // Who asks first sends nothing before a word of ours.
            if matches!(error, Error::TooLong(_)) && !request.headers().contains_key(EXPECT) {
                tokio::spawn(web::discard(request.into_body()));
            }
            Err(error)
        }
    };
    let response = match answered {
        Ok(Answer::Passed(response, lease)) => {
            let (head, body) = response.into_parts();
            let access = note_status(access, head.status);
            Response::from_parts(head, Download::service(body, lease, turn, access))
        }
        Ok(Answer::Tunnel(response)) => {
            let (head, ()) = response.into_parts();
            turn.keep();
            let access = note_status(access, head.status);
            Response::from_parts(head, Download::own(axum::body::Body::empty(), None, access))
        }
        Err(error) => refuse(error, turn, access, &id),
    };
    Ok(response)
}

fn refuse(error: Error, turn: Turn, access: Option<Box<Access>>, id: &HeaderValue) -> Response<Download> {
    let counter = if matches!(error, Error::Service { .. }) { &FAILURES } else { &REFUSALS };
    counter.inc();
    let (mut head, body) = error.into_response(id).into_parts();
    head.headers.insert(model::X_REQUEST_ID, id.clone());
    let access = note_status(access, head.status);
    Response::from_parts(head, Download::own(body, Some(turn), access))
}

/// Writes are logged, reads only where somebody is looking for an error.
fn start_access(link: &Link, request: &Request<Incoming>, id: &HeaderValue) -> Option<Box<Access>> {
    let method = request.method();
    let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    if reads && !tracing::enabled!(tracing::Level::DEBUG) {
        return None;
    }
    Some(Box::new(Access {
        method: method.clone(),
        path: request.uri().path().chars().take(LOGGED_PATH_MAX).collect(),
        status: StatusCode::OK,
        bytes: 0,
        began: Instant::now(),
        source: link.hop.address,
        id: id.clone(),
    }))
}

fn note_status(mut access: Option<Box<Access>>, status: StatusCode) -> Option<Box<Access>> {
    if let Some(access) = &mut access {
        access.status = status;
    }
    access
}

/// Decides by path, method and port; nothing is forwarded before.
fn find_way(front: &Front, link: &Link, request: &Request<Incoming>) -> Result<Way, Error> {
    check_framing(request)?;
    let given = request.uri().path_and_query().ok_or(model::PathError::NoPath)?;
    if *request.method() == Method::CONNECT {
        return Err(Error::Malformed("CONNECT is not answered here"));
    }
    let path = model::normalise(given.path())?;
    let target = if link.tls {
        find_target(&path).ok_or_else(|| Error::NoRoute { path: path.to_string() })?
    } else {
        let has_token = request.headers().contains_key(AUTHORIZATION);
        find_plain_target(request.method(), &path, has_token, front.config.secure_over_http)
            .map_err(|it| Error::over_http(it, &path, &front.https))?
    };
    let limit = front.config.body_limit;
    if content_length(request).is_some_and(|it| it > limit.0) {
        return Err(Error::TooLong(limit));
    }
    let uri = if target.path.len() == given.path().len() {
        Uri::from(given.clone())
    } else {
        let text = given.query().map_or_else(|| target.path.to_owned(), |it| format!("{}?{it}", target.path));
        let parsed = PathAndQuery::try_from(text).map_err(|_| Error::Malformed("the path cannot be read"))?;
        Uri::from(parsed)
    };
    Ok(Way { service: target.service, uri })
}

/// What two servers in a row could read differently is not passed on (RFC 9112 sections 3.2 and 6.1).
fn check_framing(request: &Request<Incoming>) -> Result<(), Error> {
    let headers = request.headers();
    let hosts = headers.get_all(HOST).iter().count();
    if hosts > 1
        || (hosts == 0 && request.version() == Version::HTTP_11 && request.uri().authority().is_none())
    {
        return Err(Error::Malformed("the request needs one Host header"));
    }
    if headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH) {
        return Err(Error::Malformed("the request has both Content-Length and Transfer-Encoding"));
    }
    Ok(())
}

fn content_length(request: &Request<Incoming>) -> Option<u64> {
    request.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

enum Answer {
    Passed(Response<Incoming>, Lease),
    Tunnel(Response<()>),
}

async fn forward(
    front: &Arc<Front>,
    link: &Arc<Link>,
    mut request: Request<Incoming>,
    way: Way,
    id: &HeaderValue,
) -> Result<Answer, Error> {
    let websocket = model::is_websocket(request.method(), request.version(), request.headers());
    let client = websocket.then(|| hyper::upgrade::on(&mut request));
    let (mut head, body) = request.into_parts();
    // A request that names its host in the first line means that one (RFC 9112 section 3.2.2).
    if let Some(host) = head.uri.authority().and_then(|it| HeaderValue::from_str(it.as_str()).ok()) {
        head.headers.insert(HOST, host);
    }
    head.uri = way.uri;
    head.version = Version::HTTP_11;
    let asks_first = head.headers.contains_key(EXPECT);
    model::forward_request(&mut head.headers, &link.hop, id.clone(), websocket, |it| front.config.trusts(it));
    let limits = (front.config.body_limit.0, front.config.idle_timeout.0);
    let (body, progress) = Upload::new(body, limits, asks_first);
    let upstream = front.upstream(way.service);
    let sent = upstream.send(Request::from_parts(head, body), progress.clone()).await;
    let (mut response, lease) = sent.map_err(|source| match progress.map(|it| it.end()) {
        Some(End::TooLong) => Error::TooLong(front.config.body_limit),
        Some(End::Stalled) => Error::Stalled,
        _ => Error::Service { service: way.service, source },
    })?;
    let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    model::forward_answer(response.headers_mut(), id.clone(), switched);
    match client {
        _ if !switched => Ok(Answer::Passed(response, lease)),
        Some(client) => {
            let service = hyper::upgrade::on(&mut response);
            front.tasks.spawn(tunnel(Arc::clone(front), Arc::clone(link), lease, client, service));
            Ok(Answer::Tunnel(response.map(drop)))
        }
        None => Err(Error::Protocol(way.service)),
    }
}

/// Carries bytes both ways until one side ends, or the gateway does. Holds the connection's places meanwhile.
async fn tunnel(front: Arc<Front>, link: Arc<Link>, lease: Lease, client: OnUpgrade, service: OnUpgrade) {
    let carried = async {
        let (client, service) = tokio::try_join!(client, service)?;
        let (mut client, mut service) = (TokioIo::new(client), TokioIo::new(service));
        tokio::io::copy_bidirectional(&mut client, &mut service).await?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    };
    tokio::select! {
        () = front.stop.cancelled() => {}
        ended = carried => if let Err(error) = ended {
            tracing::debug!(%error, "a WebSocket ended badly");
        }
    }
    drop((link, lease));
}
