//! Files into the system: each is replaced as a whole, and only when it differs.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use domain::MacAddr;

use super::{Kind, Output};
use crate::root::Root;

/// Writes one output below `root`; whether it differed.
///
/// # Errors
///
/// If it cannot be written.
pub(super) fn write(root: &Root, output: &Output) -> anyhow::Result<bool> {
    let path = root.at(&output.path);
    let work = || -> io::Result<bool> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        match &output.kind {
            Kind::File(mode, text) => write_file(&path, *mode, text),
            Kind::Link(target) => write_link(&path, target),
        }
    };
    work().with_context(|| format!("write {}", path.display()))
}

fn write_file(path: &Path, mode: u32, text: &str) -> io::Result<bool> {
    let same = fs::symlink_metadata(path)
        .is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o7777 == mode)
        && fs::read(path).is_ok_and(|it| it == text.as_bytes());
    if same {
        return Ok(false);
    }
    let new = new_name(path);
    remove(&new)?;
    // The mode from the first byte on, whatever the umask.
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.sync_all()?;
    fs::rename(new, path)?;
    Ok(true)
}

fn write_link(path: &Path, target: &str) -> io::Result<bool> {
    if fs::read_link(path).is_ok_and(|it| it == Path::new(target)) {
        return Ok(false);
    }
    let new = new_name(path);
    remove(&new)?;
    std::os::unix::fs::symlink(target, &new)?;
    fs::rename(new, path)?;
    Ok(true)
}

/// A name beside it that no daemon reads: they look at the ending, or (sudo) skip names with a dot.
fn new_name(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.new"))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes what an earlier generation wrote and this one does not; the paths.
///
/// # Errors
///
/// If a folder cannot be read or a file not be removed.
pub(super) fn sweep(root: &Root, swept: &[(&str, &str)], outputs: &[Output]) -> anyhow::Result<Vec<String>> {
    let mut removed = Vec::new();
    for (folder, prefix) in swept {
        let mut work = || -> io::Result<()> {
            let entries = match fs::read_dir(root.at(folder)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                other => other?,
            };
            for entry in entries {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let path = format!("{folder}/{name}");
                let kept = outputs.iter().any(|it| it.path == path);
                if name.starts_with(prefix) && !kept && entry.file_type()?.is_file() {
                    fs::remove_file(entry.path())?;
                    removed.push(path);
                }
            }
            Ok(())
        };
        work().with_context(|| format!("clear {folder} of what is no more"))?;
    }
    Ok(removed)
}

/// The name of the NIC with this MAC address: physical ones alone, since a VLAN has its parent's address.
pub(super) fn nic_of(folder: &Path, mac: MacAddr) -> Option<String> {
    let entries = fs::read_dir(folder).ok()?;
    entries.filter_map(Result::ok).find_map(|entry| {
        let address = fs::read_to_string(entry.path().join("address")).ok()?;
        let physical = entry.path().join("device").exists();
        let found = physical && address.trim().parse::<MacAddr>().is_ok_and(|it| it == mac);
        found.then(|| entry.file_name().to_string_lossy().into_owned())
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::super::{Kind, Output};
    use crate::root::Root;

    #[test]
    fn a_file_is_replaced_only_when_it_differs() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("etc/sudoers.d/pilothouse");
        let write = |text: &str| {
            super::write(&Root::new(root.path()), &Output::file("/etc/sudoers.d/pilothouse", 0o440, text))
        };
        assert!(write("one").unwrap());
        let first = std::fs::metadata(&path).unwrap();
        assert_eq!(first.permissions().mode() & 0o7777, 0o440);
        assert!(!write("one").unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().ino(), first.ino());
        assert!(write("two").unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_takes_the_place_of_a_file_and_what_is_no_more_goes() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("etc/network")).unwrap();
        for name in
            ["hosts", "network/50-ph-old.network", "network/10-site.network", "network/50-ph-nodes.network"]
        {
            std::fs::write(root.path().join("etc").join(name), "").unwrap();
        }
        let link =
            Output { path: "/etc/hosts".to_owned(), kind: Kind::Link("/run/pilothouse/inventory/hosts") };
        let top = Root::new(root.path());
        assert!(super::write(&top, &link).unwrap() && !super::write(&top, &link).unwrap());
        assert!(std::fs::read_link(root.path().join("etc/hosts")).is_ok());
        let kept = [Output::file("/etc/network/50-ph-nodes.network", 0o644, "")];
        let removed = super::sweep(&top, &[("/etc/network", "50-ph-"), ("/etc/nowhere", "")], &kept).unwrap();
        assert_eq!(removed, ["/etc/network/50-ph-old.network"]);
        let mut left: Vec<_> = std::fs::read_dir(root.path().join("etc/network"))
            .unwrap()
            .map(|it| it.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["10-site.network", "50-ph-nodes.network"]);
    }
}
