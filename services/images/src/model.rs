//! Which bytes a request is for, and what a file is to a booting node. Pure.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use domain::BootStage;

/// The bytes of a file that an answer holds, both ends in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// What a `Range` field asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Everything: no range, one that makes no sense, or several, which a server may ignore (RFC 9110 14.2).
    All,
    /// One run of bytes.
    Part(Span),
    /// Bytes that are not there: 416.
    Nothing,
}

/// Reads `Range: bytes=…` for a file of this length.
pub(crate) fn wanted(range: Option<&str>, length: u64) -> Wanted {
    let Some(spec) = range.and_then(|it| it.trim().strip_prefix("bytes=")) else { return Wanted::All };
    let Some((first, last)) = spec.trim().split_once('-').filter(|_| !spec.contains(',')) else {
        return Wanted::All;
    };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
        digits.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    let end = length.saturating_sub(1);
    match (number(first), number(last)) {
        (Some(first), Some(last)) if last < first => Wanted::All,
        (Some(first), _) if first >= length => Wanted::Nothing,
        (Some(first), Some(last)) => Wanted::Part(Span { first, last: last.min(end) }),
        (Some(first), None) if last.is_empty() => Wanted::Part(Span { first, last: end }),
        (None, Some(0)) if first.is_empty() => Wanted::Nothing,
        (None, Some(_)) if first.is_empty() && length == 0 => Wanted::Nothing,
        (None, Some(suffix)) if first.is_empty() => {
            Wanted::Part(Span { first: length.saturating_sub(suffix), last: end })
        }
        _ => Wanted::All,
    }
}

/// The stage of a boot that a file of this name belongs to, if any.
pub(crate) fn stage(path: &str) -> Option<BootStage> {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    let starts = |words: &[&str]| words.iter().any(|it| name.starts_with(it));
    if starts(&["vmlinuz", "vmlinux", "bzimage", "kernel", "linux"]) {
        Some(BootStage::Kernel)
    } else if starts(&["initrd", "initramfs"]) || name.contains(".cpio") {
        Some(BootStage::Initrd)
    } else if starts(&["rootfs", "root"]) || name.ends_with(".squashfs") || name.ends_with(".erofs") {
        Some(BootStage::Root)
    } else {
        None
    }
}

/// Transfers of files that nodes fetch in parts; they count when the parts add up to the file.
#[derive(Debug, Default)]
pub(crate) struct Parts(HashMap<(IpAddr, String), (u64, Instant)>);

impl Parts {
    /// So many files under way; beyond it the oldest is forgotten.
    const FILES_MAX: usize = 50_000;

    /// Adds a part; gives back all that was sent and since when, once it is the whole file.
    pub(crate) fn add(
        &mut self,
        whom: (IpAddr, String),
        (sent, file): (u64, u64),
        started: Instant,
    ) -> Option<(u64, Instant)> {
        if self.0.len() >= Self::FILES_MAX
            && !self.0.contains_key(&whom)
            && let Some(oldest) = self.0.iter().min_by_key(|it| it.1.1).map(|it| it.0.clone())
        {
            self.0.remove(&oldest);
        }
        let entry = self.0.entry(whom.clone()).or_insert((0, started));
        entry.0 += sent;
        let all = *entry;
        if all.0 < file {
            return None;
        }
        self.0.remove(&whom);
        Some(all)
    }
}

/// The words between slashes of a request's path, if each may be opened; the root is not one.
pub(crate) fn segments(path: &str) -> Option<Vec<&str>> {
    let words: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    let sound = |it: &&str| !it.is_empty() && *it != "." && *it != ".." && !it.contains(['\0', '\\']);
    words.iter().all(sound).then_some(words)
}

#[cfg(test)]
mod tests {
    use domain::BootStage;

    use super::{Parts, Span, Wanted, segments, stage, wanted};

    #[test]
    fn parts_count_when_they_add_up() {
        let (mut parts, now) = (Parts::default(), std::time::Instant::now());
        let whom = || (std::net::IpAddr::from([172, 16, 0, 1]), "root".to_owned());
        assert_eq!(parts.add(whom(), (40, 100), now), None);
        assert_eq!(parts.add((whom().0, "other".to_owned()), (99, 100), now), None);
        assert_eq!(parts.add(whom(), (60, 100), now), Some((100, now)));
        assert_eq!(parts.add(whom(), (60, 100), now), None, "the next fetch begins anew");
    }

    #[test]
    fn a_range_is_cut_to_the_file() {
        let part = |first, last| Wanted::Part(Span { first, last });
        let cases = [
            (None, Wanted::All),
            (Some("bytes=0-9"), part(0, 9)),
            (Some("bytes=90-200"), part(90, 99)),
            (Some("bytes=90-"), part(90, 99)),
            (Some("bytes=-10"), part(90, 99)),
            (Some("bytes=-1000"), part(0, 99)),
            (Some("bytes=100-"), Wanted::Nothing),
            (Some("bytes=-0"), Wanted::Nothing),
            (Some("bytes=9-0"), Wanted::All),
            (Some("bytes=0-1,5-6"), Wanted::All),
            (Some("bytes=99999999999999999999999-"), Wanted::Nothing),
            (Some("bytes=+1-2"), Wanted::All),
            (Some("lines=1-2"), Wanted::All),
            (Some("bytes=a-"), Wanted::All),
        ];
        for (range, expected) in cases {
            assert_eq!(wanted(range, 100), expected, "{range:?}");
        }
        assert_eq!(wanted(Some("bytes=0-"), 0), Wanted::Nothing);
        assert_eq!(wanted(Some("bytes=-5"), 0), Wanted::Nothing);
    }

    #[test]
    fn a_name_tells_the_stage() {
        assert_eq!(stage("/a/vmlinuz-4.18.0"), Some(BootStage::Kernel));
        assert_eq!(stage("/a/initramfs-4.18.0.img"), Some(BootStage::Initrd));
        assert_eq!(stage("/a/rootfs.cpio.zst"), Some(BootStage::Initrd));
        assert_eq!(stage("/a/rootfs-4.18.0"), Some(BootStage::Root));
        assert_eq!(stage("/a/readme"), None);
    }

    #[test]
    fn nothing_that_leaves_the_root_is_a_path() {
        for path in ["/", "/../x", "/a/../b", "/a//b", "/./a", "/a\\..\\b", "/a\0", "//etc/passwd", "/a/"] {
            assert!(segments(path).is_none(), "{path:?}");
        }
        assert_eq!(segments("/a/b"), Some(vec!["a", "b"]));
    }
}
