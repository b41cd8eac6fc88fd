//! The keys that sign tokens: sealed rows of the database, and sealed too as the last good copy in the state
//! folder, so that tokens are issued and keys published while PostgreSQL is down, also after a restart.

use std::io;
use std::path::PathBuf;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use daemon::{Context, Issue, Retry, Severity};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;
use web::{Database, SealKey, Unavailable};

use crate::model::Claims;
use crate::store;

/// The health issue while database and last good copy cannot be brought together.
const UNSETTLED: &str = "signing-keys-unsettled/auth";

/// A key as it is kept, in the database and in the state folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SealedKey {
    pub(crate) kid: String,
    pub(crate) sealed: Vec<u8>,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) created: OffsetDateTime,
}

struct SigningKey {
    kid: String,
    jwk: Value,
    key: EncodingKey,
}

/// The keys in use, the newest first: that one signs, all are published.
pub(crate) struct Keys {
    seal: SealKey,
    path: PathBuf,
    ring: ArcSwap<Vec<SigningKey>>,
    kept: std::sync::Mutex<Vec<SealedKey>>,
}

/// No key was made yet: the very first start waits for the database.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignError {
    #[error("there is no signing key yet; the first one is made once the database answers")]
    NoKey,
    #[error("the token cannot be signed")]
    Sign(#[source] jsonwebtoken::errors::Error),
}

impl Keys {
    /// The keys of the last good copy, or none.
    pub(crate) fn load(path: PathBuf, seal: SealKey) -> anyhow::Result<Self> {
        let keys = Self { seal, path, ring: ArcSwap::default(), kept: std::sync::Mutex::default() };
        match std::fs::read(&keys.path) {
            Ok(text) => keys.take(serde_json::from_slice(&text).context("parse the last good keys")?)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("read {}", keys.path.display())),
        }
        Ok(keys)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ring.load().is_empty()
    }

    /// The public halves (RFC 7517); none while there is no key.
    pub(crate) fn public(&self) -> Option<Value> {
        let ring = self.ring.load();
        let keys: Vec<&Value> = ring.iter().map(|it| &it.jwk).collect();
        (!keys.is_empty()).then(|| json!({"keys": keys}))
    }

    /// A token of these claims, signed by the newest key.
    pub(crate) fn sign(&self, claims: &Claims) -> Result<String, SignError> {
        let ring = self.ring.load();
        let signing = ring.first().ok_or(SignError::NoKey)?;
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(signing.kid.clone());
        jsonwebtoken::encode(&header, claims, &signing.key).map_err(SignError::Sign)
    }

    /// Brings database and last good copy together: the database's keys count; an empty one is given ours, or
    /// a new one. Retried until done or stopped.
    pub(crate) async fn settle(&self, context: &Context, database: &Database) {
        let mut retry = Retry::default();
        while !context.stop.is_cancelled() {
            match self.settle_once(database).await {
                Ok(()) => {
                    context.status("tokens are issued");
                    context.issues().clear(UNSETTLED);
                    return;
                }
                Err(error) if error.is::<Unavailable>() => {
                    tracing::debug!("the signing keys are not settled: {error:#}")
                }
                Err(error) => context.issues().raise(unsettled(&error)),
            }
            tokio::select! {
                () = context.stop.cancelled() => {}
                () = retry.wait() => {}
            }
        }
    }

    async fn settle_once(&self, database: &Database) -> anyhow::Result<()> {
        let mut tx = database.begin().await?;
        store::lock_keys(&mut tx).await.context("lock the keys")?;
        let mut keys = store::list_keys(&mut tx).await.context("list the keys")?;
        if keys.is_empty() {
            keys = self.kept.lock().map_err(|_| anyhow::anyhow!("the keys are poisoned"))?.clone();
            if keys.is_empty() {
                keys.push(self.generate().context("make a signing key")?);
            }
            for key in &keys {
                store::insert_key(&mut tx, key).await.context("insert a key")?;
            }
        }
        // Opened before the commit: what cannot be opened here must not become the truth.
        self.take(keys.clone())?;
        tx.commit().await.context("commit the keys")?;
        let text = serde_json::to_vec(&keys).context("write the keys as JSON")?;
        daemon::replace_file(&self.path, &text, 0o600).context("keep the last good keys")
    }

    fn generate(&self) -> anyhow::Result<SealedKey> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).context("generate")?;
        let pkcs8 = pair.to_pkcs8v1().context("encode")?;
        let (kid, _) = public_half(&pair);
        let sealed = self.seal.seal(pkcs8.as_ref(), &row(&kid))?;
        Ok(SealedKey { kid, sealed, created: OffsetDateTime::now_utc() })
    }

    fn take(&self, mut keys: Vec<SealedKey>) -> anyhow::Result<()> {
        keys.sort_by_key(|it| std::cmp::Reverse(it.created));
        let open = keys.iter().map(|it| self.open(it)).collect::<anyhow::Result<Vec<_>>>()?;
        self.ring.store(open.into());
        *self.kept.lock().map_err(|_| anyhow::anyhow!("the keys are poisoned"))? = keys;
        Ok(())
    }

    fn open(&self, kept: &SealedKey) -> anyhow::Result<SigningKey> {
        let pkcs8 =
            self.seal.open(&kept.sealed, &row(&kept.kid)).with_context(|| format!("open {}", kept.kid))?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8)
            .map_err(|it| anyhow::anyhow!("the key {} is no P-256 key: {it}", kept.kid))?;
        let (kid, jwk) = public_half(&pair);
        anyhow::ensure!(kid == kept.kid, "the key {} bears the name of another", kept.kid);
        Ok(SigningKey { kid, jwk, key: EncodingKey::from_ec_der(&pkcs8) })
    }
}

