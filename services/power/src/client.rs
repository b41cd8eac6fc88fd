//! Where other services and the CLI ask for power.

use axum::http::Method;
use serde::{Deserialize, Serialize};
use web::{Client, ClientError};

pub use crate::model::{Action, Boot, State};

/// What is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// xnames or names of nodes.
    pub nodes: Vec<String>,
    /// What to do; none asks for the state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// Where to boot from, for the next boot alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<Boot>,
}

impl Request {
    /// Whether it is more than a look.
    #[must_use]
    pub fn changes(&self) -> bool {
        self.action.is_some() || self.boot.is_some()
    }
}

/// What became of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// As it was asked for.
    pub node: String,
    /// Whether all went well.
    pub ok: bool,
    /// Its power afterwards, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// Why not, with what to check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The outcomes of a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// One a node, in the order of the request.
    pub results: Vec<Outcome>,
}

/// Asks for the power of nodes, or changes it; returns when the last BMC has answered or was given up.
///
/// # Errors
///
/// If the service does not answer or refuses; what a single BMC does is in its [`Outcome`].
pub async fn power(client: &Client, request: &Request) -> Result<Vec<Outcome>, ClientError> {
    let path = if request.changes() { "/pilothouse/v1/power" } else { "/pilothouse/v1/power-status" };
    Ok(client.call::<Results>(Method::POST, path, Some(request)).await?.results)
}
