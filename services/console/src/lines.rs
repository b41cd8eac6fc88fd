//! The lines to the BMCs: one task a node, begun, changed and ended as the inventory says.

use std::collections::HashMap;
use std::sync::Arc;

use domain::Xname;
use domain::inventory::{Endpoint, Inventory};
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
#[derive(Clone, Debug, PartialEq)]
struct Wire {
    name: String,
    /// Without what changes nothing of the line: its nodes and the version of its account.
    endpoint: Endpoint,
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
            let wanted = mirror.read(|it| wires(it, &self.hub.pattern));
            self.follow(wanted);
            tokio::select! {
                () = stop.cancelled() => {}
                // False: there is nothing to follow any more, and the lines stay as they are.
                there = changes.changed() => if !there { stop.cancelled().await },
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

    fn follow(&mut self, wanted: HashMap<Xname, (Wire, i64)>) {
        let ending = &mut self.ending;
        self.running.retain(|node, it| {
            let new = wanted.get(node);
            let kept = new.is_some_and(|(wire, _)| *wire == it.wire);
            if !kept {
                it.stop.cancel();
                ending.insert(node.clone(), it.ended.clone());
            }
            if new.is_none() {
                self.hub.remove(node);
            }
            kept
        });
        for (node, (wire, account)) in wanted {
            if let Some(running) = self.running.get(&node) {
                running.account.send_if_modified(|it| std::mem::replace(it, account) != account);
            } else {
                let running = self.begin(&node, wire, account);
                self.running.insert(node, running);
            }
        }
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

fn wires(inventory: &Inventory, pattern: &str) -> HashMap<Xname, (Wire, i64)> {
    let nodes = inventory.components().filter(|it| it.id.is_node());
    let wired = nodes.filter_map(|node| {
        let known = inventory.controller_of(&node.id).filter(|it| it.address.is_some())?;
        let endpoint = Endpoint { nodes: Vec::new(), credential_version: 0, ..known.clone() };
        let wire = Wire { name: inventory.name_of(node, pattern), endpoint };
        Some((node.id.clone(), (wire, known.credential_version)))
    });
    wired.collect()
}
