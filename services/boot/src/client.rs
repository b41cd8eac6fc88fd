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
    /// The image it boots, with its digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Why that entry: `once`, `mac`, `host`, `nid`, `group:<label>`, `default`, `unknown:<arch>`, `boot.default`,
    /// `boot.discovery`, `none`.
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

/// What a node boots the next time alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OnceEntry {
    /// The node.
    #[schema(value_type = String)]
    pub node: Xname,
    /// The kernel's URL, or `local-disk`.
    pub kernel: String,
    /// The initrd's URL; empty for none.
    pub initrd: String,
    /// The kernel's command line.
    pub params: String,
    /// The image with its digest; empty if kernel and initrd were named themselves.
    pub image: String,
}

/// What nodes are to boot once; what is not named is as they would boot now.
#[derive(Clone, Debug, Default, Serialize)]
pub struct OnceWish {
    /// Names, xnames or MAC addresses.
    pub nodes: Vec<String>,
    /// The kernel's URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// The initrd's URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initrd: Option<String>,
    /// The kernel's command line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<String>,
    /// An image in the place of kernel and initrd.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The node's own disk in the place of all of them.
    pub local_disk: bool,
}

/// What became of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OnceOutcome {
    /// As it was named.
    pub node: String,
    /// Whether it is done.
    pub ok: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What became of each.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct OnceResults {
    /// In the order of the request.
    pub results: Vec<OnceOutcome>,
}

/// Which nodes boot has heard of.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct SeenNodes {
    /// When each last asked for a script or said that it is done, in seconds since 1970.
    #[schema(value_type = std::collections::BTreeMap<String, i64>)]
    pub nodes: std::collections::BTreeMap<Xname, i64>,
}

/// What `PUT /pilothouse/v1/parameters` takes.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ImageWish {
    /// Host words: xnames, node names, group labels, `Default`, `Unknown-<arch>`.
    pub hosts: Vec<String>,
    /// MAC addresses.
    pub macs: Vec<String>,
    /// Node numbers.
    #[schema(value_type = Vec<i32>)]
    pub nids: Vec<i64>,
    /// `name:tag` or `sha256:…`.
    pub image: String,
    /// The kernel's command line; left out: what the target has, with the image's root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<String>,
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

    /// Makes targets boot an image; what it stands for now is what they boot until they are set again.
    ///
    /// # Errors
    ///
    /// See [`ClientError`]; 404 if there is no such image.
    pub async fn replace_image(&self, wish: &ImageWish) -> Result<(), ClientError> {
        self.0.text(Method::PUT, "/pilothouse/v1/parameters", Some(wish)).await.map(drop)
    }

    /// What nodes boot the next time alone.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn once(&self) -> Result<Vec<OnceEntry>, ClientError> {
        self.0.get("/pilothouse/v1/once").await
    }

    /// Has nodes boot something else the next time alone.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn replace_once(&self, wish: &OnceWish) -> Result<Vec<OnceOutcome>, ClientError> {
        let done: OnceResults = self.0.call(Method::PUT, "/pilothouse/v1/once", Some(wish)).await?;
        Ok(done.results)
    }

    /// Takes that back.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn remove_once(&self, nodes: &[String]) -> Result<Vec<OnceOutcome>, ClientError> {
        let body = serde_json::json!({ "nodes": nodes });
        let done: OnceResults = self.0.call(Method::DELETE, "/pilothouse/v1/once", Some(&body)).await?;
        Ok(done.results)
    }

    /// When each node was last heard of, since the service was started.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn seen(&self) -> Result<SeenNodes, ClientError> {
        self.0.get("/pilothouse/v1/seen").await
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
