//! `[auth]` of the document.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use domain::{Document, Role, Span};
use serde::Deserialize;
use web::jwt::Algorithm;

/// The longest life of a token, whoever asks: a lost one is worth little by the next day.
pub(crate) const LIFE_MAX: Duration = Duration::from_secs(24 * 3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What auth is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// How long a token lives when its caller names no time, up to a day.
    pub(crate) token_life: Span,
    /// How long a log-in is renewed without a password.
    pub(crate) session_life: Span,
    /// How long a key signs before the next one does.
    pub(crate) key_life: Span,
    /// How tokens are signed for whom no client says otherwise.
    pub(crate) algorithm: Algorithm,
    /// Other issuers whose tokens every service takes.
    pub(crate) trusted: Vec<Trusted>,
}

/// `[[auth.trusted]]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Trusted {
    /// Its `iss`.
    pub(crate) issuer: String,
    /// The `aud` its tokens must have.
    pub(crate) audience: String,
    /// Its keys as a file; read again each minute.
    pub(crate) jwks_file: Option<PathBuf>,
    /// Its keys as an address; without one and without a file it is looked up in the issuer's discovery document.
    pub(crate) jwks_url: Option<String>,
    /// The role of whoever has no other by `roles`; without it they have no rights.
    pub(crate) role: Option<Role>,
    /// The claim that tells of roles.
    pub(crate) claim: Option<String>,
    /// Which of its values means which role.
    #[serde(default)]
    pub(crate) roles: BTreeMap<String, Role>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            token_life: Span(DAY / 2),
            session_life: Span(DAY * 30),
            key_life: Span(DAY * 30),
            algorithm: Algorithm::Es256,
            trusted: Vec::new(),
        }
    }
}

impl Config {
    pub(crate) fn parse(document: &Document) -> anyhow::Result<Self> {
        let config: Self = document.auth.clone().try_into().context("read [auth]")?;
        let minute = Duration::from_secs(60);
        let within = |key: &str, span: Span, least: Duration, most: Duration| {
            let (shown_least, shown_most) = (Span(least), Span(most));
            anyhow::ensure!(
                (least..=most).contains(&span.0),
                "auth.{key} is {shown_least} to {shown_most}, not {span}"
            );
            Ok(())
        };
        within("token_life", config.token_life, minute, LIFE_MAX)?;
        within("session_life", config.session_life, minute, DAY * 365)?;
        // A key must outlive the tokens of the one before it, and its own announcement.
        within("key_life", config.key_life, DAY, DAY * 365)?;
        let own = format!("https://{}:8443", document.cluster.service_name());
        for (index, trusted) in config.trusted.iter().enumerate() {
            trusted.check(&own).with_context(|| format!("read auth.trusted[{index}]"))?;
        }
        Ok(config)
    }
}

impl Trusted {
    fn check(&self, own: &str) -> anyhow::Result<()> {
        anyhow::ensure!(self.issuer != own, "{own} is this head itself; it needs no trust");
        anyhow::ensure!(
            !self.issuer.is_empty() && !self.audience.is_empty(),
            "issuer and audience are texts"
        );
        anyhow::ensure!(
            self.jwks_file.is_none() || self.jwks_url.is_none(),
            "jwks_file and jwks_url are both there; leave one out"
        );
        anyhow::ensure!(
            self.claim.is_some() != self.roles.is_empty(),
            "claim and roles belong together: the claim, and which of its values means which role"
        );
        anyhow::ensure!(
            self.role.is_some() || self.claim.is_some(),
            "no token of it would have a right; give role, or claim and roles"
        );
        if self.jwks_file.is_none() {
            let url = self.jwks_url.as_ref().unwrap_or(&self.issuer);
            crate::fetch::check(url).map_err(anyhow::Error::msg)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::Config;

    fn parse(table: &str) -> anyhow::Result<Config> {
        let head = "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"openchami.cluster\"\n[auth]\n";
        Config::parse(&domain::Document::parse(&format!("{head}{table}")).unwrap())
    }

    #[test]
    fn an_issuer_says_where_its_keys_are_and_what_its_people_may() {
        let trusted = |more: &str| {
            parse(&format!("[[auth.trusted]]\nissuer = 'https://sso.site'\naudience = 'hpc'\n{more}"))
        };
        assert!(trusted("role = 'viewer'").is_ok());
        assert!(trusted("claim = 'groups'\nroles = { hpc = 'admin' }").is_ok());
        assert!(trusted("jwks_url = 'https://sso.site/keys'\nrole = 'admin'").is_ok());
        for more in [
            "",
            "claim = 'groups'",
            "roles = { hpc = 'admin' }",
            "role = 'king'",
            "role = 'admin'\njwks_url = 'http://sso.site/keys'",
            "role = 'admin'\njwks_url = 'https://sso.site/keys'\njwks_file = '/k'",
            "role = 'admin'\nkeys = 1",
        ] {
            assert!(trusted(more).is_err(), "{more}");
        }
        let own = "[[auth.trusted]]\nissuer = 'https://demo.openchami.cluster:8443'\naudience = 'x'\nrole = 'admin'";
        assert!(parse(own).is_err());
    }

    #[test]
    fn lives_have_bounds() {
        assert!(parse("token_life = '1h'\nkey_life = '7d'\nalgorithm = 'RS256'").is_ok());
        for table in ["token_life = '2d'", "token_life = '1s'", "key_life = '1h'", "algorithm = 'HS256'"] {
            assert!(parse(table).is_err(), "{table}");
        }
    }
}
