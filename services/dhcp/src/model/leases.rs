//! The leases of machines that have no address of their own, from the planes' pools.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use domain::MacAddr;
use domain::inventory::Inventory;

use crate::config::{Config, Plane};

/// How long an offer holds its address, in seconds.
pub(crate) const RESERVED_S: i64 = 30;
/// How often the journal is told that a pool is exhausted, in seconds.
const TELL_EVERY_S: i64 = 60;
/// How long a lease that has ended keeps its address for its machine where the pool has others, in seconds.
const REMEMBER_S: i64 = 7 * 86_400;

/// An address of a pool in a machine's hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) mac: MacAddr,
    pub(crate) ip: Ipv4Addr,
    /// The network's place in the configuration.
    pub(crate) place: usize,
    /// Seconds since 1970.
    pub(crate) expires: i64,
    /// Acknowledged, not only offered; what is only offered is not durable.
    pub(crate) bound: bool,
}

/// What a decision does to the leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The machine holds this one, and no other of this network.
    Hold(Lease),
    /// The machine holds none of this network.
    Release(MacAddr, usize),
    /// Somebody else uses the address.
    Refuse {
        /// Who found out.
        mac: MacAddr,
        /// What is in use.
        ip: Ipv4Addr,
        /// The network's place.
        place: usize,
        /// Seconds since 1970.
        until: i64,
    },
}

/// A network's pool: which addresses are taken, and when it was found full.
#[derive(Clone, Debug, Default)]
struct Pool {
    /// A bit an address.
    taken: Vec<u64>,
    /// When, so that a flood does not search it for each packet.
    exhausted: Option<i64>,
    /// When the journal was told.
    told: Option<i64>,
}

/// Who holds what. The pools' sizes bound it: an address has one holder.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leases {
    by_mac: HashMap<(MacAddr, usize), Lease>,
    by_ip: HashMap<Ipv4Addr, (MacAddr, usize)>,
    refused: HashMap<Ipv4Addr, i64>,
    pools: HashMap<usize, Pool>,
}

impl Leases {
    /// What a machine holds on a network, perhaps past its time.
    pub(crate) fn find(&self, mac: MacAddr, place: usize) -> Option<&Lease> {
        self.by_mac.get(&(mac, place))
    }

    /// Who holds an address now.
    pub(crate) fn find_by_ip(&self, ip: Ipv4Addr, now: i64) -> Option<&Lease> {
        self.by_ip.get(&ip).and_then(|it| self.by_mac.get(it)).filter(|it| it.bound && it.expires > now)
    }

    /// Every lease that is acknowledged and not past its time, by address.
    pub(crate) fn bound(&self, now: i64) -> Vec<Lease> {
        let mut bound: Vec<Lease> =
            self.by_mac.values().filter(|it| it.bound && it.expires > now).copied().collect();
        bound.sort_unstable_by_key(|it| it.ip);
        bound
    }

    /// Carries out a change; says whether it has to be durable. `config` knows the pools.
    pub(crate) fn apply(&mut self, change: Change, config: &Config) -> bool {
        match change {
            Change::Hold(lease) => {
                let key = (lease.mac, lease.place);
                let held = self.by_mac.get(&key).filter(|it| it.bound && it.ip == lease.ip).copied();
                if held.is_none() {
                    self.remove(key, config);
                    if let Some(former) = self.by_ip.get(&lease.ip).copied() {
                        self.remove(former, config);
                    }
                    self.by_ip.insert(lease.ip, key);
                    self.mark(lease.ip, lease.place, config, true);
                }
                // A new offer of what is held does not make it less held.
                let kept = match held {
                    Some(held) if !lease.bound => Lease { expires: lease.expires.max(held.expires), ..held },
                    _ => lease,
                };
                self.by_mac.insert(key, kept);
                lease.bound
            }
            Change::Release(mac, place) => {
                if let Some(pool) = self.pools.get_mut(&place) {
                    pool.exhausted = None;
                }
                self.remove((mac, place), config)
            }
            Change::Refuse { mac, ip, place, until } => {
                let durable = self.remove((mac, place), config);
                self.refused.insert(ip, until);
                self.mark(ip, place, config, true);
                durable
            }
        }
    }

    fn remove(&mut self, key: (MacAddr, usize), config: &Config) -> bool {
        let Some(old) = self.by_mac.remove(&key) else { return false };
        if self.by_ip.get(&old.ip) == Some(&key) {
            self.by_ip.remove(&old.ip);
            self.mark(old.ip, old.place, config, false);
        }
        old.bound
    }

