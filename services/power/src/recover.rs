//! Nodes that are on without having booted: they were switched on while the head was down, and their firmware has given
//! up. One job at a time looks for them, and switches them off and on again, a stage at a time.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use boot::client::Client as Boot;
use daemon::{Context, Issue, Severity};
use domain::inventory::Inventory;
use domain::{Xname, event};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::client::{Action, Recovery, RecoveryNode, RecoveryPhase, RecoveryRequest, Request, State};
use crate::command::Switchboard;
use crate::config::RecoverConfig;
use crate::model::{Policy, Probe, Verdict, arrived, judge};

/// Nodes whose BMCs are asked in one request, which has one deadline for all.
const STATUS_MAX: usize = 512;
/// Nodes whose addresses are tried at once.
const PROBES_MAX: usize = 256;
/// A running node takes a connection there or refuses it; both are an answer.
const PROBE_PORT: u16 = 22;
/// ARP gives up after 3 s.
const PROBE_WAIT: Duration = Duration::from_secs(5);
/// How often boot is asked who has come.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// How often it is looked again while nodes are silent.
const LOOK_EVERY: Duration = Duration::from_secs(600);
/// The health issue.
const ISSUE: &str = "nodes-not-booted";
/// Names that an issue holds; the list shows all.
const NAMED_MAX: usize = 20;

/// The job, and what it has found.
pub(crate) struct Recoverer {
    board: Arc<Switchboard>,
    boot: Boot,
    config: RecoverConfig,
    now: Mutex<Option<Recovery>>,
    jobs: TaskTracker,
    stop: CancellationToken,
}

/// A job is under way already.
#[derive(Debug, thiserror::Error)]
#[error("a recovery is under way; `pilotctl power recover --follow` shows it")]
pub(crate) struct Busy;

/// What is known of a node before it is judged.
struct Found {
    node: Xname,
    addresses: Vec<IpAddr>,
}

