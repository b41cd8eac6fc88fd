//! Bearer tokens: JWTs of our own issuer and of those the document trusts (RFC 7519, RFC 8725).

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use domain::{Document, Role, Scope, Scopes, Service, Xname};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::Client;

/// A longer token is refused unread.
const TOKEN_MAX: usize = 4096;
/// The audience of our own tokens.
const AUDIENCE: &str = "pilothouse";
/// So many good tokens are remembered: to verify one takes longer than to answer most requests.
const REMEMBERED_MAX: usize = 1024;
/// How far clocks may be apart.
const LEEWAY: Duration = Duration::from_secs(5);
/// How often the issuer's keys are read again.
const REFRESH: Duration = Duration::from_secs(60);

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
    /// Everything else: signature, algorithm, key, issuer, audience, form.
    #[error("token is unauthorized")]
    Unauthorized,
}

/// What a good token says.
#[derive(Clone, Debug, Deserialize)]
pub struct Claims {
    // One that is left out is refused by the validation, in the recorded words, not by the parser.
    /// Who issued it.
    #[serde(default)]
    pub iss: String,
    /// Whom it is about.
    #[serde(default)]
    pub sub: String,
    /// Rights, separated by blanks (RFC 8693 section 4.2).
    #[serde(default)]
    pub scope: Option<String>,
    /// Rights as an array, as Hydra writes them.
    #[serde(default)]
    pub scp: Vec<String>,
    /// The node of a node token.
    #[serde(default)]
    pub xname: Option<Xname>,
    /// Until when it is good, and from when on: seconds since 1970, which may have a fraction (RFC 7519 section 2).
    #[serde(default)]
    exp: f64,
    #[serde(default)]
    nbf: Option<f64>,
    /// The role that the document gives every token of this issuer.
    #[serde(skip)]
    granted: Option<Role>,
}

/// An issuer the document trusts beside our own: `[[auth.trusted]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trusted {
    issuer: String,
    audience: String,
    jwks_file: std::path::PathBuf,
    role: String,
}

struct Key {
    key: DecodingKey,
    validation: Validation,
    granted: Option<Role>,
}

/// Verifies tokens with keys that are held in memory.
pub struct Verifier {
    issuer: String,
    keys: ArcSwap<Keys>,
    trusted: Vec<Trusted>,
}

/// The keys of one moment, and the tokens that were found good by them.
#[derive(Default)]
struct Keys {
    /// By `kid`; two issuers may use the same.
    by_id: HashMap<String, Vec<Key>>,
    /// By digest; the tokens themselves are kept nowhere.
    good: RwLock<HashMap<[u8; 32], Arc<Claims>>>,
}

impl Claims {
    fn is_good_at(&self, now: f64) -> bool {
        let leeway = LEEWAY.as_secs_f64();
        now < self.exp + leeway && self.nbf.is_none_or(|it| it <= now + leeway)
    }

    /// The rights.
    #[must_use]
    pub fn scopes(&self) -> Scopes {
        if let Some(role) = self.granted {
            return role.scopes();
        }
        let words = self.scope.as_deref().unwrap_or_default().split(' ');
        let words = words.chain(self.scp.iter().map(String::as_str));
        words.filter_map(|it| it.parse::<Scope>().ok()).collect()
    }
}

impl Verifier {
    /// A verifier that knows no key yet but those of trusted issuers' files.
    ///
    /// # Errors
    ///
    /// If `[[auth.trusted]]` or a file it names cannot be read.
    pub fn new(document: &Document) -> anyhow::Result<Self> {
        let trusted: Vec<Trusted> = match document.auth.get("trusted") {
            None => Vec::new(),
            Some(value) => value.clone().try_into().context("read auth.trusted")?,
        };
        let issuer = format!("https://{}:8443", document.cluster.service_name());
        let verifier = Self { issuer, keys: ArcSwap::default(), trusted };
        verifier.set_keys(&JwkSet { keys: Vec::new() })?;
        Ok(verifier)
    }

