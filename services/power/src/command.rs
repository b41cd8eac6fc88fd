//! Commands on their way: many BMCs at once, each BMC one command after the other, what others stand in first.

mod inrush;
mod kept;
mod turn;
mod wired;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use daemon::BootEvent;
use domain::inventory::{Component, Endpoint, Inventory};
use domain::{BootStage, Service, StageResult, Xname, event};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use web::Client;
use web::mirror::Mirror;

use crate::bmc::{Bmcs, Seen};
use crate::client::{Outcome, Request};
use crate::config::Config;
use crate::error::Error;
use crate::model::{Action, Boot, controller_of, may_switch, rank};
use inrush::Inrush;
use kept::Kept;
use turn::Place;

/// What commands under way have left when the service stops: less than the 10 s that it has itself.
const STOP_MAX: Duration = Duration::from_secs(8);

/// What commands share.
pub(crate) struct Switchboard {
    pub(crate) mirror: Mirror<Inventory>,
    pub(crate) bmcs: Bmcs,
    config: Config,
    pattern: String,
    /// Room for commands, and for looks, so that neither waits for the other.
    commands: Arc<Semaphore>,
    looks: Arc<Semaphore>,
    inrush: Inrush,
    pub(crate) kept: Kept,
    /// One command at a time for each BMC; others wait in order. Only BMCs with commands are in it.
    turns: Mutex<HashMap<Xname, Turn>>,
    under_way: TaskTracker,
    /// Who opens the windows of nodes that boot; none if the document has no use for them.
    join: Option<Client>,
    stop: CancellationToken,
}

type Turn = Arc<tokio::sync::Mutex<()>>;

/// What is done at a BMC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// The state is asked for.
    Look,
    /// Power, or where to boot from, or both.
    Power { action: Option<Action>, boot: Option<Boot> },
    /// The light that shows which machine it is.
    Light(bool),
}

/// What is asked of each node, and until when.
#[derive(Clone, Copy)]
struct Order {
    task: Task,
    /// When whoever asked waits no longer; none: they are told as each is done.
    until: Option<Instant>,
}

/// A node as it was asked for, and what became of it.
pub(crate) type Report = (String, Result<Seen, String>);

/// A node, its BMC, and the words it was asked for by.
struct Found {
    node: Component,
    endpoint: Endpoint,
    words: Vec<String>,
}

impl Task {
    fn of(request: &Request) -> Self {
        match (request.action, request.boot) {
            (None, None) => Self::Look,
            (action, boot) => Self::Power { action, boot },
        }
    }

    fn action(self) -> Option<Action> {
        match self {
            Self::Power { action, .. } => action,
            Self::Look | Self::Light(_) => None,
        }
    }
}

impl Switchboard {
    pub(crate) fn new(
        mirror: Mirror<Inventory>,
        bmcs: Bmcs,
        config: Config,
        pattern: String,
        stop: CancellationToken,
    ) -> Self {
        let [commands, looks] = [(); 2].map(|()| Arc::new(Semaphore::new(config.concurrency)));
        let (turns, under_way) = (Mutex::default(), TaskTracker::new());
        let (inrush, kept) = (Inrush::new(config.inrush), Kept::new(config.keep_sessions.0));
        let join = None;
        Self { mirror, bmcs, config, pattern, commands, looks, inrush, kept, turns, under_way, join, stop }
    }

    /// The same, which has join open the windows of nodes that it boots.
    pub(crate) fn with_join(self, join: Option<Client>) -> Self {
        Self { join, ..self }
    }

    /// How nodes without a name are called.
    pub(crate) fn pattern(&self) -> &str {
        &self.pattern
    }