impl Recoverer {
    pub(crate) fn new(
        board: Arc<Switchboard>,
        boot: Boot,
        config: RecoverConfig,
        stop: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self { board, boot, config, now: Mutex::default(), jobs: TaskTracker::new(), stop })
    }

    /// The last job, if there was one.
    pub(crate) fn show(&self) -> Option<Recovery> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Recovery>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a job, which goes on whoever waits for it.
    ///
    /// # Errors
    ///
    /// If there is one already.
    pub(crate) fn begin(self: &Arc<Self>, request: RecoveryRequest) -> Result<Recovery, Busy> {
        let begun = {
            let mut now = self.lock();
            if now.as_ref().is_some_and(|it| it.phase != RecoveryPhase::Done) {
                return Err(Busy);
            }
            let stage = request.stage.unwrap_or(self.config.stage).max(1);
            let begun =
                Recovery { phase: RecoveryPhase::Looking, dry: request.dry, stage, ..Recovery::default() };
            now.insert(begun).clone()
        };
        let job = Arc::clone(self);
        self.jobs.spawn(async move {
            let (stage, limit) = (begun.stage, request.wait_s.map_or(job.config.wait, Duration::from_secs));
            let done = job.run(request, stage, limit).await;
            if let Err(error) = &done {
                tracing::warn!("the recovery ends: {error:#}");
            }
            job.change(|it| {
                it.phase = RecoveryPhase::Done;
                it.error = done.err().map(|it| format!("{it:#}"));
            });
        });
        self.lock().clone().ok_or(Busy)
    }

    /// Waits for the job that is under way, which ends at the stop.
    pub(crate) async fn finish(&self) {
        self.jobs.close();
        self.jobs.wait().await;
    }

    fn change(&self, change: impl FnOnce(&mut Recovery)) {
        if let Some(it) = self.lock().as_mut() {
            change(it);
        }
    }

    fn tell(&self, node: &Xname, verdict: Verdict, reason: Option<String>) {
        self.change(|it| {
            it.nodes.insert(node.clone(), RecoveryNode { verdict, reason });
        });
    }

    async fn run(&self, request: RecoveryRequest, stage: usize, limit: Duration) -> anyhow::Result<()> {
        let found = self.board.mirror.read(|it| self.find(it, &request.nodes));
        for word in found.1 {
            self.change(|it| it.unknown.push(word));
        }
        let silent = self.look(found.0).await?;
        if request.dry {
            return Ok(());
        }
        self.change(|it| it.phase = RecoveryPhase::Cycling);
        for nodes in silent.chunks(stage) {
            if self.stop.is_cancelled() {
                anyhow::bail!("the service stops; begin again, who has booted is left alone");
            }
            self.cycle(nodes, limit).await;
        }
        Ok(())
    }

    /// The nodes that are asked for, all of them if none are, and the words that name none.
    fn find(&self, inventory: &Inventory, words: &[String]) -> (Vec<Found>, Vec<String>) {
        let found = |node: &domain::inventory::Component| Found {
            node: node.id.clone(),
            addresses: inventory.interfaces_of(&node.id).flat_map(|it| it.ips()).collect(),
        };
        if words.is_empty() {
            let nodes = inventory.components().filter(|it| it.id.is_node());
            let switched = nodes.filter(|it| inventory.controller_of(&it.id).is_some() && it.lock.is_none());
            return (switched.map(found).collect(), Vec::new());
        }
        let (mut nodes, mut unknown) = (BTreeMap::new(), Vec::new());
        for word in words {
            match inventory.find(word, self.board.pattern()).filter(|it| it.id.is_node()) {
                Some(node) => drop(nodes.insert(node.id.clone(), found(node))),
                None => unknown.push(word.clone()),
            }
        }
        (nodes.into_values().collect(), unknown)
    }

    /// Judges nodes; those that are silent.
    async fn look(&self, nodes: Vec<Found>) -> anyhow::Result<Vec<Xname>> {
        let seen = self.boot.seen().await.context("ask boot who has come")?.nodes;
        let (alive, unseen): (Vec<_>, Vec<_>) = nodes.into_iter().partition(|it| seen.contains_key(&it.node));
        alive.iter().for_each(|it| self.tell(&it.node, Verdict::Alive, None));
        let mut on = Vec::new();
        let mut rest = unseen.into_iter();
        loop {
            let some: Vec<Found> = rest.by_ref().take(STATUS_MAX).collect();
            if some.is_empty() {
                break;
            }
            let nodes = some.iter().map(|it| it.node.to_string()).collect();
            let request = Request { nodes, action: None, boot: None };
            let outcomes = Arc::clone(&self.board).carry_out(request).await;
            for (node, outcome) in some.into_iter().zip(outcomes) {
                match outcome.state {
                    Some(State::On) => on.push(node),
                    Some(State::Off) => self.tell(&node.node, Verdict::Off, None),
                    None => self.tell(&node.node, Verdict::Unsure, outcome.error),
                }
            }
            anyhow::ensure!(!self.stop.is_cancelled(), "the service stops");
        }
        Ok(self.try_addresses(on).await)
    }

    async fn try_addresses(&self, nodes: Vec<Found>) -> Vec<Xname> {
        let mut silent = Vec::new();
        let mut rest = nodes.into_iter();
        let mut tries = JoinSet::new();
        loop {
            while tries.len() < PROBES_MAX
                && let Some(Found { node, addresses }) = rest.next()
            {
                tries.spawn(async move {
                    let mut probes = Vec::new();
                    for address in addresses {
                        probes.push(probe(address).await);
                    }
                    (node, judge(&probes))
                });
            }
            let Some(tried) = tries.join_next().await else { break };
            let Ok((node, (verdict, reason))) = tried else { continue };
            self.tell(&node, verdict, reason.map(str::to_owned));
            if verdict == Verdict::Silent {
                silent.push(node);
            }
        }
        silent.sort();
        silent
    }

    /// Switches nodes off and on, and waits until each has asked for its script, or for `limit`.
    async fn cycle(&self, nodes: &[Xname], limit: Duration) {
        // Whole seconds, as boot tells them.
        let since = epoch();
        let words = nodes.iter().map(ToString::to_string).collect();
        let request = Request { nodes: words, action: Some(Action::Cycle), boot: None };
        let mut waiting = Vec::new();
        let outcomes = Arc::clone(&self.board).carry_out(request).await;
        for (node, outcome) in nodes.iter().zip(outcomes) {
            let verdict = if outcome.ok { Verdict::Waiting } else { Verdict::Failed };
            self.tell(node, verdict, outcome.error);
            waiting.extend(outcome.ok.then(|| node.clone()));
        }
        let end = Instant::now() + limit;
        let mut asks = interval(ASK_EVERY);
        asks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !waiting.is_empty() && Instant::now() < end {
            if self.stop.run_until_cancelled(asks.tick()).await.is_none() {
                return;
            }
            match self.boot.seen().await {
                Ok(seen) => {
                    for node in arrived(waiting.iter(), &seen.nodes, since) {
                        self.tell(&node, Verdict::Booted, None);
                        waiting.retain(|it| *it != node);
                    }
                }
                Err(error) => tracing::debug!("boot does not say who has come: {error}"),
            }
        }
        let reason = format!("it asked for no script within {} s; look at its console", limit.as_secs());
        waiting.iter().for_each(|it| self.tell(it, Verdict::Late, Some(reason.clone())));
    }

    /// After the start of the head: waits until nodes that came on with it have had their time, then does what the
    /// document says.
    pub(crate) async fn watch(self: &Arc<Self>, context: &Context) {
        if self.config.policy == Policy::Off || self.pause(self.config.after).await.is_none() {
            return;
        }
        let dry = self.config.policy == Policy::List || !first_time(&context.paths.state);
        let mut request = RecoveryRequest { dry, ..RecoveryRequest::default() };
        loop {
            // Somebody may have begun one: then that one counts.
            if self.begin(request.clone()).is_err() {
                tracing::debug!("a recovery is under way already");
            }
            while self.show().is_some_and(|it| it.phase != RecoveryPhase::Done) {
                if self.pause(ASK_EVERY).await.is_none() {
                    return;
                }
            }
            let bad = self.show().map(|it| it.bad()).unwrap_or_default();
            if bad.is_empty() {
                context.issues().clear(ISSUE);
                return;
            }
            raise(context, &bad);
            request.dry = true;
            if self.pause(LOOK_EVERY).await.is_none() {
                return;
            }
        }
    }

    async fn pause(&self, time: Duration) -> Option<()> {
        self.stop.run_until_cancelled(sleep(time)).await
    }
}

