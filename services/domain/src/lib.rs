//! The nouns of the house: xname, MAC address, NID, service, scope, boot stage, port, the configuration
//! document, and the inventory as one view. Pure: no async, no files, no SQL.

pub mod document;
pub mod event;
pub mod feed;
mod hostlist;
pub mod inventory;
mod mac;
mod nid;
pub mod port;
mod scope;
mod service;
mod stage;
mod unit;
mod xname;

pub use document::Document;
pub use hostlist::{HostlistError, NODES_MAX, expand, fold};
pub use mac::{MacAddr, MacAddrError};
pub use nid::Nid;
pub use scope::{Role, Scope, Scopes, service_scopes};
pub use service::Service;
pub use stage::{BootStage, StageResult};
pub use unit::{Size, Span};
pub use xname::{Xname, XnameError, XnameKind};
