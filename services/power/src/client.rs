//! Where other services and the CLI ask for power.

use std::collections::BTreeMap;
use std::path::PathBuf;

use axum::http::Method;
use domain::Xname;
use serde::{Deserialize, Serialize};
use web::{Client, ClientError};

pub use crate::model::{Action, Boot, Policy, State, Verdict};

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

/// The same for as many nodes as there are: each outcome is told as it is there, the living before the silent.
///
/// # Errors
///
/// As for [`power`], and if the answer breaks off.
pub async fn stream(
    client: &Client,
    request: &Request,
    mut told: impl FnMut(Outcome),
) -> Result<(), ClientError> {
    let path = if request.changes() { "/pilothouse/v1/power" } else { "/pilothouse/v1/power-status" };
    let mut outcomes = client.lines(Method::POST, &format!("{path}?stream=true"), Some(request)).await?;
    let mut lines = 0_usize;
    while let Some(outcome) = outcomes.next().await? {
        told(outcome);
        lines += 1;
    }
    if lines < request.nodes.len() {
        let missing = format!("{lines} of {} nodes were told of", request.nodes.len());
        return Err(ClientError::Broken(PathBuf::from("power.sock"), missing.into()));
    }
    Ok(())
}

/// How a BMC is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BmcState {
    /// Which.
    pub bmc: Xname,
    /// What it was last spoken to in, `ipmi` or `redfish`.
    pub speaks: Option<String>,
    /// How its certificate is believed: `pin`, `ca` or `insecure`.
    pub tls: String,
    /// The one that is believed.
    pub certificate: Option<BmcCertificate>,
}

/// A certificate of a BMC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BmcCertificate {
    /// Its SHA-256, pairs of hexadecimal digits with colons.
    pub sha256: String,
    /// Since when it is believed, RFC 3339.
    pub since: String,
}

/// Whether a BMC can be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BmcTest {
    /// Which.
    pub bmc: Xname,
    /// Whether it let us in and told its power.
    pub ok: bool,
    /// What it speaks.
    pub speaks: Option<String>,
    /// Where it answers.
    pub address: Option<String>,
    /// The power of its first node.
    pub state: Option<State>,
    /// How long it took, in milliseconds.
    pub ms: u64,
    /// Why not, with what to check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The certificate that somebody vouches for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustRequest {
    /// Its SHA-256.
    pub sha256: String,
}

/// How a BMC is reached.
///
/// # Errors
///
/// If the service does not answer, or there is no such BMC.
pub async fn bmc(client: &Client, xname: &str) -> Result<BmcState, ClientError> {
    client.get(&format!("/pilothouse/v1/bmcs/{xname}")).await
}

/// Logs in at a BMC and looks.
///
/// # Errors
///
/// If the service does not answer, or there is no such BMC; what the BMC does is in the answer.
pub async fn test_bmc(client: &Client, xname: &str) -> Result<BmcTest, ClientError> {
    client.call(Method::POST, &format!("/pilothouse/v1/bmcs/{xname}/test"), None::<&()>).await
}

/// Believes this certificate of a BMC.
///
/// # Errors
///
/// If the service does not answer or refuses.
pub async fn trust_bmc(client: &Client, xname: &str, sha256: &str) -> Result<(), ClientError> {
    let body = TrustRequest { sha256: sha256.to_owned() };
    client.text(Method::PUT, &format!("/pilothouse/v1/bmcs/{xname}/certificate"), Some(&body)).await.map(drop)
}

/// Gives a BMC's account another password, which nobody is told.
///
/// # Errors
///
/// If the service does not answer, or the BMC does not take it: then the old one stays.
pub async fn rotate_password(client: &Client, xname: &str) -> Result<(), ClientError> {
    client.text(Method::POST, &format!("/pilothouse/v1/bmcs/{xname}/password"), None::<&()>).await.map(drop)
}

/// Which nodes are looked for that are on without having booted, and what is done about them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecoveryRequest {
    /// xnames or names; none are all that have a BMC and no lock.
    pub nodes: Vec<String>,
    /// So many are switched off and on at once; none: as the document says.
    pub stage: Option<usize>,
    /// How long the nodes of a stage have to ask for their scripts; none: as the document says.
    pub wait_s: Option<u64>,
    /// Only looks.
    pub dry: bool,
}

/// How far a recovery is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecoveryPhase {
    /// It asks who is on, and who is there.
    #[default]
    Looking,
    /// It switches.
    Cycling,
    /// It has ended.
    Done,
}

/// What became of one node of a recovery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryNode {
    /// What it is.
    pub verdict: Verdict,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A recovery, under way or ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// How far it is.
    pub phase: RecoveryPhase,
    /// Whether it only looks.
    pub dry: bool,
    /// So many are switched at once.
    pub stage: usize,
    /// The nodes that were looked at so far.
    pub nodes: BTreeMap<Xname, RecoveryNode>,
    /// Words of the request that name no node.
    pub unknown: Vec<String>,
    /// Why it ended before its time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Recovery {
    /// The nodes that somebody should look after.
    #[must_use]
    pub fn bad(&self) -> Vec<Xname> {
        self.nodes.iter().filter(|(_, it)| it.verdict.is_bad()).map(|(node, _)| node.clone()).collect()
    }

    /// How many nodes are that.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.nodes.values().filter(|it| it.verdict == verdict).count()
    }
}

/// Begins a recovery, which goes on whoever waits for it.
///
/// # Errors
///
/// If the service does not answer, or one is under way (409).
pub async fn recover(client: &Client, request: &RecoveryRequest) -> Result<Recovery, ClientError> {
    client.call(Method::POST, "/pilothouse/v1/recover", Some(request)).await
}

/// The last recovery; none since the service was started.
///
/// # Errors
///
/// If the service does not answer.
pub async fn recovery(client: &Client) -> Result<Option<Recovery>, ClientError> {
    client.get("/pilothouse/v1/recover").await
}
