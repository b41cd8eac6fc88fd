//! The keys that services seal their rows with: 32 random bytes each, kept as systemd credentials that only
//! this machine can open.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::{fs, io};

use anyhow::Context as _;
use domain::Service;

use crate::program::Program;
use crate::root::Root;

const FOLDER: &str = "/var/lib/pilothouse/credentials";
/// The services whose units name `LoadCredentialEncrypted=<service>.seal-key`.
const SEALING: [Service; 5] =
    [Service::Inventory, Service::Auth, Service::Ca, Service::Join, Service::Gateway];

/// Makes the keys that are missing; one that is there is never replaced, since rows are sealed with it.
///
/// # Errors
///
/// If there is no randomness, or systemd-creds fails.
pub(super) async fn create_missing(root: &Root) -> anyhow::Result<()> {
    let folder = root.at(FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("make {FOLDER}"))?;
    for service in SEALING {
        let name = format!("{service}.seal-key");
        let path = folder.join(&name);
        if path.exists() {
            continue;
        }
        let mut key = [0; 32];
        fs::File::open("/dev/urandom").and_then(|mut it| it.read_exact(&mut key)).context("make a key")?;
        // Unfinished it has another name, so that a cut leaves no half key.
        let new = folder.join(format!(".{name}.new"));
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).context("remove a half key");
            }
            _ => {}
        }
        let target = new.to_str().context("name a key")?;
        let arguments = ["encrypt", "--with-key=auto", &format!("--name={name}"), "-", target];
        root.run(Program::new("/usr/bin/systemd-creds", &arguments).input(key)).await?;
        let private = fs::set_permissions(&new, fs::Permissions::from_mode(0o600));
        let synced = private.and_then(|()| fs::File::open(&new)?.sync_all());
        synced.context("write the key to disk")?;
        fs::rename(&new, &path).with_context(|| format!("put {name} in its place"))?;
    }
    fs::File::open(&folder).and_then(|it| it.sync_all()).context("write the keys to disk")
}
