//! File systems that the head writes to: room, inodes, and whether the kernel still lets anybody write.

use std::path::{Path, PathBuf};

use domain::event;
use nix::sys::statvfs::statvfs;
use serde_json::json;

use super::issue::{Issue, Severity};

/// Where the head writes; several may be one file system.
pub(super) const PLACES: [&str; 6] =
    ["/", "/run", "/var/lib/pilothouse", "/var/lib/pilothouse/postgres", "/var/log/journal", "/srv"];
/// A large file system has room for long although little of it is free.
const ENOUGH: u64 = 20 << 30;
const BARELY: u64 = 2 << 30;

/// A file system, by the place that was asked about first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fact {
    pub(super) place: PathBuf,
    /// Where it is mounted.
    pub(super) mount: PathBuf,
    pub(super) size: u64,
    /// For those who are not root.
    pub(super) free: u64,
    /// 0: it makes them as they are needed.
    pub(super) inodes: u64,
    pub(super) inodes_free: u64,
    /// The file system itself, whoever looks; our own sandbox sees nearly all mounts as read-only.
    pub(super) read_only: bool,
}

/// Asks the kernel. Places that are not there are left out.
pub(super) fn gather(places: &[PathBuf]) -> Vec<Fact> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounts: Vec<Mount> = mounts.lines().filter_map(Mount::read).collect();
    let mut facts: Vec<(String, Fact)> = Vec::new();
    for place in places {
        let (Ok(found), Some(mount)) = (statvfs(place), mount_of(&mounts, place)) else { continue };
        if facts.iter().any(|it| it.0 == mount.device) {
            continue;
        }
        let fact = Fact {
            place: place.clone(),
            mount: mount.place.clone(),
            size: found.blocks() * found.fragment_size(),
            free: found.blocks_available() * found.fragment_size(),
            inodes: found.files(),
            inodes_free: found.files_available(),
            read_only: mount.read_only,
        };
        facts.push((mount.device.clone(), fact));
    }
    facts.into_iter().map(|it| it.1).collect()
}

/// A line of /proc/self/mountinfo (proc_pid_mountinfo(5)).
#[derive(Debug)]
struct Mount {
    device: String,
    place: PathBuf,
    read_only: bool,
}

impl Mount {
    fn read(line: &str) -> Option<Self> {
        let (mount, system) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(2);
        let device = fields.next()?.to_owned();
        let place = fields.nth(1)?;
        // Of the file system: the options of the mount say what is so for one place alone.
        let options = system.split(' ').nth(2)?;
        let read_only = options.split(',').any(|it| it == "ro");
        // A blank is written as \040; places with one are none of ours, and match nothing.
        Some(Self { device, place: place.into(), read_only })
    }
}

/// The mount that a place is on: the longest that it lies in, of equal ones the last, which hides the others.
fn mount_of<'a>(mounts: &'a [Mount], place: &Path) -> Option<&'a Mount> {
    let real = place.canonicalize().ok()?;
    let over = mounts.iter().filter(|it| real.starts_with(&it.place));
    over.max_by_key(|it| it.place.components().count())
}

/// What is wrong with them.
pub(super) fn check(facts: &[Fact]) -> Vec<Issue> {
    facts.iter().flat_map(check_one).collect()
}

fn check_one(fact: &Fact) -> Vec<Issue> {
    let (place, mount) = (fact.place.display(), fact.mount.display());
    let mut issues = Vec::new();
    if fact.read_only {
        let summary = format!("the file system of {place} ({mount}) has become read-only");
        let suggestion = format!(
            "the kernel met an error of the disk: journalctl -k; check the disk, then: \
             sudo mount -o remount,rw {mount}, or restart the head"
        );
        let id = format!("disk-read-only/{place}");
        let issue = Issue::new(id, Severity::Critical, event::DISK_READ_ONLY, summary, suggestion);
        return vec![issue.about(json!({"place": fact.place, "mount": fact.mount}))];
    }
    if let Some(severity) = shortage(fact.free, fact.size, (ENOUGH, BARELY)) {
        let (free, size) = (bytes(fact.free), bytes(fact.size));
        let summary = format!("{place} is nearly full: {free} of {size} are free");
        let id = format!("disk-full/{place}");
        let issue = Issue::new(id, severity, event::DISK_FULL, summary, room(&fact.place));
        let context = json!({"place": fact.place, "mount": fact.mount, "free": fact.free, "size": fact.size});
        issues.push(issue.about(context));
    }
    if let Some(severity) = shortage(fact.inodes_free, fact.inodes, (u64::MAX, u64::MAX)) {
        let summary =
            format!("{place} has nearly no inodes: {} of {} are free", fact.inodes_free, fact.inodes);
        let suggestion = format!("find what has many files: sudo du --inodes -x -d 3 {mount} | sort -n");
        let id = format!("disk-inodes/{place}");
        let issue = Issue::new(id, severity, event::DISK_FULL, summary, suggestion);
        issues.push(issue.about(json!({"place": fact.place, "mount": fact.mount, "free": fact.inodes_free})));
    }
    issues
}

