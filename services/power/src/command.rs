//! Commands on their way: many BMCs at once, each BMC one command after the other, all within a deadline.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use daemon::BootEvent;
use domain::inventory::{Component, Endpoint, Inventory};
use domain::{BootStage, Service, StageResult, Xname, event};
use ipmi::Session;
use ipmi::boot::BootOverride;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use web::Client;
use web::mirror::Mirror;

use crate::bmc::Bmcs;
use crate::client::{Outcome, Request};
use crate::config::Config;
use crate::error::Error;
use crate::model::{Action, Boot, State, may_switch};

/// How often the state is asked for after a command.
const POLL: Duration = Duration::from_millis(250);
/// How long a node may take to reach the state it was sent to.
const REACH_MAX: Duration = Duration::from_secs(10);
/// What commands under way have left when the service stops: less than the 10 s that it has itself.
const STOP_MAX: Duration = Duration::from_secs(8);
/// How long a power command waits for join.
const JOIN_MAX: Duration = Duration::from_secs(2);

/// What commands share.
pub(crate) struct Switchboard {
    pub(crate) mirror: Mirror<Inventory>,
    bmcs: Bmcs,
    config: Config,
    pattern: String,
    limit: Semaphore,
    /// One command at a time for each BMC; others wait in order. Only BMCs with commands are in it.
    turns: Mutex<HashMap<Xname, Arc<tokio::sync::Mutex<()>>>>,
    under_way: TaskTracker,
    /// Who opens the windows of nodes that boot; none if the document has no use for them.
    join: Option<Client>,
    stop: CancellationToken,
}

/// What is asked of each node, and until when.
#[derive(Clone, Copy)]
struct Order {
    action: Option<Action>,
    boot: Option<Boot>,
    deadline: Instant,
}

impl Order {
    /// Whether it asks for more than the state.
    fn changes(self) -> bool {
        self.action.is_some() || self.boot.is_some()
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
        let limit = Semaphore::new(config.concurrency);
        let (turns, under_way) = (Mutex::default(), TaskTracker::new());
        Self { mirror, bmcs, config, pattern, limit, turns, under_way, join: None, stop }
    }

    /// The same, which has join open the windows of nodes that it boots.
    pub(crate) fn with_join(self, join: Option<Client>) -> Self {
        Self { join, ..self }
    }

    /// How nodes without a name are called.
    pub(crate) fn pattern(&self) -> &str {
        &self.pattern
    }

    /// Carries a request out to its end, even if nobody waits for it any more: a client that goes away does not
    /// leave half of the nodes undone.
    pub(crate) async fn carry_out(self: Arc<Self>, request: Request) -> Result<Vec<Outcome>, JoinError> {
        let under_way = self.under_way.clone();
        under_way.spawn(self.carry_out_all(request)).await
    }

    /// Waits for the commands that are under way.
    pub(crate) async fn finish(&self) {
        self.under_way.close();
        self.under_way.wait().await;
    }

    async fn carry_out_all(self: Arc<Self>, request: Request) -> Vec<Outcome> {
        let Request { nodes: words, action, boot } = request;
        let order = Order { action, boot, deadline: Instant::now() + self.config.deadline() };
        // A node that was named twice is switched once.
        let mut known = HashMap::new();
        let found: Vec<Result<Xname, Error>> = self.mirror.read(|inventory| {
            let find = |word: &String| {
                let (node, endpoint) = self.find(inventory, word)?;
                if order.changes() {
                    may_switch(node.lock.as_ref()).map_err(|it| Error::Locked(node.id.clone(), it))?;
                }
                let id = node.id.clone();
                known.entry(id.clone()).or_insert((node, endpoint));
                Ok(id)
            };
            words.iter().map(find).collect()
        });
        let mut tasks = JoinSet::new();
        for (id, (node, endpoint)) in known {
            let board = Arc::clone(&self);
            tasks.spawn(async move { (id, board.switch(&node, &endpoint, order).await) });
        }
        let mut done = HashMap::new();
        while let Some(joined) = tasks.join_next().await {
            match joined {
                Ok((id, result)) => drop(done.insert(id, result.map_err(Error::sentence))),
                Err(error) => tracing::error!(%error, "a power command broke off"),
            }
        }
        let lost = || Err("the command broke off; the journal says why".to_owned());
        let outcome = |(node, found): (String, Result<Xname, Error>)| {
            let result = found.map_err(Error::sentence);
            match result.and_then(|id| done.get(&id).cloned().unwrap_or_else(lost)) {
                Ok(state) => Outcome { node, ok: true, state: Some(state), error: None },
                Err(error) => Outcome { node, ok: false, state: None, error: Some(error) },
            }
        };
        words.into_iter().zip(found).map(outcome).collect()
    }

    fn find(&self, inventory: &Inventory, word: &str) -> Result<(Component, Endpoint), Error> {
        let node = inventory.find(word, &self.pattern).filter(|it| it.id.is_node());
        let node = node.ok_or_else(|| Error::NoNode(word.to_owned()))?;
        let endpoint = inventory.controller_of(&node.id).ok_or_else(|| Error::NoBmc(node.id.clone()))?;
        Ok((node.clone(), endpoint.clone()))
    }

