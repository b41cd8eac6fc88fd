//! How others ask boot.

use std::path::Path;

use axum::http::Method;
use domain::Xname;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use web::ClientError;

pub use crate::model::{Architecture, Variant};
pub use crate::wire::Entry;

/// What a machine would be answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Script {
    /// The node, if the inventory knows it.
    #[schema(value_type = Option<String>)]
    pub node: Option<Xname>,
    /// The script's text.
    pub script: String,
    /// Why that entry: `mac`, `host`, `nid`, `group:<label>`, `default`, `unknown:<arch>`, `none`.
    pub source: String,
    /// Whose entry it is: `mac:ec:e7:a7:05:a1:fc`, `host:compute`, `nid:3`.
    #[serde(default)]
    pub target: Option<String>,
    /// Everything that could decide, in order of precedence.
    #[serde(default)]
    pub considered: Vec<Considered>,
}

/// A target that could decide what a machine boots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Considered {
    /// `mac:ec:e7:a7:05:a1:fc`, `host:compute`, `nid:3`.
    pub target: String,
    /// What it is to the machine: `mac`, `host`, `nid`, `group:<label>`, `default`, `unknown:<arch>`.
    pub source: String,
    /// The kernel of its entry; none if it has no entry.
    pub kernel: Option<String>,
    /// Whether it decided.
    pub used: bool,
}

/// A client of boot.
#[derive(Clone, Debug)]
pub struct Client(web::Client);

impl Client {
    /// A client of the service on this socket.
    #[must_use]
    pub fn unix(socket: impl AsRef<Path>) -> Self {
        Self(web::Client::unix(socket))
    }

    /// The script of a MAC address, an xname or a node's name.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn script(&self, word: &str) -> Result<Script, ClientError> {
        self.script_of(word, None).await
    }

    /// The same for a machine that has said its architecture, by iPXE's word.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn script_of(&self, word: &str, arch: Option<Architecture>) -> Result<Script, ClientError> {
        let arch = arch.map(|it| format!("?arch={it}")).unwrap_or_default();
        self.0.get(&format!("/pilothouse/v1/script/{}{arch}", escape(word))).await
    }

    /// Every entry, also those of groups, names and `Default`.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn entries(&self) -> Result<Vec<Entry>, ClientError> {
        self.0.get("/pilothouse/v1/parameters").await
    }

    /// The entry of one host word: an xname, a node's name, a group's label, `Default`. None if it has none.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn find(&self, host: &str) -> Result<Option<Entry>, ClientError> {
        let found: Result<Vec<Entry>, _> =
            self.0.get(&format!("/boot/v1/bootparameters?name={}", escape(host))).await;
        match found {
            Ok(entries) => Ok(entries.into_iter().next()),
            Err(ClientError::Status { status, .. }) if status == axum::http::StatusCode::NOT_FOUND => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Makes or changes what the entry's targets boot; empty members stay as they are.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn replace(&self, entry: &Entry) -> Result<(), ClientError> {
        self.0.text(Method::PUT, "/boot/v1/bootparameters", Some(entry)).await.map(drop)
    }

    /// Takes away what machines of an architecture boot instead.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn remove_architecture(
        &self,
        targets: &Entry,
        architecture: Architecture,
    ) -> Result<(), ClientError> {
        let Entry { hosts, macs, nids, .. } = targets;
        let body = serde_json::json!({
            "hosts": hosts, "macs": macs, "nids": nids, "architectures": {architecture.name(): null},
        });
        self.0.text(Method::PUT, "/boot/v1/bootparameters", Some(&body)).await.map(drop)
    }

    /// Takes the entry's targets away, whatever they boot; fails if none of them has anything.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn remove(&self, targets: &Entry) -> Result<(), ClientError> {
        self.0.text(Method::DELETE, "/boot/v1/bootparameters", Some(targets)).await.map(drop)
    }
}

fn escape(word: &str) -> String {
    utf8_percent_encode(word, NON_ALPHANUMERIC).to_string()
}
