//! Templates are evaluated when they are written, with the data of nodes that will meet them.

use crate::api::CloudInit;
use crate::model::{Facts, Fault, Group, facts_of, is_template, parse_template, render_template};

/// So many members of a group are tried; they differ in little.
const TRIED_MAX: usize = 8;

/// What is wrong with a group's file.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) fault: Fault,
    /// The node whose data it was filled in with; none if no node is needed to see it.
    pub(super) node: Option<String>,
}

impl Finding {
    /// In one line, for a person.
    pub(super) fn told(&self, group: &str) -> String {
        match &self.node {
            Some(node) => format!("group {group}, for {node}: {}", self.fault),
            None => format!("group {group}: {}", self.fault),
        }
    }
}

impl CloudInit {
    /// The first thing that is wrong with the file of a group that is about to be written under this name.
    pub(super) fn check_template(&self, name: &str, group: &Group) -> Option<Finding> {
        let file = group.file.decode().ok()?;
        let text = std::str::from_utf8(&file).ok().filter(|it| is_template(it))?;
        if let Err(fault) = parse_template(text) {
            return Some(Finding { fault, node: None });
        }
        let nodes: Vec<Facts> = self.inventory.read(|inventory| {
            let members = inventory.group(name).into_iter().flat_map(|it| &it.members);
            let known = members.filter_map(|it| facts_of(inventory, it, &self.config.host_pattern));
            known.take(TRIED_MAX).collect()
        });
        nodes.into_iter().find_map(|node| {
            let naming = self.naming();
            let data = self.entries.read(|it| it.current.meta_data(&node, naming, Some((name, group))));
            let fault = render_template(text, &data).err()?;
            Some(Finding { fault, node: Some(node.name) })
        })
    }
}
