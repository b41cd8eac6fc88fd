//! Where other services and pilotctl ask join.

use std::net::IpAddr;

use axum::http::{Method, StatusCode};
use domain::{MacAddr, Xname};
use serde::{Deserialize, Serialize};
use serde_json::json;
use web::{Client, ClientError};

pub use crate::config::Policy;

/// How it stands with a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Standing {
    /// Its xname.
    pub node: Xname,
    /// What it is called.
    pub name: String,
    /// By which way it gets its token.
    pub policy: Policy,
    /// `open`, `claimed`, `spent`, `void` or `late`; none: no window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
    /// Until when the window is open, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// By what it is known: `ek`, `ek (first use)`, `host-keys`.
    #[serde(default)]
    pub enrolled: Vec<String>,
    /// Whether a token is on its way to it.
    #[serde(default)]
    pub pushing: bool,
}

/// What a node told at the end of its first cloud-init stage.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// From where.
    pub address: IpAddr,
    /// The host keys of its SSH server, in OpenSSH's form.
    pub host_keys: Vec<String>,
}

/// Opens a node's window; without seconds for as long as `join.window` says.
///
/// # Errors
///
/// If join does not answer, or refuses.
pub async fn open(join: &Client, node: &str, seconds: Option<u64>) -> Result<(), ClientError> {
    let body = seconds.map_or_else(|| json!({}), |it| json!({ "seconds": it }));
    join.text(Method::PUT, &format!("/pilothouse/v1/windows/{node}"), Some(&body)).await.map(drop)
}

/// Closes a node's window.
///
/// # Errors
///
/// If join does not answer, or refuses.
pub async fn close(join: &Client, node: &str) -> Result<(), ClientError> {
    join.text(Method::DELETE, &format!("/pilothouse/v1/windows/{node}"), None::<&()>).await.map(drop)
}

/// Says that a boot script for this NIC is rendered; whether it is to name `/join/<mac>.cpio`.
///
/// # Errors
///
/// If join does not answer.
pub async fn arm(join: &Client, mac: MacAddr) -> Result<bool, ClientError> {
    match join.text(Method::PUT, &format!("/pilothouse/v1/nonces/{mac}"), None::<&()>).await {
        Ok(_) => Ok(true),
        Err(ClientError::Status { status: StatusCode::FORBIDDEN | StatusCode::NOT_FOUND, .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Passes on what a node told at the end of its first cloud-init stage.
///
/// # Errors
///
/// If join does not answer, or refuses.
pub async fn report(join: &Client, node: &Xname, report: &Report) -> Result<(), ClientError> {
    join.text(Method::PUT, &format!("/pilothouse/v1/reports/{node}"), Some(report)).await.map(drop)
}

/// The public half of the key that tokens are pushed with, in OpenSSH's form.
///
/// # Errors
///
/// If join does not answer, or has none yet.
pub async fn key(join: &Client) -> Result<String, ClientError> {
    let answer: serde_json::Value = join.get("/pilothouse/v1/key").await?;
    Ok(answer["public"].as_str().unwrap_or_default().to_owned())
}

/// How it stands with every node that has a policy, a window or an enrolment.
///
/// # Errors
///
/// If join does not answer.
pub async fn list(join: &Client) -> Result<Vec<Standing>, ClientError> {
    join.get("/pilothouse/v1/nodes").await
}

/// The host keys in what cloud-init's phone_home posts: the members `pub_key_…` of a form or a JSON object.
#[must_use]
pub fn host_keys(form: bool, body: &[u8]) -> Vec<String> {
    let is_key = |name: &str| name.starts_with("pub_key_");
    if form {
        let pairs = form_urlencoded::parse(body).filter(|(name, _)| is_key(name));
        return pairs.map(|(_, key)| key.into_owned()).collect();
    }
    let members: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(body).unwrap_or_default();
    let keys = members.iter().filter(|(name, _)| is_key(name));
    keys.filter_map(|(_, key)| key.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::host_keys;

    #[test]
    fn host_keys_are_read_from_what_cloud_init_posts() {
        let form = b"pub_key_rsa=ssh-rsa+AAAA+root%40node&pub_key_ed25519=ssh-ed25519+AAAA&hostname=nid001";
        assert_eq!(host_keys(true, form), ["ssh-rsa AAAA root@node", "ssh-ed25519 AAAA"]);
        assert_eq!(host_keys(false, br#"{"pub_key_ecdsa": "a b", "pub_key_dsa": 1, "fqdn": "x"}"#), ["a b"]);
        assert!(host_keys(false, b"{").is_empty());
    }
}