/// Less than a tenth and less than what is enough; less than a thirtieth and barely anything.
fn shortage(free: u64, size: u64, (enough, barely): (u64, u64)) -> Option<Severity> {
    if size == 0 {
        None
    } else if free < size / 30 && free < barely {
        Some(Severity::Error)
    } else {
        (free < size / 10 && free < enough).then_some(Severity::Warning)
    }
}

fn room(place: &Path) -> &'static str {
    match place.to_str() {
        Some("/srv") => "delete what no node boots: pilotctl image list, image remove, image gc",
        Some("/var/lib/pilothouse/postgres") => {
            "see what holds it: pilotctl health names slots and bloat; enlarge the file system"
        }
        Some("/run") => "see what holds it: sudo du -xh -d 2 /run | sort -h; it is memory",
        _ => {
            "make room: sudo journalctl --vacuum-size=200M; see what else holds it: sudo du -xh -d 3 / | sort -h"
        }
    }
}

fn bytes(number: u64) -> String {
    match number {
        0..1_048_576 => format!("{} KiB", number >> 10),
        1_048_576..1_073_741_824 => format!("{} MiB", number >> 20),
        _ => format!("{} GiB", number >> 30),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::path::PathBuf;

    use super::super::issue::Severity;
    use super::{Fact, Mount, check, gather, mount_of};

    const GIB: u64 = 1 << 30;

    fn fact(free: u64, size: u64) -> Fact {
        Fact { place: "/srv".into(), mount: "/srv".into(), size, free, ..Fact::default() }
    }

    fn severity(fact: Fact) -> Option<Severity> {
        check(&[fact]).first().map(|it| it.severity)
    }

    #[test]
    fn little_room_is_a_warning_and_barely_any_an_error() {
        assert_eq!(severity(fact(11 * GIB, 100 * GIB)), None);
        assert_eq!(severity(fact(9 * GIB, 100 * GIB)), Some(Severity::Warning));
        assert_eq!(severity(fact(GIB, 100 * GIB)), Some(Severity::Error));
        assert_eq!(severity(fact(30 * GIB, 1000 * GIB)), None, "a twentieth of much is enough");
        assert_eq!(severity(fact(3 * GIB, 1000 * GIB)), Some(Severity::Warning));
        assert_eq!(severity(fact(0, 0)), None, "it has no size of its own");
    }

    #[test]
    fn inodes_and_a_disk_that_nobody_may_write_to_are_told() {
        let few = Fact { inodes: 1000, inodes_free: 20, ..fact(50 * GIB, 100 * GIB) };
        assert_eq!(check(&[few])[0].id, "disk-inodes//srv");
        let broken = Fact { read_only: true, ..fact(0, GIB) };
        let found = check(&[broken]);
        assert_eq!(
            (found.len(), found[0].severity),
            (1, Severity::Critical),
            "one thing is wrong, not three"
        );
    }

    #[test]
    fn a_place_is_on_its_innermost_mount_and_the_file_system_says_whether_it_is_read_only() {
        let lines = "22 1 8:2 / / ro,relatime shared:1 - ext4 /dev/sda2 rw,errors=remount-ro\n\
            30 22 8:3 / /usr ro - ext4 /dev/sda3 ro\n";
        let mounts: Vec<_> = lines.lines().filter_map(Mount::read).collect();
        let of = |place: &str| mount_of(&mounts, place.as_ref()).map(|it| (it.device.as_str(), it.read_only));
        assert_eq!(of("/"), Some(("8:2", false)), "a sandbox sees it as read-only, the disk is well");
        assert_eq!(of("/usr/lib"), Some(("8:3", true)));
        assert_eq!(of("/no such place"), None);
    }

    #[test]
    fn what_is_one_file_system_is_asked_about_once() {
        let folder = tempfile::tempdir().unwrap();
        let places: Vec<PathBuf> = vec![folder.path().into(), folder.path().into(), "/no such place".into()];
        let found = gather(&places);
        assert_eq!(found.len(), 1);
        assert!(found[0].size > 0 && !found[0].read_only, "{found:?}");
    }
}
