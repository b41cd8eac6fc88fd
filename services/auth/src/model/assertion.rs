//! What a client says of itself by a signature (RFC 7523 sections 2.2 and 3, OpenID Connect Core section 9).

use serde_json::Value;
use web::jwt::{Jws, PublicKey};

use super::digest_of;

/// How long one may be good; longer ones would have to be remembered longer.
const LIFE_MAX: i64 = 3600;
/// How far clocks may be apart, in seconds.
const LEEWAY: i64 = 5;

/// An assertion that was found good, and is to be taken once.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Assertion {
    /// Of client and `jti`.
    pub(crate) digest: String,
    /// Until when it must not come again, in seconds since 1970.
    pub(crate) expires: i64,
}

/// Whether this client signed it, for us, now.
pub(crate) fn check_assertion(
    text: &str,
    client: &str,
    jwks: &Value,
    audiences: &[String],
    now: i64,
) -> Option<Assertion> {
    let token = Jws::parse(text)?;
    let keys = jwks["keys"].as_array()?;
    let named = |jwk: &&Value| token.kid.is_none() || jwk["kid"].as_str() == token.kid.as_deref();
    let mut keys = keys.iter().filter(named).filter_map(PublicKey::from_jwk);
    if !keys.any(|key| token.is_signed_by(&key)) {
        return None;
    }
    let moment = |name: &str| token.claims.get(name).map(Value::as_f64);
    #[expect(clippy::cast_possible_truncation, reason = "checked against the bounds of the clock")]
    let expires = moment("exp")?.filter(|it| (0.0..1e15).contains(it))? as i64;
    let begun = |name: &str| moment(name).is_none_or(|it| it.is_some_and(|it| it <= (now + LEEWAY) as f64));
    let jti = token.text("jti").filter(|it| (1..=255).contains(&it.len()))?;
    let good = token.text("iss") == Some(client)
        && token.text("sub") == Some(client)
        && audiences.iter().any(|it| token.is_for(it))
        && (now - LEEWAY..=now + LIFE_MAX).contains(&expires)
        && begun("nbf")
        && begun("iat");
    good.then(|| Assertion { digest: digest_of(&format!("{client} {jti}")), expires: expires + 2 * LEEWAY })
}
