//! How others ask boot.

use std::path::Path;

use axum::http::Method;
use domain::Xname;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use web::ClientError;

pub use crate::wire::Entry;

/// What a machine would be answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// The node, if the inventory knows it.
    pub node: Option<Xname>,
    /// The script's text.
    pub script: String,
    /// `mac`, `host`, `nid`, `group:<label>`, `default`, `none`.
    pub source: String,
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
        self.0.get(&format!("/pilothouse/v1/script/{}", escape(word))).await
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
}

fn escape(word: &str) -> String {
    utf8_percent_encode(word, NON_ALPHANUMERIC).to_string()
}
