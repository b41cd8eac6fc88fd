//! Routes and handlers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use daemon::BootEvent;
use domain::inventory::{Component, Endpoint, Inventory};
use domain::{BootStage, NODES_MAX, Scope, Service, Xname, event};
use ipmi::Session;
use ipmi::boot::BootOverride;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use web::mirror::Mirror;
use web::{Caller, Json, Problem, scoped};

use crate::bmc::{Bmcs, OpenError};
use crate::client::{Outcome, Request, Results};
use crate::config::Config;
use crate::model::{Action, Boot, State};

/// How often the state is asked for after a command.
const POLL: Duration = Duration::from_millis(250);
/// How long a node may take to reach the state it was sent to.
const REACH_MAX: Duration = Duration::from_secs(10);

/// What handlers share.
struct Floor {
    mirror: Mirror<Inventory>,
    bmcs: Bmcs,
    config: Config,
    pattern: String,
    limit: Semaphore,
    /// One command at a time for each BMC; others wait in order.
    queues: Mutex<HashMap<Xname, Arc<tokio::sync::Mutex<()>>>>,
}

pub(crate) fn router(mirror: Mirror<Inventory>, bmcs: Bmcs, config: Config, pattern: String) -> Router {
    let limit = Semaphore::new(config.concurrency);
    let floor = Floor { mirror, bmcs, config, pattern, limit, queues: Mutex::default() };
    Router::new()
        .route("/pilothouse/v1/power", scoped(post(change_power), Scope::PowerControl))
        .route("/pilothouse/v1/power-status", scoped(post(show_power), Scope::Read(Service::Power)))
        .route("/readyz", get(show_readiness))
        .with_state(Arc::new(floor))
}

async fn show_readiness(Shared(floor): Shared<Arc<Floor>>) -> Response {
    let nodes = floor.mirror.read(|it| it.components().len());
    let from = floor.mirror.freshness().to_string();
    Json(serde_json::json!({"ready": true, "inventory": from, "components": nodes})).into_response()
}

async fn show_power(
    Shared(floor): Shared<Arc<Floor>>,
    Json(request): Json<Request>,
) -> Result<Response, Problem> {
    if request.action.is_some() || request.boot.is_some() {
        let detail = "power-status only looks; POST /pilothouse/v1/power changes";
        return Err(Problem::own(StatusCode::BAD_REQUEST, "bad-body", detail));
    }
    carry_out(floor, request).await
}

async fn change_power(
    Shared(floor): Shared<Arc<Floor>>,
    caller: Caller,
    Json(request): Json<Request>,
) -> Result<Response, Problem> {
    if let Some(action) = request.action {
        let (nodes, subject) = (request.nodes.len(), caller.subject);
        tracing::info!(pilothouse_audit = 1, "power {} of {nodes} nodes asked by {subject}", action.name());
    }
    carry_out(floor, request).await
}

async fn carry_out(floor: Arc<Floor>, request: Request) -> Result<Response, Problem> {
    if request.nodes.is_empty() || request.nodes.len() > NODES_MAX {
        let detail = format!("name 1 to {NODES_MAX} nodes in `nodes`");
        return Err(Problem::own(StatusCode::BAD_REQUEST, "bad-body", detail));
    }
    // In a task of its own: a client that goes away does not leave half of the nodes undone.
    let work = tokio::spawn(async move {
        let mut outcomes: Vec<Option<Outcome>> = vec![None; request.nodes.len()];
        let mut tasks = JoinSet::new();
        for (index, word) in request.nodes.iter().enumerate() {
            let (floor, word) = (Arc::clone(&floor), word.clone());
            tasks.spawn(async move { (index, one(&floor, word, request.action, request.boot).await) });
        }
        while let Some(done) = tasks.join_next().await {
            if let Ok((index, outcome)) = done {
                outcomes[index] = Some(outcome);
            }
        }
        let lost = |word: &String| failure(word, "the command broke off; the journal says why");
        let paired = outcomes.into_iter().zip(&request.nodes);
        paired.map(|(it, word)| it.unwrap_or_else(|| lost(word))).collect()
    });
    let results = work.await.map_err(|it| Problem::internal(&it))?;
    Ok(Json(Results { results }).into_response())
}

