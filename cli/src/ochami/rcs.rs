//! `ochami rcs`: consoles of nodes.

use std::io::Write;

use clap::Subcommand;
use futures_util::{SinkExt, StreamExt};
use http::header;
use tokio::io::AsyncReadExt;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};

use super::Session;
use super::config::Service;
use super::error::{Done, Stop};
use super::http::{Ask, chain, segment};
use super::output::Output;
use super::tls::{Stream, Trust};
use crate::console::Raw;

/// Ctrl-C ends the attachment.
const END: u8 = 3;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Consoles
    #[command(subcommand)]
    Console(Console),
    /// The service itself
    #[command(subcommand)]
    Service(ServiceCommand),
}

#[derive(Debug, Subcommand)]
pub(super) enum Console {
    /// Attach to a node's console; Ctrl-C ends
    Connect { node: String },
    /// Show all consoles
    List(Output),
    /// Show what a console has written
    Show {
        node: String,
        /// Go on as more is written
        #[arg(long, short)]
        follow: bool,
        /// How many lines of the past
        #[arg(long, short = 'n', default_value_t = 100)]
        lines: u32,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ServiceCommand {
    /// Whether it is well
    Status(Output),
}

pub(super) async fn run(session: &Session, command: Command) -> Done {
    match command {
        Command::Service(ServiceCommand::Status(output)) => {
            let reply = session.client(Service::Rcs)?.ask(Ask::get("/health")).await?;
            session.print_line(reply.json()?, output)
        }
        Command::Console(Console::List(output)) => {
            let mut found = session.client(Service::Rcs)?.ask(Ask::get("/consoles")).await?.json()?;
            session.print_line(found["consoles"].take(), output)
        }
        Command::Console(Console::Show { node, follow, lines }) => {
            let query = format!("mode=tail&follow={follow}&lines={lines}");
            read(attach(session, &node, &query).await?).await
        }
        Command::Console(Console::Connect { node }) => {
            converse(attach(session, &node, "mode=interactive").await?).await
        }
    }
}

async fn attach(session: &Session, node: &str, query: &str) -> Result<WebSocketStream<Stream>, Stop> {
    let client = session.client(Service::Rcs)?;
    let base = &client.base;
    let authority = base.authority().map(http::uri::Authority::as_str).unwrap_or_default();
    let path = format!("{}/consoles/{}?{query}", base.path().trim_end_matches('/'), segment(node));
    let scheme = if base.scheme_str() == Some("https") { "wss" } else { "ws" };
    let fail = |it: tungstenite::Error| Stop::failed(format!("no console of {node}")).because(chain(&it));
    let mut request = format!("{scheme}://{authority}{path}").into_client_request().map_err(fail)?;
    if let Some(token) = &client.token {
        request.headers_mut().insert(header::AUTHORIZATION, token.header()?);
    }
    let trust = Trust { file: session.global.cacert.clone(), anyone: session.global.insecure };
    let stream = trust.connect(base).await?;
    match tokio_tungstenite::client_async(request, stream).await {
        Ok((attachment, _)) => Ok(attachment),
        Err(tungstenite::Error::Http(response)) => {
            let body = response.body().as_deref().unwrap_or_default();
            let cause = format!("{} {}", response.status(), String::from_utf8_lossy(body).trim());
            Err(Stop::failed(format!("no console of {node}")).because(cause.trim()))
        }
        Err(error) => Err(fail(error)),
    }
}

/// Prints what comes until the service ends it.
async fn read(mut attachment: WebSocketStream<Stream>) -> Done {
    while let Some(message) = attachment.next().await {
        if !show(message)? {
            break;
        }
    }
    Ok(())
}

/// Prints a message; whether more may come.
fn show(message: Result<Message, tungstenite::Error>) -> Result<bool, Stop> {
    match message {
        Ok(Message::Close(_)) => Ok(false),
        Ok(message @ (Message::Text(_) | Message::Binary(_))) => {
            let mut output = std::io::stdout();
            let written = output.write_all(&message.into_data()).and_then(|()| output.flush());
            written.map_err(|it| Stop::failed("cannot write to standard output").because(it))?;
            Ok(true)
        }
        Ok(_) => Ok(true),
        Err(error) => Err(Stop::failed("the console's connection broke off").because(chain(&error))),
    }
}

async fn converse(mut attachment: WebSocketStream<Stream>) -> Done {
    let raw = Raw::start().map_err(|it| Stop::failed(it.message))?;
    let typed_raw = raw.is_some();
    let mut input = tokio::io::stdin();
    let mut buffer = [0; 1024];
    let mut open = true;
    loop {
        tokio::select! {
            message = attachment.next() => match message {
                Some(message) => if !show(message)? { break },
                None => break,
            },
            typed = input.read(&mut buffer), if open => {
                let count = typed.map_err(|it| Stop::failed("cannot read what is typed").because(it))?;
                // The end of a pipe ends typing, not reading.
                open = count > 0;
                let keys = &buffer[..count];
                let end = keys.iter().position(|it| typed_raw && *it == END);
                let keys = &keys[..end.unwrap_or(count)];
                if !keys.is_empty() {
                    let text = Message::Binary(keys.to_vec().into());
                    attachment.send(text).await.map_err(|it| Stop::failed("not sent").because(chain(&it)))?;
                }
                if end.is_some() {
                    break;
                }
            }
        }
    }
    drop(raw);
    // Whoever is gone already needs no farewell.
    match attachment.close(None).await {
        Ok(()) | Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed) => Ok(()),
        Err(error) => {
            super::log::debug(format!("the end was not heard: {error}"));
            Ok(())
        }
    }
}