    /// One node, when its BMC is free and there is room; logs what fails.
    async fn switch(&self, node: &Component, endpoint: &Endpoint, order: Order) -> Result<State, Error> {
        let turn = Arc::clone(self.turns().entry(endpoint.id.clone()).or_default());
        let done = self.wait_and_command(&turn, node, endpoint, order).await;
        let mut turns = self.turns();
        drop(turn);
        if turns.get(&endpoint.id).is_some_and(|it| Arc::strong_count(it) == 1) {
            turns.remove(&endpoint.id);
        }
        drop(turns);
        if let Err(error) = &done {
            let boots = order.action.is_some_and(Action::boots);
            if boots && !matches!(error, Error::Impossible(_) | Error::Stopping(_)) {
                let why = if error.is_unreachable() { "bmc-unreachable" } else { "bmc-failed" };
                let detail = format!("power: {}", Causes(error));
                let event = BootEvent::new(Service::Power, BootStage::PowerOn, detail).node(Some(&node.id));
                event.result(StageResult::Failed).fact("why", why).send();
            }
            let verb = order.action.map_or("status", Action::name);
            let causes = Causes(error);
            if error.is_unreachable() {
                daemon::event!(event::BMC_UNREACHABLE, node = node.id, "power {verb}: {causes}");
            } else if order.changes() {
                daemon::event!(event::POWER_FAILED, node = node.id, "power {verb}: {causes}");
            }
        }
        done
    }

    async fn wait_and_command(
        &self,
        turn: &tokio::sync::Mutex<()>,
        node: &Component,
        endpoint: &Endpoint,
        order: Order,
    ) -> Result<State, Error> {
        let bmc = &endpoint.id;
        // First the BMC, then the room, so that commands which wait for one BMC take no room from others.
        let turn = async { (turn.lock().await, self.limit.acquire().await) };
        let _turn = tokio::select! {
            () = self.stop.cancelled() => return Err(Error::Stopping(bmc.clone())),
            turn = timeout_at(order.deadline, turn) => turn.map_err(|_| Error::NoTurn(bmc.clone()))?,
        };
        let deadline = self.config.deadline();
        tokio::select! {
            () = self.out_of_time() => Err(Error::Stopping(bmc.clone())),
            done = timeout_at(order.deadline, self.command(node, endpoint, order)) => {
                done.map_err(|_| Error::Late { bmc: bmc.clone(), deadline })?
            }
        }
    }

    async fn command(&self, node: &Component, endpoint: &Endpoint, order: Order) -> Result<State, Error> {
        let session = self.bmcs.open(endpoint).await?;
        if order.action.is_some_and(Action::boots) {
            self.open_window(&node.id).await;
        }
        let done = Wired { session: &session, node, bmc: &endpoint.id }.carry_out(order).await;
        if let Err(error) = session.close().await {
            tracing::debug!(%error, "{} did not confirm the end of the session", endpoint.id);
        }
        done
    }

    /// Before the command, so that no node is quicker. A node whose window stays shut boots all the same, without its
    /// token.
    async fn open_window(&self, node: &Xname) {
        let Some(join) = &self.join else { return };
        let opened = tokio::time::timeout(JOIN_MAX, join::client::open(join, node.as_str(), None)).await;
        let said = match opened {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "join does not answer".to_owned(),
        };
        tracing::warn!(pilothouse_node = %node, "{node} boots without a window for its token: {said}");
    }

    async fn out_of_time(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(STOP_MAX).await;
    }

    fn turns(&self) -> MutexGuard<'_, HashMap<Xname, Arc<tokio::sync::Mutex<()>>>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session with a node's BMC.
struct Wired<'a> {
    session: &'a Session,
    node: &'a Component,
    bmc: &'a Xname,
}

impl Wired<'_> {
    async fn carry_out(&self, order: Order) -> Result<State, Error> {
        let now = self.state().await?;
        let plan = order.action.map(|it| it.plan(now)).transpose().map_err(Error::Impossible)?;
        if let Some(boot) = order.boot {
            let boot = BootOverride { device: boot.into(), persistent: false, efi: false };
            self.session.set_boot_device(boot).await.map_err(|it| self.failed(it))?;
        }
        let (Some(action), Some(plan)) = (order.action, plan) else { return Ok(now) };
        let Some(send) = plan.send else { return Ok(now) };
        self.session.chassis_control(send).await.map_err(|it| self.failed(it))?;
        let (id, name) = (&self.node.id, action.name());
        daemon::event!(event::POWER_DONE, node = id, "{} was told: power {name}", self.bmc);
        if action.boots() {
            let detail = format!("{} switched power {name}", self.bmc);
            BootEvent::new(Service::Power, BootStage::PowerOn, detail).node(Some(id)).send();
        }
        match plan.until {
            None => self.state().await,
            Some(until) => self.reach(until).await,
        }
    }

    async fn state(&self) -> Result<State, Error> {
        let status = self.session.chassis_status().await.map_err(|it| self.failed(it))?;
        Ok(if status.power_on { State::On } else { State::Off })
    }

    /// Asks until the state is there.
    async fn reach(&self, until: State) -> Result<State, Error> {
        let started = Instant::now();
        let mut poll = tokio::time::interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while started.elapsed() < REACH_MAX {
            poll.tick().await;
            if self.state().await? == until {
                return Ok(until);
            }
        }
        Err(Error::NotReached { bmc: self.bmc.clone(), state: until.name(), waited: REACH_MAX })
    }

    fn failed(&self, source: ipmi::Error) -> Error {
        Error::Bmc { bmc: self.bmc.clone(), address: self.session.address(), source }
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
