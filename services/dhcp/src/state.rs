//! What the parts of dhcp share.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::inventory::Inventory;
use domain::{MacAddr, Xname};
use time::OffsetDateTime;
use web::mirror::{Freshness, Mirror};

use crate::config::Config;
use crate::model::{Ack, Leases, Unknown};

/// ACKs to known machines that are remembered; the inventory bounds their number, this bounds mistakes.
const ACKS_MAX: usize = 100_000;

/// What the parts of dhcp share. No lock is held over a wait.
pub(crate) struct State {
    pub(crate) config: Config,
    pub(crate) inventory: Mirror<Inventory>,
    leases: Mutex<Leases>,
    unknown: Mutex<Unknown>,
    acks: Mutex<HashMap<Ipv4Addr, Ack>>,
    /// Whether leases can be kept.
    durable: AtomicBool,
    /// Held while somebody looks at the wires.
    pub(crate) probing: tokio::sync::Mutex<()>,
}

impl State {
    pub(crate) fn new(config: Config, inventory: Mirror<Inventory>, leases: Leases) -> Self {
        let (unknown, acks) = (Mutex::default(), Mutex::default());
        let durable = AtomicBool::new(false);
        let probing = tokio::sync::Mutex::default();
        Self { config, inventory, leases: Mutex::new(leases), unknown, acks, durable, probing }
    }

    pub(crate) fn leases(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn unknown(&self) -> MutexGuard<'_, Unknown> {
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn acks(&self) -> MutexGuard<'_, HashMap<Ipv4Addr, Ack>> {
        self.acks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether leases can be kept.
    pub(crate) fn is_durable(&self) -> bool {
        self.durable.load(Ordering::Relaxed)
    }

    /// Says whether leases can be kept from now on; true if that is news.
    pub(crate) fn set_durable(&self, durable: bool) -> bool {
        self.durable.swap(durable, Ordering::Relaxed) != durable
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

/// Remembers an ACK to a known machine.
pub(crate) fn note_ack(acks: &mut HashMap<Ipv4Addr, Ack>, ip: Ipv4Addr, ack: Ack, now: i64) {
    if acks.len() >= ACKS_MAX && !acks.contains_key(&ip) {
        acks.retain(|_, it| it.expires > now);
    }
    if acks.len() < ACKS_MAX {
        acks.insert(ip, ack);
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
