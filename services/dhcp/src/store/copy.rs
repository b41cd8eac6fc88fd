//! The last good copy of the leases: one small file, replaced whole.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use domain::MacAddr;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::model::{Change, Lease, Leases};

/// The file's name in the state directory.
pub(crate) const LEASES_FILE: &str = "unknown-leases.json";

/// A lease as the file has it; members of other releases are ignored.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    mac: MacAddr,
    ip: Ipv4Addr,
    /// Seconds since 1970.
    expires: i64,
}

/// Reads the leases back; a file that makes no sense is set aside, and a lease of a network that is gone is
/// left out.
pub(crate) fn load_leases(path: &Path, config: &Config) -> io::Result<Leases> {
    let mut leases = Leases::default();
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(leases),
        Err(error) => return Err(error),
    };
    match serde_json::from_slice::<Vec<Kept>>(&text) {
        Ok(kept) => {
            for Kept { mac, ip, expires } in kept {
                if let Some(place) = config.place_of(ip) {
                    leases.apply(Change::Hold(Lease { mac, ip, place, expires, bound: true }), config);
                }
            }
        }
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "the leases make no sense and are set aside");
            std::fs::rename(path, path.with_extension("bad"))?;
        }
    }
    Ok(leases)
}

pub(super) fn save_leases(path: &Path, leases: &[Lease]) -> io::Result<()> {
    let kept = |it: &Lease| Kept { mac: it.mac, ip: it.ip, expires: it.expires };
    let kept: Vec<Kept> = leases.iter().map(kept).collect();
    daemon::replace_file(path, &serde_json::to_vec(&kept)?, 0o600)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use domain::MacAddr;

    use super::{load_leases, save_leases};
    use crate::model::Lease;
    use crate::model::tests::config;

    #[test]
    fn leases_come_back_and_rubbish_is_set_aside() {
        let (folder, config) = (tempfile::tempdir().unwrap(), config());
        let path = folder.path().join("leases.json");
        assert!(load_leases(&path, &config).unwrap().bound(0).is_empty());
        let mac = MacAddr::new([2, 0, 0, 0, 0, 1]);
        let lease = Lease { mac, ip: "172.16.0.200".parse().unwrap(), place: 0, expires: 100, bound: true };
        let gone = Lease { ip: "192.0.2.1".parse().unwrap(), ..lease };
        save_leases(&path, &[lease, gone]).unwrap();
        assert_eq!(load_leases(&path, &config).unwrap().bound(99), [lease]);
        assert!(load_leases(&path, &config).unwrap().bound(100).is_empty());
        std::fs::write(&path, "[{").unwrap();
        assert!(load_leases(&path, &config).unwrap().bound(0).is_empty());
        assert!(folder.path().join("leases.bad").exists());
    }
}
