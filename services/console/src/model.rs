//! What is made of the bytes of a console: sanitised lines with time stamps, and the stages seen in them. Pure.

use domain::BootStage;
use time::OffsetDateTime;
use time::macros::format_description;

/// A line longer than this is broken, so that a babbling node cannot fill the memory.
const LINE_MAX: usize = 4096;
/// What is written before a line that this service wrote itself.
pub(crate) const MARK: &str = "<Pilothouse>";

/// Turns a stream of bytes into the text of the log: conman's `sanitize,timestamp`.
#[derive(Debug, Default)]
pub(crate) struct Scribe {
    /// The line that has not ended yet, as it is in the log.
    open: String,
    /// How much of it is in the log already.
    logged: usize,
    return_seen: bool,
    /// The time stamp of this second: lines come in hundreds a second.
    stamp: Option<(i64, String)>,
}

/// What a line of a console tells of a boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// A stage was reached.
    Stage(BootStage),
    /// The machine boots its disk, or finds nothing to boot; the head may well have told it to.
    Disk,
    /// A name is not resolved.
    NoName,
}

/// Finds in lines what they tell of a boot: a log-in prompt, a panic, the disk, a name that is not resolved.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    login_seen: bool,
    panic_seen: bool,
    disk_seen: bool,
    name_seen: bool,
}

impl Scribe {
    /// Adds the text to append for these bytes, at this time; `line` sees each line, and what there is of one
    /// that has not ended.
    pub(crate) fn write(
        &mut self,
        bytes: &[u8],
        now: OffsetDateTime,
        text: &mut String,
        mut line: impl FnMut(&str),
    ) {
        for &byte in bytes {
            match byte {
                b'\n' => self.end_line(text, now, &mut line),
                // A carriage return ends nothing by itself: `\r\n` is one end, `\r\r\n` too.
                b'\r' => self.return_seen = true,
                0 => {}
                _ => {
                    if std::mem::take(&mut self.return_seen) && !self.open.is_empty() {
                        self.end_line(text, now, &mut line);
                    }
                    self.put(byte);
                    if self.open.len() >= LINE_MAX {
                        self.end_line(text, now, &mut line);
                    }
                }
            }
        }
        if self.logged < self.open.len() {
            // A prompt has no end of line; it belongs into the log all the same.
            self.flush(text, now);
            line(&self.open);
        }
    }

    /// A line of our own, on a line by itself.
    pub(crate) fn mark(&mut self, message: &str, now: OffsetDateTime) -> String {
        let end = if self.open.is_empty() { "" } else { "\n" };
        self.open.clear();
        self.logged = 0;
        self.return_seen = false;
        format!("{end}{}", mark_line(message, now))
    }

    fn put(&mut self, byte: u8) {
        match byte {
            b'\t' | b' '..=b'~' => self.open.push(char::from(byte)),
            0..=31 => self.open.extend(['^', char::from(byte + 64)]),
            127 => self.open.push_str("^?"),
            _ => self.open.push('~'),
        }
    }

    fn flush(&mut self, text: &mut String, now: OffsetDateTime) {
        if self.logged == 0 {
            let second = now.unix_timestamp();
            match &self.stamp {
                Some((of, known)) if *of == second => text.push_str(known),
                _ => text.push_str(&self.stamp.insert((second, stamp(now))).1),
            }
        }
        text.push_str(self.open.get(self.logged..).unwrap_or_default());
        self.logged = self.open.len();
    }

    fn end_line(&mut self, text: &mut String, now: OffsetDateTime, line: &mut impl FnMut(&str)) {
        if self.open.is_empty() || self.logged < self.open.len() {
            self.flush(text, now);
        }
        line(&self.open);
        text.push('\n');
        self.open.clear();
        self.logged = 0;
        self.return_seen = false;
    }
}

/// A line that this service writes itself.
pub(crate) fn mark_line(message: &str, now: OffsetDateTime) -> String {
    format!("{}{MARK} {}\n", stamp(now), message.replace(['\r', '\n'], " "))
}

/// `2026-11-22 13:05:47 `, in UTC, as conman writes it in the zone of its daemon.
fn stamp(now: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] ");
    now.format(&format).unwrap_or_default()
}

impl Watch {
    /// What this line tells, once a boot. A line is seen again while it grows.
    pub(crate) fn look(&mut self, line: &str) -> Option<Sight> {
        let once = |seen: &mut bool, sight| (!std::mem::replace(seen, true)).then_some(sight);
        if line.contains("Kernel panic - not syncing") {
            // Its end repeats the words: `---[ end Kernel panic - not syncing: … ]---`.
            return once(&mut self.panic_seen, Sight::Stage(BootStage::Panic));
        }
        if is_disk(line) {
            return once(&mut self.disk_seen, Sight::Disk);
        }
        if NO_NAME.iter().any(|it| line.contains(it)) {
            return once(&mut self.name_seen, Sight::NoName);
        }
        if is_start(line) {
            *self = Self::default();
            return None;
        }
        let prompt = line.len() < 200 && line.trim_end().ends_with("login:") && !line.starts_with("Last ");
        if prompt { once(&mut self.login_seen, Sight::Stage(BootStage::Login)) } else { None }
    }
}

/// What programs say of a name that nobody resolves: glibc, curl, dracut, iPXE.
const NO_NAME: [&str; 4] = [
    "Temporary failure in name resolution",
    "Name or service not known",
    "ould not resolve host",
    "ipxe.org/3e11618e",
];

