//! The durable leases of unknown machines: one small file, replaced whole. An ACK leaves after its lease is
//! on disk, and waits for it beside the loop that answers known machines.

use std::io;
use std::path::{Path, PathBuf};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::model::{Change, Lease, Leases};
use crate::server::{Outgoing, Sender};

/// The file's name in the state directory.
pub(crate) const LEASES_FILE: &str = "unknown-leases.json";
/// ACKs that wait for the disk; what is over it is dropped, and the client asks again.
const QUEUE: usize = 64;

/// The leases as they are to be kept, and the packet that waits for it.
pub(crate) struct Durable {
    pub(crate) leases: Vec<Lease>,
    pub(crate) outgoing: Option<Outgoing>,
}

/// The writing end, and what the writer takes from.
pub(crate) fn writer(path: PathBuf) -> (mpsc::Sender<Durable>, (PathBuf, mpsc::Receiver<Durable>)) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (sender, (path, receiver))
}

/// Reads the leases back; a file that makes no sense is set aside.
pub(crate) fn load_leases(path: &Path) -> io::Result<Leases> {
    let mut leases = Leases::default();
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(leases),
        Err(error) => return Err(error),
    };
    match serde_json::from_slice::<Vec<Lease>>(&text) {
        Ok(kept) => {
            for lease in kept {
                leases.apply(Change::Hold(lease));
            }
        }
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "the leases make no sense and are set aside");
            std::fs::rename(path, path.with_extension("bad"))?;
        }
    }
    Ok(leases)
}

/// Writes what comes, several at once under load, and sends the packets that waited. Ends with `stop`.
pub(crate) async fn write_leases(
    (path, mut queue): (PathBuf, mpsc::Receiver<Durable>),
    sender: Sender,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut batch = Vec::with_capacity(QUEUE);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = queue.recv_many(&mut batch, QUEUE) => {}
        }
        // The last one holds the changes of all before it.
        let Some(last) = batch.last_mut() else { return Ok(()) };
        let leases = std::mem::take(&mut last.leases);
        let target = path.clone();
        let written = tokio::task::spawn_blocking(move || save_leases(&target, &leases)).await?;
        if let Err(error) = written {
            let path = path.display();
            tracing::error!(%error, %path, "leases of unknown machines cannot be kept; is the disk full?");
            batch.clear();
        }
        for outgoing in batch.drain(..).filter_map(|it| it.outgoing) {
            sender.send(&outgoing);
        }
    }
}

fn save_leases(path: &Path, leases: &[Lease]) -> io::Result<()> {
    daemon::replace_file(path, &serde_json::to_vec(leases)?, 0o600)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use domain::MacAddr;

    use super::{load_leases, save_leases};
    use crate::model::Lease;

    #[test]
    fn leases_come_back_and_rubbish_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("leases.json");
        assert!(load_leases(&path).unwrap().bound(0).is_empty());
        let lease = Lease {
            mac: MacAddr::new([2, 0, 0, 0, 0, 1]),
            ip: "172.16.0.200".parse().unwrap(),
            plane: "nodes".into(),
            expires: 100,
            bound: true,
        };
        save_leases(&path, std::slice::from_ref(&lease)).unwrap();
        assert_eq!(load_leases(&path).unwrap().bound(99), [lease]);
        assert!(load_leases(&path).unwrap().bound(100).is_empty());
        std::fs::write(&path, "[{").unwrap();
        assert!(load_leases(&path).unwrap().bound(0).is_empty());
        assert!(folder.path().join("leases.bad").exists());
    }
}
