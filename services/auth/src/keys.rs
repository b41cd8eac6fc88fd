//! The keys that sign tokens: sealed rows of the database, and sealed too as the last good copy in the state
//! folder, so that tokens are issued and keys published while PostgreSQL is down, also after a restart.

mod pair;
mod plan;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use daemon::{Context, Issue, Severity};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::sync::watch;
use web::jwt::Algorithm;
use web::{Database, SealKey, Unavailable};

use crate::store;
use pair::Pair;

pub(crate) use plan::PUBLISH_AHEAD;

/// The health issue while database and last good copy cannot be brought together.
const UNSETTLED: &str = "signing-keys-unsettled/auth";

/// A key as it is kept, in the database and in the state folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SealedKey {
    pub(crate) kid: String,
    #[serde(default = "first_algorithm")]
    pub(crate) algorithm: Algorithm,
    pub(crate) sealed: Vec<u8>,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) created: OffsetDateTime,
    /// When it begins to sign; with its making, if it is not said.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub(crate) signs_from: Option<OffsetDateTime>,
}

fn first_algorithm() -> Algorithm {
    Algorithm::Es256
}

struct SigningKey {
    kid: String,
    algorithm: Algorithm,
    signs_from: OffsetDateTime,
    jwk: Value,
    pair: Pair,
}

/// How keys are to change beside what is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rotate {
    /// Only what is due.
    Due,
    /// The next keys are made now; they sign once everybody may know them.
    Next,
    /// New keys sign now and the old ones are gone: every token ends.
    AtOnce,
}

/// A key as it is shown.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ShownKey {
    kid: String,
    algorithm: Algorithm,
    #[serde(with = "time::serde::rfc3339")]
    signs_from: OffsetDateTime,
    signs: bool,
}

/// The keys in use: of each algorithm one signs, all are published.
pub(crate) struct Keys {
    seal: SealKey,
    path: PathBuf,
    life: Duration,
    ring: ArcSwap<Vec<SigningKey>>,
    kept: std::sync::Mutex<Vec<SealedKey>>,
    changed: watch::Sender<u64>,
}

/// Why nothing is signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignError {
    #[error("there is no signing key yet; the first one is made once the database answers")]
    NoKey,
    #[error("the token cannot be signed")]
    Sign,
}

