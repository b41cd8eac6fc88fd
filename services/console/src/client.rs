//! Where the CLI attaches to a console.

use std::path::Path;

use serde::Deserialize;
use tokio::net::UnixStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, client::IntoClientRequest};
use web::{Client, ClientError};

/// An attachment: messages are what the console writes and what is typed.
pub type Attachment = WebSocketStream<UnixStream>;

/// What is known of a console.
#[derive(Clone, Debug, Deserialize)]
pub struct ConsoleStatus {
    /// The node.
    pub node: domain::Xname,
    /// Whether its BMC's line is up.
    pub connected: bool,
    /// Why not.
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

/// Attaches to a node's console over the service's socket.
///
/// # Errors
///
/// See [`AttachError`].
pub async fn attach(socket: &Path, node: &str, mode: &str, force: bool) -> Result<Attachment, AttachError> {
    let plain = |it: char| it.is_ascii_alphanumeric() || "-_.".contains(it);
    if node.is_empty() || !node.chars().all(plain) {
        return Err(AttachError::Refused(format!(
            "no node is called {node:?}; `pilotctl nodes list` shows them"
        )));
    }
    let stream = UnixStream::connect(socket).await.map_err(AttachError::Unreachable)?;
    let broken = |error| AttachError::Broken(Box::new(error));
    let path = format!("ws://localhost/remote-console/consoles/{node}?mode={mode}&force={force}");
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
