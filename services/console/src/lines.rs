//! The lines to the BMCs: one task a node, begun, changed and ended as the inventory says.

use std::collections::HashMap;
use std::sync::Arc;

use domain::Xname;
use domain::inventory::{Component, Endpoint, Inventory};
use power::Bmcs;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use web::mirror::Mirror;

use crate::hub::Hub;
use crate::line::Line;

/// All lines.
pub(crate) struct Lines {
    hub: Arc<Hub>,
    bmcs: Bmcs,
    stop: CancellationToken,
    running: HashMap<Xname, Running>,
    /// The ends of lines that were told to end; the next line of the node waits for it, as the one that gives
    /// a line back gives back whosever it is by then (IPMI 2.0 section 24.2 knows no owner).
    ending: HashMap<Xname, CancellationToken>,
    tasks: JoinSet<()>,
}

/// What a line is made of; another one means another line.
#[derive(Debug)]
struct Wire {
    name: String,
    endpoint: Box<Endpoint>,
}

impl Wire {
    /// Whether this is still the line to a node of this name; the BMC's nodes and the version of its account
    /// change nothing of it.
    fn leads_to(&self, name: &str, endpoint: &Endpoint) -> bool {
        let Endpoint { id, address, protocol, port, cipher_suites, workarounds, class, .. } = &*self.endpoint;
        self.name == name
            && *id == endpoint.id
            && *address == endpoint.address
            && *protocol == endpoint.protocol
            && *port == endpoint.port
            && *cipher_suites == endpoint.cipher_suites
            && *workarounds == endpoint.workarounds
            && *class == endpoint.class
    }
}

struct Running {
    wire: Wire,
    account: watch::Sender<i64>,
    stop: CancellationToken,
    ended: CancellationToken,
}

impl Lines {
    pub(crate) fn new(hub: Arc<Hub>, bmcs: Bmcs, stop: CancellationToken) -> Self {
        let (running, ending, tasks) = (HashMap::new(), HashMap::new(), JoinSet::new());
        Self { hub, bmcs, stop, running, ending, tasks }
    }

    /// Keeps a line for every node that has a BMC with an address, following the inventory, until the stop.
    pub(crate) async fn keep(mut self, mirror: Mirror<Inventory>) {
        let mut changes = mirror.subscribe();
        let stop = self.stop.clone();
        while !stop.is_cancelled() {
            self.follow(&mirror);
            tokio::select! {
                () = stop.cancelled() => {}
                // False: there is nothing to follow any more, and the lines stay as they are.
                there = changes.settled() => if !there { stop.cancelled().await },
            }
            while let Some(ended) = self.tasks.try_join_next() {
                rethrow(ended);
            }
            self.ending.retain(|_, it| !it.is_cancelled());
        }
        while let Some(ended) = self.tasks.join_next().await {
            rethrow(ended);
        }
    }

    /// Ends the lines that are no longer, or no longer so, and begins those that are new.
    fn follow(&mut self, mirror: &Mirror<Inventory>) {
        let begun = mirror.read(|inventory| {
            self.end_changed(inventory);
            let nodes = inventory.components().filter(|it| it.id.is_node());
            let new = nodes.filter(|it| !self.running.contains_key(&it.id));
            let wired = new.filter_map(|node| {
                let endpoint = wired(inventory, node)?;
                let account = endpoint.credential_version;
                // Its nodes are of no use here, and would be kept twice.
                let endpoint = Box::new(Endpoint { nodes: Vec::new(), ..endpoint.clone() });
                let name = inventory.name_of(node, &self.hub.pattern);
                Some((node.id.clone(), Wire { name, endpoint }, account))
            });
            wired.collect::<Vec<_>>()
        });
        for (node, wire, account) in begun {
            let running = self.begin(&node, wire, account);
            self.running.insert(node, running);
        }
    }

    fn end_changed(&mut self, inventory: &Inventory) {
        let Self { running, ending, hub, .. } = self;
        running.retain(|id, it| {
            let node = inventory.component(id);
            let endpoint = node.and_then(|node| Some((node, wired(inventory, node)?)));
            let kept = endpoint.filter(|(node, endpoint)| {
                it.wire.leads_to(&inventory.name_of(node, &hub.pattern), endpoint)
            });
            match kept {
                Some((_, endpoint)) => {
                    let account = endpoint.credential_version;
                    it.account.send_if_modified(|it| std::mem::replace(it, account) != account);
                }
                None => {
                    it.stop.cancel();
                    ending.insert(id.clone(), it.ended.clone());
                }
            }
            if endpoint.is_none() {
                hub.remove(id);
            }
            kept.is_some()
        });
    }

    fn begin(&mut self, node: &Xname, wire: Wire, account: i64) -> Running {
        let (stop, ended) = (self.stop.child_token(), CancellationToken::new());
        let (account, follower) = watch::channel(account);
        let (console, endpoint) = (self.hub.add(node), wire.endpoint.clone());
        let line = Line::new(&self.hub.config, console, self.bmcs.clone(), &wire.name, endpoint, follower);
        let (before, told, end) = (self.ending.remove(node), stop.clone(), ended.clone().drop_guard());
        self.tasks.spawn(async move {
            if let Some(before) = before {
                before.cancelled().await;
            }
            line.keep(told).await;
            drop(end);
        });
        Running { wire, account, stop, ended }
    }
}

/// A panic of a line is one of the service: systemd starts it again.
fn rethrow(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && let Ok(panic) = error.try_into_panic()
    {
        std::panic::resume_unwind(panic);
    }
}

/// The BMC behind a node's console, if it can be reached.
fn wired<'a>(inventory: &'a Inventory, node: &Component) -> Option<&'a Endpoint> {
    inventory.controller_of(&node.id).filter(|it| it.address.is_some())
}
