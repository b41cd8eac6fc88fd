//! `[console]` of the document.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use domain::{Document, Size, Span};
use serde::Deserialize;

use crate::line::Port;
use crate::model::{LogOptions, Patterns, Takeover};

/// What a processor reports of its own errors, as Linux writes it.
const MCE: &str = r"mce: \[Hardware Error\]|Machine [Cc]heck [Ee]xception";

/// What console is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Where `console.<node>` is written; `/var/log/conman` leads here. The bytes as they came are in `raw/`
    /// below it.
    pub(crate) log_dir: PathBuf,
    /// conman's `logopts`: `sanitize`, `timestamp`, and their opposites.
    pub(crate) log_options: LogOptions,
    /// A log that grows beyond this is put aside, 64KiB or more.
    pub(crate) rotate_size: Size,
    /// A log that was begun this long ago is put aside, 1m or more.
    pub(crate) rotate_after: Span,
    /// How many logs put aside are kept of a console, up to 1000.
    pub(crate) keep: usize,
    /// How long they are kept.
    pub(crate) keep_for: Span,
    /// Whether logs put aside are compressed.
    pub(crate) compress: bool,
    /// Whether to take a line that another session holds, also back from one that took it from us: `always`,
    /// `stale` (held for `takeover_after`) or `never`.
    pub(crate) takeover: Takeover,
    /// How long a line is left to whoever holds it, 1s to 1h.
    pub(crate) takeover_after: Span,
    /// A BMC that was silent for this long is dead and its line lost, 3s to 5m.
    pub(crate) dead_after: Span,
    /// What to look for in lines, by name: regular expressions.
    pub(crate) patterns: BTreeMap<String, String>,
    /// Where consoles are that are no serial line over IPMI, by the node's name or xname.
    pub(crate) nodes: BTreeMap<String, Place>,
    /// The same for all nodes whose BMCs are of a class.
    pub(crate) classes: BTreeMap<String, Place>,
}

/// Where a console is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    /// `sol`, `serial:/dev/ttyS1`, `tcp:HOST:PORT`, `telnet:HOST:PORT`, `unix:/PATH` or
    /// `ssh:[USER@]HOST[:PORT]`; of a class, `{bmc}` stands for the BMC's address and `{name}` for the node's
    /// name.
    pub(crate) line: String,
    /// Speed and character of a serial port, as conman writes them: `115200,8n1`.
    #[serde(default = "serial_options")]
    pub(crate) seropts: String,
    /// What to type once an SSH connection stands, for BMCs that show a prompt of their own.
    #[serde(default)]
    pub(crate) entry: Option<String>,
}

fn serial_options() -> String {
    "115200,8n1".to_owned()
}

impl Default for Config {
    fn default() -> Self {
        let span = |seconds| Span(Duration::from_secs(seconds));
        Self {
            log_dir: "/srv/console/log".into(),
            log_options: LogOptions::default(),
            rotate_size: Size(64 << 20),
            rotate_after: span(7 * 86_400),
            keep: 16,
            keep_for: span(90 * 86_400),
            compress: true,
            takeover: Takeover::default(),
            takeover_after: span(120),
            dead_after: span(30),
            patterns: BTreeMap::from([("mce".to_owned(), MCE.to_owned())]),
            nodes: BTreeMap::new(),
            classes: BTreeMap::new(),
        }
    }
}

impl Config {
    pub(crate) fn parse(document: &Document) -> anyhow::Result<Self> {
        let config: Self = document.console.clone().try_into().context("read [console]")?;
        anyhow::ensure!(config.log_dir.is_absolute(), "console.log_dir is a full path");
        let least = Size(64 << 10);
        anyhow::ensure!(
            config.rotate_size >= least,
            "console.rotate_size is at least {least}, not {}",
            config.rotate_size
        );
        anyhow::ensure!(config.keep <= 1000, "console.keep is at most 1000");
        let (second, day) = (Duration::from_secs(1), Duration::from_secs(86_400));
        for (key, span, least, most) in [
            ("rotate_after", config.rotate_after, 60 * second, 3650 * day),
            ("keep_for", config.keep_for, 60 * second, 3650 * day),
            ("takeover_after", config.takeover_after, second, 3600 * second),
            ("dead_after", config.dead_after, 3 * second, 300 * second),
        ] {
            let (least_text, most_text) = (Span(least), Span(most));
            let fits = (least..=most).contains(&span.0);
            anyhow::ensure!(fits, "console.{key} is {least_text} to {most_text}, not {span}");
        }
        config.patterns()?;
        for (table, places) in [("nodes", &config.nodes), ("classes", &config.classes)] {
            for (name, place) in places {
                Port::new(place, "bmc", "node").with_context(|| format!("read console.{table}.{name}"))?;
            }
        }
        Ok(config)
    }

    /// What to look for in lines.
    pub(crate) fn patterns(&self) -> anyhow::Result<Patterns> {
        Patterns::new(&self.patterns)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use domain::Document;

    use super::Config;

    fn parse(table: &str) -> anyhow::Result<Config> {
        let text =
            format!("version = 1\n[cluster]\nname = \"demo\"\ndomain = \"cluster.test\"\n[console]\n{table}");
        Config::parse(&Document::parse(&text).unwrap())
    }

    #[test]
    fn the_readme_tells_what_holds_where_nothing_is_set() {
        let readme = include_str!("../../../README.md");
        let (_, table) = readme.split_once("\n[console]\n").unwrap();
        let (table, rest) = table.split_once("[console.nodes.").unwrap();
        assert_eq!(format!("{:?}", parse(table).unwrap()), format!("{:?}", Config::default()));
        let (places, _) = rest.split_once("```").unwrap();
        assert_eq!(parse(&format!("[console.nodes.{places}")).unwrap().classes.len(), 1);
        assert_eq!(table.lines().count(), 10, "a setting is new: tell of it in README");
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        parse("").unwrap();
        parse("[console.nodes.nid001]\nline = 'serial:/dev/ttyS1'\nseropts = '9600,7e1'").unwrap();
        for (table, word) in [
            ("rotate_size = '1KiB'", "rotate_size"),
            ("dead_after = '1s'", "dead_after"),
            ("log_options = 'shout'", "shout"),
            ("takeover = 'perhaps'", "takeover"),
            ("patterns = { mce = '(' }", "console.patterns.mce"),
            ("nodes = { nid001 = { line = 'carrier pigeon' } }", "console.nodes.nid001"),
            ("unknown = 1", "unknown"),
        ] {
            let error = format!("{:#}", parse(table).unwrap_err());
            assert!(error.contains(word), "{table}: {error}");
        }
    }
}
