//! Where the CLI attaches to a console, and searches logs.

use std::path::Path;

use axum::http::Method;
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, client::IntoClientRequest};
use web::{Client, ClientError, Lines};

/// An attachment: messages are what the console writes and what is typed.
pub type Attachment = WebSocketStream<UnixStream>;

/// What is known of a console.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConsoleStatus {
    /// The node.
    pub node: domain::Xname,
    /// What it is called.
    #[serde(default)]
    pub name: String,
    /// Whether its line is up.
    pub connected: bool,
    /// How many read.
    #[serde(default)]
    pub readers: usize,
    /// Whether somebody types.
    #[serde(default)]
    pub written: bool,
    /// Why the line is not up.
    pub trouble: Option<String>,
}

#[derive(Debug, Deserialize)]
struct List {
    consoles: Vec<ConsoleStatus>,
}

/// Every console.
///
/// # Errors
///
/// If the service does not answer.
pub async fn list(client: &Client) -> Result<Vec<ConsoleStatus>, ClientError> {
    Ok(client.get::<List>("/remote-console/consoles").await?.consoles)
}

/// Why an attachment could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Nobody answers.
    #[error("the console service does not answer; systemctl status pilothouse-console")]
    Unreachable(#[source] std::io::Error),
    /// The service refuses.
    #[error("{0}")]
    Refused(String),
    /// The connection broke off.
    #[error("the attachment broke off")]
    Broken(#[source] Box<tungstenite::Error>),
}

/// How to attach.
#[derive(Clone, Debug, Default)]
pub struct How {
    /// Only reads.
    pub tail: bool,
    /// Takes the keyboard from whoever has it.
    pub force: bool,
    /// Types beside whoever has it.
    pub join: bool,
    /// Text messages are commands: break, force, join, monitor, replay, reset. What is typed is binary then.
    pub control: bool,
    /// So many lines of the past at most; none: some kilobytes.
    pub lines: Option<usize>,
    /// The terminal, for others to see.
    pub tty: Option<String>,
}

/// Attaches to a node's console over the service's socket.
///
/// # Errors
///
/// See [`AttachError`].
pub async fn attach(socket: &Path, node: &str, how: &How) -> Result<Attachment, AttachError> {
    let plain = |it: char| it.is_ascii_alphanumeric() || "-_.".contains(it);
    if node.is_empty() || !node.chars().all(plain) {
        return Err(AttachError::Refused(format!(
            "no node is called {node:?}; `pilotctl nodes list` shows them"
        )));
    }
    let stream = UnixStream::connect(socket).await.map_err(AttachError::Unreachable)?;
    let broken = |error| AttachError::Broken(Box::new(error));
    let path = format!("ws://localhost/remote-console/consoles/{node}?{}", query(how));
    let request = path.into_client_request().map_err(broken)?;
    match tokio_tungstenite::client_async(request, stream).await {
        Ok((attachment, _)) => Ok(attachment),
        Err(tungstenite::Error::Http(response)) => {
            let body = response.body().as_deref().unwrap_or_default();
            let problem: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
            let text = || format!("{} {}", response.status(), String::from_utf8_lossy(body).trim());
            Err(AttachError::Refused(problem["detail"].as_str().map_or_else(text, str::to_owned)))
        }
        Err(error) => Err(broken(error)),
    }
}

fn query(how: &How) -> String {
    let How { tail, force, join, control, lines, tty } = how;
    let mode = if *tail { "tail" } else { "interactive" };
    let mut query = format!("mode={mode}&force={force}&join={join}&control={control}");
    if let Some(lines) = lines {
        query += &format!("&lines={lines}");
    }
    if let Some(tty) = tty {
        let plain = |it: &char| it.is_ascii_alphanumeric() || *it == '/';
        query += &format!("&tty={}", tty.chars().filter(plain).collect::<String>());
    }
    query
}

/// What to look for in logs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchRequest {
    /// A regular expression; it is matched with each line, without its time.
    pub pattern: String,
    /// Whether letters match in either case.
    #[serde(default)]
    pub ignore_case: bool,
    /// Lines of the last so many seconds; none: all there are.
    #[serde(default)]
    pub since_s: Option<u64>,
    /// Names or lists of nodes; empty: all.
    #[serde(default)]
    pub nodes: String,
    /// So many lines at most; none: 10,000.
    #[serde(default)]
    pub max: Option<usize>,
}

/// A line that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The name of the console.
    pub node: String,
    /// The line, with its time.
    pub line: String,
}

/// What is to be said of a whole search.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchEnd {
    /// Lines found.
    pub found: usize,
    /// There may be more of them.
    pub more: bool,
    /// Logs that could not be read, and why.
    pub failed: Vec<String>,
}

/// One line of a search's answer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// A line was found.
    Found(Found),
    /// There are no more.
    End {
        /// What is to be said of all.
        end: SearchEnd,
    },
}

/// Looks for lines in logs.
///
/// # Errors
///
/// If the service does not answer, or refuses.
pub async fn search(client: &Client, request: &SearchRequest) -> Result<Lines<Line>, ClientError> {
    client.lines(Method::POST, "/pilothouse/v1/search", Some(request)).await
}
