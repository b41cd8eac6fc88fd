//! One console among its readers: what comes from the node goes to all, what writers type goes to the node.

mod console;
mod seat;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use domain::Xname;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use web::Client;

use crate::config::Config;
use crate::log::Logs;
use crate::model::Patterns;

pub(crate) use console::{Attached, Console, Place};
pub(crate) use seat::{Mode, Notice, Seat, Told, Who, Wish};

/// How long readers may take to hear that the service stops.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// All consoles.
pub(crate) struct Hub {
    pub(crate) config: Config,
    pub(crate) patterns: Patterns,
    pub(crate) pattern: String,
    pub(crate) logs: Logs,
    /// Where nodes are reset.
    pub(crate) power: Client,
    /// The attachments under way.
    pub(crate) attachments: TaskTracker,
    stop: CancellationToken,
    consoles: Mutex<HashMap<Xname, Arc<Console>>>,
}

/// What is known of a console, for lists.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    /// The node, as OpenCHAMI's remote-console names it.
    pub(crate) id: Xname,
    /// `ipmi`, `ssh`, `telnet` … as there.
    pub(crate) connection_type: &'static str,
    pub(crate) connection_host: String,
    pub(crate) connection_port: u16,
    pub(crate) console_entry_command: String,
    pub(crate) node: Xname,
    pub(crate) name: String,
    pub(crate) connected: bool,
    pub(crate) readers: usize,
    pub(crate) written: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trouble: Option<String>,
}

impl Hub {
    pub(crate) fn new(
        config: Config,
        pattern: String,
        power: Client,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let patterns = config.patterns()?;
        let logs = Logs::start(&config)
            .with_context(|| format!("make the folder of the logs, {}", config.log_dir.display()))?;
        let (attachments, consoles) = (TaskTracker::new(), Mutex::default());
        Ok(Self { config, patterns, pattern, logs, power, attachments, stop, consoles })
    }

    /// Whether the whole service stops.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// The console of a node that gets a line now; one that is there already stays, with its readers.
    pub(crate) fn add(&self, node: &Xname) -> Arc<Console> {
        let made = || Arc::new(Console::new(node.clone()));
        Arc::clone(self.consoles().entry(node.clone()).or_insert_with(made))
    }

    pub(crate) fn find(&self, node: &Xname) -> Option<Arc<Console>> {
        self.consoles().get(node).cloned()
    }

    /// Every console, in no order.
    pub(crate) fn all(&self) -> Vec<Arc<Console>> {
        self.consoles().values().cloned().collect()
    }

    /// Forgets a console; its readers see its end.
    pub(crate) fn remove(&self, node: &Xname) {
        if let Some(console) = self.consoles().remove(node) {
            console.end();
        }
    }

    /// Ends all consoles, waits until their readers were told, and writes what waits; whether all of it could be.
    pub(crate) async fn close(&self) -> bool {
        for (_, console) in self.consoles().drain() {
            console.end();
        }
        self.attachments.close();
        if tokio::time::timeout(CLOSE_MAX, self.attachments.wait()).await.is_err() {
            tracing::debug!("some readers did not hear of the end");
        }
        self.logs.close()
    }

    /// Every console, by xname.
    pub(crate) fn list(&self) -> Vec<Status> {
        let mut list: Vec<Status> = self.all().iter().map(|it| it.status()).collect();
        list.sort_by(|a, b| a.node.cmp(&b.node));
        list
    }

    /// How many there are, and how many have their line.
    pub(crate) fn count(&self) -> (usize, usize) {
        let consoles = self.consoles();
        (consoles.len(), consoles.values().filter(|it| it.is_connected()).count())
    }

    fn consoles(&self) -> MutexGuard<'_, HashMap<Xname, Arc<Console>>> {
        self.consoles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
