//! The keys that services seal their rows with: 32 random bytes each, kept as systemd credentials that only
//! this machine can open.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::{fs, io};

use anyhow::Context as _;
use domain::Service;

use crate::program::Program;

const FOLDER: &str = "/var/lib/pilothouse/credentials";
/// The services whose units name `LoadCredentialEncrypted=<service>.seal-key`.
const SEALING: [Service; 5] =
    [Service::Inventory, Service::Auth, Service::Ca, Service::Join, Service::Gateway];

/// Makes the keys that are missing; one that is there is never replaced, since rows are sealed with it.
///
/// # Errors
///
/// If there is no randomness, or systemd-creds fails.
pub(super) async fn create_missing() -> anyhow::Result<()> {
    fs::create_dir_all(FOLDER).with_context(|| format!("make {FOLDER}"))?;
    for service in SEALING {
        let name = format!("{service}.seal-key");
        let path = PathBuf::from(FOLDER).join(&name);
        if path.exists() {
            continue;
        }
        let mut key = [0; 32];
        fs::File::open("/dev/urandom").and_then(|mut it| it.read_exact(&mut key)).context("make a key")?;
        // Unfinished it has another name, so that a cut leaves no half key.
        let new = format!("{FOLDER}/.{name}.new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).context("remove a half key");
            }
            _ => {}
        }
        let arguments = ["encrypt", "--with-key=auto", &format!("--name={name}"), "-", &new];
        Program::new("/usr/bin/systemd-creds", &arguments).input(key).run().await?;
        let private = fs::set_permissions(&new, fs::Permissions::from_mode(0o600));
        let synced = private.and_then(|()| fs::File::open(&new)?.sync_all());
        synced.context("write the key to disk")?;
        fs::rename(&new, &path).with_context(|| format!("put {name} in its place"))?;
    }
    fs::File::open(FOLDER).and_then(|it| it.sync_all()).context("write the keys to disk")
}