/// What SeaBIOS, EDK2 and GRUB write when they boot a disk, or have nothing to boot.
fn is_disk(line: &str) -> bool {
    const WORDS: [&str; 4] = ["Booting from Hard Disk", "No bootable device", "GNU GRUB", "GRUB loading"];
    let by_uefi =
        line.contains("BdsDxe: starting") && (line.contains("HARDDISK") || line.contains("Hard Drive"));
    by_uefi || WORDS.iter().any(|it| line.contains(it))
}

/// What only a machine that starts writes: firmware, boot loader, kernel, systemd. Systemd's greeting ends with
/// an exclamation mark, unlike that of a distribution to whoever logs in.
fn is_start(line: &str) -> bool {
    const WORDS: [&str; 4] = ["iPXE", "Linux version", "BdsDxe", "SeaBIOS"];
    WORDS.iter().any(|it| line.contains(it)) || (line.starts_with("Welcome to ") && line.ends_with('!'))
}

#[cfg(test)]
mod tests {
    use domain::BootStage;
    use time::macros::datetime;

    use super::{LINE_MAX, Scribe, Sight, Watch};

    const NOW: time::OffsetDateTime = datetime!(2026-11-22 13:05:47 UTC);

    fn write(scribe: &mut Scribe, bytes: &[u8]) -> String {
        let mut text = String::new();
        scribe.write(bytes, NOW, &mut text, |_| ());
        text
    }

    #[test]
    fn a_line_has_one_stamp_however_it_was_cut() {
        let mut scribe = Scribe::default();
        let mut text = write(&mut scribe, b"one\r\ntw");
        text += &write(&mut scribe, b"o\r");
        text += &write(&mut scribe, b"\n\nnid001 login: ");
        let expected = "2026-11-22 13:05:47 one\n2026-11-22 13:05:47 two\n2026-11-22 13:05:47 \n\
                        2026-11-22 13:05:47 nid001 login: ";
        assert_eq!(text, expected);
        assert_eq!(scribe.mark("gone", NOW), "\n2026-11-22 13:05:47 <Pilothouse> gone\n");
    }

    #[test]
    fn what_a_terminal_would_obey_is_made_visible() {
        let mut scribe = Scribe::default();
        assert_eq!(write(&mut scribe, b"\x1b[2J\x7f\xff\t.\n"), "2026-11-22 13:05:47 ^[[2J^?~\t.\n");
        let long = write(&mut Scribe::default(), &[b'x'; 9000]);
        assert_eq!(long.lines().count(), 3);
    }

    #[test]
    fn a_carriage_return_alone_starts_a_line_anew() {
        assert_eq!(write(&mut Scribe::default(), b"10%\r20%\r\n").lines().count(), 2);
    }

    #[test]
    fn a_prompt_counts_once_a_boot() {
        let mut watch = Watch::default();
        assert_eq!(watch.look("nid001 login: "), Some(Sight::Stage(BootStage::Login)));
        assert_eq!(watch.look("nid001 login: "), None);
        assert_eq!(watch.look("[    0.0] Linux version 6.12"), None);
        assert_eq!(watch.look("nid001 login:"), Some(Sight::Stage(BootStage::Login)));
    }

    #[test]
    fn a_machine_that_boots_its_disk_or_resolves_no_name_is_seen_once_a_boot() {
        for (line, sight) in [
            ("Booting from Hard Disk...", Sight::Disk),
            ("No bootable device.", Sight::Disk),
            (
                "BdsDxe: starting Boot0002 \"UEFI QEMU HARDDISK QM00001 \" from PciRoot(0x0)/Pci(0x1F,0x2)",
                Sight::Disk,
            ),
            ("curl: (6) Could not resolve host: demo.openchami.cluster", Sight::NoName),
            ("http://demo/k... Error 0x3e11618e (https://ipxe.org/3e11618e)", Sight::NoName),
        ] {
            let mut watch = Watch::default();
            assert_eq!((watch.look(line), watch.look(line)), (Some(sight), None), "{line}");
            watch.look("SeaBIOS (version 1.16)");
            assert_eq!(watch.look(line), Some(sight), "{line}");
        }
        let network = "BdsDxe: starting Boot0001 \"UEFI PXEv4 (MAC:525400000001)\" from PciRoot(0x0)";
        assert_eq!(Watch::default().look(network), None);
    }

    #[test]
    fn a_greeting_after_the_log_in_is_no_new_boot() {
        let mut watch = Watch::default();
        assert_eq!(watch.look("Welcome to Debian GNU/Linux 13 (trixie)!"), None);
        assert_eq!(watch.look("nid001 login: "), Some(Sight::Stage(BootStage::Login)));
        assert_eq!(watch.look("Last failed login:"), None);
        assert_eq!(watch.look("Welcome to Ubuntu 24.04 LTS (GNU/Linux 6.8 x86_64)"), None);
        assert_eq!(watch.look("nid001 login: "), None);
    }

    #[test]
    fn a_panic_counts_once_however_its_line_came() {
        let mut watch = Watch::default();
        assert_eq!(watch.look("[ 1.0] Kernel panic - not syncing: V"), Some(Sight::Stage(BootStage::Panic)));
        assert_eq!(watch.look("[ 1.0] Kernel panic - not syncing: VFS: Unable to mount root fs"), None);
        assert_eq!(watch.look("---[ end Kernel panic - not syncing: VFS ]---"), None);
        assert_eq!(watch.look("SeaBIOS (version 1.16)"), None);
        assert_eq!(watch.look("Kernel panic - not syncing: VFS"), Some(Sight::Stage(BootStage::Panic)));
    }

    #[test]
    fn a_babbling_node_fills_no_memory() {
        let mut scribe = Scribe::default();
        for _ in 0..100 {
            write(&mut scribe, &[b'x'; 1000]);
        }
        assert!(scribe.open.capacity() < 3 * LINE_MAX);
    }
}
