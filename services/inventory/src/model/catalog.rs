//! Everything this service knows, in memory: what its reads are answered from.

use std::collections::BTreeMap;

use domain::Xname;
use domain::feed::{Change, View};
use domain::inventory::Inventory;
use serde::Deserialize;

use super::redfish::{ComponentEndpoint, RedfishEndpoint};

/// The inventory as every service follows it, and what the SMD API shows besides.
#[derive(Debug, Default)]
pub struct Catalog {
    /// What the others follow too.
    pub inventory: Inventory,
    endpoints: BTreeMap<Xname, RedfishEndpoint>,
    component_endpoints: BTreeMap<Xname, ComponentEndpoint>,
}

impl View for Catalog {
    fn apply(&mut self, change: &Change) -> Result<(), serde_json::Error> {
        let gone = change.row.is_null();
        if let Ok(id) = change.id.parse::<Xname>() {
            match change.kind.as_str() {
                "endpoint" if gone => drop(self.endpoints.remove(&id)),
                "endpoint" => drop(self.endpoints.insert(id, RedfishEndpoint::deserialize(&change.row)?)),
                "component-endpoint" if gone => drop(self.component_endpoints.remove(&id)),
                "component-endpoint" => {
                    drop(self.component_endpoints.insert(id, ComponentEndpoint::deserialize(&change.row)?));
                }
                _ => {}
            }
        }
        self.inventory.apply(change)
    }
}

impl Catalog {
    /// Every Redfish endpoint in order of xname.
    pub(crate) fn endpoints(&self) -> impl ExactSizeIterator<Item = &RedfishEndpoint> {
        self.endpoints.values()
    }

    /// A Redfish endpoint.
    pub(crate) fn endpoint(&self, id: &Xname) -> Option<&RedfishEndpoint> {
        self.endpoints.get(id)
    }

    /// Every component endpoint in order of xname.
    pub(crate) fn component_endpoints(&self) -> impl ExactSizeIterator<Item = &ComponentEndpoint> {
        self.component_endpoints.values()
    }

    /// A component endpoint.
    pub(crate) fn component_endpoint(&self, id: &Xname) -> Option<&ComponentEndpoint> {
        self.component_endpoints.get(id)
    }
}
