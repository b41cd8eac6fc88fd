//! Settings by scope, as accounts have them: an xname's own, its class's, the default.

use std::collections::BTreeMap;

use domain::Xname;
use domain::inventory::Endpoint;
use serde::{Deserialize, Serialize};

/// A value for each of some scopes.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Scoped<T>(BTreeMap<String, T>);

/// How a BMC's certificate is believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TlsMode {
    /// The first that is shown is kept, and no other is believed.
    #[default]
    Pin,
    /// It is signed by a root that is trusted, for the name or address that is asked.
    Ca,
    /// Any is believed: whoever sits between reads the account.
    Insecure,
}

impl<T> Default for Scoped<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Scoped<T> {
    /// That of a BMC: its own, that of its class, the default; none is set.
    pub(crate) fn of(&self, endpoint: &Endpoint) -> Option<&T> {
        let own = self.0.get(endpoint.id.as_str());
        let class = || self.0.get(&format!("class:{}", endpoint.class.as_ref()?));
        own.or_else(class).or_else(|| self.0.get("default"))
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.0.values()
    }

    pub(crate) fn check(&self, what: &str) -> anyhow::Result<()> {
        for scope in self.0.keys() {
            let is_class = scope.strip_prefix("class:").is_some_and(|it| !it.is_empty());
            let is_bmc = scope.parse::<Xname>().is_ok_and(|it| it.is_controller() && it.as_str() == scope);
            anyhow::ensure!(
                scope == "default" || is_class || is_bmc,
                "{what}: {scope:?} is no scope; write a BMC's xname, \"class:<name>\" or default"
            );
        }
        Ok(())
    }
}

impl TlsMode {
    /// The word of the document.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pin => "pin",
            Self::Ca => "ca",
            Self::Insecure => "insecure",
        }
    }
}
