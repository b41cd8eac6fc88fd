//! Attachments over WebSockets. Messages to us are what is typed, an empty one is a serial break; a client
//! that asks for control says by text messages what else it wants.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::StatusCode;
use axum::response::Response;
use domain::Scope;
use futures_util::stream::SplitStream;
use futures_util::{SinkExt, StreamExt};
use nix::unistd::{Uid, User};
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use web::{Caller, Path, Problem, Query};

use super::Floor;
use crate::hub::{Attached, Hub, Notice, Place, Told, Who, Wish};
use crate::model::MARK;

/// The longest message that is typed at once: a page that was pasted.
const TYPED_MAX: usize = 64 << 10;
/// Notices that wait for a reader.
const NOTICES_MAX: usize = 8;
/// What a reader who comes later is shown of the past at most, bytes.
const PAST_BYTES: usize = 16 << 10;
/// The same for one who asks for lines.
const PAST_BYTES_MAX: usize = 1 << 20;
/// What is replayed of the log.
const REPLAY_BYTES: usize = 4096;

/// How to attach.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Attach {
    /// `interactive` (default) or `tail`.
    mode: Option<String>,
    /// Take the keyboard from whoever has it.
    #[serde(default)]
    force: bool,
    /// Type beside whoever has it.
    #[serde(default)]
    join: bool,
    /// So many lines of the past at most.
    lines: Option<usize>,
    /// Whether to go on after the past.
    follow: Option<bool>,
    /// Text messages are commands: break, force, join, monitor, replay, reset.
    #[serde(default)]
    control: bool,
    /// The terminal of the client, for others to see.
    tty: Option<String>,
}

/// What a session is, beside its place.
struct Session {
    hub: Arc<Hub>,
    who: Who,
    control: bool,
    may_reset: bool,
}

pub(super) async fn attach(
    State(floor): State<Floor>,
    caller: Caller,
    Path(word): Path<String>,
    Query(how): Query<Attach>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let wish = wish_of(&how)?;
    let node = floor.mirror.read(|it| it.find(&word, &floor.hub.pattern).map(|it| it.id.clone()));
    let Some(console) = node.and_then(|it| floor.hub.find(&it)) else {
        let detail = format!("{word} has no console; it needs a BMC with an address in the inventory");
        return Err(Problem::own(StatusCode::NOT_FOUND, "no-console", detail));
    };
    let upgrade = upgrade.map_err(|it| Problem::new(it.status(), it.body_text()))?;
    let who = who(&caller, how.tty.as_deref());
    let (name, sits) = (console.name(), who.clone());
    let past = if how.lines.is_some() { PAST_BYTES_MAX } else { PAST_BYTES };
    let node = console.node.clone();
    let sat = tokio::task::spawn_blocking(move || console.attach(sits, wish, past)).await;
    let Some(mut attached) = sat.ok().flatten() else {
        let detail =
            format!("{word} has too many readers; read /var/log/conman/console.{name}, or try later");
        return Err(Problem::own(StatusCode::TOO_MANY_REQUESTS, "too-many-readers", detail));
    };
    if let Some(lines) = how.lines {
        keep_lines(&mut attached.replay, lines);
    }
    let what = if wish == Wish::Read { "reads" } else { "attached to" };
    web::deed_at(&caller, &node, format_args!("{what} the console of {node}"));
    let token = floor.hub.attachments.token();
    let may_reset = caller.scopes.contains(&Scope::PowerControl);
    let session = Session { hub: Arc::clone(&floor.hub), who, control: how.control, may_reset };
    let follow = how.follow.unwrap_or(true);
    Ok(upgrade.max_message_size(TYPED_MAX).on_upgrade(async move |socket| {
        let ended =
            if follow { session.converse(socket, attached).await } else { show_past(socket, attached).await };
        if let Err(error) = ended {
            tracing::debug!(%error, "an attachment to {node} ended");
        }
        drop(token);
    }))
}

fn wish_of(how: &Attach) -> Result<Wish, Problem> {
    match how.mode.as_deref() {
        Some("tail") => Ok(Wish::Read),
        None | Some("interactive") if how.force => Ok(Wish::Force),
        None | Some("interactive") if how.join => Ok(Wish::Join),
        None | Some("interactive") => Ok(Wish::Write),
        Some(other) => {
            let detail = format!("{other:?} is no mode; there are interactive and tail");
            Err(Problem::own(StatusCode::BAD_REQUEST, "bad-mode", detail))
        }
    }
}

/// Who attaches, by the name of the uid where there is one.
fn who(caller: &Caller, tty: Option<&str>) -> Who {
    let by_uid = caller.subject.starts_with("uid:").then_some(caller.uid).flatten();
    let known = by_uid.and_then(|it| User::from_uid(Uid::from_raw(it)).ok().flatten());
    let user = known.map_or_else(|| caller.subject.clone(), |it| it.name);
    let host = caller.address.map_or_else(|| "localhost".to_owned(), |it| it.to_string());
    let plain = |it: &&str| it.len() <= 32 && it.chars().all(|it| it.is_ascii_alphanumeric() || it == '/');
    Who { user, host, tty: tty.filter(plain).map(str::to_owned) }
}

