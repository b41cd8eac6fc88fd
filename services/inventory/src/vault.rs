//! The accounts of controllers, sealed in memory as on disk; opened for one answer at a time.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};

use anyhow::Context as _;
use domain::Xname;
use domain::inventory::Endpoint;
use sqlx::PgPool;
use web::{SealError, SealKey};

use crate::client::Credential;
use crate::error::Error;
use crate::store::{SealedCredential, list_credentials};

/// The sealed accounts, and the key that opens them.
pub(crate) struct Vault {
    key: Option<SealKey>,
    path: PathBuf,
    held: RwLock<Held>,
}

#[derive(Default)]
struct Held {
    /// The sum of the controllers' credential versions as of the last reading; none: the last good copy.
    version: Option<i64>,
    /// Whether the last good copy misses some of the rows.
    is_behind: bool,
    rows: BTreeMap<String, SealedCredential>,
}

impl Vault {
    /// Takes the last good copy; without a key nothing can be stored or opened, and all else goes on.
    pub(crate) fn load(key: Option<SealKey>, path: PathBuf) -> anyhow::Result<Self> {
        let rows: Vec<SealedCredential> = match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        let held = Held { version: None, is_behind: false, rows: by_scope(rows) };
        Ok(Self { key, path, held: RwLock::new(held) })
    }

    /// Reads the rows again if a controller's credential changed since; keeps them as the last good copy.
    pub(crate) async fn refresh(&self, db: &PgPool, version: i64) -> Result<(), Error> {
        if self.held.read().unwrap_or_else(PoisonError::into_inner).version == Some(version) {
            return Ok(());
        }
        self.reload(db, version).await
    }

    /// Reads the rows again.
    pub(crate) async fn reload(&self, db: &PgPool, version: i64) -> Result<(), Error> {
        let rows = list_credentials(db).await?;
        let text = serde_json::to_vec(&rows)?;
        let fresh = by_scope(rows);
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let mut is_behind = held.is_behind || held.rows != fresh || held.version.is_none();
        if is_behind {
            match daemon::replace_file(&self.path, &text, 0o600) {
                Ok(()) => is_behind = false,
                Err(error) => {
                    tracing::warn!(%error, "the last good copy of the BMC accounts cannot be written");
                }
            }
        }
        *held = Held { version: Some(version), is_behind, rows: fresh };
        Ok(())
    }

    /// Takes accounts that were just stored, so that they open at once. The last good copy follows when the rows are
    /// read again, which a changed version asks for.
    pub(crate) fn accept(&self, rows: impl IntoIterator<Item = SealedCredential>) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        for row in rows {
            held.rows.insert(row.scope.clone(), row);
            held.is_behind = true;
        }
    }

    /// Seals an account for its scope.
    pub(crate) fn seal(&self, scope: &str, credential: &Credential) -> Result<SealedCredential, Error> {
        let key = self.key.as_ref().ok_or(SealError::Key)?;
        let text = zeroize::Zeroizing::new(serde_json::to_vec(credential)?);
        let sealed = key.seal(&text, scope)?;
        Ok(SealedCredential { scope: scope.to_owned(), username: credential.user.clone(), sealed })
    }

    /// The account of a controller: its own, that of its class, or the default.
    pub(crate) fn open(&self, endpoint: &Endpoint) -> Result<Option<Credential>, Error> {
        let class = endpoint.class.as_ref().map(|it| format!("class:{it}"));
        self.open_first(&[Some(endpoint.id.to_string()), class, Some("default".to_owned())])
    }

    /// The account that is a controller's alone.
    pub(crate) fn open_own(&self, id: &Xname) -> Result<Option<Credential>, Error> {
        self.open_first(&[Some(id.to_string())])
    }

    fn open_first(&self, scopes: &[Option<String>]) -> Result<Option<Credential>, Error> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let Some(row) = scopes.iter().flatten().find_map(|it| held.rows.get(it)) else { return Ok(None) };
        let key = self.key.as_ref().ok_or(SealError::Key)?;
        let text = key.open(&row.sealed, &row.scope)?;
        Ok(Some(serde_json::from_slice(&text)?))
    }

    /// Scope and user of every account.
    pub(crate) fn list(&self) -> Vec<(String, String)> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.rows.values().map(|it| (it.scope.clone(), it.username.clone())).collect()
    }
}

fn by_scope(rows: Vec<SealedCredential>) -> BTreeMap<String, SealedCredential> {
    rows.into_iter().map(|it| (it.scope.clone(), it)).collect()
}
