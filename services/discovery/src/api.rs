//! Routes and handlers.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use domain::{Scope, Service};
use serde::Deserialize;
use serde_json::json;
use web::{Caller, Json, Path, Query, scoped};

use crate::client::{Phase, Request, Summary, Update};
use crate::error::Error;
use crate::job::{Board, Job};

/// How often a quiet stream says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(10);

pub(crate) fn router(board: Arc<Board>) -> Router {
    let (read, run) = (Scope::Read(Service::Discovery), Scope::DiscoveryRun);
    let all = scoped(get(list), read).merge(scoped(post(begin), run));
    let one = scoped(get(show), read).merge(scoped(delete(remove), run));
    Router::new()
        .route("/pilothouse/v1/discoveries", all)
        .route("/pilothouse/v1/discoveries/{id}", one)
        .route("/readyz", get(show_readiness))
        .with_state(board)
}

async fn show_readiness(Shared(board): Shared<Arc<Board>>) -> Response {
    let from = board.crawler.mirror.freshness().to_string();
    Json(json!({"ready": true, "inventory": from})).into_response()
}

/// Whoever may change discovery's own affairs, administrators, may have any address asked; others BMC planes and known
/// BMCs alone, for whoever answers is shown the account.
async fn begin(
    Shared(board): Shared<Arc<Board>>,
    caller: Caller,
    Json(request): Json<Request>,
) -> Result<Response, Error> {
    let is_free = caller.scopes.contains(&Scope::Write(Service::Discovery));
    let summary = board.begin(request, caller.subject.clone(), is_free).await?;
    tracing::info!("discovery {} of {} BMCs asked by {}", summary.id, summary.targets, caller.subject);
    Ok((StatusCode::ACCEPTED, Json(summary)).into_response())
}

async fn list(Shared(board): Shared<Arc<Board>>) -> Json<Vec<Summary>> {
    Json(board.list())
}

/// How it is wanted.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Form {
    /// As it goes on, a line of JSON each; else what there is.
    stream: bool,
}

async fn show(
    Shared(board): Shared<Arc<Board>>,
    Path(id): Path<u64>,
    Query(form): Query<Form>,
) -> Result<Response, Error> {
    let job = board.find(id)?;
    Ok(if form.stream { stream(job) } else { Json(job.show()).into_response() })
}

async fn remove(Shared(board): Shared<Arc<Board>>, Path(id): Path<u64>) -> Result<StatusCode, Error> {
    board.remove(id).map(|()| StatusCode::NO_CONTENT)
}

/// Those that came already, then the others as they come; the last line says that it is over.
fn stream(job: Arc<Job>) -> Response {
    let changed = job.subscribe();
    let lines = futures_util::stream::unfold(Some((job, changed, 0, true)), async |state| {
        let (job, mut changed, mut at, is_fresh) = state?;
        let (mut summary, mut bmc) = job.look(at);
        if bmc.is_none() && summary.phase == Phase::Running && !is_fresh {
            // Either is fine: something has changed, or enough time has passed.
            drop(tokio::time::timeout(HEARTBEAT, changed.changed()).await);
            (summary, bmc) = job.look(at);
        }
        at += usize::from(bmc.is_some());
        let is_over = bmc.is_none() && summary.phase != Phase::Running;
        let mut line = serde_json::to_vec(&Update { summary, bmc }).unwrap_or_default();
        line.push(b'\n');
        Some((Ok::<_, Infallible>(line), (!is_over).then_some((job, changed, at, false))))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}