fn raise(context: &Context, nodes: &[Xname]) {
    let named: Vec<&str> = nodes.iter().take(NAMED_MAX).map(Xname::as_str).collect();
    let count = nodes.len();
    let summary = format!("{count} nodes are on and have not booted since the head was started");
    daemon::event!(event::NODES_NOT_BOOTED, "{summary}: {}", named.join(" "));
    context.issues().raise(Issue {
        id: ISSUE.to_owned(),
        kind: ISSUE.to_owned(),
        context: serde_json::json!({"count": count, "nodes": named}),
        severity: Severity::Warning,
        since: String::new(),
        summary,
        suggestion:
            "see them with pilotctl power recover --dry-run; pilotctl power recover --stage 32 switches \
                     them off and on"
                .to_owned(),
        fix: None,
        message_id: event::NODES_NOT_BOOTED.id.to_owned(),
    });
}

/// Whether the head was started since this was asked last: a service that starts anew does not switch again.
fn first_time(state: &Path) -> bool {
    let file: PathBuf = state.join("recovered");
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    if boot.is_empty() || std::fs::read_to_string(&file).is_ok_and(|it| it == boot) {
        return false;
    }
    match daemon::replace_file(&file, boot.as_bytes(), 0o600) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!("{} cannot be written, so nothing is switched: {error}", file.display());
            false
        }
    }
}

async fn probe(address: IpAddr) -> Probe {
    match timeout(PROBE_WAIT, TcpStream::connect((address, PROBE_PORT))).await {
        Ok(Ok(_)) => Probe::Answered,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Probe::Answered,
        Ok(Err(error)) if error.kind() == io::ErrorKind::HostUnreachable => Probe::Nobody,
        Ok(Err(_)) | Err(_) => Probe::Nothing,
    }
}

fn epoch() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
