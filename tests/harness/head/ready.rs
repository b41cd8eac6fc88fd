//! When a service that said READY also answers from live data.

use std::time::Duration;

use anyhow::bail;
use http::{Method, StatusCode};
use serde_json::Value;
use web::{Client, ClientError};

use crate::head::slot::Slot;
use crate::settle;

/// How long migration and first snapshot may take.
const SETTLE_MAX: Duration = Duration::from_secs(30);

/// Waits until `/readyz` succeeds and names no source that is empty or only the last good copy.
pub(super) async fn settle(slot: &Slot, client: &Client) -> anyhow::Result<()> {
    let mut last = String::new();
    let settled = settle::until(SETTLE_MAX, "/readyz says live", async || {
        if !slot.is_running() {
            bail!("the service {} ended\n{}", slot.service(), slot.tail(20));
        }
        match client.text(Method::GET, "/readyz", None::<&()>).await {
            Ok(text) => {
                let answer = serde_json::from_slice(&text).unwrap_or(Value::Null);
                last = String::from_utf8_lossy(&text).into_owned();
                Ok(is_live(&answer).then_some(()))
            }
            Err(ClientError::Status { status: StatusCode::NOT_FOUND, .. }) => Ok(Some(())),
            Err(error) => {
                last = error.to_string();
                Ok(None)
            }
        }
    });
    settled.await.map_err(|error| {
        error.context(format!("the service {} is not ready: {last}\n{}", slot.service(), slot.tail(20)))
    })
}

fn is_live(answer: &Value) -> bool {
    match answer {
        Value::String(text) => {
            !matches!(text.to_ascii_lowercase().as_str(), "empty" | "lastgood" | "last-good")
        }
        Value::Array(all) => all.iter().all(is_live),
        Value::Object(all) => all.iter().all(|(key, it)| is_live(it) && !(key == "ready" && *it == false)),
        _ => true,
    }
}
