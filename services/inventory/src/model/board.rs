//! Another board in a node's place: which rows change.

use std::collections::{BTreeMap, BTreeSet};

use domain::MacAddr;
use domain::inventory::{Component, Interface};
use time::OffsetDateTime;

use super::catalog::Catalog;
use super::component::bare;
use super::interface::{build, stamp};
use super::redfish::{ComponentEndpoint, RedfishEndpoint, bare_endpoint};
use crate::client::Replacement;

/// Everything that a replacement stores.
#[derive(Debug, Default)]
pub(crate) struct Swap {
    pub(crate) gone: Vec<String>,
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) components: Vec<Component>,
    pub(crate) component_endpoints: Vec<ComponentEndpoint>,
    pub(crate) endpoint: Option<RedfishEndpoint>,
}

/// Works a replacement out.
///
/// # Errors
///
/// What does not fit, with the next step.
pub(crate) fn swap(
    catalog: &Catalog,
    node: &Component,
    wanted: &Replacement,
    now: OffsetDateTime,
) -> Result<Swap, String> {
    let mut swap = Swap::default();
    let renamed = swap.cards(catalog, node, wanted, now)?;
    let part = catalog.component_endpoint(&node.id);
    if let Some(mut part) = part.filter(|_| !renamed.is_empty()) {
        for nic in &mut part.nics {
            if let Some(new) = MacAddr::parse_bare(&nic.mac).ok().and_then(|old| renamed.get(&old)) {
                nic.mac = new.to_string();
            }
        }
        swap.component_endpoints.push(part);
    }
    if wanted.bmc_mac.is_some() || wanted.bmc_address.is_some() {
        swap.controller(catalog, node, wanted, now)?;
    }
    Ok(swap)
}

impl Swap {
    /// The node's network cards: addresses and descriptions go over to the new ones.
    fn cards(
        &mut self,
        catalog: &Catalog,
        node: &Component,
        wanted: &Replacement,
        now: OffsetDateTime,
    ) -> Result<BTreeMap<MacAddr, MacAddr>, String> {
        let own: Vec<&Interface> = catalog.inventory.interfaces_of(&node.id).collect();
        let told = || own.iter().map(|it| it.mac.to_string()).collect::<Vec<_>>().join(", ");
        let mut renamed = BTreeMap::new();
        for it in &wanted.interfaces {
            let old = match it.old {
                Some(mac) => own
                    .iter()
                    .find(|it| it.mac == mac)
                    .ok_or_else(|| format!("{mac} is no card of {}; it has {}", node.id, told()))?,
                None => match own.as_slice() {
                    [one] => one,
                    [] => return Err(format!("{} has no card to replace; add one by an import", node.id)),
                    _ => {
                        return Err(format!(
                            "{} has several cards, say which as OLD=NEW: {}",
                            node.id,
                            told()
                        ));
                    }
                },
            };
            if renamed.insert(old.mac, it.new).is_some() {
                return Err(format!("{} is replaced twice", old.mac));
            }
        }
        let news: BTreeSet<MacAddr> = renamed.values().copied().collect();
        if news.len() < renamed.len() {
            return Err("two cards cannot have one address".to_owned());
        }
        for old in own.iter().filter(|it| renamed.contains_key(&it.mac)) {
            let Some(new) = renamed.get(&old.mac) else { continue };
            let holder = catalog.inventory.interface_by_mac(*new);
            if let Some(holder) = holder.filter(|it| !renamed.contains_key(&it.mac)) {
                let of = holder.component.as_ref().map_or("nobody", domain::Xname::as_str);
                return Err(format!("{new} is in the inventory already, of {of}"));
            }
            self.interfaces.push(Interface {
                id: new.bare(),
                mac: *new,
                last_update: stamp(now),
                ..(*old).clone()
            });
            if !news.contains(&old.mac) {
                self.gone.push(old.id.clone());
            }
        }
        Ok(renamed)
    }

    /// The node's controller: its own card and its address.
    fn controller(
        &mut self,
        catalog: &Catalog,
        node: &Component,
        wanted: &Replacement,
        now: OffsetDateTime,
    ) -> Result<(), String> {
        let known = catalog.inventory.controller_of(&node.id).map(|it| it.id.clone());
        let id = known.or_else(|| node.id.parent()).ok_or("the node has no place for a controller")?;
        let mut row = catalog.endpoint(&id).unwrap_or_else(|| bare_endpoint(id.clone()));
        row.mac = wanted.bmc_mac.or(row.mac);
        row.ip_address = wanted.bmc_address.clone().or(row.ip_address);
        let addresses = || {
            let text = wanted.bmc_address.as_ref()?;
            text.parse::<std::net::IpAddr>().ok()?;
            let address =
                domain::inventory::InterfaceAddress { address: text.clone(), network: String::new() };
            Some(vec![address])
        };
        let old: Vec<&Interface> = catalog.inventory.interfaces_of(&id).collect();
        let first = old.first().map(|it| (*it).clone());
        let describe = || format!("Interface for BMC {id}");
        let mac = wanted.bmc_mac.or_else(|| first.as_ref().map(|it| it.mac));
        if let Some(mac) = mac {
            let holder = catalog.inventory.interface_by_mac(mac).and_then(|it| it.component.as_ref());
            if let Some(other) = holder.filter(|it| **it != id) {
                return Err(format!("{mac} is in the inventory already, of {other}"));
            }
            let mut new = build(mac, Some(id.clone()), describe(), Vec::new(), now);
            if let Some(first) = first {
                (new.description, new.addresses) = (first.description, first.addresses);
            }
            new.addresses = addresses().unwrap_or(new.addresses);
            if wanted.bmc_mac.is_some() {
                self.gone.extend(old.iter().filter(|it| it.mac != mac).map(|it| it.id.clone()));
            }
            self.interfaces.push(new);
        }
        if catalog.inventory.component(&id).is_none() {
            self.components.push(bare(id));
        }
        self.endpoint = Some(row);
        Ok(())
    }
}
