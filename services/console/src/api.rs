//! Routes and handlers: OpenCHAMI remote-console's paths.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use domain::inventory::Inventory;
use domain::{Scope, Service};
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use web::mirror::Mirror;
use web::{Caller, Json, Path, Problem, Query, scoped};

use crate::hub::{Hub, Reader};

#[derive(Clone)]
struct Floor {
    mirror: Mirror<Inventory>,
    hub: Arc<Hub>,
}

pub(crate) fn router(mirror: Mirror<Inventory>, hub: Arc<Hub>) -> Router {
    Router::new()
        .route("/remote-console/consoles", scoped(get(list_consoles), Scope::Read(Service::Console)))
        .route("/remote-console/consoles/{node}", scoped(get(attach), Scope::ConsoleAttach))
        .route("/remote-console/liveness", get(async || StatusCode::NO_CONTENT))
        .route("/remote-console/readiness", get(async || StatusCode::NO_CONTENT))
        .route("/readyz", get(show_readiness))
        .with_state(Floor { mirror, hub })
}

async fn show_readiness(State(floor): State<Floor>) -> Response {
    let consoles = floor.hub.list();
    let connected = consoles.iter().filter(|it| it.connected).count();
    let from = floor.mirror.freshness().to_string();
    let body = serde_json::json!({
        "ready": true, "inventory": from, "consoles": consoles.len(), "connected": connected
    });
    Json(body).into_response()
}

async fn list_consoles(State(floor): State<Floor>) -> Response {
    Json(serde_json::json!({ "consoles": floor.hub.list() })).into_response()
}

/// How to attach.
#[derive(Debug, Default, Deserialize)]
struct Attach {
    /// `interactive` (default) or `tail`.
    mode: Option<String>,
    /// Take the keyboard from whoever has it.
    #[serde(default)]
    force: bool,
}

async fn attach(
    State(floor): State<Floor>,
    caller: Caller,
    Path(word): Path<String>,
    Query(how): Query<Attach>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Problem> {
    let node = floor.mirror.read(|it| it.find(&word, &floor.hub.pattern).map(|it| it.id.clone()));
    let known = node.filter(|node| floor.hub.list().iter().any(|it| it.node == *node));
    let Some(node) = known else {
        let detail = format!("{word} has no console; it needs a BMC with an address in the inventory");
        return Err(Problem::own(StatusCode::NOT_FOUND, "no-console", detail));
    };
    let write = match how.mode.as_deref() {
        None | Some("interactive") => true,
        Some("tail") => false,
        Some(other) => {
            let detail = format!("{other:?} is no mode; there are interactive and tail");
            return Err(Problem::own(StatusCode::BAD_REQUEST, "bad-mode", detail));
        }
    };
    let (reader, writes) = floor.hub.console(&node).attach(write, how.force);
    tracing::info!(pilothouse_audit = 1, pilothouse_node = %node, "{} attached to {node}", caller.subject);
    Ok(upgrade.on_upgrade(move |socket| async move {
        if let Err(error) = converse(socket, reader, write && !writes).await {
            tracing::debug!(%error, "an attachment to {node} ended");
        }
    }))
}

async fn converse(mut socket: WebSocket, mut reader: Reader, refused: bool) -> Result<(), axum::Error> {
    if !reader.replay.is_empty() {
        socket.send(Message::Binary(std::mem::take(&mut reader.replay))).await?;
    }
    if refused {
        let notice = "\r\n<Pilothouse> someone else types here; you only read (force takes the keyboard)\r\n";
        socket.send(Message::Text(notice.into())).await?;
    }
    loop {
        tokio::select! {
            output = reader.output.recv() => match output {
                Ok(data) => socket.send(Message::Binary(data)).await?,
                Err(RecvError::Lagged(lost)) => {
                    let notice = format!("\r\n<Pilothouse> {lost} packets were too fast for you\r\n");
                    socket.send(Message::Text(notice.into())).await?;
                }
                Err(RecvError::Closed) => return Ok(()),
            },
            input = socket.recv() => {
                let data = match input {
                    None | Some(Ok(Message::Close(_))) => return Ok(()),
                    Some(Ok(Message::Binary(data))) => data,
                    Some(Ok(Message::Text(text))) => text.as_bytes().to_vec().into(),
                    Some(Ok(_)) => continue,
                    Some(Err(error)) => return Err(error),
                };
                type_in(&mut socket, &reader, &data).await?;
            }
        }
    }
}

/// Sends what was typed; an empty message is a serial break.
async fn type_in(socket: &mut WebSocket, reader: &Reader, data: &[u8]) -> Result<(), axum::Error> {
    let Some(line) = reader.line() else {
        let notice = "\r\n<Pilothouse> not sent: you do not hold the keyboard, or the console is lost\r\n";
        return socket.send(Message::Text(notice.into())).await;
    };
    let sent = if data.is_empty() { line.send_break().await } else { line.send(data).await };
    match sent {
        Ok(()) => Ok(()),
        Err(error) => socket.send(Message::Text(format!("\r\n<Pilothouse> not sent: {error}\r\n").into())).await,
    }
}
