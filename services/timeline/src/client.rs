//! Where pilotctl asks timeline.

use axum::http::Method;
use serde::{Deserialize, Serialize};
use web::{Client, ClientError, Lines};

pub use crate::model::{
    Boot, Broken, Cause, Deed, Evidence, Finding, Group, Hash, Kind, Mark, Outcome, Place, Record, Report,
    Script, Slow, Step, Times, Transfer, Verdict,
};
pub use crate::wire::Event;

/// A boot with its steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    /// The boot.
    pub boot: Boot,
    /// All that was told of it, the first first.
    pub events: Vec<Event>,
}

/// A line of the stream; one without members says that it lives.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Update {
    /// A boot as it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot: Option<Boot>,
    /// The step that was taken; none: the boot was like that when the stream began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<Event>,
    /// All boots have been told; what follows is new.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub present: bool,
    /// So many lines were left out: the reader is too slow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
}

fn query(pairs: &[(&str, Option<&str>)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if let Some(value) = value {
            text.push(if text.is_empty() { '?' } else { '&' });
            // Names of nodes, instants and spans; `+` would be a space.
            text.push_str(&format!("{name}={}", value.replace('+', "%2B")));
        }
    }
    text
}

/// What the boots since then come to; without an instant those of the last mass boot. No names: all nodes.
///
/// # Errors
///
/// If timeline does not answer, or refuses.
pub async fn report(
    timeline: &Client,
    since: Option<&str>,
    nodes: Option<&str>,
) -> Result<Report, ClientError> {
    timeline.get(&format!("/pilothouse/v1/report{}", query(&[("since", since), ("node", nodes)]))).await
}

/// Boots, the newest first; names with a comma between.
///
/// # Errors
///
/// If timeline does not answer, or refuses.
pub async fn list(
    timeline: &Client,
    nodes: Option<&str>,
    since: Option<&str>,
    result: Option<&str>,
) -> Result<Vec<Boot>, ClientError> {
    let query = query(&[("node", nodes), ("since", since), ("result", result)]);
    timeline.get(&format!("/pilothouse/v1/boots{query}")).await
}

/// A node's last boot.
///
/// # Errors
///
/// If timeline does not answer, or knows none.
pub async fn show(timeline: &Client, node: &str) -> Result<Shown, ClientError> {
    timeline.get(&format!("/pilothouse/v1/boots/{node}")).await
}

/// Has a machine's last boot forgotten, with what is wrong with it.
///
/// # Errors
///
/// If timeline does not answer, or knows none.
pub async fn forget(timeline: &Client, node: &str) -> Result<(), ClientError> {
    timeline.text(Method::DELETE, &format!("/pilothouse/v1/boots/{node}"), None::<&()>).await.map(drop)
}

/// The present boots, and every step from now on; names with a comma between, none: all.
///
/// # Errors
///
/// If timeline does not answer, or refuses.
pub async fn follow(timeline: &Client, nodes: Option<&str>) -> Result<Lines<Update>, ClientError> {
    let path = format!("/pilothouse/v1/events{}", query(&[("node", nodes)]));
    timeline.lines(Method::GET, &path, None::<&()>).await
}

/// Which records are asked for; a part of the actor's name and of what was done will do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// An instant, or how long ago.
    pub since: Option<&'a str>,
    /// An instant, or how long ago.
    pub until: Option<&'a str>,
    /// Who did it.
    pub actor: Option<&'a str>,
    /// What they did.
    pub what: Option<&'a str>,
    /// `ok`, `refused`, `failed`.
    pub result: Option<&'a str>,
    /// A node's name or xname.
    pub node: Option<&'a str>,
    /// How many.
    pub limit: Option<u32>,
}

/// Who did what, the newest first.
///
/// # Errors
///
/// If timeline does not answer, or refuses.
pub async fn list_audit(timeline: &Client, wanted: &Wanted<'_>) -> Result<Vec<Record>, ClientError> {
    let Wanted { since, until, actor, what, result, node, limit } = *wanted;
    let mut query = form_urlencoded::Serializer::new(String::new());
    let parts = [
        ("since", since),
        ("until", until),
        ("actor", actor),
        ("what", what),
        ("result", result),
        ("node", node),
    ];
    for (name, value) in parts {
        query.extend_pairs(value.map(|it| (name, it)));
    }
    query.extend_pairs(limit.map(|it| ("limit", it.to_string())));
    timeline.get(&format!("/pilothouse/v1/audit?{}", query.finish())).await
}

/// Whether the records are those that were written, for each head.
///
/// # Errors
///
/// If timeline does not answer, or refuses.
pub async fn verify_audit(timeline: &Client) -> Result<Vec<Verdict>, ClientError> {
    timeline.get("/pilothouse/v1/audit/verify").await
}
