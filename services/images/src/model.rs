//! Which bytes a request is for, and what a file is to a booting node. Pure.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use domain::BootStage;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::wire::Fields;

/// The bytes of a file that an answer holds, both ends in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// What a `Range` field asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Everything: no range, or one that makes no sense or asks for too much (RFC 9110 section 14.2).
    All,
    /// These runs of bytes, at least one.
    Parts(Vec<Span>),
    /// Bytes that are not there: 416.
    Nothing,
}

/// More ranges in one request are a waste of both sides (RFC 9110 section 17.15).
const RANGES_MAX: usize = 16;

impl Span {
    /// How many bytes it has.
    pub(crate) fn length(self) -> u64 {
        self.last - self.first + 1
    }
}

/// Reads `Range: bytes=…` for a file of this length.
pub(crate) fn wanted(range: Option<&str>, length: u64) -> Wanted {
    let Some((unit, list)) = range.and_then(|it| it.trim().split_once('=')) else { return Wanted::All };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Wanted::All;
    }
    let mut spans: Vec<Span> = Vec::new();
    let mut asked = 0;
    for spec in list.split(',').map(str::trim).filter(|it| !it.is_empty()) {
        asked += 1;
        match span(spec, length) {
            None => return Wanted::All,
            Some(_) if asked > RANGES_MAX => return Wanted::All,
            Some(found) => spans.extend(found),
        }
    }
    match spans.len() {
        0 if asked == 0 => Wanted::All,
        0 => Wanted::Nothing,
        1 => Wanted::Parts(spans),
        _ => Wanted::Parts(joined(spans)),
    }
}

/// One range; inner none if no byte of it is there, outer none if it makes no sense.
fn span(spec: &str, length: u64) -> Option<Option<Span>> {
    let (first, last) = spec.split_once('-')?;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
        digits.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    let end = length.saturating_sub(1);
    match (number(first), number(last)) {
        (Some(first), Some(last)) if last < first => None,
        (Some(first), Some(last)) => Some((first < length).then(|| Span { first, last: last.min(end) })),
        (Some(first), None) if last.is_empty() => Some((first < length).then_some(Span { first, last: end })),
        (None, Some(suffix)) if first.is_empty() => {
            let there = suffix > 0 && length > 0;
            Some(there.then(|| Span { first: length.saturating_sub(suffix), last: end }))
        }
        _ => None,
    }
}

/// The runs in the order they were asked for; if some overlap or touch, all of them in order and in one piece.
fn joined(spans: Vec<Span>) -> Vec<Span> {
    let mut sorted = spans.clone();
    sorted.sort_by_key(|it| it.first);
    let mut whole: Vec<Span> = Vec::with_capacity(sorted.len());
    for span in sorted {
        match whole.last_mut() {
            Some(before) if span.first <= before.last.saturating_add(1) => {
                before.last = before.last.max(span.last)
            }
            _ => whole.push(span),
        }
    }
    if whole.len() == spans.len() { spans } else { whole }
}

/// What a file is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// Its entity tags, each in quotes; the first is shown. All of them change with any byte.
    pub(crate) tags: Vec<String>,
    /// When it changed, in seconds since 1970.
    pub(crate) modified: i64,
    pub(crate) length: u64,
}

impl Known {
    /// The digest of the content, in hexadecimal, once it is known.
    pub(crate) fn digest(&self) -> Option<&str> {
        self.tags.iter().find_map(|it| it.strip_prefix("\"sha256-")?.strip_suffix('"'))
    }
}

/// Which answer a request gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// 412: it is another file now.
    Failed,
    /// 304: the client has it.
    Unchanged,
    /// 200
    Whole,
    /// 206: one run, or several as multipart/byteranges.
    Parts(Vec<Span>),
    /// 416
    Nothing,
}

/// Which answer a GET gets, or a HEAD, which knows no ranges (RFC 9110 sections 13.2.2 and 14.2).
pub(crate) fn plan(fields: &Fields, is_head: bool, file: &Known) -> Plan {
    let weak = |list: &str| {
        list.split(',')
            .map(str::trim)
            .any(|it| it == "*" || file.tags.iter().any(|tag| tag == it.strip_prefix("W/").unwrap_or(it)))
    };
    let strong = |list: &str| {
        list.split(',').map(str::trim).any(|it| it == "*" || file.tags.iter().any(|tag| tag == it))
    };
    let unmodified_since = |text: &str| date(text).is_some_and(|it| file.modified <= it);
    let met = match (&fields.if_match, &fields.if_unmodified_since) {
        (Some(list), _) => strong(list),
        (None, Some(since)) => date(since).is_none() || unmodified_since(since),
        (None, None) => true,
    };
    if !met {
        return Plan::Failed;
    }
    let unchanged = match (&fields.if_none_match, &fields.if_modified_since) {
        (Some(list), _) => weak(list),
        (None, Some(since)) => unmodified_since(since),
        (None, None) => false,
    };
    if unchanged {
        return Plan::Unchanged;
    }
    let same = match fields.if_range.as_deref() {
        None => true,
        Some(tag) if tag.starts_with('"') => file.tags.iter().any(|it| it == tag),
        Some(since) => date(since) == Some(file.modified),
    };
    match wanted(fields.range.as_deref().filter(|_| same && !is_head), file.length) {
        Wanted::All => Plan::Whole,
        Wanted::Parts(spans) => Plan::Parts(spans),
        Wanted::Nothing => Plan::Nothing,
    }
}

