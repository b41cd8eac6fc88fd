//! Bearer tokens: of our own issuer (RFC 9068) and of those the document trusts. Keys, trusted issuers and what was
//! revoked come from auth, by one call that waits for the next change.

mod claims;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use domain::{Document, Role, Service};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::Client;
use crate::jwt::{Jws, PublicKey, TOKEN_MAX};

pub use claims::Claims;

/// The audience of our own tokens.
pub const AUDIENCE: &str = "pilothouse";
/// So many good tokens are remembered: to verify one takes longer than to answer most requests.
const REMEMBERED_MAX: usize = 1024;
/// The least time between two questions to auth, which answers when something has changed.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest pause while auth is down.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Why a token is not good; the texts are the recorded services' (recording `smd-auth`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// No bearer token.
    #[error("no token found")]
    Missing,
    /// Past its `exp`.
    #[error("token is expired")]
    Expired,
    /// Before its `nbf`.
    #[error("token nbf validation failed")]
    NotYet,
    /// A claim is not there.
    #[error("missing required claim")]
    Claim,
    /// Everything else: signature, algorithm, key, issuer, audience, form, revoked.
    #[error("token is unauthorized")]
    Unauthorized,
}

/// What auth tells the services: `GET /pilothouse/v1/verifier`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trust {
    /// Another one after each change.
    pub generation: String,
    /// Our own keys, as JWKs.
    pub keys: Vec<Value>,
    /// Other issuers.
    #[serde(default)]
    pub trusted: Vec<TrustedIssuer>,
    /// What is no longer good.
    #[serde(default)]
    pub revoked: Vec<Revoked>,
}

/// An issuer the document trusts beside our own: `[[auth.trusted]]`, with its keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrustedIssuer {
    /// Its `iss`.
    pub issuer: String,
    /// The `aud` its tokens must have.
    pub audience: String,
    /// The role of whoever has no other by `roles`.
    #[serde(default)]
    pub role: Option<Role>,
    /// The claim that tells of roles; `a.b` is the member b of the claim a.
    #[serde(default)]
    pub claim: Option<String>,
    /// Which of its values means which role; the highest counts.
    #[serde(default)]
    pub roles: BTreeMap<String, Role>,
    /// Its keys, as JWKs.
    pub keys: Vec<Value>,
}

/// What is no longer good though it has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum Revoked {
    /// The token of this `jti`.
    Token {
        /// Its `jti`.
        id: String,
    },
    /// Every token of a log-in, by their `sid`.
    Session {
        /// Their `sid`.
        id: String,
    },
    /// Every token of someone that was given up to a moment.
    Subject {
        /// Their `sub`.
        id: String,
        /// Seconds since 1970.
        before: i64,
    },
}

/// A key, and whose tokens it signs.
struct Key {
    key: PublicKey,
    issuer: Arc<Issuer>,
}

/// Whose tokens they are.
enum Issuer {
    /// Ours.
    Own { issuer: String },
    /// Another's.
    Trusted(TrustedIssuer),
}

/// Verifies tokens with keys that are held in memory.
pub struct Verifier {
    issuer: String,
    keys: ArcSwap<Keys>,
}

/// The keys of one moment, and the tokens that were found good by them.
#[derive(Default)]
struct Keys {
    /// By `kid`; two issuers may use the same.
    by_id: HashMap<String, Vec<Key>>,
    revoked: HashSet<Revoked>,
    /// By subject: what was given up to then is no longer good.
    before: HashMap<String, i64>,
    /// By digest; the tokens themselves are kept nowhere.
    good: RwLock<HashMap<[u8; 32], Arc<Claims>>>,
}

impl Verifier {
    /// A verifier that knows no key yet.
    ///
    /// # Errors
    ///
    /// If the cluster's names make no issuer.
    pub fn new(document: &Document) -> anyhow::Result<Self> {
        let issuer = format!("https://{}:8443", document.cluster.service_name());
        issuer.parse::<http::Uri>().with_context(|| format!("{issuer} is no address"))?;
        Ok(Self { issuer, keys: ArcSwap::default() })
    }

