//! The leases of machines that are in no inventory, from the planes' pools.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use domain::MacAddr;
use domain::inventory::Inventory;
use serde::{Deserialize, Serialize};

use crate::config::Plane;

/// How long an offer holds its address, in seconds.
pub(crate) const RESERVED_S: i64 = 30;
/// How long an address that a client found in use is not offered, in seconds.
pub(crate) const REFUSED_S: i64 = 3600;

/// How often the journal is told that a pool is exhausted, in seconds.
const TELL_EVERY_S: i64 = 60;

/// An address of a pool in a machine's hands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lease {
    pub(crate) mac: MacAddr,
    pub(crate) ip: Ipv4Addr,
    pub(crate) plane: String,
    /// Seconds since 1970.
    pub(crate) expires: i64,
    /// Acknowledged, not only offered; what is only offered is not durable.
    pub(crate) bound: bool,
}

/// What a decision does to the leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The machine holds this one, and no other.
    Hold(Lease),
    /// The machine holds none.
    Release(MacAddr),
    /// Somebody else uses the address.
    Refuse {
        /// Who found out.
        mac: MacAddr,
        /// What is in use.
        ip: Ipv4Addr,
        /// Seconds since 1970.
        until: i64,
    },
}

/// A plane's pool that was found full.
#[derive(Clone, Copy, Debug)]
struct Exhausted {
    /// When, so that a flood does not search it for each packet.
    found: i64,
    /// When the journal was told.
    told: i64,
}

/// Who holds what. The pools' sizes bound it: an address has one holder.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leases {
    by_mac: HashMap<MacAddr, Lease>,
    by_ip: HashMap<Ipv4Addr, MacAddr>,
    refused: HashMap<Ipv4Addr, i64>,
    exhausted: HashMap<String, Exhausted>,
}

impl Leases {
    /// What a machine holds, perhaps past its time.
    pub(crate) fn find(&self, mac: MacAddr) -> Option<&Lease> {
        self.by_mac.get(&mac)
    }

    /// Who holds an address now.
    pub(crate) fn find_by_ip(&self, ip: Ipv4Addr, now: i64) -> Option<&Lease> {
        self.by_ip.get(&ip).and_then(|it| self.by_mac.get(it)).filter(|it| it.bound && it.expires > now)
    }

    /// Every lease that is acknowledged and not past its time, by address.
    pub(crate) fn bound(&self, now: i64) -> Vec<Lease> {
        let mut bound: Vec<Lease> =
            self.by_mac.values().filter(|it| it.bound && it.expires > now).cloned().collect();
        bound.sort_by_key(|it| it.ip);
        bound
    }

    /// Carries out a change; says whether it has to be durable.
    pub(crate) fn apply(&mut self, change: Change) -> bool {
        match change {
            Change::Hold(lease) => {
                let held = self.by_mac.get(&lease.mac).filter(|it| it.bound && it.ip == lease.ip).cloned();
                self.remove(lease.mac);
                if let Some(former) = self.by_ip.get(&lease.ip).copied() {
                    self.remove(former);
                }
                self.by_ip.insert(lease.ip, lease.mac);
                let durable = lease.bound;
                // A new offer of what is held does not make it less held.
                let lease = match held {
                    Some(held) if !durable => Lease { expires: lease.expires.max(held.expires), ..held },
                    _ => lease,
                };
                self.by_mac.insert(lease.mac, lease);
                durable
            }
            Change::Release(mac) => {
                self.exhausted.values_mut().for_each(|it| it.found = 0);
                self.remove(mac)
            }
            Change::Refuse { mac, ip, until } => {
                self.refused.insert(ip, until);
                self.remove(mac)
            }
        }
    }

    fn remove(&mut self, mac: MacAddr) -> bool {
        let Some(old) = self.by_mac.remove(&mac) else { return false };
        if self.by_ip.get(&old.ip) == Some(&mac) {
            self.by_ip.remove(&old.ip);
        }
        old.bound
    }

    /// Notes that a plane's pool is full at this second; says whether the journal should be told.
    pub(crate) fn note_exhausted(&mut self, plane: &str, now: i64) -> bool {
        let entry =
            self.exhausted.entry(plane.to_owned()).or_insert(Exhausted { found: now, told: i64::MIN / 2 });
        entry.found = now;
        let due = now - entry.told >= TELL_EVERY_S;
        if due {
            entry.told = now;
        }
        due
    }

    /// Whether a machine may have this address of the plane's pool.
    pub(crate) fn is_free_for(
        &self,
        mac: MacAddr,
        ip: Ipv4Addr,
        plane: &Plane,
        inventory: &Inventory,
        now: i64,
    ) -> bool {
        let holder = self.by_ip.get(&ip).filter(|it| **it != mac).and_then(|it| self.by_mac.get(it));
        plane.pool.is_some_and(|it| it.contains(ip))
            && holder.is_none_or(|it| it.expires <= now)
            && self.refused.get(&ip).is_none_or(|until| *until <= now)
            && plane.router != Some(ip)
            && plane.head != Some(ip)
            && inventory.interface_by_ip(IpAddr::V4(ip)).is_none()
    }

    /// An address for a machine that holds none: always the same one while the pool is not crowded.
    pub(crate) fn choose(
        &self,
        mac: MacAddr,
        plane: &Plane,
        inventory: &Inventory,
        now: i64,
    ) -> Option<Ipv4Addr> {
        let pool = plane.pool?;
        if self.exhausted.get(&plane.name).is_some_and(|it| it.found == now) {
            return None;
        }
        let (first, size) = (pool.first.to_bits(), pool.last.to_bits() - pool.first.to_bits() + 1);
        // FNV-1a, the same in every release, unlike the standard library's hash.
        let hash = mac
            .octets()
            .iter()
            .fold(0x811c_9dc5u32, |it, octet| (it ^ u32::from(*octet)).wrapping_mul(0x0100_0193));
        let mut offsets = (0..size).map(|it| (hash % size + it) % size);
        offsets.find_map(|it| {
            let ip = Ipv4Addr::from_bits(first + it);
            self.is_free_for(mac, ip, plane, inventory, now).then_some(ip)
        })
    }
}
