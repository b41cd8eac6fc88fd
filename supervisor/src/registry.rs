//! What runs, as systemd last said it; the D-Bus objects and the status text follow.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use domain::{Service, event};
use sd_notify::NotifyState;
use tokio::sync::watch;
use zbus::object_server::InterfaceRef;
use zbus::{Connection, OwnedObjectPath};

use crate::bus::{ROOT, ServiceObject};
use crate::log::event;
use crate::model::{State, status_text};
use crate::systemd::Systemd;

/// A unit that is watched.
#[derive(Debug)]
pub(crate) struct Watched {
    /// `cloud-init`, or `postgres`.
    pub(crate) name: &'static str,
    /// `pilothouse-cloud-init.service`
    pub(crate) unit: String,
    /// Where it is on the bus.
    pub(crate) path: OwnedObjectPath,
    state: watch::Sender<State>,
}

impl Watched {
    /// What it is doing, and a way to wait for it to change.
    pub(crate) fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }
}

/// Every unit that is watched: the ten services and PostgreSQL.
#[derive(Clone, Debug)]
pub(crate) struct Registry {
    systemd: Systemd,
    connection: Connection,
    watched: Arc<Vec<Watched>>,
    /// What health adds to the status text.
    health: Arc<Mutex<String>>,
}

impl Registry {
    /// Finds the units and reads their states.
    ///
    /// # Errors
    ///
    /// If systemd does not answer.
    pub(crate) async fn read(systemd: Systemd, connection: Connection) -> anyhow::Result<Self> {
        let names = Service::ALL.into_iter().map(Service::name).chain(["postgres"]);
        let mut watched = Vec::new();
        for name in names {
            let unit = format!("pilothouse-{name}.service");
            let path = systemd.path_of(&unit).await?;
            let state = systemd.state_of(&path).await.with_context(|| format!("read the state of {unit}"))?;
            watched.push(Watched { name, unit, path, state: watch::Sender::new(state) });
        }
        Ok(Self { systemd, connection, watched: Arc::new(watched), health: Arc::default() })
    }

    /// The units.
    pub(crate) fn watched(&self) -> &[Watched] {
        &self.watched
    }

    /// The unit of a service.
    pub(crate) fn of(&self, name: &str) -> Option<&Watched> {
        self.watched.iter().find(|it| it.name == name)
    }

    /// Reads a unit anew because systemd says that something about it changed; other paths are not ours.
    pub(crate) async fn refresh(&self, path: &str) {
        if let Some(watched) = self.watched.iter().find(|it| it.path.as_str() == path) {
            self.refresh_one(watched).await;
        }
    }

    /// Reads all of them anew.
    pub(crate) async fn refresh_all(&self) {
        for watched in self.watched.iter() {
            self.refresh_one(watched).await;
        }
    }

    async fn refresh_one(&self, watched: &Watched) {
        match self.systemd.state_of(&watched.path).await {
            Ok(state) => self.set(watched, state).await,
            Err(error) => log::warn!("cannot read the state of {}: {error}", watched.unit),
        }
    }

    async fn set(&self, watched: &Watched, state: State) {
        let before = watched.state.send_replace(state.clone());
        if before == state {
            return;
        }
        if state.failed_since(&before) {
            let unit = &watched.unit;
            event!(event::UNIT_FAILED, PILOTHOUSE_UNIT = unit;
                "{unit} failed ({}, {}, started again {} times); see journalctl -u {unit}",
                state.active, state.sub, state.restarts);
        }
        self.tell_systemd();
        if let Err(error) = self.tell_bus(watched, &before, &state).await {
            log::warn!("cannot announce the state of {}: {error}", watched.unit);
        }
    }

    async fn tell_bus(&self, watched: &Watched, before: &State, after: &State) -> zbus::Result<()> {
        let path = object_path(watched.name);
        let object: InterfaceRef<ServiceObject> =
            self.connection.object_server().interface(path.as_str()).await?;
        let (emitter, shown) = (object.signal_emitter(), object.get().await);
        if before.active != after.active {
            shown.state_changed(emitter).await?;
        }
        if before.sub != after.sub {
            shown.sub_state_changed(emitter).await?;
        }
        if before.health() != after.health() {
            shown.health_changed(emitter).await?;
        }
        if before.restarts != after.restarts {
            shown.restarts_changed(emitter).await?;
        }
        if before.since_us != after.since_us {
            shown.since_changed(emitter).await?;
        }
        Ok(())
    }

    /// Says what is wrong beside the units; empty: nothing.
    pub(crate) fn set_health(&self, text: String) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = text;
        self.tell_systemd();
    }

    /// The line of `systemctl status`.
    pub(crate) fn tell_systemd(&self) {
        let states: Vec<_> = self.watched.iter().map(|it| (it.name, it.state.borrow().clone())).collect();
        let mut text = status_text(states.iter().map(|(name, state)| (*name, state)));
        let health = self.health.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if !health.is_empty() {
            text = format!("{text}; {health}");
        }
        if let Err(error) = sd_notify::notify(&[NotifyState::Status(&text)]) {
            log::debug!("systemd does not take a status: {error}");
        }
    }
}

/// The D-Bus object of a service: `…/service/cloud_init`.
pub(crate) fn object_path(name: &str) -> String {
    format!("{ROOT}/service/{}", name.replace('-', "_"))
}
