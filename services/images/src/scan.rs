//! What images there are: folders below the root that hold a kernel and an initrd.

use std::io;
use std::path::Path;
use std::time::SystemTime;

use domain::BootStage;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::client::Image;
use crate::model::stage;

/// How deep folders are looked through.
const DEPTH_MAX: usize = 6;
/// How many entries are looked at, over all folders.
const ENTRIES_MAX: usize = 20_000;

/// Every image, the newest first.
///
/// # Errors
///
/// If the root cannot be read; what lies below and cannot be is left out.
pub(crate) fn scan(root: &Path) -> io::Result<Vec<Image>> {
    let mut found: Vec<(SystemTime, Image)> = Vec::new();
    let mut left = ENTRIES_MAX;
    let mut folders = vec![(root.to_owned(), String::new(), 0)];
    while let Some((folder, relative, depth)) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if depth == 0 => return Err(error),
            Err(_) => continue,
            Ok(entries) => entries,
        };
        let mut members: [Option<(SystemTime, String, u64)>; 3] = [None, None, None];
        for entry in entries.flatten() {
            left = left.saturating_sub(1);
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = if relative.is_empty() { name.clone() } else { format!("{relative}/{name}") };
            // Follows links, as serving does.
            let Ok(metadata) = std::fs::metadata(entry.path()) else { continue };
            if metadata.is_dir() {
                let linked = entry.file_type().is_ok_and(|it| it.is_symlink());
                if depth < DEPTH_MAX && left > 0 && !name.starts_with('.') && !linked {
                    folders.push((entry.path(), path, depth + 1));
                }
                continue;
            }
            let slot = match stage(&name) {
                Some(BootStage::Kernel) => &mut members[0],
                Some(BootStage::Initrd) => &mut members[1],
                Some(BootStage::Root) => &mut members[2],
                _ => continue,
            };
            let changed = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            // Of several, `initrd…` before a root in a cpio archive, then the newest.
            let rank = |path: &str, changed: SystemTime| (!path.contains(".cpio"), changed);
            if slot.as_ref().is_none_or(|old| rank(&old.1, old.0) < rank(&path, changed)) {
                *slot = Some((changed, path, metadata.len()));
            }
        }
        found.extend(image(&relative, members));
    }
    found.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.name.cmp(&b.1.name)));
    Ok(found.into_iter().map(|it| it.1).collect())
}

fn image(folder: &str, members: [Option<(SystemTime, String, u64)>; 3]) -> Option<(SystemTime, Image)> {
    let [kernel, initrd, root] = members;
    let (kernel, initrd) = (kernel?, initrd?);
    let all = [Some(&kernel), Some(&initrd), root.as_ref()];
    let changed = all.into_iter().flatten().map(|it| it.0).max()?;
    let bytes = all.into_iter().flatten().map(|it| it.2).sum();
    let (name, tag) = folder.rsplit_once('/').unwrap_or((folder, "latest"));
    let modified = OffsetDateTime::from(changed).format(&Rfc3339).unwrap_or_default();
    let image = Image {
        name: name.to_owned(),
        tag: tag.to_owned(),
        architecture: None,
        digest: None,
        kernel: kernel.1,
        initrd: initrd.1,
        root: root.map(|it| it.1),
        bytes,
        modified,
        pins: Vec::new(),
    };
    Some((changed, image))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::scan;

    #[test]
    fn a_folder_with_kernel_and_initrd_is_an_image() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("openchami/rocky/test");
        std::fs::create_dir_all(&folder).unwrap();
        for name in ["vmlinuz-4.18.0", "initramfs-4.18.0.img", "rootfs-4.18.0", "rootfs.cpio.zst"] {
            std::fs::write(folder.join(name), name).unwrap();
        }
        std::fs::write(root.path().join("vmlinuz"), "alone").unwrap();
        let images = scan(root.path()).unwrap();
        assert_eq!(images.len(), 1);
        let image = &images[0];
        assert_eq!((image.name.as_str(), image.tag.as_str()), ("openchami/rocky", "test"));
        assert_eq!(image.initrd, "openchami/rocky/test/initramfs-4.18.0.img");
        assert_eq!(image.root.as_deref(), Some("openchami/rocky/test/rootfs-4.18.0"));
    }
}
