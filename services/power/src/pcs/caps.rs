//! `/power-cap`: what nodes may draw, by DCMI where their BMCs have it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::Xname;
use ipmi::dcmi::PowerLimit;
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::task::JoinSet;
use uuid::Uuid;
use web::{Caller, Json, Path, Problem};

use super::shelf::{KEPT_FOR, Kept};
use super::{Pcs, bad, check_count, counts, created, full, parse_id, written};
use crate::bmc::{LOOK_MAX, Link};
use crate::model::{controller_of, may_switch};

/// BMCs asked at once for one task.
const AT_ONCE: usize = 64;
/// The one control there is.
const CONTROL: &str = "Node Power Limit";
/// What DCMI asks for beside the limit, where none was ever set: how long the node may take to get below it, and the
/// period over which it is judged.
const CORRECTION: Duration = Duration::from_secs(6);
const SAMPLING: Duration = Duration::from_secs(1);

/// Whose limits are read.
#[derive(Debug, Deserialize)]
pub(super) struct Snapshot {
    #[serde(default)]
    xnames: Vec<String>,
}

/// Which limits are set.
#[derive(Debug, Deserialize)]
pub(super) struct Patch {
    #[serde(default)]
    components: Vec<Component>,
}

#[derive(Debug, Deserialize)]
struct Component {
    xname: String,
    #[serde(default)]
    controls: Vec<Control>,
}

#[derive(Debug, Deserialize)]
struct Control {
    name: String,
    value: i64,
}

/// A task and what became of each component.
pub(super) struct CapTask {
    id: Uuid,
    kind: &'static str,
    created: OffsetDateTime,
    status: &'static str,
    components: BTreeMap<String, (&'static str, Value)>,
}

impl Kept for CapTask {
    fn expires(&self) -> OffsetDateTime {
        self.created + KEPT_FOR
    }

