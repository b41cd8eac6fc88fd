//! Whether a document holds on this machine: what `domain` cannot know, and what each service says of its own
//! table.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use domain::{Document, Service};
use tokio::process::Command;

use crate::program::run_command;

/// How long a service may take to look at its table.
const CHECK_MAX: Duration = Duration::from_secs(10);
/// Below it Debian keeps the accounts of the system.
const FIRST_UID: u32 = 1000;

/// What depends on this machine: time zones, accounts that are taken.
///
/// # Errors
///
/// The first thing that does not hold.
pub(crate) fn machine(document: &Document) -> anyhow::Result<()> {
    let zone = &document.cluster.timezone;
    let known = Path::new("/usr/share/zoneinfo").join(zone).is_file();
    ensure!(known || zone == "UTC", "cluster.timezone: {zone:?} is not in /usr/share/zoneinfo");
    for name in document.admins.keys() {
        let user = nix::unistd::User::from_name(name).context("look up an account")?;
        let system = user.is_some_and(|it| it.uid.as_raw() < FIRST_UID);
        ensure!(!system, "admins: {name:?} is an account of the system; choose another name");
    }
    Ok(())
}

/// Asks each service: `pilothouse <service> --check`. The file is written into `folder` and removed.
///
/// # Errors
///
/// What the first one that refuses says.
pub(crate) async fn services(text: &str, pilothouse: &Path, folder: &Path) -> anyhow::Result<()> {
    let file = folder.join(format!("check-{}.toml", std::process::id()));
    std::fs::write(&file, text).context("write the document for the services to check")?;
    let checked = ask_all(pilothouse, &file).await;
    std::fs::remove_file(&file).context("remove the document that was checked")?;
    checked
}

async fn ask_all(pilothouse: &Path, file: &Path) -> anyhow::Result<()> {
    for service in Service::ALL {
        let mut command = Command::new(pilothouse);
        command.arg(service.name()).arg("--check").arg("--config").arg(file);
        let name = format!("pilothouse {service} --check");
        run_command(command, &name, b"", CHECK_MAX).await.with_context(|| format!("[{}]", service.key()))?;
    }
    Ok(())
}
