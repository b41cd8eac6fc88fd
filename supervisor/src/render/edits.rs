//! Whether somebody changed by hand what render wrote: of each file its size, time and mode are kept, so that it is
//! seen without reading it, and by the supervisor too, who may not read all of them.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Output, files};
use crate::root::Root;

/// Where it is kept.
const LIST: &str = "/etc/pilothouse/rendered.json";
/// The longest list that is read.
const LIST_MAX: u64 = 1 << 20;

/// A file as render left it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    path: String,
    /// Of a link: where it leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<PathBuf>,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    mode: u32,
    #[serde(default)]
    modified_s: i64,
    #[serde(default)]
    modified_ns: i64,
}

fn look(root: &Root, path: &str) -> io::Result<Seen> {
    let place = root.at(path);
    let metadata = fs::symlink_metadata(&place)?;
    if metadata.is_symlink() {
        let target = Some(fs::read_link(&place)?);
        let path = path.to_owned();
        return Ok(Seen { path, target, size: 0, mode: 0, modified_s: 0, modified_ns: 0 });
    }
    Ok(Seen {
        path: path.to_owned(),
        target: None,
        size: metadata.len(),
        mode: metadata.permissions().mode() & 0o7777,
        modified_s: metadata.mtime(),
        modified_ns: metadata.mtime_nsec(),
    })
}

/// Keeps how the outputs look now.
///
/// # Errors
///
/// If one of them is not there, or the list cannot be written.
pub(super) fn keep(root: &Root, outputs: &[Output]) -> anyhow::Result<()> {
    let seen = outputs.iter().map(|it| look(root, &it.path)).collect::<io::Result<Vec<_>>>()?;
    let text = serde_json::to_string_pretty(&seen)? + "\n";
    files::write(root, &Output::file(LIST, 0o644, text)).map(drop)
}

/// The files that are not as render left them; those that this process may not look at are left out.
pub(crate) fn find(root: &Root) -> Vec<String> {
    let list = root.at(LIST);
    let fits = fs::metadata(&list).is_ok_and(|it| it.len() <= LIST_MAX);
    let text = if fits { fs::read(&list).unwrap_or_default() } else { Vec::new() };
    let seen: Vec<Seen> = serde_json::from_slice(&text).unwrap_or_default();
    let changed = |before: &Seen| match look(root, &before.path) {
        Ok(now) => now != *before,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    seen.into_iter().filter(changed).map(|it| it.path).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::{Kind, Output, files};
    use crate::root::Root;

    #[test]
    fn what_was_changed_by_hand_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        let link = Output { path: "/etc/hosts".to_owned(), kind: Kind::Link("/run/hosts") };
        let outputs =
            ["a", "b", "c", "d"].map(|it| Output::file(format!("/etc/{it}"), 0o644, "text")).into_iter();
        let outputs: Vec<_> = outputs.chain([link]).collect();
        for output in &outputs {
            files::write(&root, output).unwrap();
        }
        super::keep(&root, &outputs).unwrap();
        assert!(super::find(&root).is_empty());
        std::fs::write(root.at("/etc/a"), "text, and more").unwrap();
        std::fs::remove_file(root.at("/etc/b")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(root.at("/etc/c"), mode).unwrap();
        std::fs::remove_file(root.at("/etc/hosts")).unwrap();
        std::fs::write(root.at("/etc/hosts"), "127.0.0.1 localhost").unwrap();
        assert_eq!(super::find(&root), ["/etc/a", "/etc/b", "/etc/c", "/etc/hosts"]);
    }
}
