//! Routes and handlers.

mod bmcs;

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use domain::{NODES_MAX, Scope, Service};
use serde::Deserialize;
use tokio::sync::mpsc;
use web::{Caller, Json, Problem, Query, scoped};

use crate::client::{RecoveryRequest, Request, Results};
use crate::command::{Report, Switchboard, outcome};
use crate::recover::Recoverer;

/// Outcomes in a piece of a streamed answer.
const AT_ONCE: usize = 64;

pub(crate) fn router(board: Arc<Switchboard>, recoverer: Arc<Recoverer>) -> Router {
    let read = Scope::Read(Service::Power);
    let recover = scoped(post(begin_recovery), Scope::PowerControl).merge(scoped(get(show_recovery), read));
    let recovery = Router::new().route("/pilothouse/v1/recover", recover).with_state(recoverer);
    let bmc = |rest: &str| format!("/pilothouse/v1/bmcs/{{xname}}{rest}");
    Router::new()
        .route("/pilothouse/v1/power", scoped(post(change_power), Scope::PowerControl))
        .route("/pilothouse/v1/power-status", scoped(post(show_power), read))
        .route(&bmc(""), scoped(get(bmcs::show), read))
        .route(&bmc("/test"), scoped(post(bmcs::test), Scope::PowerControl))
        .route(&bmc("/password"), scoped(post(bmcs::rotate), Scope::Write(Service::Power)))
        .route(&bmc("/certificate"), scoped(put(bmcs::trust), Scope::Write(Service::Power)))
        .route("/readyz", get(show_readiness))
        .with_state(board)
        .merge(recovery)
}

/// How the outcomes are wanted.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct Form {
    /// Each as it is there, a line of JSON; else all together.
    stream: bool,
}

/// The last recovery, or null.
async fn show_recovery(Shared(recoverer): Shared<Arc<Recoverer>>) -> Response {
    Json(recoverer.show()).into_response()
}

async fn begin_recovery(
    Shared(recoverer): Shared<Arc<Recoverer>>,
    caller: Caller,
    Json(request): Json<RecoveryRequest>,
) -> Result<Response, Problem> {
    if request.nodes.len() > NODES_MAX || request.stage == Some(0) {
        return Err(bad_body(&format!("name at most {NODES_MAX} nodes, and a stage of 1 or more")));
    }
    let dry = request.dry;
    let begun = recoverer
        .begin(request)
        .map_err(|busy| Problem::own(StatusCode::CONFLICT, "busy", busy.to_string()))?;
    let what = if dry { "a look for" } else { "recovery of" };
    web::deed(&caller, format_args!("{what} nodes that have not booted"));
    Ok((StatusCode::ACCEPTED, Json(begun)).into_response())
}

async fn show_readiness(Shared(board): Shared<Arc<Switchboard>>) -> Response {
    let nodes = board.mirror.read(|it| it.components().len());
    let from = board.mirror.freshness().to_string();
    Json(serde_json::json!({"ready": true, "inventory": from, "components": nodes})).into_response()
}

async fn show_power(
    Shared(board): Shared<Arc<Switchboard>>,
    Query(form): Query<Form>,
    Json(request): Json<Request>,
) -> Result<Response, Problem> {
    if request.changes() {
        return Err(bad_body("power-status only looks; POST /pilothouse/v1/power changes"));
    }
    carry_out(board, form, request).await
}

async fn change_power(
    Shared(board): Shared<Arc<Switchboard>>,
    Query(form): Query<Form>,
    caller: Caller,
    Json(request): Json<Request>,
) -> Result<Response, Problem> {
    if !request.changes() {
        return Err(bad_body("say what to do in `action` or `boot`; POST /pilothouse/v1/power-status looks"));
    }
    let what = request.action.map_or("boot device", |it| it.name());
    web::deed(&caller, format_args!("power {what} of {}", domain::fold(&request.nodes)));
    carry_out(board, form, request).await
}

async fn carry_out(board: Arc<Switchboard>, form: Form, request: Request) -> Result<Response, Problem> {
    if request.nodes.is_empty() || request.nodes.len() > NODES_MAX {
        return Err(bad_body(&format!("name 1 to {NODES_MAX} nodes in `nodes`")));
    }
    if form.stream {
        return Ok(stream(board.stream(request)));
    }
    let results = board.carry_out(request).await;
    Ok(Json(Results { results }).into_response())
}

/// Each outcome as it comes, on a line of its own.
fn stream(reports: mpsc::Receiver<Report>) -> Response {
    let lines = futures_util::stream::unfold(reports, async |mut reports| {
        let mut ready = Vec::new();
        // What is there at once is one piece of the answer.
        if reports.recv_many(&mut ready, AT_ONCE).await == 0 {
            return None;
        }
        let mut lines = Vec::new();
        for (node, result) in ready {
            lines.extend(serde_json::to_vec(&outcome(node, result)).unwrap_or_default());
            lines.push(b'\n');
        }
        Some((Ok::<_, Infallible>(lines), reports))
    });
    let body = Body::from_stream(lines);
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

pub(crate) fn bad_body(detail: &str) -> Problem {
    Problem::own(StatusCode::BAD_REQUEST, "bad-body", detail)
}
