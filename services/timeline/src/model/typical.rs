//! What boots of this cluster usually take, so that slow firmware and slow machines are not named as standing still.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::boot::Boot;
use super::place::Place;

/// Good boots that are remembered for each place.
const KEPT: usize = 256;
/// From so many on the whole cluster's count.
const ENOUGH: usize = 8;
/// However slow others were, after this a boot stands still.
const MOST: Duration = Duration::from_secs(1800);
/// Nodes whose own last boot is remembered.
const NODES_MAX: usize = 50_000;

/// How long good boots took to reach each place.
#[derive(Debug, Default)]
pub(crate) struct Typical {
    all: HashMap<Place, VecDeque<u64>>,
    own: HashMap<String, Vec<(Place, u64)>>,
}

impl Typical {
    /// Learns from a good boot.
    pub(crate) fn learn(&mut self, boot: &Boot) {
        for &(place, took) in &boot.evidence.took {
            let all = self.all.entry(place).or_default();
            if all.len() >= KEPT {
                all.pop_front();
            }
            all.push_back(took);
        }
        if self.own.len() < NODES_MAX || self.own.contains_key(&boot.node) {
            self.own.insert(boot.node.clone(), boot.evidence.took.clone());
        }
    }

    /// The limit, stretched: to twice what nine of ten good boots took, and to twice what this node took last.
    pub(crate) fn stretch(&self, node: &str, place: Place, limit: Duration) -> Duration {
        let all = self.all.get(&place).filter(|it| it.len() >= ENOUGH).map(|it| {
            let mut sorted: Vec<u64> = it.iter().copied().collect();
            sorted.sort_unstable();
            sorted[(sorted.len() * 9 / 10).min(sorted.len() - 1)]
        });
        let own = self.own.get(node).and_then(|it| it.iter().find(|it| it.0 == place)).map(|it| it.1);
        let learnt = Duration::from_millis(all.max(own).unwrap_or(0).saturating_mul(2));
        limit.max(learnt.min(MOST))
    }
}
