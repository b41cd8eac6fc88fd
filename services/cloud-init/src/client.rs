//! How others ask cloud-init.

use std::path::Path;

use axum::http::{Method, StatusCode};
use domain::Xname;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use web::ClientError;

/// What a node would be given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rendered {
    /// The node, if the inventory knows it.
    pub node: Option<Xname>,
    /// meta-data as YAML.
    pub meta_data: String,
    /// user-data, `#cloud-config` and YAML.
    pub user_data: String,
    /// vendor-data as YAML.
    pub vendor_data: String,
    /// The names of the entries it came from, the last one winning.
    pub sources: Vec<String>,
}

/// The parts of an entry; none: stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Parts {
    /// What becomes user-data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub userdata: Option<Map<String, Value>>,
    /// What becomes meta-data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
    /// What becomes vendor-data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendordata: Option<Map<String, Value>>,
}

/// A client of cloud-init.
#[derive(Clone, Debug)]
pub struct Client(web::Client);

impl Client {
    /// A client of the service on this socket.
    #[must_use]
    pub fn unix(socket: impl AsRef<Path>) -> Self {
        Self(web::Client::unix(socket))
    }

    /// What an xname, a node's name, a MAC address or a group would be given.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn render(&self, word: &str) -> Result<Rendered, ClientError> {
        self.0.get(&format!("/pilothouse/v1/render/{}", escape(word))).await
    }

    /// The entry of a group or node in the open store; None if there is none. A node's is merged with its
    /// groups'.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn find(&self, name: &str) -> Result<Option<Parts>, ClientError> {
        #[derive(Deserialize)]
        struct Shown {
            #[serde(rename = "cloud-init")]
            parts: Parts,
        }
        match self.0.get::<Shown>(&format!("/cloud-init/{}", escape(name))).await {
            Ok(shown) => Ok(Some(shown.parts)),
            Err(ClientError::Status { status, .. }) if status == StatusCode::NOT_FOUND => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes or changes an entry of the open store; each part that is given replaces that part whole.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn put(&self, name: &str, parts: &Parts) -> Result<(), ClientError> {
        let body = json!({"name": name, "cloud-init": parts});
        let replaced = self.0.text(Method::PUT, &format!("/cloud-init/{}", escape(name)), Some(&body)).await;
        match replaced {
            Err(ClientError::Status { status, .. }) if status == StatusCode::NOT_FOUND => {
                self.0.text(Method::POST, "/cloud-init", Some(&body)).await.map(drop)
            }
            other => other.map(drop),
        }
    }
}

fn escape(word: &str) -> String {
    utf8_percent_encode(word, NON_ALPHANUMERIC).to_string()
}
