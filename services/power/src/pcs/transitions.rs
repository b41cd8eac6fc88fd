//! `/transitions`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use web::{Caller, Json, Path, Problem};

use super::shelf::{KEPT_FOR, Kept};
use super::{Pcs, bad, check_count, counts, created, full, parse_id, written};
use crate::client::{Action, Request, State};
use crate::model::{Operation, Step, is_off, patience};

/// How long a node has to shut down, if nothing is said.
const DEADLINE_MINUTES: i64 = 5;
/// How often it is asked whether it has.
const ASK_EVERY: Duration = Duration::from_secs(3);

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Wanted {
    operation: String,
    #[serde(default)]
    task_deadline_minutes: Option<i64>,
    #[serde(default)]
    location: Vec<Place>,
}

/// A component; its `deputyKey` is not looked at, for a lock of ours has none.
#[derive(Debug, Deserialize)]
struct Place {
    xname: String,
}

/// A transition and what became of each component.
pub(super) struct Transition {
    id: Uuid,
    operation: Operation,
    created: OffsetDateTime,
    status: &'static str,
    tasks: BTreeMap<String, Task>,
    abort: CancellationToken,
}

struct Task {
    status: &'static str,
    described: String,
    error: Option<String>,
}

impl Kept for Transition {
    fn expires(&self) -> OffsetDateTime {
        self.created + KEPT_FOR
    }

    fn is_over(&self) -> bool {
        matches!(self.status, "completed" | "aborted")
    }
}

impl Transition {
    fn show(&self, with_tasks: bool) -> Value {
        let mut shown = json!({
            "transitionID": self.id,
            "operation": self.operation.name(),
            "createTime": written(self.created),
            "automaticExpirationTime": written(self.expires()),
            "transitionStatus": self.status,
            "taskCounts": counts(self.tasks.values().map(|it| it.status)),
        });
        if with_tasks && !self.tasks.is_empty() {
            shown["tasks"] = self.tasks.iter().map(|(xname, it)| it.show(xname)).collect();
        }
        shown
    }
}

impl Task {
    fn show(&self, xname: &str) -> Value {
        let mut shown =
            json!({"xname": xname, "taskStatus": self.status, "taskStatusDescription": self.described});
        if let Some(error) = &self.error {
            shown["error"] = json!(error);
        }
        shown
    }
}

pub(super) async fn list(Shared(pcs): Shared<Arc<Pcs>>) -> Response {
    let mut shelf = pcs.transitions();
    shelf.expire(OffsetDateTime::now_utc());
    let all: Vec<Value> = shelf.iter().map(|it| it.show(false)).collect();
    Json(json!({"transitions": all})).into_response()
}

pub(super) async fn show(Shared(pcs): Shared<Arc<Pcs>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let id = parse_id(&id)?;
    let shown = pcs.transitions().get(id).map(|it| it.show(true));
    shown.map(|it| Json(it).into_response()).ok_or_else(missing)
}

fn missing() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "TransitionID does not exist")
}

pub(super) async fn create(
    Shared(pcs): Shared<Arc<Pcs>>,
    caller: Caller,
    Json(wanted): Json<Wanted>,
) -> Result<Response, Problem> {
    let operation = Operation::parse(&wanted.operation)
        .ok_or_else(|| bad(format!("invalid Operation type {}", wanted.operation)))?;
    check_count(wanted.location.len())?;
    let (id, now) = (Uuid::new_v4(), OffsetDateTime::now_utc());
    let new = || Task { status: "new", described: "Gathering data".to_owned(), error: None };
    let tasks: BTreeMap<String, Task> = wanted.location.into_iter().map(|it| (it.xname, new())).collect();
    let (count, name) = (tasks.len(), operation.name());
    web::deed(&caller, format_args!("transition {id}, {name} of {count} components"));
    let abort = pcs.board.stop().child_token();
    let transition = Transition { id, operation, created: now, status: "new", tasks, abort: abort.clone() };
    pcs.transitions().put(id, transition, now).map_err(|_| full())?;
    let patience = patience(wanted.task_deadline_minutes.unwrap_or(DEADLINE_MINUTES));
    let (runner, board) = (Run { pcs: Arc::clone(&pcs), id, abort }, Arc::clone(&pcs.board));
    board.spawn(async move { runner.run(operation, patience).await });
    let body = json!({"transitionID": id, "operation": operation.name()});
    Ok(created("transitions", id, body))
}

pub(super) async fn abort(
    Shared(pcs): Shared<Arc<Pcs>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = parse_id(&id)?;
    let mut shelf = pcs.transitions();
    let transition = shelf.get_mut(id).ok_or_else(missing)?;
    if transition.status == "completed" {
        return Err(bad("Transition is already finished and cannot be aborted."));
    }
    if transition.status != "aborted" {
        transition.status = "abort-signaled";
        transition.abort.cancel();
        web::deed(&caller, format_args!("end of transition {id}"));
    }
    let body = json!({"abortStatus": "Accepted - abort initiated"});
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}

