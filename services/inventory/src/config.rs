//! The document's `[inventory]`.

use anyhow::Context as _;
use domain::Document;
use serde::Deserialize;

/// The settings: there are none yet, and a key that is not known is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {}

impl Config {
    /// Reads the table.
    ///
    /// # Errors
    ///
    /// A key that is not known.
    pub fn parse(document: &Document) -> anyhow::Result<Self> {
        document.inventory.clone().try_into().context("read [inventory]")
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use domain::Document;

    use super::Config;

    #[test]
    fn a_key_that_is_not_known_is_refused() {
        let text = "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"openchami.cluster\"\n[inventory]\n";
        assert!(Config::parse(&Document::parse(text).unwrap()).is_ok());
        let document = Document::parse(&format!("{text}colour = \"red\"\n")).unwrap();
        assert!(format!("{:#}", Config::parse(&document).unwrap_err()).contains("colour"));
    }
}
