//! What the node at an address is given: made once, kept until the inventory or the entries change.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use axum::body::Bytes;
use domain::Xname;

use super::Side;
use crate::config::Api;
use crate::model::{Generation, Merged, Node, Store, Subject, facts_of, subject_at};
use crate::wire::{to_yaml, to_yaml_in_order, user_data};

/// The most bytes that are kept; the rest is made each time.
const KEPT_MAX: usize = 12 << 20;
/// What an answer takes beside its text, about.
const OVERHEAD: usize = 512;

/// What a node is given.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) node: Node,
    /// Where it comes from, in words.
    pub(super) from: String,
    pub(super) user: Bytes,
    /// None if the inventory knows no such component.
    pub(super) meta: Option<Bytes>,
    /// The media type of the meta-data.
    pub(super) meta_type: &'static str,
    pub(super) vendor: Vendor,
}

/// What a node is given as vendor-data.
#[derive(Debug)]
pub(super) enum Vendor {
    /// A document of the legacy API.
    Yaml(Bytes),
    /// The files of these groups, below this URL or the way the caller came.
    Include { base: Option<String>, groups: Vec<String> },
}

/// The texts that all nodes with the same entries share.
#[derive(Debug)]
struct Shared {
    merged: Merged,
    user: Bytes,
    vendor: Bytes,
}

/// The answers that were made.
#[derive(Debug, Default)]
pub(super) struct Kept(RwLock<State>);

#[derive(Debug, Default)]
struct State {
    /// Of which views they were made.
    made_of: Option<(Generation, Generation)>,
    by_address: HashMap<(Store, IpAddr), Arc<Answers>>,
    shared: HashMap<(Store, Vec<String>), Arc<Shared>>,
    bytes: usize,
    /// Nodes that were told an instance-id since the start.
    served: HashSet<Xname>,
}

impl Kept {
    /// Whether this node was told an instance-id of the present API.
    pub(super) fn was_served(&self, xname: &Xname) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).served.contains(xname)
    }

    /// Remembers that it was.
    pub(super) fn note_served(&self, xname: &Xname) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).served.insert(xname.clone());
    }

    fn find<T>(
        &self,
        made_of: (Generation, Generation),
        look: impl FnOnce(&State) -> Option<T>,
    ) -> Option<T> {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if state.made_of == Some(made_of) { look(&state) } else { None }
    }

    fn keep(&self, made_of: (Generation, Generation), bytes: usize, put: impl FnOnce(&mut State)) {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if state.made_of != Some(made_of) {
            let served = std::mem::take(&mut state.served);
            *state = State { made_of: Some(made_of), served, ..State::default() };
        }
        if state.bytes + bytes <= KEPT_MAX {
            state.bytes += bytes;
            put(&mut state);
        }
    }
}

impl Side {
    /// What the node at this address is given; None if nobody is known to be there.
    pub(super) fn answers(&self, address: IpAddr) -> Option<Arc<Answers>> {
        let service = &self.service;
        // Before anything is read, so that what is kept is never older than its mark.
        let made_of = (service.inventory.read(|it| it.generation), service.entries.read(|it| it.generation));
        let key = (self.store, address);
        if let Some(found) = service.kept.find(made_of, |it| it.by_address.get(&key).cloned()) {
            return Some(found);
        }
        let pattern = &service.config.host_pattern;
        let subject = service.inventory.read(|it| subject_at(it, address, pattern))?;
        let node = subject.node.clone()?;
        let made = Arc::new(match self.legacy_answers(made_of, &subject, &node) {
            Some(answers) => answers,
            None => self.current_answers(node),
        });
        let bytes = made.meta.as_ref().map_or(0, Bytes::len) + OVERHEAD;
        service.kept.keep(made_of, bytes, |state| {
            state.by_address.insert(key, Arc::clone(&made));
        });
        Some(made)
    }

    /// The answers of the legacy API; None if the present one answers.
    fn legacy_answers(
        &self,
        made_of: (Generation, Generation),
        subject: &Subject,
        node: &Node,
    ) -> Option<Answers> {
        let service = &self.service;
        let sources = match self.api() {
            Api::Current => return None,
            _ => service.entries.read(|it| it.sources(self.store, subject)),
        };
        if sources.is_empty() && self.api() == Api::Auto {
            return None;
        }
        let key = (self.store, sources);
        let shared = service.kept.find(made_of, |it| it.shared.get(&key).cloned()).unwrap_or_else(|| {
            let merged = service.entries.read(|it| it.merge(self.store, subject, service.config.merge));
            let merged = merged.unwrap_or_default();
            let user = Bytes::from(user_data(&merged.userdata));
            let vendor = Bytes::from(to_yaml(&merged.vendordata));
            let bytes = 2 * user.len() + 2 * vendor.len() + OVERHEAD;
            let made = Arc::new(Shared { merged, user, vendor });
            service.kept.keep(made_of, bytes, |state| {
                state.shared.insert(key.clone(), Arc::clone(&made));
            });
            made
        });
        let from = if key.1.is_empty() { "nothing set".to_owned() } else { key.1.join(", ") };
        let meta = to_yaml(&shared.merged.metadata_for(node));
        Some(Answers {
            node: node.clone(),
            from,
            user: shared.user.clone(),
            meta: Some(meta.into()),
            meta_type: "text/yaml",
            vendor: Vendor::Yaml(shared.vendor.clone()),
        })
    }

    fn current_answers(&self, node: Node) -> Answers {
        let service = &self.service;
        let facts = service.inventory.read(|it| facts_of(it, &node.xname, &service.config.host_pattern));
        let (meta, base) = service.entries.read(|entries| {
            let made = facts.as_ref().map(|it| entries.current.meta_data(it, service.naming(), None));
            (made, entries.current.base_url(node.xname.as_str()).map(str::to_owned))
        });
        service.kept.note_served(&node.xname);
        let groups = facts.map(|it| it.groups).unwrap_or_default();
        Answers {
            from: if groups.is_empty() { "no group".to_owned() } else { groups.join(", ") },
            node,
            user: Bytes::from_static(crate::model::NOTHING.as_bytes()),
            meta: meta.map(|it| to_yaml_in_order(&it).into()),
            meta_type: "application/x-yaml",
            vendor: Vendor::Include { base, groups },
        }
    }
}