fn failure(node: &str, error: impl Into<String>) -> Outcome {
    Outcome { node: node.to_owned(), ok: false, state: None, error: Some(error.into()) }
}

async fn one(floor: &Floor, word: String, action: Option<Action>, boot: Option<Boot>) -> Outcome {
    let found = floor.mirror.read(|inventory| {
        let node = inventory.find(&word, &floor.pattern).filter(|it| it.id.is_node())?.clone();
        let endpoint = inventory.controller_of(&node.id).cloned();
        Some((node, endpoint))
    });
    let Some((node, endpoint)) = found else {
        return failure(&word, format!("no node is called {word}; `pilotctl nodes list` shows them"));
    };
    let Some(endpoint) = endpoint else {
        return failure(&word, format!("{} has no BMC in the inventory; import it with its bmc_ip", node.id));
    };
    let Ok(_permit) = floor.limit.acquire().await else {
        return failure(&word, "the service is stopping");
    };
    let queue = {
        let mut queues = floor.queues.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(queues.entry(endpoint.id.clone()).or_default())
    };
    let _turn = queue.lock().await;
    let deadline = Duration::from_secs(floor.config.deadline_s);
    let done = tokio::time::timeout(deadline, command(floor, &node, &endpoint, action, boot)).await;
    let error = match done {
        Ok(Ok(state)) => return Outcome { node: word, ok: true, state: Some(state), error: None },
        Ok(Err(error)) => error,
        Err(_) => {
            format!("BMC {} took more than {} s; try `power status` again", endpoint.id, deadline.as_secs())
        }
    };
    if let Some(action) = action {
        daemon::event!(event::POWER_FAILED, node = node.id, "power {} failed: {error}", action.name());
    }
    failure(&word, error)
}

async fn command(
    floor: &Floor,
    node: &Component,
    endpoint: &Endpoint,
    action: Option<Action>,
    boot: Option<Boot>,
) -> Result<State, String> {
    let session = match floor.bmcs.open(endpoint).await {
        Ok(session) => session,
        Err(error) => {
            if matches!(error, OpenError::Ipmi { .. }) {
                daemon::event!(event::BMC_UNREACHABLE, node = node.id, "{error}");
            }
            return Err(error.to_string());
        }
    };
    let told = |error: ipmi::Error| format!("BMC {} at {}: {error}", endpoint.id, session.address());
    let done = async {
        if let Some(boot) = boot {
            let boot = BootOverride { device: boot.into(), persistent: false, efi: false };
            session.set_boot_device(boot).await.map_err(told)?;
        }
        let now = state(&session).await.map_err(told)?;
        let Some(action) = action else { return Ok(now) };
        let plan = action.plan(now)?;
        let Some(send) = plan.send else { return Ok(now) };
        session.chassis_control(send).await.map_err(told)?;
        daemon::event!(
            event::POWER_DONE,
            node = node.id,
            "{} was told: power {}",
            endpoint.id,
            action.name()
        );
        if action.boots() {
            let detail = format!("{} switched power {}", endpoint.id, action.name());
            BootEvent::new(Service::Power, BootStage::PowerOn, detail).node(Some(&node.id)).send();
        }
        match plan.until {
            None => state(&session).await.map_err(told),
            Some(until) => reach(&session, until).await.map_err(told)?.ok_or_else(|| {
                format!("BMC {} took the command, but the state did not follow in 10 s", endpoint.id)
            }),
        }
    }
    .await;
    if let Err(error) = session.close().await {
        tracing::debug!(%error, "{} did not confirm the end of the session", endpoint.id);
    }
    done
}

async fn state(session: &Session) -> Result<State, ipmi::Error> {
    Ok(if session.chassis_status().await?.power_on { State::On } else { State::Off })
}

/// Asks until the state is there; None when it does not come.
async fn reach(session: &Session, until: State) -> Result<Option<State>, ipmi::Error> {
    let started = tokio::time::Instant::now();
    let mut poll = tokio::time::interval(POLL);
    while started.elapsed() < REACH_MAX {
        poll.tick().await;
        if state(session).await? == until {
            return Ok(Some(until));
        }
    }
    Ok(None)
}
