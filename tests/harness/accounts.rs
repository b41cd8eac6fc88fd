//! The accounts of the services, for programs of others that ask who runs them.

use std::path::Path;

use anyhow::Context as _;
use domain::Service;

use crate::lab;

/// Lets the lab's programs find the services' accounts, as sysusers.d makes them on a head: `ssh` does not run for
/// a uid without a name.
///
/// # Errors
///
/// Outside a lab, where it would change the machine's own accounts.
pub fn show(folder: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(lab::is_inside(), "accounts are shown inside a lab alone");
    let mut text = std::fs::read_to_string("/etc/passwd").context("read /etc/passwd")?;
    for service in Service::ALL {
        let uid = service.uid();
        text.push_str(&format!("pilothouse-{service}:x:{uid}:{uid}::/nonexistent:/usr/sbin/nologin\n"));
    }
    let shown = folder.join("passwd");
    std::fs::write(&shown, text).with_context(|| format!("write {}", shown.display()))?;
    lab::bind_file(&shown, Path::new("/etc/passwd"))
}
