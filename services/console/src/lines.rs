//! The lines: one task a node, begun, changed and ended as the inventory says.

use std::collections::HashMap;
use std::sync::Arc;

use domain::Xname;
use domain::inventory::Component;
use ipmi::SolOptions;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use web::mirror::Mirror;

use crate::line::{Account, Line, Places, Port, SolLine, place_of};
use crate::nodes::{Changed, Nodes};

/// All lines.
pub(crate) struct Lines {
    places: Arc<Places>,
    stop: CancellationToken,
    running: HashMap<Xname, Running>,
    /// The ends of lines that were told to end; the next line of the node waits for it, as the one that gives
    /// a line back gives back whosever it is by then (IPMI 2.0 section 24.2 knows no owner).
    ending: HashMap<Xname, CancellationToken>,
    tasks: JoinSet<()>,
}

/// What a line is made of; another one means another line.
#[derive(Debug, PartialEq)]
struct Wire {
    name: String,
    port: Arc<Port>,
}

struct Running {
    wire: Wire,
    account: Arc<Account>,
    stop: CancellationToken,
    ended: CancellationToken,
}

impl Lines {
    pub(crate) fn new(places: Arc<Places>, stop: CancellationToken) -> Self {
        let (running, ending, tasks) = (HashMap::new(), HashMap::new(), JoinSet::new());
        Self { places, stop, running, ending, tasks }
    }

    /// Keeps a line for every node that has a BMC with an address, or a line of its own in the settings,
    /// following the inventory, until the stop.
    pub(crate) async fn keep(mut self, mirror: Mirror<Nodes>) {
        let mut changes = mirror.subscribe();
        let stop = self.stop.clone();
        self.follow(&mirror);
        // From here on nobody else asks for the sessions of the process before.
        self.places.keeper.end_rest(&self.places.options);
        // Thousands of lines at once leave memory behind.
        daemon::trim_memory_soon();
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => break,
                // False: there is nothing to follow any more, and the lines stay as they are.
                there = changes.settled() => if !there { stop.cancelled().await },
            }
            self.follow(&mirror);
            while let Some(ended) = self.tasks.try_join_next() {
                rethrow(ended);
            }
            self.ending.retain(|_, it| !it.is_cancelled());
        }
        if self.places.keeper.keeps() {
            // What comes from now on waits for the process that goes on with the sessions.
            self.places.keeper.pool().pause();
        }
        while let Some(ended) = self.tasks.join_next().await {
            rethrow(ended);
        }
    }

    /// Ends the lines that are no longer, or no longer so, and begins those that are new.
    fn follow(&mut self, mirror: &Mirror<Nodes>) {
        let begun: Vec<(Xname, Wire, i64)> = mirror.read(|nodes| match nodes.take_changed() {
            Changed::These(changed) => changed.into_iter().filter_map(|it| self.look_at(nodes, it)).collect(),
            Changed::All => {
                let there = |id: &Xname| nodes.component(id).is_some();
                let gone: Vec<Xname> = self.running.keys().filter(|it| !there(it)).cloned().collect();
                let all = nodes.components().filter(|it| it.id.is_node()).map(|it| it.id.clone());
                gone.into_iter().chain(all).filter_map(|it| self.look_at(nodes, it)).collect()
            }
        });
        // What the process before had goes on before anything else is received.
        let begun: Vec<_> = begun
            .into_iter()
            .map(|(node, wire, account)| {
                let resumed = self.resume(&node, &wire);
                (node, wire, account, resumed)
            })
            .collect();
        for (node, wire, account, resumed) in begun {
            let running = self.begin(&node, wire, account, resumed);
            self.running.insert(node, running);
        }
    }

    /// Ends a node's line if it is no longer so; gives what a new one is made of.
    fn look_at(&mut self, nodes: &Nodes, id: Xname) -> Option<(Xname, Wire, i64)> {
        let node = nodes.component(&id).filter(|it| it.id.is_node());
        let wanted = node.and_then(|it| self.wire(nodes, it));
        if let Some(running) = self.running.get(&id) {
            if let Some((_, account)) = wanted.as_ref().filter(|it| it.0 == running.wire) {
                running.account.set(*account);
                return None;
            }
            running.stop.cancel();
            self.ending.insert(id.clone(), running.ended.clone());
            self.running.remove(&id);
            if wanted.is_none() {
                self.places.hub.remove(&id);
            }
        }
        wanted.map(|(wire, account)| (id, wire, account))
    }

    /// What a node's line is made of, and the version of its BMC's account; none: it has no console.
    fn wire(&self, nodes: &Nodes, node: &Component) -> Option<(Wire, i64)> {
        let hub = &self.places.hub;
        let name = nodes.name_of(node, &hub.pattern);
        let endpoint = nodes.controller_of(&node.id).filter(|it| it.address.is_some());
        let class = endpoint.and_then(|it| it.class.as_ref());
        let (of_nodes, of_classes) = (&hub.config.nodes, &hub.config.classes);
        let place = of_nodes.get(&name).or_else(|| of_nodes.get(node.id.as_str()));
        let place = place.or_else(|| class.and_then(|it| of_classes.get(it)));
        let address = endpoint.and_then(|it| it.address.as_deref()).unwrap_or_default();
        let port = match place.map(|it| Port::new(it, address, &name)).transpose() {
            Ok(port) => port.flatten().or_else(|| endpoint.map(Port::sol))?,
            Err(error) => {
                tracing::warn!("the line of {name} cannot be made: {error:#}");
                return None;
            }
        };
        let account = endpoint.map_or(0, |it| it.credential_version);
        Some((Wire { name, port: Arc::new(port) }, account))
    }

    /// The line that the process before had, if it leads where this one does.
    fn resume(&self, node: &Xname, wire: &Wire) -> Option<SolLine> {
        let Port::Sol(endpoint) = &*wire.port else { return None };
        let options = (self.places.options.clone(), SolOptions::default());
        self.places.keeper.resume(node, endpoint.id.as_str(), &place_of(endpoint), options)
    }

    fn begin(&mut self, node: &Xname, wire: Wire, account: i64, resumed: Option<SolLine>) -> Running {
        let (stop, ended) = (self.stop.child_token(), CancellationToken::new());
        let account = Arc::new(Account::new(account));
        let console = self.places.hub.add(node);
        let (places, port) = (Arc::clone(&self.places), Arc::clone(&wire.port));
        let line = Line::new(places, console, &wire.name, port, Arc::clone(&account));
        // In boxes: a task has room for all that its work ever hands on, several times over.
        let line = Box::new(line);
        let resumed = resumed.map(Box::new);
        let (before, told, end) = (self.ending.remove(node), stop.clone(), ended.clone().drop_guard());
        self.tasks.spawn(async move {
            if let Some(before) = before {
                before.cancelled().await;
            }
            line.keep(resumed, told).await;
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