    /// Takes what auth tells in place of what was known before.
    pub fn set(&self, trust: &Trust) {
        let mut by_id: HashMap<String, Vec<Key>> = HashMap::new();
        let mut add = |jwks: &[Value], issuer: Issuer| {
            let issuer = Arc::new(issuer);
            for jwk in jwks {
                if let (Some(kid), Some(key)) = (jwk["kid"].as_str(), PublicKey::from_jwk(jwk)) {
                    by_id.entry(kid.to_owned()).or_default().push(Key { key, issuer: Arc::clone(&issuer) });
                }
            }
        };
        add(&trust.keys, Issuer::Own { issuer: self.issuer.clone() });
        for it in &trust.trusted {
            // Nobody else speaks in our name.
            if it.issuer != self.issuer {
                add(&it.keys, Issuer::Trusted(it.clone()));
            }
        }
        let mut keys = Keys { by_id, ..Keys::default() };
        for it in &trust.revoked {
            match it {
                Revoked::Subject { id, before } => {
                    let known = keys.before.entry(id.clone()).or_insert(*before);
                    *known = (*known).max(*before);
                }
                other => drop(keys.revoked.insert(other.clone())),
            }
        }
        self.keys.store(Arc::new(keys));
    }

    /// Follows what auth tells over its socket until `stop`; what it told last holds while it is down.
    pub async fn follow(&self, auth: Client, stop: CancellationToken) {
        let (mut known, mut wait) = (String::new(), PAUSE);
        while !stop.is_cancelled() {
            let path = format!("/pilothouse/v1/verifier?after={known}");
            let told = tokio::select! {
                () = stop.cancelled() => return,
                told = auth.get::<Trust>(&path) => told,
            };
            match told {
                Ok(trust) => {
                    if trust.generation != known {
                        self.set(&trust);
                        known = trust.generation;
                    }
                    wait = PAUSE;
                }
                Err(error) => {
                    tracing::debug!(%error, "auth does not tell the keys of tokens");
                    wait = (wait * 2).min(PAUSE_MAX);
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Verifies a token. One that was found good is looked up from then on, for as long as it and the keys are.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it.
    pub fn verify(&self, token: &str) -> Result<Arc<Claims>, TokenError> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        self.verify_at(token, now)
    }

    /// The same at a moment, in seconds since 1970.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it.
    pub fn verify_at(&self, token: &str, now: f64) -> Result<Arc<Claims>, TokenError> {
        if token.len() > TOKEN_MAX {
            return Err(TokenError::Unauthorized);
        }
        let keys = self.keys.load();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
        let digest: [u8; 32] = digest.as_ref().try_into().map_err(|_| TokenError::Unauthorized)?;
        let known = keys.good.read().unwrap_or_else(PoisonError::into_inner).get(&digest).cloned();
        if let Some(claims) = known.filter(|it| it.is_good_at(now)) {
            return Ok(claims);
        }
        let claims = Arc::new(keys.verify(token, now)?);
        let mut good = keys.good.write().unwrap_or_else(PoisonError::into_inner);
        if good.len() >= REMEMBERED_MAX {
            good.retain(|_, it| it.is_good_at(now));
        }
        if good.len() >= REMEMBERED_MAX {
            good.clear();
        }
        good.insert(digest, Arc::clone(&claims));
        Ok(claims)
    }
}

impl Keys {
    fn verify(&self, token: &str, now: f64) -> Result<Claims, TokenError> {
        let token = Jws::parse(token).ok_or(TokenError::Unauthorized)?;
        let candidates = token.kid.as_ref().and_then(|it| self.by_id.get(it));
        let key = candidates.into_iter().flatten().find(|it| token.is_signed_by(&it.key));
        let claims = match &*key.ok_or(TokenError::Unauthorized)?.issuer {
            Issuer::Own { issuer } => claims::read_own(&token, issuer, now)?,
            Issuer::Trusted(it) => return claims::read_trusted(&token, it, now),
        };
        if self.is_revoked(&claims) { Err(TokenError::Unauthorized) } else { Ok(claims) }
    }

    fn is_revoked(&self, claims: &Claims) -> bool {
        let has = |it: Revoked| self.revoked.contains(&it);
        has(Revoked::Token { id: claims.jti.clone() })
            || claims.sid.as_ref().is_some_and(|it| has(Revoked::Session { id: it.clone() }))
            || self.before.get(&claims.sub).is_some_and(|it| claims.iat <= *it)
    }
}

/// The client by which services ask the issuer.
impl Verifier {
    /// Where the issuer answers.
    #[must_use]
    pub fn issuer_socket(context: &daemon::Context) -> Client {
        Client::unix(context.socket_of(Service::Auth))
    }
}
