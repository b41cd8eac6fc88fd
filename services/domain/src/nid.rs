//! Node numbers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A node's number. SMD lets it be any integer, negative ones too; they need not be unique there, and
/// `nodes.yaml` refuses duplicates (recording `smd-components`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nid(pub i64);

impl FromStr for Nid {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl fmt::Display for Nid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Nid {
    /// Fills `{nid}` and `{nid:03}` (zero-padded to that width, at most 9) of a name pattern.
    #[must_use]
    pub fn name(self, pattern: &str) -> String {
        let mut name = String::with_capacity(pattern.len() + 4);
        let mut rest = pattern;
        while let Some(at) = rest.find("{nid") {
            let (before, from) = rest.split_at(at);
            name.push_str(before);
            let Some(end) = from.find('}') else {
                name.push_str(from);
                return name;
            };
            let width = from[4..end].trim_start_matches(':').parse::<usize>().unwrap_or(0).min(9);
            name.push_str(&format!("{:0width$}", self.0));
            rest = &from[end + 1..];
        }
        name + rest
    }
}

#[cfg(test)]
mod tests {
    use super::Nid;

    #[test]
    fn a_pattern_pads_to_its_width() {
        assert_eq!(Nid(7).name("nid{nid:03}"), "nid007");
        assert_eq!(Nid(7).name("n{nid}-x"), "n7-x");
        assert_eq!(Nid(12345).name("nid{nid:03}"), "nid12345");
        assert_eq!(Nid(7).name("plain"), "plain");
    }
}