impl Keys {
    /// The keys of the last good copy, or none.
    pub(crate) fn load(path: PathBuf, seal: SealKey, life: Duration) -> anyhow::Result<Self> {
        let (ring, kept, changed) = (ArcSwap::default(), std::sync::Mutex::default(), watch::Sender::new(0));
        let keys = Self { seal, path, life, ring, kept, changed };
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

    /// Counts the changes.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The public halves; none while there is no key.
    pub(crate) fn public(&self) -> Vec<Value> {
        self.ring.load().iter().map(|it| it.jwk.clone()).collect()
    }

    /// Every key, as it is shown to an administrator.
    pub(crate) fn list(&self, now: OffsetDateTime) -> Vec<ShownKey> {
        let ring = self.ring.load();
        let show = |it: &SigningKey| ShownKey {
            kid: it.kid.clone(),
            algorithm: it.algorithm,
            signs_from: it.signs_from,
            signs: signing(&ring, it.algorithm, now).is_some_and(|signs| signs.kid == it.kid),
        };
        ring.iter().map(show).collect()
    }

    /// A token of this kind with these claims.
    pub(crate) fn sign(
        &self,
        kind: &str,
        claims: &impl Serialize,
        algorithm: Algorithm,
        now: OffsetDateTime,
    ) -> Result<String, SignError> {
        let ring = self.ring.load();
        let key = signing(&ring, algorithm, now).ok_or(SignError::NoKey)?;
        let header = json!({"typ": kind, "alg": algorithm, "kid": key.kid});
        let claims = serde_json::to_vec(claims).map_err(|_| SignError::Sign)?;
        let mut token = URL_SAFE_NO_PAD.encode(header.to_string());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = key.pair.sign(token.as_bytes()).map_err(|_| SignError::Sign)?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }

    /// Brings database and last good copy together, does what is due, and tells the head's health of it.
    pub(crate) async fn settle(&self, context: &Context, database: &Database, now: OffsetDateTime) -> bool {
        match self.rotate(database, now, Rotate::Due).await {
            Ok(()) => {
                context.issues().clear(UNSETTLED);
                return true;
            }
            Err(error) if error.is::<Unavailable>() => {
                tracing::debug!("the signing keys are not settled: {error:#}")
            }
            Err(error) => context.issues().raise(unsettled(&error)),
        }
        false
    }

    /// The database's keys count; an empty one is given ours. Then what is due, and what is asked for, is done.
    pub(crate) async fn rotate(
        &self,
        database: &Database,
        now: OffsetDateTime,
        how: Rotate,
    ) -> anyhow::Result<()> {
        let mut tx = database.begin().await?;
        store::lock_keys(&mut tx).await.context("lock the keys")?;
        let known = store::list_keys(&mut tx).await.context("list the keys")?;
        let mut keys = known.clone();
        if keys.is_empty() {
            keys = self.kept.lock().map_err(|_| anyhow::anyhow!("the keys are poisoned"))?.clone();
        }
        for algorithm in Algorithm::ALL {
            self.change(&mut keys, algorithm, now, how)?;
        }
        for gone in known.iter().filter(|it| !keys.contains(it)) {
            store::delete_key(&mut tx, &gone.kid).await.context("delete a key")?;
        }
        for new in keys.iter().filter(|it| !known.contains(it)) {
            store::insert_key(&mut tx, new).await.context("insert a key")?;
        }
        // Opened before the commit: what cannot be opened here must not become the truth.
        let open = keys.iter().map(|it| self.open(it)).collect::<anyhow::Result<Vec<_>>>()?;
        tx.commit().await.context("commit the keys")?;
        if self.keep(keys, open)? {
            let kept = self.kept.lock().map_err(|_| anyhow::anyhow!("the keys are poisoned"))?.clone();
            let text = serde_json::to_vec(&kept).context("write the keys as JSON")?;
            daemon::replace_file(&self.path, &text, 0o600).context("keep the last good keys")?;
        }
        Ok(())
    }

    /// What becomes of one algorithm's keys.
    fn change(
        &self,
        keys: &mut Vec<SealedKey>,
        algorithm: Algorithm,
        now: OffsetDateTime,
        how: Rotate,
    ) -> anyhow::Result<()> {
        let own: Vec<SealedKey> = keys.iter().filter(|it| it.algorithm == algorithm).cloned().collect();
        let starts: Vec<OffsetDateTime> = own.iter().map(SealedKey::starts).collect();
        let mut due = plan::plan(&starts, now, self.life);
        match how {
            Rotate::Due => {}
            // One that waits already is the next one.
            Rotate::Next if starts.iter().any(|it| *it > now) => {}
            Rotate::Next => due.new = Some(due.new.unwrap_or(now + PUBLISH_AHEAD)),
            Rotate::AtOnce => due = plan::Plan { new: Some(now), drop: (0..own.len()).collect() },
        }
        let gone: Vec<&str> = due.drop.iter().map(|it| own[*it].kid.as_str()).collect();
        keys.retain(|it| !gone.contains(&it.kid.as_str()));
        if let Some(start) = due.new {
            let key = self.generate(algorithm, now, start).context("make a signing key")?;
            tracing::info!("made the signing key {} ({algorithm}), which signs from {start}", key.kid);
            keys.push(key);
        }
        for kid in gone {
            tracing::info!("the signing key {kid} ({algorithm}) is gone");
        }
        Ok(())
    }

    fn generate(
        &self,
        algorithm: Algorithm,
        now: OffsetDateTime,
        start: OffsetDateTime,
    ) -> anyhow::Result<SealedKey> {
        let (pair, pkcs8) = Pair::generate(algorithm)?;
        let kid = pair.public()["kid"].as_str().unwrap_or_default().to_owned();
        let sealed = self.seal.seal(&pkcs8, &row(&kid))?;
        // As the database keeps it.
        let whole = |it: OffsetDateTime| it.replace_nanosecond(it.microsecond() * 1000).unwrap_or(it);
        Ok(SealedKey { kid, algorithm, sealed, created: whole(now), signs_from: Some(whole(start)) })
    }

    fn take(&self, keys: Vec<SealedKey>) -> anyhow::Result<()> {
        let open = keys.iter().map(|it| self.open(it)).collect::<anyhow::Result<Vec<_>>>()?;
        self.keep(keys, open).map(drop)
    }

    /// Whether they are others than before.
    fn keep(&self, mut keys: Vec<SealedKey>, mut open: Vec<SigningKey>) -> anyhow::Result<bool> {
        keys.sort_by(|one, other| one.kid.cmp(&other.kid));
        // Who looks at the first key only finds one that signs.
        open.sort_by_key(|it| (it.algorithm, it.signs_from));
        let mut kept = self.kept.lock().map_err(|_| anyhow::anyhow!("the keys are poisoned"))?;
        if *kept == keys {
            return Ok(false);
        }
        *kept = keys;
        drop(kept);
        self.ring.store(open.into());
        self.changed.send_modify(|it| *it += 1);
        Ok(true)
    }

    fn open(&self, kept: &SealedKey) -> anyhow::Result<SigningKey> {
        let SealedKey { kid, algorithm, sealed, .. } = kept;
        let pkcs8 = self.seal.open(sealed, &row(kid)).with_context(|| format!("open {kid}"))?;
        let pair = Pair::open(*algorithm, &pkcs8).with_context(|| format!("read the key {kid}"))?;
        let jwk = pair.public();
        anyhow::ensure!(jwk["kid"] == **kid, "the key {kid} bears the name of another");
        Ok(SigningKey { kid: kid.clone(), algorithm: *algorithm, signs_from: kept.starts(), jwk, pair })
    }
}

impl SealedKey {
    fn starts(&self) -> OffsetDateTime {
        self.signs_from.unwrap_or(self.created)
    }
}

fn signing(ring: &[SigningKey], algorithm: Algorithm, now: OffsetDateTime) -> Option<&SigningKey> {
    let own: Vec<&SigningKey> = ring.iter().filter(|it| it.algorithm == algorithm).collect();
    let starts: Vec<OffsetDateTime> = own.iter().map(|it| it.signs_from).collect();
    plan::signing(&starts, now).map(|it| own[it])
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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use time::OffsetDateTime;
    use web::SealKey;
    use web::jwt::{Algorithm, Jws, PublicKey};

    use super::Keys;

    const LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

    #[test]
    fn a_key_opens_under_its_own_sealing_key_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signing-keys.json");
        let keys = Keys::load(path.clone(), SealKey::new(&[1; 32]).unwrap(), LIFE).unwrap();
        assert!(keys.public().is_empty());
        let now = OffsetDateTime::now_utc();
        let kept = Algorithm::ALL.map(|it| keys.generate(it, now, now).unwrap());
        std::fs::write(&path, serde_json::to_vec(&kept).unwrap()).unwrap();
        let again = Keys::load(path.clone(), SealKey::new(&[1; 32]).unwrap(), LIFE).unwrap();
        for (index, algorithm) in Algorithm::ALL.into_iter().enumerate() {
            let jwk = again.public()[index].clone();
            assert_eq!(jwk["kid"], kept[index].kid);
            assert!(jwk.get("d").is_none());
            let token = again.sign("at+jwt", &json!({"sub": "x"}), algorithm, now).unwrap();
            assert!(Jws::parse(&token).unwrap().is_signed_by(&PublicKey::from_jwk(&jwk).unwrap()));
        }
        assert!(Keys::load(path, SealKey::new(&[2; 32]).unwrap(), LIFE).is_err());
    }
}
