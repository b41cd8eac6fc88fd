//! The decisions: what settings may hold, which target they belong to, and which of them a machine boots.
//!
//! # Precedence
//!
//! A script is asked for by MAC address, name (an xname or a node's name) or NID. Whatever it is asked by, the
//! inventory tells which node is meant, and the first of these that has an entry decides; entries are not merged:
//!
//! 1. exactly what was asked: that MAC, host word or NID (recordings `bss-script-025`, `-026`, `-028`);
//! 2. the node's MAC addresses, in order of interface id;
//! 3. its xname, then its name, as a host word;
//! 4. its NID;
//! 5. its groups' labels, as host words, in order of label;
//! 6. the host word `Default`;
//! 7. `[boot.default]` of the document.
//!
//! Before all of them comes what the node boots once, the next time alone.
//!
//! A machine that is in no inventory is told to wait and to ask again with `arch=`; then 1, the host word
//! `Unknown-<arch>`, `[boot.discovery]` of the document, `Default` and `[boot.default]` decide, and without any of
//! them it waits on (recordings `bss-script-019`, `-034`). A node asked for by name or NID whose parameters are held by MAC is sent on to its MAC (recording
//! `-014`, `-015`). `pilotctl boot script NODE --explain` shows the list for one node.
//!
//! # Architectures
//!
//! An entry may name another kernel for machines of some architectures. A machine that did not say what it is by
//! `arch=` is then sent back to say it; one without a kernel of its own boots the entry's. iPXE in a BIOS is an i386
//! program on whatever machine, so that `i386` boots what is set for `x86_64` unless it is set itself.

mod architecture;
mod image;
mod lookup;
mod once;
mod settings;
mod target;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use domain::Xname;
use domain::feed::{Change, View};
use serde::Deserialize;

pub use architecture::Architecture;
pub(crate) use image::Files;
pub(crate) use lookup::{
    Asked, Defaults, Found, Known, Outcome, explain, look_up, node_mac, node_named, node_of,
};
pub(crate) use once::{ONCE, Once};
pub use settings::Variant;
pub(crate) use settings::{COMMAND_LINE_MAX, Edit, Image, LOCAL_DISK, Settings, SettingsError};
pub(crate) use target::{Host, Target};

/// The kind of our rows in the change feed.
pub(crate) const KIND: &str = "bootparams";

/// Which targets' entries are meant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Selected<'a> {
    /// Every one.
    All,
    /// Those that name a machine; BSS leaves groups' names and `Default` out (recording `bss-params-050`).
    Machines,
    /// These, if they have one.
    These(&'a [Target]),
}

/// What every target boots, in memory. Equal settings are kept once.
#[derive(Debug, Default)]
pub struct Parameters {
    by_target: BTreeMap<Target, Arc<Settings>>,
    shared: HashSet<Arc<Settings>>,
    /// What nodes boot the next time alone.
    once: BTreeMap<Xname, Arc<Once>>,
}

impl View for Parameters {
    fn apply(&mut self, change: &Change) -> Result<(), serde_json::Error> {
        if change.kind == ONCE {
            return self.apply_once(change);
        }
        let target = change.id.split_once(':').and_then(|(kind, key)| Target::parse(kind, key));
        let Some(target) = target.filter(|_| change.kind == KIND) else { return Ok(()) };
        let row = if change.row.is_null() { None } else { Some(Settings::deserialize(&change.row)?) };
        if let Some(old) = self.by_target.remove(&target)
            && Arc::strong_count(&old) == 2
        {
            self.shared.remove(&old); // Ours and the set's: no other target has it.
        }
        if let Some(new) = row {
            let shared = match self.shared.get(&new) {
                Some(it) => Arc::clone(it),
                None => {
                    let new = Arc::new(new);
                    self.shared.insert(Arc::clone(&new));
                    new
                }
            };
            self.by_target.insert(target, shared);
        }
        Ok(())
    }
}

impl Parameters {
    fn apply_once(&mut self, change: &Change) -> Result<(), serde_json::Error> {
        let Ok(node) = change.id.parse::<Xname>() else { return Ok(()) };
        if change.row.is_null() {
            self.once.remove(&node);
        } else {
            self.once.insert(node, Arc::new(Once::deserialize(&change.row)?));
        }
        Ok(())
    }

    /// What a node boots the next time alone.
    pub(crate) fn once(&self, node: &Xname) -> Option<&Arc<Once>> {
        self.once.get(node)
    }

    /// Every node that boots something else the next time.
    pub(crate) fn all_once(&self) -> impl Iterator<Item = (&Xname, &Once)> {
        self.once.iter().map(|(node, once)| (node, &**once))
    }

    /// What a target has.
    pub(crate) fn find(&self, target: &Target) -> Option<&Arc<Settings>> {
        self.by_target.get(target)
    }

    /// Entries: targets with equal settings together, in order of their first target.
    pub(crate) fn entries(&self, of: Selected<'_>) -> Vec<(Vec<&Target>, &Settings)> {
        let chosen: Vec<(&Target, &Arc<Settings>)> = match of {
            Selected::All => self.by_target.iter().collect(),
            Selected::Machines => self.by_target.iter().filter(|(it, _)| it.is_machine()).collect(),
            Selected::These(of) => {
                let of: BTreeSet<&Target> = of.iter().collect();
                of.into_iter().filter_map(|it| self.by_target.get_key_value(it)).collect()
            }
        };
        let mut places: HashMap<*const Settings, usize> = HashMap::new();
        let mut entries: Vec<(Vec<&Target>, &Settings)> = Vec::new();
        for (target, settings) in chosen {
            let at = *places.entry(Arc::as_ptr(settings)).or_insert(entries.len());
            if at == entries.len() {
                entries.push((Vec::new(), settings));
            }
            entries[at].0.push(target);
        }
        entries
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use domain::feed::{Change, View};
    use serde_json::json;

    use super::{KIND, Parameters, Selected, Target};

    #[test]
    fn equal_settings_are_one_entry_and_are_kept_once() {
        let mut view = Parameters::default();
        let row = json!({"kernel": "http://h/k", "initrd": "", "params": "quiet"});
        for id in ["mac:ec:e7:a7:05:a1:fc", "host:x1000c1s7b1n0", "nid:3", "host:Default"] {
            view.apply(&Change::put(KIND, id, row.clone())).unwrap();
        }
        assert_eq!((view.by_target.len(), view.shared.len()), (4, 1));
        let entries = view.entries(Selected::Machines);
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].0.len(), 3, "Default names no machine");
        let default = [Target::parse("host", "Default").unwrap()];
        assert_eq!(view.entries(Selected::These(&default)).len(), 1);
        assert_eq!(view.entries(Selected::All)[0].0.len(), 4);
        for id in ["mac:ec:e7:a7:05:a1:fc", "host:x1000c1s7b1n0", "nid:3", "host:Default"] {
            view.apply(&Change::delete(KIND, id)).unwrap();
        }
        assert!(view.shared.is_empty() && view.entries(Selected::Machines).is_empty());
    }
}
