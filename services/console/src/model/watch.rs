//! What lines of a console tell of a boot, and of what a site looks for.

use std::collections::BTreeMap;

use anyhow::Context as _;
use domain::BootStage;
use regex::{RegexSet, RegexSetBuilder};

/// Patterns of a site: a bit of [`Watch`] for each.
const PATTERNS_MAX: usize = 32;
/// The memory that their automaton may take, bytes.
const AUTOMATON_BYTES_MAX: usize = 1 << 20;

/// What a line of a console tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// A stage was reached.
    Stage(BootStage),
    /// The machine boots its disk, or finds nothing to boot; the head may well have told it to.
    Disk,
    /// A name is not resolved.
    NoName,
    /// A whole line matches this pattern, for the first time in this boot or once more.
    Match {
        /// Its place among the patterns.
        index: usize,
        /// Whether it is the first of this boot.
        first: bool,
    },
}

/// What a site looks for: `[console.patterns]`. `panic` and `login` tell the stages of a boot, beside the
/// words that are known anyway; the others are counted, and told once a boot.
#[derive(Debug, Default)]
pub(crate) struct Patterns {
    names: Vec<String>,
    set: RegexSet,
}

impl Patterns {
    /// Compiles them.
    ///
    /// # Errors
    ///
    /// Names the pattern that cannot be used.
    pub(crate) fn new(table: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        anyhow::ensure!(table.len() <= PATTERNS_MAX, "console.patterns are {PATTERNS_MAX} at most");
        for (name, pattern) in table {
            regex::Regex::new(pattern).with_context(|| format!("read console.patterns.{name}"))?;
        }
        let mut builder = RegexSetBuilder::new(table.values());
        let set = builder.size_limit(AUTOMATON_BYTES_MAX).dfa_size_limit(AUTOMATON_BYTES_MAX).build();
        let set = set.context("console.patterns are too large together; write simpler ones")?;
        Ok(Self { names: table.keys().cloned().collect(), set })
    }

    /// What a pattern is called.
    pub(crate) fn name(&self, index: usize) -> &str {
        self.names.get(index).map_or("", String::as_str)
    }

    /// Whether some pattern of this name matches.
    fn stage(&self, index: usize) -> Option<BootStage> {
        match self.name(index) {
            "panic" => Some(BootStage::Panic),
            "login" => Some(BootStage::Login),
            _ => None,
        }
    }
}

/// Finds in lines what they tell: a log-in prompt, a panic, the disk, a name that is not resolved, a site's
/// patterns.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    login_seen: bool,
    panic_seen: bool,
    disk_seen: bool,
    name_seen: bool,
    /// A bit for each pattern that matched in this boot.
    matched: u32,
}

impl Watch {
    /// Looks at a line, whole or as far as it came; tells what is seen, stages once a boot. A line is seen
    /// again while it grows.
    pub(crate) fn look(&mut self, line: &str, whole: bool, patterns: &Patterns, mut tell: impl FnMut(Sight)) {
        if let Some(sight) = self.look_for_known(line) {
            tell(sight);
        }
        if patterns.names.is_empty() || line.is_empty() {
            return;
        }
        for index in patterns.set.matches(line) {
            match patterns.stage(index) {
                Some(BootStage::Panic) if std::mem::replace(&mut self.panic_seen, true) => {}
                Some(BootStage::Login) if std::mem::replace(&mut self.login_seen, true) => {}
                Some(stage) => tell(Sight::Stage(stage)),
                // Once a line, when no more of it can come.
                None if whole => {
                    let bit = 1 << index;
                    tell(Sight::Match { index, first: self.matched & bit == 0 });
                    self.matched |= bit;
                }
                None => {}
            }
        }
    }