/// A transition on its way.
struct Run {
    pcs: Arc<Pcs>,
    id: Uuid,
    abort: CancellationToken,
}

impl Run {
    async fn run(&self, operation: Operation, patience: Duration) {
        self.change(|it| {
            if it.status == "new" {
                it.status = "in-progress";
            }
            it.tasks.values_mut().for_each(|task| task.status = "in-progress");
        });
        for step in operation.steps() {
            if self.abort.is_cancelled() {
                break;
            }
            match *step {
                Step::NeedOn => self.need_on().await,
                Step::Do { action, may_fail } => self.tell_all(action, may_fail).await,
                Step::AwaitOff { may_fail } => self.await_off(patience, may_fail).await,
            }
        }
        let aborted = self.abort.is_cancelled();
        let name = operation.name();
        self.change(|it| {
            for task in it.tasks.values_mut().filter(|it| it.status == "in-progress") {
                if aborted {
                    task.end(
                        "failed",
                        "Aborted",
                        Some("the transition was aborted before it was done".to_owned()),
                    );
                } else {
                    task.end("succeeded", &format!("Transition confirmed, {}", name.to_lowercase()), None);
                }
            }
            it.status = if aborted { "aborted" } else { "completed" };
        });
    }

    fn change(&self, change: impl FnOnce(&mut Transition)) {
        if let Some(it) = self.pcs.transitions().get_mut(self.id) {
            change(it);
        }
    }

    /// Those that are still in it.
    fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        self.change(|it| {
            let tasks = it.tasks.iter().filter(|it| it.1.status == "in-progress");
            left = tasks.map(|it| it.0.clone()).collect();
        });
        left
    }

    fn end(&self, xname: &str, status: &'static str, error: String) {
        self.change(|it| {
            if let Some(task) = it.tasks.get_mut(xname) {
                task.end(status, "Failed to achieve transition", Some(error));
            }
        });
    }

    async fn need_on(&self) {
        for (xname, result) in self.look(self.left()).await {
            match result {
                Ok(State::On) => {}
                Ok(State::Off) => {
                    let error = "it is off, and a restart needs it on; use init or on".to_owned();
                    self.end(&xname, "unsupported", error);
                }
                Err(error) => self.end(&xname, "failed", error),
            }
        }
    }

    async fn tell_all(&self, action: Action, may_fail: bool) {
        let nodes = self.left();
        let described = format!("Sending command, {}", action.name());
        self.change(|it| {
            let tasks = it.tasks.values_mut().filter(|it| it.status == "in-progress");
            tasks.for_each(|it| it.described.clone_from(&described));
        });
        let request = Request { nodes, action: Some(action), boot: None };
        let mut reports = Arc::clone(&self.pcs.board).stream(request);
        // Commands that were given to BMCs are waited for also where the transition is aborted.
        while let Some((xname, result)) = reports.recv().await {
            match result {
                Err(error) if !may_fail => self.end(&xname, "failed", error),
                Err(error) => tracing::debug!("{xname}: {} did not succeed: {error}", action.name()),
                Ok(_) => {}
            }
        }
    }

    async fn await_off(&self, patience: Duration, may_fail: bool) {
        let until = Instant::now() + patience;
        let mut waiting = self.left();
        loop {
            let seen = self.look(waiting).await;
            waiting =
                seen.into_iter().filter(|it| !is_off(it.1.as_ref().ok().copied())).map(|it| it.0).collect();
            if waiting.is_empty() || Instant::now() + ASK_EVERY > until {
                break;
            }
            if self.abort.run_until_cancelled(sleep(ASK_EVERY)).await.is_none() {
                return;
            }
        }
        if !may_fail && !patience.is_zero() {
            for xname in waiting {
                let error =
                    format!("it is not off after {} min; look at its console", patience.as_secs() / 60);
                self.end(&xname, "failed", error);
            }
        }
    }

    async fn look(&self, nodes: Vec<String>) -> Vec<(String, Result<State, String>)> {
        let request = Request { nodes, action: None, boot: None };
        let mut reports = Arc::clone(&self.pcs.board).stream(request);
        let mut seen = Vec::new();
        while let Some((xname, result)) = reports.recv().await {
            seen.push((xname, result.map(|it| it.state)));
        }
        seen
    }
}

impl Task {
    fn end(&mut self, status: &'static str, described: &str, error: Option<String>) {
        self.status = status;
        described.clone_into(&mut self.described);
        self.error = error;
    }
}
