//! What survives a restart without the database: windows, and pushes that are not done. One file, replaced whole;
//! changes that come together are written together, and each waits until it is on disk.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::Xname;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::model::Windows;

/// How long a change may take to the disk.
const SAVED_MAX: Duration = Duration::from_secs(5);

/// All that is kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct State {
    pub(crate) windows: Windows,
    pub(crate) pushes: BTreeMap<Xname, Push>,
}

/// A token that is to be written on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Push {
    /// Where the node is.
    pub(crate) address: IpAddr,
    /// What its SSH server must show, in OpenSSH's form.
    pub(crate) host_keys: Vec<String>,
    /// Until when it is tried, in seconds since 1970.
    pub(crate) until: i64,
}

/// The state, and the file it is kept in.
pub(crate) struct Kept {
    path: PathBuf,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    saved: watch::Sender<u64>,
}

/// A change that is not on disk: nothing may be given out on it.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the state cannot be written to disk; see whether /var is full: df -h /var")]
pub(crate) struct NotSaved;

impl Kept {
    /// Reads the file, if there is one; one that makes no sense is set aside.
    pub(crate) fn load(path: PathBuf) -> io::Result<Self> {
        let state = match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).or_else(|error| {
                let aside = path.with_extension("bad");
                tracing::error!(%error, "{} cannot be read and is set aside", path.display());
                std::fs::rename(&path, aside).map(|()| State::default())
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => State::default(),
            Err(error) => return Err(error),
        };
        let (changed, saved) = (watch::Sender::new(0), watch::Sender::new(0));
        Ok(Self { path, state: Mutex::new(state), changed, saved })
    }

    /// Looks something up.
    pub(crate) fn read<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes something and waits until it is on disk.
    ///
    /// # Errors
    ///
    /// If that takes too long; the change stands in memory.
    pub(crate) async fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> Result<R, NotSaved> {
        self.change_if(change, |_| true).await
    }

    /// As [`change`](Self::change), where what came of it tells whether anything changed: a flood of refusals
    /// writes nothing.
    ///
    /// # Errors
    ///
    /// As there.
    pub(crate) async fn change_if<R>(
        &self,
        change: impl FnOnce(&mut State) -> R,
        changed: impl FnOnce(&R) -> bool,
    ) -> Result<R, NotSaved> {
        let (done, number) = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let done = change(&mut state);
            if !changed(&done) {
                return Ok(done);
            }
            // Numbered under the lock: what is written later holds this change.
            let mut number = 0;
            self.changed.send_modify(|it| {
                *it += 1;
                number = *it;
            });
            (done, number)
        };
        let mut saved = self.saved.subscribe();
        match tokio::time::timeout(SAVED_MAX, saved.wait_for(|it| *it >= number)).await {
            Ok(Ok(_)) => Ok(done),
            _ => Err(NotSaved),
        }
    }

    /// Writes what changes until `stop`, and once more then.
    pub(crate) async fn write(&self, stop: &CancellationToken) {
        let mut changed = self.changed.subscribe();
        let mut retry = daemon::Retry::default();
        loop {
            let stopping = stop.is_cancelled();
            let number = *changed.borrow_and_update();
            if number > *self.saved.borrow() {
                match self.write_once().await {
                    Ok(()) => {
                        self.saved.send_replace(number);
                        retry.reset();
                    }
                    Err(error) => {
                        tracing::error!("cannot write {}: {error}", self.path.display());
                        retry.wait().await;
                        changed.mark_changed();
                    }
                }
            }
            if stopping {
                return;
            }
            tokio::select! {
                () = stop.cancelled() => {}
                _ = changed.changed() => {}
            }
        }
    }

    async fn write_once(&self) -> io::Result<()> {
        let text = self.read(|it| serde_json::to_vec(it).map_err(io::Error::other))?;
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || daemon::replace_file(&path, &text, 0o600)).await;
        written.map_err(io::Error::other)?
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::Kept;

    #[tokio::test]
    async fn a_change_is_on_disk_when_it_is_answered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let kept = Kept::load(path.clone()).unwrap();
        let stop = CancellationToken::new();
        let node: domain::Xname = "x0c0s0b0n0".parse().unwrap();
        let work = async {
            kept.change(|it| it.windows.open(&node, 0, 100)).await.unwrap().unwrap();
            assert!(Kept::load(path.clone()).unwrap().read(|it| it.windows.is_open(&node, 1)));
            stop.cancel();
        };
        tokio::join!(kept.write(&stop), work);
        std::fs::write(&path, "{").unwrap();
        assert!(!Kept::load(path.clone()).unwrap().read(|it| it.windows.is_open(&node, 1)));
        assert!(folder.path().join("state.bad").exists());
    }
}