/// Raised again it changes nothing, so the retries need no limit of their own.
fn unsettled(error: &anyhow::Error) -> Issue {
    Issue {
        id: UNSETTLED.to_owned(),
        kind: "signing-keys-unsettled".to_owned(),
        context: serde_json::json!({"reason": format!("{error:#}")}),
        severity: Severity::Error,
        since: String::new(),
        summary: format!("the signing keys are not settled with the database: {error:#}"),
        suggestion: "If the sealing key was replaced, restore the credential auth.seal-key from the backup"
            .to_owned(),
        fix: None,
        message_id: String::new(),
    }
}

/// What a sealed key is bound to.
fn row(kid: &str) -> String {
    format!("signing_key/{kid}")
}

/// The JWK and its thumbprint (RFC 7638), which is the `kid`.
fn public_half(pair: &EcdsaKeyPair) -> (String, Value) {
    let point = pair.public_key().as_ref(); // 4, then x and y of 32 bytes (SEC 1 section 2.3.3).
    let coordinate = |from: usize| URL_SAFE_NO_PAD.encode(point.get(from..from + 32).unwrap_or_default());
    let (x, y) = (coordinate(1), coordinate(33));
    let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    let kid = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()));
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": kid, "alg": "ES256", "use": "sig"});
    (kid, jwk)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::Keys;
    use web::SealKey;

    #[test]
    fn a_key_opens_under_its_own_sealing_key_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signing-keys.json");
        let keys = Keys::load(path.clone(), SealKey::new(&[1; 32]).unwrap()).unwrap();
        assert!(keys.public().is_none());
        let kept = vec![keys.generate().unwrap(), keys.generate().unwrap()];
        std::fs::write(&path, serde_json::to_vec(&kept).unwrap()).unwrap();
        let again = Keys::load(path.clone(), SealKey::new(&[1; 32]).unwrap()).unwrap();
        let public = again.public().unwrap();
        assert_eq!(public["keys"][0]["kid"], kept[1].kid, "the newest comes first");
        assert!(!public.to_string().contains("\"d\""));
        assert!(Keys::load(path, SealKey::new(&[2; 32]).unwrap()).is_err());
    }
}
