//! What a head finds on disk when it starts: folders, sealing keys, trusted keys, its program.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use aws_lc_rs::rand;
use domain::Service;
use nix::unistd::chown;
use toml::Table;

use super::Trusted;
use crate::document;

/// Who seals rows under a key of its own.
const SEALING: [Service; 5] =
    [Service::Inventory, Service::Auth, Service::Ca, Service::Join, Service::Gateway];

/// Writes the other issuers' keys down and names them in the document.
pub(super) fn trust(document: &mut Table, trusted: &[Trusted], folder: &Path) -> anyhow::Result<()> {
    let mut entries = Vec::new();
    for (index, it) in trusted.iter().enumerate() {
        let file = folder.join(format!("jwks-{index}.json"));
        std::fs::write(&file, &it.jwks).with_context(|| format!("write {}", file.display()))?;
        let mut entry = Table::new();
        for (key, value) in [("issuer", it.issuer.as_str()), ("audience", &it.audience), ("role", "admin")] {
            entry.insert(key.to_owned(), value.into());
        }
        entry.insert("jwks_file".to_owned(), file.display().to_string().into());
        entries.push(toml::Value::Table(entry));
    }
    if entries.is_empty() { Ok(()) } else { document::set(document, "auth.trusted", entries.into()) }
}

pub(super) fn make_folders(folder: &Path, services: &[Service]) -> anyhow::Result<()> {
    let make = |path: PathBuf, mode: u32, owner: Option<Service>| {
        std::fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
        let uid = owner.map(|it| it.uid().into());
        chown(&path, uid, owner.map(|it| it.uid().into())).with_context(|| format!("own {}", path.display()))
    };
    for name in ["run", "run/notify", "state", "credentials", "log", "images"] {
        make(folder.join(name), 0o755, None)?;
    }
    for service in services {
        if *service == Service::Console {
            make(folder.join("state/console/log"), 0o755, Some(*service))?;
        }
        if *service == Service::Images {
            // What is served may be anybody's; the store below it is the service's own.
            make(folder.join("images/.store"), 0o755, Some(*service))?;
        }
        make(folder.join("run").join(service.name()), 0o755, Some(*service))?;
        make(folder.join("state").join(service.name()), 0o700, Some(*service))?;
        let credentials = folder.join("credentials").join(service.name());
        make(credentials.clone(), 0o500, Some(*service))?;
        if SEALING.contains(service) {
            let mut key = [0; 32];
            rand::fill(&mut key).context("draw a sealing key")?;
            let path = credentials.join(format!("{service}.seal-key"));
            std::fs::write(&path, key)?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400))?;
            chown(&path, Some(service.uid().into()), Some(service.uid().into()))?;
        }
    }
    Ok(())
}

/// The program where every uid may run it: a home folder may be closed to others, then it is copied.
pub(super) fn reachable(program: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    let open = |it: &Path| std::fs::metadata(it).is_ok_and(|it| it.permissions().mode() & 0o005 == 0o005);
    if program.ancestors().all(open) {
        return Ok(program.to_owned());
    }
    let copy = folder.join("pilothouse");
    std::fs::copy(program, &copy).with_context(|| format!("copy {}", program.display()))?;
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755))?;
    Ok(copy)
}
