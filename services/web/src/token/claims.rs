//! What a verified token says, and whether it may say so.

use domain::{Role, Scope, Scopes, Xname};
use serde_json::Value;

use super::{AUDIENCE, TokenError, TrustedIssuer};
use crate::jwt::Jws;

/// How far clocks may be apart, in seconds.
const LEEWAY: f64 = 5.0;
/// No token of ours lives longer, in seconds.
const LIFE_MAX: i64 = 24 * 3600;
/// Beyond it a number of JSON is no whole number any more.
const NUMBER_MAX: f64 = 9_007_199_254_740_992.0;
/// The longest `sub`.
const SUBJECT_MAX: usize = 255;
/// What no token is good without.
const REQUIRED: [&str; 4] = ["exp", "iss", "aud", "sub"];

/// What a good token says.
#[derive(Clone, Debug, PartialEq)]
pub struct Claims {
    /// Who issued it.
    pub iss: String,
    /// Whom it is about.
    pub sub: String,
    /// Its own name; empty if another issuer gave it none.
    pub jti: String,
    /// The log-in it comes from, by which all of its tokens are revoked at once.
    pub sid: Option<String>,
    /// The client it was given to.
    pub client: Option<String>,
    /// Rights as it words them, separated by blanks.
    pub scope: String,
    /// The node of a node token.
    pub xname: Option<Xname>,
    /// When it was given, in seconds since 1970.
    pub iat: i64,
    exp: f64,
    nbf: Option<f64>,
    /// The role that the document gives to tokens of another issuer.
    granted: Option<Option<Role>>,
}

impl Claims {
    pub(super) fn is_good_at(&self, now: f64) -> bool {
        now < self.exp + LEEWAY && self.nbf.is_none_or(|it| it <= now + LEEWAY)
    }

    /// The rights.
    #[must_use]
    pub fn scopes(&self) -> Scopes {
        match self.granted {
            Some(role) => role.map(Role::scopes).unwrap_or_default(),
            None => self.scope.split(' ').filter_map(|it| it.parse::<Scope>().ok()).collect(),
        }
    }

    /// Until when it is good, in seconds since 1970.
    #[must_use]
    pub fn expires(&self) -> i64 {
        #[expect(clippy::cast_possible_truncation, reason = "within NUMBER_MAX")]
        let seconds = self.exp as i64;
        seconds
    }
}

/// A token of our own issuer: every claim as we write it, and nothing else (RFC 9068 section 4).
pub(super) fn read_own(token: &Jws<'_>, issuer: &str, now: f64) -> Result<Claims, TokenError> {
    let mut claims = read(token, issuer, AUDIENCE, now)?;
    let whole = |name: &str| token.claims.get(name).and_then(Value::as_i64).ok_or(TokenError::Unauthorized);
    let (given, end) = (whole("iat")?, whole("exp")?);
    let good = token.kind.as_deref() == Some("at+jwt")
        && end.checked_sub(given).is_some_and(|it| (1..=LIFE_MAX).contains(&it))
        && !claims.jti.is_empty();
    if !good {
        return Err(TokenError::Unauthorized);
    }
    claims.iat = given;
    claims.scope = text(token, "scope")?.ok_or(TokenError::Unauthorized)?;
    claims.sid = text(token, "sid")?;
    claims.client = text(token, "client_id")?;
    let node = text(token, "xname")?;
    claims.xname = node.map(|it| it.parse()).transpose().map_err(|_| TokenError::Unauthorized)?;
    // A node's token names its node, and no other token names one.
    if claims.scopes().contains(&Scope::Node) != claims.xname.is_some() {
        return Err(TokenError::Unauthorized);
    }
    Ok(claims)
}

/// A token of an issuer that the document trusts: its rights are what the document says of it.
pub(super) fn read_trusted(token: &Jws<'_>, it: &TrustedIssuer, now: f64) -> Result<Claims, TokenError> {
    if !matches!(token.kind.as_deref(), None | Some("jwt" | "at+jwt")) {
        return Err(TokenError::Unauthorized);
    }
    let mut claims = read(token, &it.issuer, &it.audience, now)?;
    claims.granted = Some(role_of(token, it));
    Ok(claims)
}

/// The highest role that the claim's values stand for, else the issuer's own.
fn role_of(token: &Jws<'_>, it: &TrustedIssuer) -> Option<Role> {
    let path = it.claim.as_deref().unwrap_or_default();
    let value = token.claims.get(path).or_else(|| {
        let (first, rest) = path.split_once('.')?;
        rest.split('.').try_fold(token.claims.get(first)?, |value, name| value.get(name))
    });
    let words: Vec<&str> = match value {
        Some(Value::String(words)) => words.split(' ').collect(),
        Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    words.into_iter().filter_map(|word| it.roles.get(word).copied()).max().or(it.role)
}

fn read(token: &Jws<'_>, issuer: &str, audience: &str, now: f64) -> Result<Claims, TokenError> {
    if REQUIRED.iter().any(|name| token.claims.get(*name).is_none_or(Value::is_null)) {
        return Err(TokenError::Claim);
    }
    let exp = seconds(token, "exp")?.ok_or(TokenError::Claim)?;
    let (nbf, iat) = (seconds(token, "nbf")?, seconds(token, "iat")?);
    if now >= exp + LEEWAY {
        return Err(TokenError::Expired);
    }
    if nbf.is_some_and(|it| it > now + LEEWAY) {
        return Err(TokenError::NotYet);
    }
    let sub = text(token, "sub")?.filter(|it| it.len() <= SUBJECT_MAX);
    let good = token.text("iss") == Some(issuer)
        && token.is_for(audience)
        && iat.is_none_or(|it| it <= now + LEEWAY);
    Ok(Claims {
        iss: issuer.to_owned(),
        sub: sub.filter(|_| good).ok_or(TokenError::Unauthorized)?,
        jti: text(token, "jti")?.unwrap_or_default(),
        sid: None,
        client: None,
        scope: String::new(),
        xname: None,
        iat: 0,
        exp,
        nbf,
        granted: None,
    })
}

/// A moment, which may have a fraction (RFC 7519 section 2).
fn seconds(token: &Jws<'_>, name: &str) -> Result<Option<f64>, TokenError> {
    match token.claims.get(name) {
        None => Ok(None),
        Some(it) => {
            let number = it.as_f64().filter(|it| (0.0..NUMBER_MAX).contains(it));
            number.map(Some).ok_or(TokenError::Unauthorized)
        }
    }
}

fn text(token: &Jws<'_>, name: &str) -> Result<Option<String>, TokenError> {
    match token.claims.get(name) {
        None => Ok(None),
        Some(Value::String(it)) if !it.is_empty() => Ok(Some(it.clone())),
        Some(_) => Err(TokenError::Unauthorized),
    }
}
