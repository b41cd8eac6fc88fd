//! Where other services and the CLI ask the inventory, beside the SMD API and the feed.

use axum::http::Method;
use domain::inventory::{Endpoint, Lock};
use domain::{MacAddr, Nid, Xname};
use serde::{Deserialize, Serialize};
use web::{Client, ClientError};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A client of the inventory.
#[derive(Clone, Debug)]
pub struct InventoryClient(Client);

/// A node: what it is called, where it is, who controls it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its xname.
    pub xname: Xname,
    /// Its name, or what the pattern makes of its number.
    pub name: String,
    /// Its number.
    pub nid: Option<Nid>,
    /// The labels of its groups in order.
    pub groups: Vec<String>,
    /// Its network cards in order of address.
    pub interfaces: Vec<NodeInterface>,
    /// Its controller, if one is known.
    pub bmc: Option<NodeBmc>,
    /// `On`, `Off`, `Ready` …
    pub state: Option<String>,
    /// Whether it takes part.
    pub enabled: bool,
    /// Why it is to be left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<Lock>,
}

/// A network card of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInterface {
    /// Its address.
    pub mac: MacAddr,
    /// IP addresses as they were given.
    pub ips: Vec<String>,
}

/// The controller of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeBmc {
    /// Its xname.
    pub xname: Xname,
    /// Where it answers.
    pub address: Option<String>,
}

/// What is to change of a node; what is left out stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodePatch {
    /// Another name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Another number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nid: Option<Nid>,
    /// Whether it takes part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// The groups it is in from now on, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
}

/// Why a node is to be left alone.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockRequest {
    /// One line for whoever meets the lock.
    pub reason: String,
}

/// Another board in a node's place: the node keeps its xname, name, number, groups and addresses.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replacement {
    /// The network cards that were exchanged.
    #[serde(default)]
    pub interfaces: Vec<ReplacedInterface>,
    /// The controller's new MAC address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bmc_mac: Option<MacAddr>,
    /// The controller's new IP address or host name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bmc_address: Option<String>,
}

/// A network card in another's place.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplacedInterface {
    /// The card that is gone; none: the node's only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<MacAddr>,
    /// The card that is there now.
    pub new: MacAddr,
}

/// What an import changed, or would change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// Nodes that were not there.
    pub added: Vec<Xname>,
    /// Nodes that were there otherwise.
    pub changed: Vec<ChangedNode>,
    /// How many were there just so.
    pub unchanged: usize,
    /// Whether nothing was stored.
    pub dry_run: bool,
}

/// A node that an import changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedNode {
    /// Which.
    pub xname: Xname,
    /// How.
    pub fields: Vec<FieldChange>,
}

/// A field before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// `name`, `nid`, `groups`, `interfaces`, `bmc`.
    pub field: String,
    /// Before.
    pub from: Option<String>,
    /// After.
    pub to: Option<String>,
}

/// What opens a controller. Zeroed when dropped; never shown.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// The user's name.
    pub user: String,
    /// The password.
    pub password: String,
    /// The BMC key of IPMI 2.0 (section 13.28), if the site set one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kg: Option<String>,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential(…)")
    }
}

impl InventoryClient {
    /// A client over this one's socket, with its token.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self(client)
    }

    /// Every controller in order of xname.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn list_bmcs(&self) -> Result<Vec<Endpoint>, ClientError> {
        self.0.get("/pilothouse/v1/bmcs").await
    }

    /// What opens a controller; for power, console and discovery alone. None: nothing is stored for it.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn find_credential(&self, bmc: &Xname) -> Result<Option<Credential>, ClientError> {
        match self.0.get(&format!("/pilothouse/v1/bmcs/{bmc}/credential")).await {
            Ok(credential) => Ok(Some(credential)),
            Err(ClientError::Status { status, .. }) if status.as_u16() == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What opens a controller that the inventory may not have yet: its own, that of its class, the default; for
    /// discovery alone. A `place` that is no controller's has none of its own.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn find_account(
        &self,
        place: &Xname,
        class: Option<&str>,
    ) -> Result<Option<Credential>, ClientError> {
        let class = class.map(|it| format!("?class={it}")).unwrap_or_default();
        match self.0.get(&format!("/pilothouse/v1/bmcs/{place}/credential{class}")).await {
            Ok(credential) => Ok(Some(credential)),
            Err(ClientError::Status { status, .. }) if status.as_u16() == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Stores what opens this controller from now on; for power alone, which has set and tried it.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn replace_credential(&self, bmc: &Xname, credential: &Credential) -> Result<(), ClientError> {
        let path = format!("/pilothouse/v1/bmcs/{bmc}/credential");
        self.0.call(Method::PUT, &path, Some(credential)).await
    }

    /// Stores what opens a controller (an xname), those of a class (`class:<name>`) or all others
    /// (`default`).
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn put_credential(&self, scope: &str, credential: &Credential) -> Result<(), ClientError> {
        let path = format!("/pilothouse/v1/bmc-credentials/{scope}");
        self.0.call(Method::PUT, &path, Some(credential)).await
    }

    /// Imports a nodes.yaml, or says what that would change.
    ///
    /// # Errors
    ///
    /// See [`ClientError`]; a file that is wrong is refused whole, with its lines in the text.
    pub async fn import_nodes(&self, yaml: &str, dry_run: bool) -> Result<Imported, ClientError> {
        let path = format!("/pilothouse/v1/nodes?dry_run={dry_run}");
        let answer = self.0.bytes(Method::PUT, &path, yaml.to_owned().into()).await?;
        serde_json::from_slice(&answer).map_err(|it| ClientError::Body(path.into(), it))
    }

    /// Every node in order of xname.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn list_nodes(&self) -> Result<Vec<Node>, ClientError> {
        self.0.get("/pilothouse/v1/nodes").await
    }

    /// The node of an xname or a name.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn show_node(&self, word: &str) -> Result<Node, ClientError> {
        self.0.get(&format!("/pilothouse/v1/nodes/{word}")).await
    }

    /// Changes a node.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn set_node(&self, word: &str, patch: &NodePatch) -> Result<Node, ClientError> {
        self.0.call(Method::PATCH, &format!("/pilothouse/v1/nodes/{word}"), Some(patch)).await
    }

    /// Locks a node: power commands and boot changes that name it are refused until it is unlocked.
    ///
    /// # Errors
    ///
    /// See [`ClientError`]; a node that is locked already says by whom.
    pub async fn lock_node(&self, word: &str, reason: &str) -> Result<Node, ClientError> {
        let body = LockRequest { reason: reason.to_owned() };
        self.0.call(Method::PUT, &format!("/pilothouse/v1/nodes/{word}/lock"), Some(&body)).await
    }

    /// Takes a node's lock away.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn unlock_node(&self, word: &str) -> Result<Node, ClientError> {
        self.0.call(Method::DELETE, &format!("/pilothouse/v1/nodes/{word}/lock"), None::<&()>).await
    }

    /// Puts another board in a node's place.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn replace_board(&self, word: &str, new: &Replacement) -> Result<Node, ClientError> {
        self.0.call(Method::PUT, &format!("/pilothouse/v1/nodes/{word}/board"), Some(new)).await
    }

    /// Removes a node with its interfaces and memberships, and its controller if that has no other.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn remove_node(&self, word: &str) -> Result<(), ClientError> {
        self.0.call(Method::DELETE, &format!("/pilothouse/v1/nodes/{word}"), None::<&()>).await
    }
}
