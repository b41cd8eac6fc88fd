//! `[timeline]` of the document: how long boots are kept, and how long each step may take.

use std::time::Duration;

use anyhow::Context as _;
use domain::{Document, Span};
use serde::Deserialize;

/// What timeline is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How long boots and their steps are kept, 1d to 365d.
    pub(crate) keep: Span,
    /// How long audit records are kept, 1d to 3650d.
    pub(crate) audit_keep: Span,
    /// Steps that wait for PostgreSQL, 1000 to 1000000; over it the oldest are given up.
    pub(crate) queue: usize,
    /// Boots that begin within this time of each other are one mass boot, 10s to 1h.
    pub(crate) together: Span,
    /// How long a boot may stand still, by what is waited for.
    pub(crate) limits: Limits,
}

/// How long a boot may stand still before it is named, by what is waited for, 1s to 1h each. They stretch by what
/// earlier good boots of the node, and of all nodes, took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// From power to the first DISCOVER: the firmware's self-test.
    pub firmware: Span,
    /// From DISCOVER to OFFER, and from there to ACK.
    pub dhcp: Span,
    /// From the ACK to the first request for the loader.
    pub loader: Span,
    /// For the loader's transfer.
    pub transfer: Span,
    /// From the loader to the script.
    pub script: Span,
    /// From the script to the whole kernel.
    pub kernel: Span,
    /// From the kernel to the whole initrd.
    pub initrd: Span,
    /// From the initrd to the whole root file system.
    pub root: Span,
    /// For the transfer of a kernel, an initrd or a root file system that has begun.
    pub fetch: Span,
    /// From there to meta-data.
    pub metadata: Span,
    /// From meta-data to user-data.
    pub userdata: Span,
}

impl Default for Limits {
    fn default() -> Self {
        let span = |seconds| Span(Duration::from_secs(seconds));
        Self {
            firmware: span(300),
            dhcp: span(15),
            loader: span(20),
            transfer: span(60),
            script: span(25),
            kernel: span(25),
            initrd: span(60),
            root: span(180),
            fetch: span(600),
            metadata: span(180),
            userdata: span(30),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            keep: Span(Duration::from_secs(30 * 24 * 3600)),
            audit_keep: Span(Duration::from_secs(400 * 24 * 3600)),
            queue: 200_000,
            together: Span(Duration::from_secs(600)),
            limits: Limits::default(),
        }
    }
}

impl Config {
    /// Reads and checks the table.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(document: &Document) -> anyhow::Result<Self> {
        let config: Self = document.timeline.clone().try_into().context("read [timeline]")?;
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
        let Limits { firmware, dhcp, loader, transfer, script, .. } = config.limits;
        let Limits { kernel, initrd, root, fetch, metadata, userdata, .. } = config.limits;
        for (key, span, least, most) in [
            ("keep", config.keep, 24 * hour, 365 * 24 * hour),
            ("audit_keep", config.audit_keep, 24 * hour, 3650 * 24 * hour),
            ("together", config.together, 10 * second, hour),
            ("limits.firmware", firmware, second, hour),
            ("limits.dhcp", dhcp, second, hour),
            ("limits.loader", loader, second, hour),
            ("limits.transfer", transfer, second, hour),
            ("limits.script", script, second, hour),
            ("limits.kernel", kernel, second, hour),
            ("limits.initrd", initrd, second, hour),
            ("limits.root", root, second, hour),
            ("limits.fetch", fetch, second, hour),
            ("limits.metadata", metadata, second, hour),
            ("limits.userdata", userdata, second, hour),
        ] {
            let (least_text, most_text) = (Span(least), Span(most));
            let fits = (least..=most).contains(&span.0);
            anyhow::ensure!(fits, "timeline.{key} is {least_text} to {most_text}, not {span}");
        }
        let queue = config.queue;
        anyhow::ensure!(
            (1000..=1_000_000).contains(&queue),
            "timeline.queue is 1000 to 1000000, not {queue}"
        );
        Ok(config)
    }

    /// How many days are kept.
    pub(crate) fn days(&self) -> i64 {
        i64::try_from(self.keep.0.as_secs() / 86_400).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::Config;

    fn parse(table: &str) -> anyhow::Result<Config> {
        let head = "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"openchami.cluster\"\n[timeline]\n";
        Config::parse(&domain::Document::parse(&format!("{head}{table}")).unwrap())
    }

    #[test]
    fn what_does_not_hold_is_refused() {
        assert_eq!(parse("").unwrap().days(), 30);
        assert_eq!(parse("limits = { loader = '5s' }").unwrap().limits.loader.to_string(), "5s");
        for table in [
            "keep = '1h'",
            "limits = { tftp = '5s' }",
            "limits = { root = '2h' }",
            "queue = 1",
            "x = 1",
            "audit_keep = '1h'",
        ] {
            assert!(parse(table).is_err(), "{table}");
        }
    }
}