    /// Spawns work that the service's end waits for.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.under_way.spawn(work);
    }

    /// Cancelled when the service stops.
    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Carries a request out to its end, even if nobody waits for it any more: a client that goes away does not
    /// leave half of the nodes undone. In the order of the request, within the deadline.
    pub(crate) async fn carry_out(self: Arc<Self>, request: Request) -> Vec<Outcome> {
        let words = request.nodes.clone();
        let until = Instant::now() + self.config.deadline();
        let mut reports = self.begin(request.nodes.clone(), Task::of(&request), Some(until));
        let mut done: HashMap<String, Outcome> = HashMap::new();
        while let Some((node, result)) = reports.recv().await {
            done.insert(node.clone(), outcome(node, result));
        }
        let lost =
            |node: String| outcome(node, Err("the command broke off; the journal says why".to_owned()));
        words.into_iter().map(|node| done.get(&node).cloned().unwrap_or_else(|| lost(node))).collect()
    }

    /// The same for as many as there are: what becomes of each is told as it is done. Each has its own deadline, from
    /// when its turn comes.
    pub(crate) fn stream(self: Arc<Self>, request: Request) -> mpsc::Receiver<Report> {
        let task = Task::of(&request);
        self.begin(request.nodes, task, None)
    }

    /// Begins a task for each word; the channel has room for all, so that nobody who is slow to read holds it up.
    pub(crate) fn begin(
        self: Arc<Self>,
        words: Vec<String>,
        task: Task,
        until: Option<Instant>,
    ) -> mpsc::Receiver<Report> {
        let (told, reports) = mpsc::channel(words.len().max(1));
        let under_way = self.under_way.clone();
        under_way.spawn(self.run(words, Order { task, until }, told));
        reports
    }

    /// Waits for the commands that are under way.
    pub(crate) async fn finish(&self) {
        self.under_way.close();
        self.under_way.wait().await;
        self.kept.clear();
    }

    async fn run(self: Arc<Self>, words: Vec<String>, order: Order, told: mpsc::Sender<Report>) {
        // A node that was named twice is switched once.
        let mut known: BTreeMap<Xname, Found> = BTreeMap::new();
        let mut refused = Vec::new();
        self.mirror.read(|inventory| {
            for word in words {
                match self.find(inventory, &word, order.task) {
                    Ok((node, endpoint)) => {
                        let found = || Found { node: node.clone(), endpoint, words: Vec::new() };
                        known.entry(node.id.clone()).or_insert_with(found).words.push(word);
                    }
                    Err(error) => refused.push((word, Err(error.sentence()))),
                }
            }
        });
        for report in refused {
            tell(&told, report);
        }
        let mut waves: BTreeMap<i8, Vec<Found>> = BTreeMap::new();
        let is_off = order.task.action().is_some_and(|it| matches!(it, Action::Off | Action::Soft));
        for found in known.into_values() {
            let rank = rank(&found.node.id);
            // What others stand in comes on before them and goes off after them.
            waves.entry(if is_off { -rank } else { rank }).or_default().push(found);
        }
        let mut failed: Vec<Xname> = Vec::new();
        for wave in waves.into_values() {
            let mut tasks = JoinSet::new();
            for found in wave {
                if let Some(outer) = failed.iter().find(|it| is_bound(&found.node.id, it, is_off)) {
                    let why = Error::After(found.node.id.clone(), outer.clone()).sentence();
                    found.words.into_iter().for_each(|it| tell(&told, (it, Err(why.clone()))));
                    failed.push(found.node.id);
                    continue;
                }
                let (board, told) = (Arc::clone(&self), told.clone());
                tasks.spawn(async move {
                    let result = board.switch(&found.node, &found.endpoint, order).await;
                    let is_done = result.is_ok();
                    let result = result.map_err(Error::sentence);
                    found.words.into_iter().for_each(|it| tell(&told, (it, result.clone())));
                    (found.node.id, is_done)
                });
            }
            while let Some(joined) = tasks.join_next().await {
                match joined {
                    Ok((id, false)) if !id.is_node() || is_off => failed.push(id),
                    Ok(_) => {}
                    Err(error) => tracing::error!(%error, "a power command broke off"),
                }
            }
        }
    }

    fn find(&self, inventory: &Inventory, word: &str, task: Task) -> Result<(Component, Endpoint), Error> {
        let node = inventory.find(word, &self.pattern).filter(|it| it.id.is_node() || rank(&it.id) < 2);
        let node = node.ok_or_else(|| Error::NoNode(word.to_owned()))?;
        let endpoint = controller_of(inventory, &node.id).ok_or_else(|| Error::NoBmc(node.id.clone()))?;
        if matches!(task, Task::Power { .. }) {
            may_switch(node.lock.as_ref()).map_err(|it| Error::Locked(node.id.clone(), it))?;
        }
        Ok((node.clone(), endpoint.clone()))
    }

    /// One node, when its BMC is free and there is room; logs what fails.
    async fn switch(
        self: &Arc<Self>,
        node: &Component,
        endpoint: &Endpoint,
        order: Order,
    ) -> Result<Seen, Error> {
        let done = self.wait_and_command(node, endpoint, order).await;
        self.forget(&endpoint.id);
        if let Err(error) = &done {
            let action = order.task.action();
            let boots = action.is_some_and(Action::boots) && node.id.is_node();
            if boots && !matches!(error, Error::Impossible(_) | Error::Stopping(_)) {
                let why = if error.is_unreachable() { "bmc-unreachable" } else { "bmc-failed" };
                let detail = format!("power: {}", Causes(error));
                let event = BootEvent::new(Service::Power, BootStage::PowerOn, detail).node(Some(&node.id));
                event.result(StageResult::Failed).fact("why", why).send();
            }
            let verb = action.map_or("status", Action::name);
            let causes = Causes(error);
            if error.is_unreachable() {
                daemon::event!(event::BMC_UNREACHABLE, node = node.id, "power {verb}: {causes}");
            } else if order.task != Task::Look {
                daemon::event!(event::POWER_FAILED, node = node.id, "power {verb}: {causes}");
            }
        }
        done
    }

    async fn wait_and_command(
        self: &Arc<Self>,
        node: &Component,
        endpoint: &Endpoint,
        order: Order,
    ) -> Result<Seen, Error> {
        let bmc = &endpoint.id;
        let room = if order.task == Task::Look { &self.looks } else { &self.commands };
        // First the BMC, then the room, so that commands which wait for one BMC take no room from others.
        let place = async {
            let turn = self.turn(bmc).lock_owned().await;
            (turn, Arc::clone(room).acquire_owned().await.ok())
        };
        let far = Instant::now() + Duration::from_secs(86_400);
        let place = tokio::select! {
            () = self.stop.cancelled() => return Err(Error::Stopping(bmc.clone())),
            place = timeout_at(order.until.unwrap_or(far), place) => {
                place.map_err(|_| Error::NoTurn(bmc.clone()))?
            }
        };
        let place = Place { _turn: place.0, _room: place.1 };
        let deadline = self.config.deadline();
        let own = Instant::now() + deadline + self.patience(order);
        tokio::select! {
            () = self.out_of_time() => Err(Error::Stopping(bmc.clone())),
            done = timeout_at(order.until.map_or(own, |it| it.min(own)), self.command(node, endpoint, order, place)) => {
                done.map_err(|_| Error::Late { bmc: bmc.clone(), deadline })?
            }
        }
    }

    /// What the limit of nodes switched on within a second may add, where nobody waits for the whole; each step at
    /// the BMC has its own limit all the same.
    fn patience(&self, order: Order) -> Duration {
        let is_power = matches!(order.task, Task::Power { .. });
        if is_power && order.until.is_none() { Duration::from_secs(3600) } else { Duration::ZERO }
    }

    async fn out_of_time(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(STOP_MAX).await;
    }

    fn turn(&self, bmc: &Xname) -> Turn {
        Arc::clone(self.turns().entry(bmc.clone()).or_default())
    }

    /// Forgets a BMC's turn if nobody has it or waits for it.
    fn forget(&self, bmc: &Xname) {
        let mut turns = self.turns();
        if turns.get(bmc).is_some_and(|it| Arc::strong_count(it) == 1) {
            turns.remove(bmc);
        }
    }

    fn turns(&self) -> MutexGuard<'_, HashMap<Xname, Turn>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An outcome as the API shows it.
pub(crate) fn outcome(node: String, result: Result<Seen, String>) -> Outcome {
    match result {
        Ok(seen) => Outcome { node, ok: true, state: Some(seen.state), error: None },
        Err(error) => Outcome { node, ok: false, state: None, error: Some(error) },
    }
}

/// Whether what became of one decides whether the other is tried.
fn is_bound(one: &Xname, other: &Xname, is_off: bool) -> bool {
    if is_off { other.is_within(one) && other != one } else { one.is_within(other) && one != other }
}

fn tell(told: &mpsc::Sender<Report>, report: Report) {
    // There is room for each; who has gone away is told nothing.
    if let Err(error) = told.try_send(report) {
        tracing::debug!("nobody waits for {}", error.into_inner().0);
    }
}

/// An error with its causes, in one line.
struct Causes<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        self.0.source().map_or(Ok(()), |cause| write!(f, ": {}", Causes(cause)))
    }
}