    fn look_for_known(&mut self, line: &str) -> Option<Sight> {
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

/// What only a machine that starts writes: firmware, boot loader, kernel, systemd. Systemd's greeting ends
/// with an exclamation mark, unlike that of a distribution to whoever logs in.
fn is_start(line: &str) -> bool {
    const WORDS: [&str; 4] = ["iPXE", "Linux version", "BdsDxe", "SeaBIOS"];
    WORDS.iter().any(|it| line.contains(it)) || (line.starts_with("Welcome to ") && line.ends_with('!'))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::collections::BTreeMap;

    use domain::BootStage;

    use super::{Patterns, Sight, Watch};

    /// What one line shows, with no patterns of a site.
    fn look(watch: &mut Watch, line: &str) -> Option<Sight> {
        let mut seen = None;
        watch.look(line, true, &Patterns::default(), |it| seen = Some(it));
        seen
    }

    #[test]
    fn a_prompt_counts_once_a_boot() {
        let mut watch = Watch::default();
        assert_eq!(look(&mut watch, "nid001 login: "), Some(Sight::Stage(BootStage::Login)));
        assert_eq!(look(&mut watch, "nid001 login: "), None);
        assert_eq!(look(&mut watch, "[    0.0] Linux version 6.12"), None);
        assert_eq!(look(&mut watch, "nid001 login:"), Some(Sight::Stage(BootStage::Login)));
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
            assert_eq!((look(&mut watch, line), look(&mut watch, line)), (Some(sight), None), "{line}");
            look(&mut watch, "SeaBIOS (version 1.16)");
            assert_eq!(look(&mut watch, line), Some(sight), "{line}");
        }
        let network = "BdsDxe: starting Boot0001 \"UEFI PXEv4 (MAC:525400000001)\" from PciRoot(0x0)";
        assert_eq!(look(&mut Watch::default(), network), None);
    }

    #[test]
    fn a_greeting_after_the_log_in_is_no_new_boot() {
        let mut watch = Watch::default();
        assert_eq!(look(&mut watch, "Welcome to Debian GNU/Linux 13 (trixie)!"), None);
        assert_eq!(look(&mut watch, "nid001 login: "), Some(Sight::Stage(BootStage::Login)));
        assert_eq!(look(&mut watch, "Last failed login:"), None);
        assert_eq!(look(&mut watch, "Welcome to Ubuntu 24.04 LTS (GNU/Linux 6.8 x86_64)"), None);
        assert_eq!(look(&mut watch, "nid001 login: "), None);
    }

    #[test]
    fn a_panic_counts_once_however_its_line_came() {
        let mut watch = Watch::default();
        let panic = Some(Sight::Stage(BootStage::Panic));
        assert_eq!(look(&mut watch, "[ 1.0] Kernel panic - not syncing: V"), panic);
        assert_eq!(look(&mut watch, "[ 1.0] Kernel panic - not syncing: VFS: Unable to mount root fs"), None);
        assert_eq!(look(&mut watch, "---[ end Kernel panic - not syncing: VFS ]---"), None);
        assert_eq!(look(&mut watch, "SeaBIOS (version 1.16)"), None);
        assert_eq!(look(&mut watch, "Kernel panic - not syncing: VFS"), panic);
    }

    #[test]
    fn a_sites_patterns_are_counted_line_by_line_and_told_once_a_boot() {
        let table = [("mce", "Hardware Error"), ("panic", "^Stopped: "), ("login", "^# $")];
        let table: BTreeMap<String, String> = table.map(|(name, it)| (name.to_owned(), it.to_owned())).into();
        let patterns = Patterns::new(&table).unwrap();
        let mut watch = Watch::default();
        let mut look = |line: &str, whole| {
            let mut seen = Vec::new();
            watch.look(line, whole, &patterns, |it| seen.push(it));
            seen
        };
        let mce = |first| {
            let index = (0..3).find(|it| patterns.name(*it) == "mce").unwrap();
            [Sight::Match { index, first }]
        };
        assert!(look("[Hardware Error]: CPU", false).is_empty(), "more of it may come");
        assert_eq!(look("[Hardware Error]: CPU 7", true), mce(true));
        assert_eq!(look("[Hardware Error]: CPU 8", true), mce(false));
        assert_eq!(look("Stopped: fault", true), [Sight::Stage(BootStage::Panic)]);
        assert!(look("Stopped: again", true).is_empty());
        assert_eq!(look("# ", false), [Sight::Stage(BootStage::Login)]);
        assert!(look("Linux version 7", true).is_empty());
        assert_eq!(look("[Hardware Error]: CPU 7", true), mce(true), "another boot");
    }

    #[test]
    fn a_pattern_that_cannot_be_used_is_named() {
        let table = |pattern: &str| BTreeMap::from([("mce".to_owned(), pattern.to_owned())]);
        let error = Patterns::new(&table("(")).unwrap_err();
        assert!(error.to_string().contains("console.patterns.mce"), "{error:#}");
        assert!(Patterns::new(&table(r"\w{1000}{1000}")).is_err());
    }
}
