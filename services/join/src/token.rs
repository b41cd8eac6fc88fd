//! Tokens of nodes, made by auth, and how giving one is told.

use std::net::IpAddr;

use axum::http::Method;
use daemon::BootEvent;
use domain::{BootStage, Service, Xname};
use serde::{Deserialize, Serialize};
use serde_json::json;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::Join;
use crate::error::Error;

/// A node's token, once.
#[derive(Clone, Deserialize, Serialize, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Token {
    pub(crate) access_token: String,
    #[serde(default = "bearer")]
    token_type: String,
    #[serde(default)]
    expires_in: u64,
}

fn bearer() -> String {
    "Bearer".to_owned()
}

impl Join {
    /// A token that reads the node's own secure data, for some minutes.
    pub(crate) async fn make_token(&self, node: &Xname) -> Result<Token, Error> {
        let seconds = self.config.token_life.0.as_secs();
        let body = json!({"xname": node, "seconds": seconds});
        self.auth.call(Method::POST, "/pilothouse/v1/node-tokens", Some(&body)).await.map_err(Error::Auth)
    }

    /// Ends the tokens that a node was given: one of them may be another machine's. If auth cannot, they end by
    /// themselves within minutes.
    pub(crate) async fn end_tokens(&self, node: &Xname) {
        let path = format!("/pilothouse/v1/node-tokens/{node}");
        if let Err(error) = self.auth.call::<()>(Method::DELETE, &path, None::<&()>).await {
            tracing::warn!("the tokens of {node} go on until they run out: auth cannot end them: {error}");
        }
    }

    /// Tells that a node has its token.
    pub(crate) fn tell(&self, node: &Xname, address: IpAddr, way: &str) {
        let detail = format!("{node} was given its token {way}");
        BootEvent::new(Service::Join, BootStage::Join, detail).node(Some(node)).ip(address).send();
        self.clear_issues(node);
    }
}
