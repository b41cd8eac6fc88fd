//! systemd as the supervisor asks it: a job is awaited to its end, a unit's state is read from its
//! properties.

use std::time::Duration;

use anyhow::{Context as _, bail};
use futures_util::StreamExt as _;
use zbus::proxy::CacheProperties;
use zbus::{Connection, OwnedObjectPath};
use zbus_systemd::systemd1::{ManagerProxy, ServiceProxy, UnitProxy};

use crate::model::State;

/// What may be asked of a unit; polkit knows the same list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Start it, if it does not run.
    Start,
    /// Stop it.
    Stop,
    /// Stop and start it; start it if it does not run.
    Restart,
}

/// The manager of all units.
#[derive(Clone, Debug)]
pub(crate) struct Systemd {
    manager: ManagerProxy<'static>,
}

impl Systemd {
    /// Takes up with systemd. Without `Subscribe` it would send no signals.
    ///
    /// # Errors
    ///
    /// If the bus or systemd does not answer.
    pub(crate) async fn connect(connection: &Connection) -> anyhow::Result<Self> {
        let manager = ManagerProxy::builder(connection).cache_properties(CacheProperties::No).build();
        let manager = manager.await.context("reach systemd")?;
        let systemd = Self { manager };
        systemd.subscribe().await?;
        Ok(systemd)
    }

    /// Asks for signals, again after systemd was reloaded or started anew.
    ///
    /// # Errors
    ///
    /// If systemd does not answer.
    pub(crate) async fn subscribe(&self) -> anyhow::Result<()> {
        match self.manager.subscribe().await {
            Err(zbus::Error::MethodError(name, ..)) if name.as_str().ends_with("AlreadySubscribed") => Ok(()),
            other => other.context("subscribe to systemd"),
        }
    }

    /// The manager's signals.
    pub(crate) fn manager(&self) -> &ManagerProxy<'static> {
        &self.manager
    }

    /// Where a unit is on the bus; the path stays the same for good.
    ///
    /// # Errors
    ///
    /// If systemd does not answer.
    pub(crate) async fn path_of(&self, unit: &str) -> anyhow::Result<OwnedObjectPath> {
        self.manager.load_unit(unit.to_owned()).await.with_context(|| format!("load {unit}"))
    }

    /// What a unit is doing now.
    ///
    /// # Errors
    ///
    /// If systemd does not answer.
    pub(crate) async fn state_of(&self, path: &OwnedObjectPath) -> zbus::Result<State> {
        let bus = self.manager.inner().connection();
        let unit = UnitProxy::builder(bus).path(path).cache_properties(CacheProperties::No).build().await?;
        let service =
            ServiceProxy::builder(bus).path(path).cache_properties(CacheProperties::No).build().await?;
        Ok(State {
            active: unit.active_state().await?,
            sub: unit.sub_state().await?,
            restarts: service.n_restarts().await?,
            since_us: unit.state_change_timestamp().await?,
        })
    }

    /// Has a unit started, stopped or restarted and waits for the end of that job.
    ///
    /// # Errors
    ///
    /// If systemd refuses, the job does not end well, or takes longer than `limit`.
    pub(crate) async fn run(&self, verb: Verb, unit: &str, limit: Duration) -> anyhow::Result<()> {
        // First the match, then the call: a quick job would be over before anybody listens.
        let mut removed = self.manager.receive_job_removed().await.context("listen for the job's end")?;
        let (name, mode) = (unit.to_owned(), "replace".to_owned());
        let job = match verb {
            Verb::Start => self.manager.start_unit(name, mode).await,
            Verb::Stop => self.manager.stop_unit(name, mode).await,
            Verb::Restart => self.manager.restart_unit(name, mode).await,
        };
        let job = job.with_context(|| format!("{} {unit}", verb.word()))?;
        let end = async {
            while let Some(signal) = removed.next().await {
                let ended = signal.args().context("read the job's end")?;
                if *ended.job() == job {
                    return Ok(ended.result().clone());
                }
            }
            bail!("the bus was lost while {unit} was awaited")
        };
        let result = tokio::time::timeout(limit, end)
            .await
            .with_context(|| format!("{} {unit} did not end within {limit:?}", verb.word()))??;
        match result.as_str() {
            "done" | "skipped" => Ok(()),
            other => bail!("{} {unit}: {other}; see journalctl -u {unit}", verb.word()),
        }
    }
}

impl Verb {
    /// As polkit and people call it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
        }
    }
}