    fn is_over(&self) -> bool {
        self.status == "completed"
    }
}

impl CapTask {
    fn show(&self, with_components: bool) -> Value {
        let mut shown = json!({
            "taskID": self.id,
            "type": self.kind,
            "taskCreateTime": written(self.created),
            "automaticExpirationTime": written(self.expires()),
            "taskStatus": self.status,
            "taskCounts": counts(self.components.values().map(|it| it.0)),
        });
        if with_components && !self.components.is_empty() {
            shown["components"] = self.components.values().map(|it| it.1.clone()).collect();
        }
        shown
    }
}

pub(super) async fn list(Shared(pcs): Shared<Arc<Pcs>>) -> Response {
    let mut shelf = pcs.caps();
    shelf.expire(OffsetDateTime::now_utc());
    let all: Vec<Value> = shelf.iter().map(|it| it.show(false)).collect();
    Json(json!({"tasks": all})).into_response()
}

pub(super) async fn show(Shared(pcs): Shared<Arc<Pcs>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let id = parse_id(&id)?;
    let shown = pcs.caps().get(id).map(|it| it.show(true));
    let missing = || Problem::new(StatusCode::NOT_FOUND, "TaskID does not exist");
    shown.map(|it| Json(it).into_response()).ok_or_else(missing)
}

pub(super) async fn snapshot(
    Shared(pcs): Shared<Arc<Pcs>>,
    Json(wanted): Json<Snapshot>,
) -> Result<Response, Problem> {
    if wanted.xnames.is_empty() {
        return Err(bad("Xname list is empty. A list of xnames is required"));
    }
    let wanted = wanted.xnames.into_iter().map(|it| (it, None)).collect();
    begin(pcs, "snapshot", wanted)
}

pub(super) async fn change(
    Shared(pcs): Shared<Arc<Pcs>>,
    caller: Caller,
    Json(wanted): Json<Patch>,
) -> Result<Response, Problem> {
    let mut limits = BTreeMap::new();
    for component in wanted.components {
        let Component { xname, controls } = component;
        let wrong = || bad(format!("Invalid control parameters for xnames detected {xname}"));
        let [control] = controls.as_slice() else { return Err(wrong()) };
        let watts = u16::try_from(control.value).map_err(|_| wrong())?;
        if control.name.is_empty() {
            return Err(wrong());
        }
        limits.insert(xname, Some(watts));
    }
    web::deed(&caller, format_args!("power caps of {} components", limits.len()));
    begin(pcs, "patch", limits)
}

fn begin(
    pcs: Arc<Pcs>,
    kind: &'static str,
    wanted: BTreeMap<String, Option<u16>>,
) -> Result<Response, Problem> {
    check_count(wanted.len())?;
    let (id, now) = (Uuid::new_v4(), OffsetDateTime::now_utc());
    let components = wanted.keys().map(|it| (it.clone(), ("new", json!({"xname": it})))).collect();
    let task = CapTask { id, kind, created: now, status: "in-progress", components };
    pcs.caps().put(id, task, now).map_err(|_| full())?;
    let board = Arc::clone(&pcs.board);
    board.spawn(async move {
        let stop = pcs.board.stop().clone();
        if stop.run_until_cancelled(carry_out_all(&pcs, id, wanted)).await.is_none() {
            tracing::debug!("the power cap task {id} ends with the service");
        }
        if let Some(task) = pcs.caps().get_mut(id) {
            task.status = "completed";
        }
    });
    Ok(created("power-cap", id, json!({"taskID": id})))
}

async fn carry_out_all(pcs: &Arc<Pcs>, id: Uuid, wanted: BTreeMap<String, Option<u16>>) {
    let (mut rest, mut under_way) = (wanted.into_iter(), JoinSet::new());
    loop {
        while under_way.len() < AT_ONCE
            && let Some((xname, limit)) = rest.next()
        {
            let pcs = Arc::clone(pcs);
            under_way.spawn(async move {
                let (status, shown) = told(&xname, carry_out(&pcs, &xname, limit).await);
                if let Some(task) = pcs.caps().get_mut(id) {
                    task.components.insert(xname, (status, shown));
                }
            });
        }
        match under_way.join_next().await {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::error!(%error, "a power cap broke off"),
            None => return,
        }
    }
}

/// What came of a component: its limit in watts, 0 for none; whether it is not possible at all, or failed.
enum Missed {
    Unsupported(String),
    Failed(String),
}

fn told(xname: &str, outcome: Result<u16, Missed>) -> (&'static str, Value) {
    match outcome {
        Ok(watts) => {
            let limits = json!([{"name": CONTROL, "currentValue": watts}]);
            ("succeeded", json!({"xname": xname, "powerCapLimits": limits}))
        }
        Err(Missed::Unsupported(error)) => ("unsupported", json!({"xname": xname, "error": error})),
        Err(Missed::Failed(error)) => ("failed", json!({"xname": xname, "error": error})),
    }
}

async fn carry_out(pcs: &Pcs, xname: &str, limit: Option<u16>) -> Result<u16, Missed> {
    let failed = |error: String| Missed::Failed(error);
    let id: Xname = xname.parse().map_err(|it: domain::XnameError| failed(it.to_string()))?;
    let found = pcs.board.mirror.read(|inventory| {
        let component = inventory.component(&id).cloned();
        component.zip(controller_of(inventory, &id).cloned())
    });
    let none = || failed(format!("no node with a BMC is called {xname}; `pilotctl nodes list` shows them"));
    let (component, endpoint) = found.ok_or_else(none)?;
    if limit.is_some() {
        may_switch(component.lock.as_ref()).map_err(|it| failed(format!("{id} is {it}")))?;
    }
    pcs.board.kept.forget(&endpoint.id);
    let told = |error: anyhow::Error| format!("{error:#}");
    let link = pcs.board.bmcs.link(&endpoint, &id, LOOK_MAX).await.map_err(|it| failed(told(it.into())))?;
    let done = match &link {
        Link::Ipmi(session) => set(session, limit).await.map_err(|error| {
            let is_unsupported = error.cause() == ipmi::Cause::Unsupported;
            let text = told(anyhow::Error::new(error));
            if is_unsupported { Missed::Unsupported(text) } else { Missed::Failed(text) }
        }),
        Link::Redfish { .. } => Err(Missed::Unsupported(
            "its BMC is spoken to in Redfish, where power caps are not set".to_owned(),
        )),
    };
    link.close().await;
    done
}

/// Sets the limit if there is one to set; 0 takes it away. The one that is in force then.
async fn set(session: &ipmi::Session, limit: Option<u16>) -> Result<u16, ipmi::Error> {
    let now = session.power_limit().await?;
    if let Some(watts) = limit {
        let usual =
            PowerLimit { active: false, limit_w: 0, action: 0, correction: CORRECTION, sampling: SAMPLING };
        let before = now.unwrap_or(usual);
        let limit_w = if watts == 0 { before.limit_w } else { watts };
        session.set_power_limit(PowerLimit { active: watts > 0, limit_w, ..before }).await?;
        return Ok(watts);
    }
    Ok(now.filter(|it| it.active).map_or(0, |it| it.limit_w))
}
