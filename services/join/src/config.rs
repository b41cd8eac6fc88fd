//! `[join]` of the document: by which way nodes get their tokens.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use domain::inventory::Inventory;
use domain::{Document, Span, Xname};
use serde::{Deserialize, Serialize};

/// The key of `policy` for nodes that are in no group it names.
const DEFAULT: &str = "default";

/// By which way a node gets its token, the weakest first: of several that its groups name the strongest holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// It gets none.
    #[default]
    None,
    /// It asks with a nonce that came with its initrd.
    Nonce,
    /// It is written on the node over SSH once its first cloud-init stage is done.
    Push,
    /// It answers a challenge by its TPM's endorsement key.
    Tpm,
}

/// What join is told. boot, power and cloud-init read it too, to know which nodes it concerns.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// By group: `{ compute = "push", login = "tpm", default = "none" }`. `default` is for nodes of no group
    /// that is named; without it they get no token.
    policy: BTreeMap<String, Policy>,
    /// How long a node's token lives, 1m to 1h: as long as it takes to read its secret data.
    pub(crate) token_life: Span,
    /// How long a power command leaves a node's window open, 1m to 24h: from power to the end of its boot.
    window: Span,
    /// How long the first claim of a window waits for a second one, which voids both; up to 10s.
    pub(crate) hold: Span,
    /// Whether a node with the policy `tpm` that nobody enrolled is taken at its word inside a window.
    pub(crate) trust_first_use: bool,
    /// Nodes that are written to at once, 1 to 256.
    pub(crate) pushes: usize,
    /// How long a push is tried again, 1s to 1h.
    pub(crate) push_for: Span,
    /// The port of the nodes' SSH server.
    pub(crate) ssh_port: u16,
}

impl Default for Config {
    fn default() -> Self {
        let span = |seconds| Span(Duration::from_secs(seconds));
        Self {
            policy: BTreeMap::new(),
            token_life: span(600),
            window: span(1800),
            hold: span(2),
            trust_first_use: false,
            pushes: 32,
            push_for: span(300),
            ssh_port: 22,
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
        let config: Self = document.join.clone().try_into().context("read [join]")?;
        let (ms, second, minute) = (Duration::from_millis, Duration::from_secs(1), Duration::from_secs(60));
        for (key, span, least, most) in [
            ("token_life", config.token_life, minute, 60 * minute),
            ("window", config.window, minute, 24 * 60 * minute),
            ("hold", config.hold, ms(0), 10 * second),
            ("push_for", config.push_for, second, 60 * minute),
        ] {
            let (least_text, most_text) = (Span(least), Span(most));
            let fits = (least..=most).contains(&span.0);
            anyhow::ensure!(fits, "join.{key} is {least_text} to {most_text}, not {span}");
        }
        anyhow::ensure!((1..=256).contains(&config.pushes), "join.pushes is 1 to 256, not {}", config.pushes);
        for label in config.policy.keys() {
            anyhow::ensure!(
                label.to_lowercase() == *label && !label.is_empty(),
                "join.policy.{label}: group labels are in lower case"
            );
        }
        Ok(config)
    }

    /// By which way a node gets its token.
    #[must_use]
    pub fn policy_of(&self, inventory: &Inventory, node: &Xname) -> Policy {
        let named = inventory.groups_of(node).filter_map(|it| self.policy.get(it)).max();
        named.or_else(|| self.policy.get(DEFAULT)).copied().unwrap_or_default()
    }

    /// Whether any node could have this policy: whoever asks join on behalf of nodes need not, if none has.
    #[must_use]
    pub fn uses(&self, policy: Policy) -> bool {
        self.policy.values().any(|it| *it == policy)
    }

    /// Whether a power command has to open windows.
    #[must_use]
    pub fn uses_windows(&self) -> bool {
        self.uses(Policy::Nonce) || (self.trust_first_use && self.uses(Policy::Tpm))
    }

    /// How long a window stays open unless something else was said, in seconds.
    pub(crate) fn window_s(&self) -> i64 {
        i64::try_from(self.window.0.as_secs()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use domain::feed::{Change, View};
    use domain::inventory::Inventory;

    use super::{Config, Policy};

    fn parse(table: &str) -> anyhow::Result<Config> {
        let head = "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"openchami.cluster\"\n[join]\n";
        Config::parse(&domain::Document::parse(&format!("{head}{table}")).unwrap())
    }

    #[test]
    fn of_several_groups_the_strongest_policy_holds() {
        let policy = "policy = { compute = 'nonce', secure = 'tpm', off = 'none', default = 'push' }";
        let config = parse(policy).unwrap();
        let mut inventory = Inventory::default();
        for (label, members) in [
            ("compute", vec!["x0c0s0b0n0", "x0c0s0b1n0"]),
            ("secure", vec!["x0c0s0b1n0"]),
            ("off", vec!["x0c0s0b2n0"]),
        ] {
            let row = serde_json::json!({"label": label, "members": members});
            inventory.apply(&Change::put("group", label, row)).unwrap();
        }
        for (node, policy) in [
            ("x0c0s0b0n0", Policy::Nonce),
            ("x0c0s0b1n0", Policy::Tpm),
            ("x0c0s0b2n0", Policy::None),
            ("x0c0s0b3n0", Policy::Push),
        ] {
            assert_eq!(config.policy_of(&inventory, &node.parse().unwrap()), policy, "{node}");
        }
        assert_eq!(parse("").unwrap().policy_of(&inventory, &"x0c0s0b0n0".parse().unwrap()), Policy::None);
        assert!(config.uses_windows() && !parse("policy = { a = 'tpm' }").unwrap().uses_windows());
    }

    #[test]
    fn what_does_not_hold_is_refused() {
        for table in [
            "policies = {}",
            "policy = { compute = 'ssh' }",
            "policy = { Compute = 'push' }",
            "token_life = '2h'",
            "window = '1s'",
            "hold = '11s'",
            "pushes = 0",
        ] {
            assert!(parse(table).is_err(), "{table}");
        }
    }
}
