//! Other issuers' keys: fetched, kept on disk, told to the services; their outage changes nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use daemon::{Context, Issue, Severity};
use serde_json::{Value, json};
use tokio::sync::watch;
use web::TrustedIssuer;
use web::jwt::PublicKey;

use crate::config::Trusted;
use crate::fetch;

/// How often keys are looked at again: those of files, and those of addresses.
const FILE_REFRESH: Duration = Duration::from_secs(60);
const URL_REFRESH: Duration = Duration::from_secs(900);
/// After a failure.
const URL_RETRY: Duration = Duration::from_secs(60);
/// So many keys of one issuer are taken.
const KEYS_MAX: usize = 64;

/// The other issuers and what is known of their keys.
pub(crate) struct Outer {
    trusted: Vec<Trusted>,
    path: PathBuf,
    keys: Mutex<BTreeMap<String, Vec<Value>>>,
    changed: watch::Sender<u64>,
}

impl Outer {
    /// With the keys of the last good copy.
    pub(crate) fn load(trusted: Vec<Trusted>, path: PathBuf) -> Self {
        let kept = std::fs::read(&path).ok().and_then(|it| serde_json::from_slice(&it).ok());
        let outer = Self {
            trusted,
            path,
            keys: Mutex::new(kept.unwrap_or_default()),
            changed: watch::Sender::new(0),
        };
        // Files are there already, and a service that starts needs them at once.
        for it in outer.trusted.iter().filter(|it| it.jwks_file.is_some()) {
            if let Err(error) = read_file(it).and_then(|set| outer.take(it, &set)) {
                tracing::warn!("the keys of {} cannot be read: {error:#}", it.issuer);
            }
        }
        outer
    }

    /// Counts the changes.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The issuers with their keys, as the services are told.
    pub(crate) fn told(&self) -> Vec<TrustedIssuer> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let told = |it: &Trusted| TrustedIssuer {
            issuer: it.issuer.clone(),
            audience: it.audience.clone(),
            role: it.role,
            claim: it.claim.clone(),
            roles: it.roles.clone(),
            keys: keys.get(&it.issuer).cloned().unwrap_or_default(),
        };
        self.trusted.iter().map(told).collect()
    }

    /// Keeps the keys fresh until the stop.
    pub(crate) async fn follow(&self, context: &Context) {
        let all = self.trusted.iter().map(|it| self.follow_one(context, it));
        futures_util::future::join_all(all).await;
    }

    async fn follow_one(&self, context: &Context, it: &Trusted) {
        while !context.stop.is_cancelled() {
            let wait = tokio::select! {
                () = context.stop.cancelled() => return,
                refreshed = self.refresh(it) => self.note(context, it, refreshed),
            };
            tokio::select! {
                () = context.stop.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn refresh(&self, it: &Trusted) -> anyhow::Result<()> {
        let set = if it.jwks_file.is_some() { read_file(it)? } else { fetch_set(it).await? };
        self.take(it, &set)
    }

    /// A health issue while the keys cannot be had; how long to wait for the next try.
    fn note(&self, context: &Context, it: &Trusted, refreshed: anyhow::Result<()>) -> Duration {
        let id = format!("issuer-unreachable/{}", it.issuer);
        match refreshed {
            Ok(()) => {
                context.issues().clear(&id);
                if it.jwks_file.is_some() { FILE_REFRESH } else { URL_REFRESH }
            }
            Err(error) => {
                tracing::debug!("the keys of {} stay as they were: {error:#}", it.issuer);
                context.issues().raise(Issue {
                    id,
                    kind: "issuer-unreachable".to_owned(),
                    context: json!({"issuer": it.issuer, "reason": format!("{error:#}")}),
                    severity: Severity::Warning,
                    since: String::new(),
                    summary: format!(
                        "the keys of the issuer {} cannot be read; the last ones hold",
                        it.issuer
                    ),
                    suggestion: "see whether the head reaches it, and whether auth.trusted names it right"
                        .to_owned(),
                    fix: None,
                    message_id: String::new(),
                });
                URL_RETRY
            }
        }
    }

    /// Takes a JWK set; one without a key that we could use is a mistake of theirs, or no JWK set.
    fn take(&self, it: &Trusted, set: &Value) -> anyhow::Result<()> {
        let all = set["keys"].as_array().context("it has no member keys")?;
        let good = |jwk: &&Value| jwk["kid"].is_string() && PublicKey::from_jwk(jwk).is_some();
        let keys: Vec<Value> = all.iter().filter(good).take(KEYS_MAX).cloned().collect();
        anyhow::ensure!(
            !keys.is_empty(),
            "none of its {} keys is for ES256 or RS256 and has a kid",
            all.len()
        );
        let mut known = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if known.get(&it.issuer) == Some(&keys) {
            return Ok(());
        }
        known.insert(it.issuer.clone(), keys);
        known.retain(|issuer, _| self.trusted.iter().any(|it| it.issuer == *issuer));
        let text = serde_json::to_vec(&*known)?;
        drop(known);
        self.changed.send_modify(|it| *it += 1);
        daemon::replace_file(&self.path, &text, 0o600).context("keep them")
    }
}

fn read_file(it: &Trusted) -> anyhow::Result<Value> {
    let path = it.jwks_file.as_deref().unwrap_or(Path::new(""));
    let text = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("parse {}", path.display()))
}

/// By the address that is set, else by the issuer's discovery document, which must be its own.
async fn fetch_set(it: &Trusted) -> anyhow::Result<Value> {
    if let Some(url) = &it.jwks_url {
        return fetch::get(url).await;
    }
    let place = format!("{}/.well-known/openid-configuration", it.issuer.trim_end_matches('/'));
    let document = fetch::get(&place).await?;
    anyhow::ensure!(
        document["issuer"].as_str() == Some(&*it.issuer),
        "{place} is the document of {}, not of {}",
        document["issuer"],
        it.issuer
    );
    let url = document["jwks_uri"].as_str().with_context(|| format!("{place} names no jwks_uri"))?;
    fetch::get(url).await
}
