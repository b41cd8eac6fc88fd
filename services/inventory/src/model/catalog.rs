//! Everything this service knows, in memory: what its reads are answered from.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use domain::Xname;
use domain::feed::{Change, View};
use domain::inventory::Inventory;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::redfish::{ComponentEndpoint, RedfishEndpoint};

/// The inventory as every service follows it, and what the SMD API shows besides.
///
/// What only the SMD API shows is seldom asked for and has many members: it is kept as the JSON of its rows, a third
/// of the size, and parsed when it is read.
#[derive(Debug, Default)]
pub struct Catalog {
    /// What the others follow too.
    pub inventory: Inventory,
    endpoints: BTreeMap<Xname, Packed<RedfishEndpoint>>,
    component_endpoints: BTreeMap<Xname, Part>,
}

/// A component endpoint, and the endpoint it belongs to.
#[derive(Debug)]
struct Part {
    endpoint: Xname,
    row: Packed<ComponentEndpoint>,
}

/// A row as JSON that has been parsed once.
#[derive(Debug)]
struct Packed<T>(Box<str>, PhantomData<T>);

impl<T: DeserializeOwned> Packed<T> {
    fn new(row: &Value) -> Result<(Self, T), serde_json::Error> {
        let parsed = T::deserialize(row)?;
        Ok((Self(row.to_string().into(), PhantomData), parsed))
    }

    fn unpack(&self) -> Option<T> {
        serde_json::from_str(&self.0).ok()
    }
}

impl View for Catalog {
    fn apply(&mut self, change: &Change) -> Result<(), serde_json::Error> {
        let gone = change.row.is_null();
        if let Ok(id) = change.id.parse::<Xname>() {
            match change.kind.as_str() {
                "endpoint" if gone => drop(self.endpoints.remove(&id)),
                "endpoint" => drop(self.endpoints.insert(id, Packed::new(&change.row)?.0)),
                "component-endpoint" if gone => drop(self.component_endpoints.remove(&id)),
                "component-endpoint" => {
                    let (row, parsed) = Packed::<ComponentEndpoint>::new(&change.row)?;
                    self.component_endpoints.insert(id, Part { endpoint: parsed.endpoint, row });
                }
                _ => {}
            }
        }
        self.inventory.apply(change)
    }
}

impl Catalog {
    /// Every Redfish endpoint in order of xname.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = RedfishEndpoint> {
        self.endpoints.values().filter_map(Packed::unpack)
    }

    /// The xnames of all Redfish endpoints, in order.
    pub(crate) fn endpoint_ids(&self) -> impl Iterator<Item = &Xname> {
        self.endpoints.keys()
    }

    /// A Redfish endpoint.
    pub(crate) fn endpoint(&self, id: &Xname) -> Option<RedfishEndpoint> {
        self.endpoints.get(id)?.unpack()
    }

    /// Every component endpoint in order of xname.
    pub(crate) fn component_endpoints(&self) -> impl Iterator<Item = ComponentEndpoint> {
        self.component_endpoints.values().filter_map(|it| it.row.unpack())
    }

    /// The xnames of all component endpoints, in order, each with that of its endpoint.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (&Xname, &Xname)> {
        self.component_endpoints.iter().map(|(id, it)| (id, &it.endpoint))
    }

    /// A component endpoint.
    pub(crate) fn component_endpoint(&self, id: &Xname) -> Option<ComponentEndpoint> {
        self.component_endpoints.get(id)?.row.unpack()
    }
}