/// The last lines alone.
fn keep_lines(past: &mut Vec<u8>, lines: usize) {
    let body = past.strip_suffix(b"\n").unwrap_or(past);
    let mut ends = body.iter().enumerate().rev().filter(|it| *it.1 == b'\n').map(|it| it.0 + 1);
    let begin = if lines == 0 { Some(past.len()) } else { ends.nth(lines - 1) };
    past.drain(..begin.unwrap_or(0));
}

/// Shows what was, and ends.
async fn show_past(mut socket: WebSocket, attached: Attached) -> Result<(), axum::Error> {
    if !attached.replay.is_empty() {
        socket.send(Message::Binary(attached.replay.into())).await?;
    }
    let reason = "that is all there is".into();
    socket.send(Message::Close(Some(CloseFrame { code: close_code::NORMAL, reason }))).await
}

impl Session {
    /// Shows and types at the same time: a node that takes no characters still shows what it writes.
    async fn converse(self, socket: WebSocket, attached: Attached) -> Result<(), axum::Error> {
        let Attached { place, replay, mut output, mut told } = attached;
        let (mut sink, stream) = socket.split();
        let (notices, mut noticed) = mpsc::channel(NOTICES_MAX);
        let showing = async {
            if !replay.is_empty() {
                sink.send(Message::Binary(replay.into())).await?;
            }
            if place.is_refused() {
                sink.send(notice("someone else types here; you only read (force takes the keyboard)"))
                    .await?;
            }
            loop {
                let message = tokio::select! {
                    output = output.recv() => match output {
                        Ok(data) => Message::Binary(data),
                        Err(RecvError::Lagged(lost)) => {
                            notice(&format!("{lost} packets were too fast for you"))
                        }
                        Err(RecvError::Closed) => break,
                    },
                    told = told.recv() => match told {
                        Some(Told::Notice(Notice { ours, .. })) => notice(&ours),
                        // That it was stolen is in the notices before.
                        Some(Told::Stolen) => continue,
                        None => break,
                    },
                    Some(message) = noticed.recv() => message,
                };
                sink.send(message).await?;
            }
            let reason = "the console is closed: the service stops, or the node left the inventory".into();
            sink.send(Message::Close(Some(CloseFrame { code: close_code::AWAY, reason }))).await
        };
        tokio::select! {
            left = self.take_all(&place, stream, &notices) => left,
            ended = showing => ended,
        }
    }

    async fn take_all(
        &self,
        place: &Place,
        mut stream: SplitStream<WebSocket>,
        notices: &mpsc::Sender<Message>,
    ) -> Result<(), axum::Error> {
        while let Some(message) = stream.next().await {
            let data = match message? {
                Message::Close(_) => break,
                Message::Binary(data) => data,
                Message::Text(text) if self.control => {
                    self.obey(place, &text, notices).await;
                    continue;
                }
                Message::Text(text) if !text.is_empty() => text.into(),
                _ => continue,
            };
            if let Err(reason) = type_in(place, &data).await {
                // A reader who does not take notices needs no more of them.
                notices.try_send(notice(&format!("not sent: {reason}"))).ok();
            }
        }
        Ok(())
    }

    async fn obey(&self, place: &Place, word: &str, notices: &mpsc::Sender<Message>) {
        let said = match word {
            "break" => match type_in(place, &[]).await {
                Ok(()) => return,
                Err(reason) => format!("not sent: {reason}"),
            },
            "force" | "join" => return place.write(word == "force"),
            "monitor" => return place.read(),
            "reset" if !self.may_reset => "resetting takes the right power:control".to_owned(),
            "reset" if !place.mode().writes() => "only who types may reset; &F takes the keyboard".to_owned(),
            "reset" => return place.console().reset(&self.hub, &self.who),
            "replay" => {
                let console = Arc::clone(place.console());
                let read = tokio::task::spawn_blocking(move || console.last_text(REPLAY_BYTES)).await;
                let text = read.ok().flatten().unwrap_or_default();
                let text = String::from_utf8_lossy(&text).replace('\n', "\r\n");
                let all = format!("\r\n{MARK} the end of the log\r\n{text}\r\n{MARK} now\r\n");
                notices.try_send(Message::Text(all.into())).ok(); // As above.
                return;
            }
            other => format!("{other:?} is no command"),
        };
        notices.try_send(notice(&said)).ok(); // As above.
    }
}

/// Sends what was typed; nothing at all is a serial break.
async fn type_in(place: &Place, data: &[u8]) -> Result<(), String> {
    let line = place.line()?;
    if data.is_empty() { line.send_break().await } else { line.send(data).await }
}

fn notice(text: &str) -> Message {
    Message::Text(format!("\r\n{MARK} {text}\r\n").into())
}

#[cfg(test)]
mod tests {
    use super::keep_lines;

    #[test]
    fn the_last_lines_are_kept() {
        for (lines, kept) in [(0, ""), (1, "c\r\n"), (2, "b\r\nc\r\n"), (9, "a\r\nb\r\nc\r\n")] {
            let mut past = b"a\r\nb\r\nc\r\n".to_vec();
            keep_lines(&mut past, lines);
            assert_eq!(past, kept.as_bytes(), "{lines}");
        }
        let mut past = b"a\nlogin: ".to_vec();
        keep_lines(&mut past, 1);
        assert_eq!(past, b"login: ");
    }
}
