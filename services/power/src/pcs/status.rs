//! `/power-status`: asked of the BMCs, not of a memory.

use std::sync::Arc;

use axum::extract::{RawQuery, State as Shared};
use axum::response::{IntoResponse, Response};
use domain::{NODES_MAX, Xname};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use web::{Json, Problem};

use super::{Pcs, bad, written};
use crate::client::{Outcome, Request};
use crate::model::controller_of;

/// What every node with a BMC can be asked for.
const TRANSITIONS: [&str; 7] = ["On", "Off", "Soft-Off", "Soft-Restart", "Hard-Restart", "Init", "Force-Off"];
/// The time of what never happened.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// What is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Query {
    xname: Vec<String>,
    power_state_filter: String,
    management_state_filter: String,
}

pub(super) async fn show(
    Shared(pcs): Shared<Arc<Pcs>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let mut asked = Query::default();
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match &*name {
            "xname" => asked.xname.push(value.into_owned()),
            "powerStateFilter" => asked.power_state_filter = value.into_owned(),
            "managementStateFilter" => asked.management_state_filter = value.into_owned(),
            _ => {}
        }
    }
    answer(pcs, asked).await
}

pub(super) async fn query(
    Shared(pcs): Shared<Arc<Pcs>>,
    Json(asked): Json<Query>,
) -> Result<Response, Problem> {
    answer(pcs, asked).await
}

async fn answer(pcs: Arc<Pcs>, asked: Query) -> Result<Response, Problem> {
    let filter = |name: &str, text: &str, words: &[(&str, &'static str)]| match text {
        "" => Ok(None),
        _ => {
            let found = words.iter().find(|it| it.0.eq_ignore_ascii_case(text));
            found.map(|it| Some(it.1)).ok_or_else(|| bad(format!("invalid {name} type: {text}")))
        }
    };
    let powers = [
        ("on", "on"),
        ("poweringoff", "on"),
        ("off", "off"),
        ("poweringon", "off"),
        ("undefined", "undefined"),
    ];
    let power = filter("powerStateFilter", &asked.power_state_filter, &powers)?;
    let managements = [("available", "available"), ("unavailable", "unavailable")];
    let management = filter("ManagementStateFilter", &asked.management_state_filter, &managements)?;
    let parsed: Vec<(&String, Option<Xname>)> = asked.xname.iter().map(|it| (it, it.parse().ok())).collect();
    let wrong: Vec<&str> = parsed.iter().filter(|it| it.1.is_none()).map(|it| it.0.as_str()).collect();
    if !wrong.is_empty() {
        return Err(bad(format!("invalid xnames detected: {}", wrong.join(" "))));
    }
    let named = parsed.into_iter().filter_map(|it| it.1).collect();
    let shown = look(&pcs, named).await?;
    let is_wanted = |it: &Value| {
        let is = |member: &str, wanted: Option<&str>| wanted.is_none_or(|word| it[member] == word);
        // Who is not known at all is told of whatever the filter.
        it["powerState"] == "" || (is("powerState", power) && is("managementState", management))
    };
    let status: Vec<Value> = shown.into_iter().filter(is_wanted).collect();
    Ok(Json(json!({"status": status})).into_response())
}

/// The status of each; of all that have a BMC, if none is named.
async fn look(pcs: &Arc<Pcs>, mut named: Vec<Xname>) -> Result<Vec<Value>, Problem> {
    let known: Vec<bool> = pcs.board.mirror.read(|inventory| {
        if named.is_empty() {
            let nodes = inventory.components().filter(|it| it.id.is_node());
            named = nodes
                .filter(|it| controller_of(inventory, &it.id).is_some())
                .map(|it| it.id.clone())
                .collect();
        }
        let is_known =
            |id: &Xname| inventory.component(id).is_some() && controller_of(inventory, id).is_some();
        named.iter().map(is_known).collect()
    });
    if named.len() > NODES_MAX {
        return Err(bad(format!("name at most {NODES_MAX} xnames")));
    }
    let asked: Vec<String> = named.iter().zip(&known).filter(|it| *it.1).map(|it| it.0.to_string()).collect();
    let request = Request { nodes: asked, action: None, boot: None };
    let mut outcomes = Arc::clone(&pcs.board).carry_out(request).await.into_iter();
    let now = written(OffsetDateTime::now_utc());
    let one = |(id, known): (Xname, bool)| match known.then(|| outcomes.next()).flatten() {
        Some(outcome) => entry(&outcome, &now),
        None => json!({
            "xname": id, "powerState": "", "managementState": "",
            "error": "Component not found in component map.",
            "supportedPowerTransitions": null, "lastUpdated": NEVER,
        }),
    };
    Ok(named.into_iter().zip(known).map(one).collect())
}

fn entry(outcome: &Outcome, now: &str) -> Value {
    json!({
        "xname": outcome.node,
        "powerState": outcome.state.map_or("undefined", crate::client::State::name),
        "managementState": if outcome.ok { "available" } else { "unavailable" },
        "error": outcome.error.clone().unwrap_or_default(),
        "supportedPowerTransitions": TRANSITIONS,
        "lastUpdated": now,
    })
}
