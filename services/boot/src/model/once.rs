//! What a node boots the next time alone.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Settings;

/// The kind of these rows in the change feed; their id is the node's xname.
pub(crate) const ONCE: &str = "bootonce";

/// What a node boots the next time alone. It holds until the node says that it has loaded everything and is about to
/// start the kernel: whoever fails before that, is switched off or comes back gets it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Once {
    /// By which the node says that it is done; another wish for the same node has another.
    pub(crate) id: Uuid,
    pub(crate) settings: Arc<Settings>,
}
