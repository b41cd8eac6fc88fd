//! Routes and handlers: OpenCHAMI remote-console's paths.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use domain::inventory::Inventory;
use domain::{Scope, Service};
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use web::mirror::Mirror;
use web::{Caller, Json, Path, Problem, Query, scoped};

use crate::hub::{Attached, Hub, Reader};
use crate::model::MARK;

/// The longest message that is typed at once: a page that was pasted.
const TYPED_MAX: usize = 64 << 10;
/// Notices that wait for a reader.
const NOTICES_MAX: usize = 8;

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
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let interactive = match how.mode.as_deref() {
        None | Some("interactive") => true,
        Some("tail") => false,
        Some(other) => {
            let detail = format!("{other:?} is no mode; there are interactive and tail");
            return Err(Problem::own(StatusCode::BAD_REQUEST, "bad-mode", detail));
        }
    };
    let node = floor.mirror.read(|it| it.find(&word, &floor.hub.pattern).map(|it| it.id.clone()));
    let Some(console) = node.and_then(|it| floor.hub.find(&it)) else {
        let detail = format!("{word} has no console; it needs a BMC with an address in the inventory");
        return Err(Problem::own(StatusCode::NOT_FOUND, "no-console", detail));
    };
    let upgrade = upgrade.map_err(|it| Problem::new(it.status(), it.body_text()))?;
    let Some(attached) = console.attach(interactive, how.force) else {
        let detail =
            format!("{word} has too many readers; read /var/log/conman/console.{word}, or try later");
        return Err(Problem::own(StatusCode::TOO_MANY_REQUESTS, "too-many-readers", detail));
    };
    let (node, subject) = (console.node.clone(), caller.subject);
    let what = if interactive { "attached to" } else { "reads" };
    tracing::info!(pilothouse_audit = 1, pilothouse_node = %node, "{subject} {what} the console of {node}");
    let token = floor.hub.attachments.token();
    Ok(upgrade.max_message_size(TYPED_MAX).on_upgrade(async move |socket| {
        if let Err(error) = converse(socket, attached).await {
            tracing::debug!(%error, "an attachment to {node} ended");
        }
        drop(token);
    }))
}

/// Shows and types at the same time: a node that takes no characters still shows what it writes.
async fn converse(socket: WebSocket, (reader, replay, mut output): Attached) -> Result<(), axum::Error> {
    let (mut sink, mut stream) = socket.split();
    let (notices, mut noticed) = mpsc::channel(NOTICES_MAX);
    let typing = async {
        while let Some(message) = stream.next().await {
            let data = match message? {
                Message::Close(_) => break,
                Message::Binary(data) => data,
                Message::Text(text) if !text.is_empty() => text.into(),
                _ => continue,
            };
            if let Err(reason) = type_in(&reader, &data).await {
                // A reader who does not take notices needs no more of them.
                notices.try_send(notice(&format!("not sent: {reason}"))).ok();
            }
        }
        Ok(())
    };
    let showing = async {
        if !replay.is_empty() {
            sink.send(Message::Binary(replay)).await?;
        }
        if reader.is_refused() {
            sink.send(notice("someone else types here; you only read (force takes the keyboard)")).await?;
        }
        loop {
            let message = tokio::select! {
                output = output.recv() => match output {
                    Ok(data) => Message::Binary(data),
                    Err(RecvError::Lagged(lost)) => notice(&format!("{lost} packets were too fast for you")),
                    Err(RecvError::Closed) => break,
                },
                Some(notice) = noticed.recv() => notice,
            };
            sink.send(message).await?;
        }
        let reason = "the console is closed: the service stops, or the node left the inventory".into();
        sink.send(Message::Close(Some(CloseFrame { code: close_code::AWAY, reason }))).await
    };
    tokio::select! {
        left = typing => left,
        ended = showing => ended,
    }
}

/// Sends what was typed; an empty message is a serial break.
async fn type_in(reader: &Reader, data: &[u8]) -> Result<(), String> {
    let line = reader.line()?;
    let sent = if data.is_empty() { line.send_break().await } else { line.send(data).await };
    sent.map_err(|it| it.to_string())
}

fn notice(text: &str) -> Message {
    Message::Text(format!("\r\n{MARK} {text}\r\n").into())
}