    /// Takes our own issuer's keys, and reads the trusted issuers' files again.
    ///
    /// # Errors
    ///
    /// If a file cannot be read; the keys stay as they were.
    pub fn set_keys(&self, own: &JwkSet) -> anyhow::Result<()> {
        let mut keys: HashMap<String, Vec<Key>> = HashMap::new();
        let mut add = |set: &JwkSet, issuer: &str, audience: &str, granted: Option<Role>| {
            for jwk in &set.keys {
                if let (Some(kid), Some(key)) =
                    (jwk.common.key_id.clone(), key_of(jwk, issuer, audience, granted))
                {
                    keys.entry(kid).or_default().push(key);
                }
            }
        };
        add(own, &self.issuer, AUDIENCE, None);
        for it in &self.trusted {
            let text = std::fs::read_to_string(&it.jwks_file)
                .with_context(|| format!("read {}", it.jwks_file.display()))?;
            let set =
                serde_json::from_str(&text).with_context(|| format!("parse {}", it.jwks_file.display()))?;
            let role = it.role.parse().map_err(anyhow::Error::msg)?;
            add(&set, &it.issuer, &it.audience, Some(role));
        }
        self.keys.store(Arc::new(Keys { by_id: keys, good: RwLock::default() }));
        Ok(())
    }

    /// Follows the issuer's keys over its socket until `stop`; the last ones stay good while it is down.
    pub async fn follow(&self, auth: Client, stop: CancellationToken) {
        let mut wait = Duration::from_millis(100);
        while !stop.is_cancelled() {
            let asked = Instant::now();
            match auth.get::<JwkSet>("/.well-known/jwks.json").await {
                Ok(set) => {
                    if let Err(error) = self.set_keys(&set) {
                        tracing::warn!("the token keys stay as they were: {error:#}");
                    }
                    wait = REFRESH;
                }
                Err(error) => {
                    tracing::debug!(%error, "the issuer's keys cannot be read");
                    wait = (wait * 2).min(Duration::from_secs(5));
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep_until((asked + wait).into()) => {}
            }
        }
    }

    /// Verifies a token. One that was found good is looked up from then on, for as long as it and the keys are.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it.
    pub fn verify(&self, token: &str) -> Result<Arc<Claims>, TokenError> {
        if token.len() > TOKEN_MAX {
            return Err(TokenError::Unauthorized);
        }
        let keys = self.keys.load();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
        let digest: [u8; 32] = digest.as_ref().try_into().map_err(|_| TokenError::Unauthorized)?;
        let known = keys.good.read().unwrap_or_else(PoisonError::into_inner).get(&digest).cloned();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        if let Some(claims) = known.filter(|it| it.is_good_at(now)) {
            return Ok(claims);
        }
        let claims = Arc::new(keys.verify(token)?);
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
    fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Unauthorized)?;
        let candidates =
            header.kid.as_ref().and_then(|it| self.by_id.get(it)).ok_or(TokenError::Unauthorized)?;
        let mut refused = TokenError::Unauthorized;
        for candidate in candidates {
            match jsonwebtoken::decode::<Claims>(token, &candidate.key, &candidate.validation) {
                Ok(good) => return Ok(Claims { granted: candidate.granted, ..good.claims }),
                Err(error) => {
                    let error = match error.kind() {
                        ErrorKind::ExpiredSignature => TokenError::Expired,
                        ErrorKind::ImmatureSignature => TokenError::NotYet,
                        ErrorKind::MissingRequiredClaim(_) => TokenError::Claim,
                        _ => TokenError::Unauthorized,
                    };
                    if refused == TokenError::Unauthorized {
                        refused = error;
                    }
                }
            }
        }
        Err(refused)
    }
}

/// A key with the one algorithm it is for; the token's header chooses a key, never an algorithm.
fn key_of(jwk: &Jwk, issuer: &str, audience: &str, granted: Option<Role>) -> Option<Key> {
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(_) => Algorithm::ES256,
        _ => return None,
    };
    let mut validation = Validation::new(algorithm);
    validation.leeway = LEEWAY.as_secs();
    validation.validate_nbf = true;
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    Some(Key { key: DecodingKey::from_jwk(jwk).ok()?, validation, granted })
}

/// The client by which services ask the issuer.
impl Verifier {
    /// Where the issuer answers.
    #[must_use]
    pub fn issuer_socket(context: &daemon::Context) -> Client {
        Client::unix(context.socket_of(Service::Auth))
    }
}