/// A date as HTTP writes it: `Sun, 06 Nov 1994 08:49:37 GMT`. Its older forms are read by nobody here.
fn date(text: &str) -> Option<i64> {
    let text = text.trim().strip_suffix("GMT")?;
    let parsed = OffsetDateTime::parse(&format!("{text}+0000"), &Rfc2822);
    parsed.ok().map(OffsetDateTime::unix_timestamp)
}

/// A time as HTTP writes it (RFC 9110 section 5.6.7).
pub(crate) fn http_date(seconds: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(&Rfc2822).unwrap_or_default().replace("+0000", "GMT")
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

    use super::{Known, Parts, Plan, Span, Wanted, http_date, plan, segments, stage, wanted};
    use crate::wire::Fields;

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
        let part = |first, last| Wanted::Parts(vec![Span { first, last }]);
        let parts = |list: &[(u64, u64)]| {
            Wanted::Parts(list.iter().map(|it| Span { first: it.0, last: it.1 }).collect())
        };
        let many = format!("bytes={}", "0-0,".repeat(17));
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
            (Some("bytes=5-6,0-1"), parts(&[(5, 6), (0, 1)])),
            (Some("Bytes = 5-6, ,0-1,200-"), parts(&[(5, 6), (0, 1)])),
            (Some("bytes=5-7,0-1,6-9"), parts(&[(0, 1), (5, 9)])),
            (Some("bytes=0-4,5-9"), part(0, 9)),
            (Some("bytes=0-1,x"), Wanted::All),
            (Some("bytes="), Wanted::All),
            (Some("bytes=200-,-0"), Wanted::Nothing),
            (Some(&many), Wanted::All),
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

    fn fields(list: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        for (name, value) in list {
            if let Some(place) = fields.place(name) {
                *place = Some((*value).to_owned());
            }
        }
        fields
    }

    #[test]
    fn the_conditions_of_a_request_decide() {
        let file = Known {
            tags: vec!["\"sha256-aa\"".to_owned(), "\"1-2-3\"".to_owned()],
            modified: 784_111_777,
            length: 100,
        };
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(http_date(784_111_777), date);
        let (later, sooner) = ("Mon, 07 Nov 1994 08:49:37 GMT", "Sat, 05 Nov 1994 08:49:37 GMT");
        let range = ("range", "bytes=0-9");
        let part = || Plan::Parts(vec![Span { first: 0, last: 9 }]);
        let cases: [(&[(&str, &str)], Plan); 17] = [
            (&[], Plan::Whole),
            (&[("if-none-match", "\"x\", W/\"1-2-3\"")], Plan::Unchanged),
            (&[("if-none-match", "\"x\""), ("if-modified-since", later)], Plan::Whole),
            (&[("if-none-match", "*"), range], Plan::Unchanged),
            (&[("if-modified-since", date)], Plan::Unchanged),
            (&[("if-modified-since", later)], Plan::Unchanged),
            (&[("if-modified-since", sooner)], Plan::Whole),
            (&[("if-modified-since", "yesterday")], Plan::Whole),
            (&[("if-match", "\"x\"")], Plan::Failed),
            (&[("if-match", "W/\"1-2-3\"")], Plan::Failed),
            (&[("if-match", "\"sha256-aa\""), range], part()),
            (&[("if-unmodified-since", sooner)], Plan::Failed),
            (&[range, ("if-range", "\"1-2-3\"")], part()),
            (&[range, ("if-range", "W/\"1-2-3\"")], Plan::Whole),
            (&[range, ("if-range", date)], part()),
            (&[range, ("if-range", later)], Plan::Whole),
            (&[("range", "bytes=100-")], Plan::Nothing),
        ];
        for (list, expected) in cases {
            assert_eq!(plan(&fields(list), false, &file), expected, "{list:?}");
        }
        assert_eq!(plan(&fields(&[range]), true, &file), Plan::Whole, "HEAD knows no ranges");
    }

    #[test]
    fn any_byte_of_a_range_may_be_another() {
        for at in 0..14 {
            for value in 0..=127 {
                let mut text = *b"bytes=1-5,90-,";
                text[at] = value;
                if let Wanted::Parts(spans) = wanted(std::str::from_utf8(&text).ok(), 100) {
                    assert!(spans.iter().all(|it| it.first <= it.last && it.last < 100), "{text:?}");
                }
            }
        }
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
