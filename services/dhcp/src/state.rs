//! What the parts of dhcp share.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::inventory::Inventory;
use domain::{MacAddr, Xname};
use time::OffsetDateTime;
use web::mirror::{Freshness, Mirror};

use crate::config::Config;
use crate::model::{Leases, Unknown};

/// ACKs to known machines that are remembered; the inventory bounds their number, this bounds mistakes.
const ACKS_MAX: usize = 100_000;

/// An ACK to a known machine.
#[derive(Clone, Debug)]
pub(crate) struct Ack {
    pub(crate) ip: Ipv4Addr,
    pub(crate) plane: String,
    /// Seconds since 1970.
    pub(crate) expires: i64,
}

/// What the parts of dhcp share. No lock is held over a wait.
pub(crate) struct State {
    pub(crate) config: Config,
    pub(crate) inventory: Mirror<Inventory>,
    leases: Mutex<Leases>,
    unknown: Mutex<Unknown>,
    acks: Mutex<HashMap<MacAddr, Ack>>,
}

impl State {
    pub(crate) fn new(config: Config, inventory: Mirror<Inventory>, leases: Leases) -> Self {
        let (unknown, acks) = (Mutex::default(), Mutex::default());
        Self { config, inventory, leases: Mutex::new(leases), unknown, acks }
    }

    pub(crate) fn leases(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn unknown(&self) -> MutexGuard<'_, Unknown> {
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn acks(&self) -> MutexGuard<'_, HashMap<MacAddr, Ack>> {
        self.acks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers an ACK to a known machine.
    pub(crate) fn note_ack(&self, mac: MacAddr, ack: Ack) {
        let mut acks = self.acks();
        if acks.len() >= ACKS_MAX {
            let now = now();
            acks.retain(|_, it| it.expires > now);
        }
        if acks.len() < ACKS_MAX {
            acks.insert(mac, ack);
        }
    }

    /// The machine behind an address: by the inventory, else by the leases of unknown machines.
    pub(crate) fn machine_at(&self, ip: Ipv4Addr) -> (Option<Xname>, Option<MacAddr>) {
        let known = self.inventory.read(|it| {
            let interface = it.interface_by_ip(IpAddr::V4(ip))?;
            Some((interface.component.clone(), Some(interface.mac)))
        });
        known.unwrap_or_else(|| (None, self.leases().find_by_ip(ip, now()).map(|it| it.mac)))
    }
}

/// Seconds since 1970, the clock of leases.
pub(crate) fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

/// A freshness as a word of `/readyz` and of the status line.
pub(crate) fn word(freshness: Freshness) -> &'static str {
    match freshness {
        Freshness::Empty => "empty",
        Freshness::LastGood => "last-good",
        Freshness::Live => "live",
    }
}
