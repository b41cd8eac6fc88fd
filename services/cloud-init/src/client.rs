//! How others ask cloud-init.

use std::path::Path;

use axum::http::{Method, StatusCode};
use domain::Xname;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use web::ClientError;

/// What a node would be given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rendered {
    /// The node, if the inventory knows it.
    #[schema(value_type = Option<String>)]
    pub node: Option<Xname>,
    /// Which generation of the API answers: `legacy` or `current`.
    pub api: String,
    /// meta-data as YAML.
    pub meta_data: String,
    /// user-data as it is fetched.
    pub user_data: String,
    /// vendor-data as it is fetched.
    pub vendor_data: String,
    /// The names of the entries or groups it came from, the last one winning.
    pub sources: Vec<String>,
    /// Where single values come from.
    pub origins: Vec<Origin>,
    /// The files of the groups, by the present API.
    pub files: Vec<RenderedFile>,
    /// What one may not expect.
    pub hints: Vec<String>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Origin {
    /// `user-data`, `meta-data` or `vendor-data`.
    pub part: String,
    /// The value's key.
    pub key: String,
    /// The entries it came from; of several, the last one won or all were joined.
    pub from: Vec<String>,
}

/// The file of a group as one node meets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RenderedFile {
    /// The group.
    pub group: String,
    /// Where the node fetches it.
    pub url: String,
    /// What it fetches.
    pub content: String,
    /// What the node makes of it; none if it is no template, or cannot be filled in.
    pub rendered: Option<String>,
    /// Why it cannot be filled in: group, line and variable.
    pub fault: Option<String>,
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