    fn mark(&mut self, ip: Ipv4Addr, place: usize, config: &Config, taken: bool) {
        let Some(range) = config.planes.get(place).and_then(|it| it.pool).filter(|it| it.contains(ip)) else {
            return;
        };
        let size = (range.last.to_bits() - range.first.to_bits()) as usize + 1;
        let at = (ip.to_bits() - range.first.to_bits()) as usize;
        let pool = self.pools.entry(place).or_default();
        pool.taken.resize(size.div_ceil(64), 0);
        let bit = 1u64 << (at % 64);
        if taken {
            pool.taken[at / 64] |= bit;
        } else {
            pool.taken[at / 64] &= !bit;
        }
    }

    /// Notes that a pool is full at this second; says whether the journal should be told.
    pub(crate) fn note_exhausted(&mut self, place: usize, now: i64) -> bool {
        let pool = self.pools.entry(place).or_default();
        pool.exhausted = Some(now);
        let due = pool.told.is_none_or(|told| now - told >= TELL_EVERY_S);
        if due {
            pool.told = Some(now);
        }
        due
    }

    /// Whether a pool was found full at this second.
    pub(crate) fn is_exhausted(&self, place: usize, now: i64) -> bool {
        self.pools.get(&place).is_some_and(|it| it.exhausted == Some(now))
    }

    /// Makes room: forgets offers that nobody took and leases that ended, the latter only after a while unless
    /// a pool is `short`.
    pub(crate) fn sweep(&mut self, short: Option<usize>, now: i64, config: &Config) {
        let ended = |it: &Lease| {
            let kept = if it.bound && short != Some(it.place) { REMEMBER_S } else { 0 };
            it.expires + kept <= now
        };
        let gone: Vec<_> = self.by_mac.iter().filter(|it| ended(it.1)).map(|it| *it.0).collect();
        for key in gone {
            self.remove(key, config);
        }
        let free: Vec<_> = self.refused.iter().filter(|it| *it.1 <= now).map(|it| *it.0).collect();
        for ip in free {
            self.refused.remove(&ip);
            if let Some(place) = config.place_of(ip).filter(|_| !self.by_ip.contains_key(&ip)) {
                self.mark(ip, place, config, false);
            }
        }
    }

    /// Whether a machine may have this address of the network's pool.
    pub(crate) fn is_free_for(
        &self,
        mac: MacAddr,
        ip: Ipv4Addr,
        (place, config): (usize, &Config),
        inventory: &Inventory,
        now: i64,
    ) -> bool {
        let plane = &config.planes[place];
        let holder = self.by_ip.get(&ip).filter(|it| it.0 != mac).and_then(|it| self.by_mac.get(it));
        plane.pool.is_some_and(|it| it.contains(ip))
            && holder.is_none_or(|it| it.expires <= now)
            && self.refused.get(&ip).is_none_or(|until| *until <= now)
            && is_lendable(ip, plane, config, inventory)
    }

    /// An address for a machine that holds none: always the same one while the pool is not crowded.
    pub(crate) fn choose(
        &self,
        mac: MacAddr,
        (place, config): (usize, &Config),
        inventory: &Inventory,
    ) -> Option<Ipv4Addr> {
        let plane = &config.planes[place];
        let range = plane.pool?;
        let size = (range.last.to_bits() - range.first.to_bits()) as usize + 1;
        let none = Vec::new();
        let taken = self.pools.get(&place).map_or(&none, |it| &it.taken);
        let start = hash(mac) as usize % size;
        let words = size.div_ceil(64);
        // From the word of the first choice once around, and that word's beginning last.
        for step in 0..=words {
            let word = (start / 64 + step) % words;
            let mut free = !taken.get(word).copied().unwrap_or(0);
            if step == 0 {
                free &= u64::MAX << (start % 64);
            }
            while free != 0 {
                let at = word * 64 + free.trailing_zeros() as usize;
                free &= free - 1;
                if at >= size {
                    break;
                }
                let ip = Ipv4Addr::from_bits(range.first.to_bits() + at as u32);
                if is_lendable(ip, plane, config, inventory) {
                    return Some(ip);
                }
            }
        }
        None
    }
}

/// Whether an address of the pool belongs to nobody by settings or inventory.
fn is_lendable(ip: Ipv4Addr, plane: &Plane, config: &Config, inventory: &Inventory) -> bool {
    plane.router != Some(ip)
        && plane.head != Some(ip)
        && ip != plane.net.broadcast()
        && ip != plane.net.network()
        && !config.by_ip.contains_key(&ip)
        && inventory.interface_by_ip(IpAddr::V4(ip)).is_none()
}

/// FNV-1a, the same in every release, unlike the standard library's hash.
fn hash(mac: MacAddr) -> u32 {
    let octets = mac.octets();
    octets.iter().fold(0x811c_9dc5, |it, octet| (it ^ u32::from(*octet)).wrapping_mul(0x0100_0193))
}
