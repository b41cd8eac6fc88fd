//! The lines to the BMCs: one task a node opens its SOL, logs what comes, and opens it again when it is lost.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use daemon::BootEvent;
use domain::inventory::{Endpoint, Inventory};
use domain::{Service, Xname, event};
use ipmi::{SolEvent, SolOptions};
use power::Bmcs;
use time::OffsetDateTime;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use web::Client;
use web::mirror::Mirror;

use crate::hub::{Console, Hub};
use crate::log::Log;
use crate::model::{Scribe, Watch};

/// The first wait after a line was lost; it doubles.
const WAIT_FIRST: Duration = Duration::from_millis(500);
/// The longest wait: a dead BMC is asked this often.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// A line that lasted this long was a good one, and the waits start over.
const GOOD: Duration = Duration::from_secs(30);

/// What a line is made of; another one means another line.
#[derive(Clone, Debug, PartialEq)]
struct Wire {
    name: String,
    endpoint: Endpoint,
}

struct Running {
    wire: Wire,
    stop: CancellationToken,
}

/// Keeps a line for every node that has a BMC with an address, following the inventory, until `stop`.
pub(crate) async fn keep_lines(
    hub: Arc<Hub>,
    mirror: Mirror<Inventory>,
    inventory: Client,
    stop: CancellationToken,
) {
    let bmcs = Bmcs::new(inventory);
    let mut changes = mirror.subscribe();
    let mut running: HashMap<Xname, Running> = HashMap::new();
    let mut tasks = JoinSet::new();
    loop {
        let wanted = mirror.read(|it| wires(it, &hub.pattern));
        running.retain(|node, it| {
            let kept = wanted.get(node) == Some(&it.wire);
            if !kept {
                it.stop.cancel();
            }
            if !wanted.contains_key(node) {
                hub.remove(node);
            }
            kept
        });
        for (node, wire) in wanted {
            running.entry(node.clone()).or_insert_with(|| {
                let stop = stop.child_token();
                let line = Line {
                    hub: Arc::clone(&hub),
                    console: hub.console(&node),
                    bmcs: bmcs.clone(),
                    wire: wire.clone(),
                    scribe: Scribe::default(),
                    watch: Watch::default(),
                };
                tasks.spawn(line.keep(stop.clone()));
                Running { wire, stop }
            });
        }
        tokio::select! {
            () = stop.cancelled() => break,
            there = changes.changed() => if !there { break },
        }
        // Those that ended because they were told to.
        while tasks.try_join_next().is_some() {}
    }
    stop.cancelled().await;
    while tasks.join_next().await.is_some() {}
}

fn wires(inventory: &Inventory, pattern: &str) -> HashMap<Xname, Wire> {
    let nodes = inventory.components().filter(|it| it.id.is_node());
    let wired = nodes.filter_map(|node| {
        let endpoint = inventory.controller_of(&node.id).filter(|it| it.address.is_some())?.clone();
        Some((node.id.clone(), Wire { name: inventory.name_of(node, pattern), endpoint }))
    });
    wired.collect()
}

struct Line {
    hub: Arc<Hub>,
    console: Arc<Console>,
    bmcs: Bmcs,
    wire: Wire,
    scribe: Scribe,
    watch: Watch,
}

impl Line {
    async fn keep(mut self, stop: CancellationToken) {
        let node = self.console.node.clone();
        let (mut log, last) = match Log::open(&self.hub.config, &self.wire.name, &node) {
            Ok(opened) => opened,
            Err(error) => {
                let name = &self.wire.name;
                daemon::event!(event::CONSOLE_LOST, node = node, "the log of {name} cannot be opened: {error}");
                return;
            }
        };
        let mut gap = last.map(|it| format!("logging starts again; nothing was logged since {}", text(it)));
        let mut wait = WAIT_FIRST;
        while !stop.is_cancelled() {
            let started = tokio::time::Instant::now();
            let lost = tokio::select! {
                () = stop.cancelled() => break,
                lost = self.log_line(&mut log, &mut gap) => lost,
            };
            let reason = lost.map_or_else(|it| it, |it| it.to_string());
            if self.console_lost(&reason) {
                daemon::event!(event::CONSOLE_LOST, node = node, "the console of {node} was lost: {reason}");
                self.mark(&mut log, &format!("console lost: {reason}"));
                gap = Some(format!("console open again after a gap since {}", text(OffsetDateTime::now_utc())));
            }
            if started.elapsed() > GOOD {
                wait = WAIT_FIRST;
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(jitter(wait)) => {}
            }
            wait = (wait * 2).min(WAIT_MAX);
        }
        self.mark(&mut log, "logging stops: the service stops, or the console changed");
    }

    /// Notes trouble; true if it is new.
    fn console_lost(&self, reason: &str) -> bool {
        let known = self.hub.list().into_iter().find(|it| it.node == self.console.node);
        self.console.disconnect(reason);
        known.is_none_or(|it| it.connected || it.trouble.as_deref() != Some(reason))
    }

    fn mark(&mut self, log: &mut Log, message: &str) {
        let text = self.scribe.mark(message, OffsetDateTime::now_utc());
        if let Err(error) = log.append(&text) {
            tracing::warn!(%error, "the log of {} cannot be written", self.wire.name);
        }
    }

    /// Opens the line and logs until it is lost; tells why.
    async fn log_line(&mut self, log: &mut Log, gap: &mut Option<String>) -> Result<io::Error, String> {
        let node = self.console.node.clone();
        let session = self.bmcs.open(&self.wire.endpoint).await.map_err(|it| it.to_string())?;
        let options = SolOptions { take_over: self.hub.config.take_over, ..SolOptions::default() };
        let mut sol = session.activate_sol(options).await.map_err(|it| it.to_string())?;
        self.console.connect(sol.writer());
        daemon::event!(event::CONSOLE_OPEN, node = node, "the console of {node} is logged");
        let opened = gap.take().unwrap_or_else(|| "console open".to_owned());
        self.mark(log, &opened);
        loop {
            let data = match sol.recv().await.map_err(|it| it.to_string())? {
                SolEvent::Data(data) => data,
                SolEvent::Break => {
                    self.mark(log, "serial break");
                    continue;
                }
                SolEvent::Overflow => {
                    self.mark(log, "the BMC lost characters here");
                    continue;
                }
                SolEvent::Deactivated(why) => return Err(format!("the BMC ended it ({why:?})")),
            };
            let watch = &mut self.watch;
            let mut stage = None;
            let text = self.scribe.write(&data, OffsetDateTime::now_utc(), |line| {
                stage = watch.look(line).or(stage);
            });
            if let Err(error) = log.append(&text) {
                return Ok(error);
            }
            self.console.publish(&data);
            if let Some(stage) = stage {
                let detail = format!("seen on the console of {}", self.wire.name);
                BootEvent::new(Service::Console, stage, detail).node(Some(&node)).send();
            }
        }
    }
}

/// Half to one and a half of a wait, so that a thousand lines lost at once do not come back at once.
fn jitter(wait: Duration) -> Duration {
    let random = u32::from(uuid::Uuid::new_v4().as_bytes()[0]);
    wait / 2 + wait * random / 256
}

fn text(time: OffsetDateTime) -> String {
    let format = time::macros::format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    time.format(&format).unwrap_or_default()
}
