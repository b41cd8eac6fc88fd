//! Signed tokens as text (RFC 7515, RFC 7519), read strictly: what two readers could take for two things, or what
//! would let a token choose the key it is verified by, is refused (RFC 8725).

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A longer token is refused unread.
pub const TOKEN_MAX: usize = 4096;
/// The longest `kid` that is looked up.
const KID_MAX: usize = 128;
/// Coordinates of P-256, in bytes.
const COORDINATE: usize = 32;
/// The smallest and the largest RSA modulus, in bytes (RFC 7518 section 3.3, and what takes too long to verify).
const MODULUS: std::ops::RangeInclusive<usize> = 256..=1024;
/// Header members that bring a key along, name one elsewhere, or change what is signed; `cty` tells of a token in
/// the token.
const REFUSED: [&str; 11] = ["crit", "b64", "jwk", "jku", "x5u", "x5c", "zip", "enc", "cty", "epk", "p2c"];

/// How a token is signed. There are these two, and no `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
}

impl Algorithm {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Es256, Self::Rs256];
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        })
    }
}

impl FromStr for Algorithm {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|it| it.to_string() == text)
            .ok_or_else(|| format!("{text:?} is no algorithm here; there are ES256 and RS256"))
    }
}

/// A public key with the one algorithm it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(Material);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Material {
    Point(Vec<u8>),
    Modulus { n: Vec<u8>, e: Vec<u8> },
}

impl PublicKey {
    /// The key of a JWK (RFC 7517); none for one that we do not verify with.
    #[must_use]
    pub fn from_jwk(jwk: &Value) -> Option<Self> {
        let member = |name: &str| jwk[name].as_str();
        let number = |name: &str| URL_SAFE_NO_PAD.decode(member(name)?).ok();
        if member("use").is_some_and(|it| it != "sig") {
            return None;
        }
        let key = match (member("kty")?, member("crv")) {
            ("EC", Some("P-256")) => {
                let (x, y) = (number("x")?, number("y")?);
                if x.len() != COORDINATE || y.len() != COORDINATE {
                    return None;
                }
                // Uncompressed (SEC 1 section 2.3.3).
                Self(Material::Point([&[4][..], &x, &y].concat()))
            }
            ("RSA", None) => {
                let trimmed = |it: Vec<u8>| it.into_iter().skip_while(|it| *it == 0).collect::<Vec<_>>();
                let (n, e) = (trimmed(number("n")?), trimmed(number("e")?));
                if !MODULUS.contains(&n.len()) || !(1..=8).contains(&e.len()) {
                    return None;
                }
                Self(Material::Modulus { n, e })
            }
            _ => return None,
        };
        let told = member("alg").is_none_or(|it| it == key.algorithm().to_string());
        told.then_some(key)
    }

    /// What it is for.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self.0 {
            Material::Point(_) => Algorithm::Es256,
            Material::Modulus { .. } => Algorithm::Rs256,
        }
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.0 {
            Material::Point(point) => {
                let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
                key.verify(message, signature).is_ok()
            }
            Material::Modulus { n, e } => {
                let key = RsaPublicKeyComponents { n, e };
                key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
            }
        }
    }
}

/// A token that was read but not verified.
#[derive(Debug)]
pub struct Jws<'a> {
    /// How it says it is signed.
    pub algorithm: Algorithm,
    /// Which key it names.
    pub kid: Option<String>,
    /// What it says it is, in lower case, without `application/`.
    pub kind: Option<String>,
    /// What it says.
    pub claims: Map<String, Value>,
    message: &'a [u8],
    signature: Vec<u8>,
}

impl<'a> Jws<'a> {
    /// Reads a token in compact form; none if it is not exactly that.
    #[must_use]
    pub fn parse(token: &'a str) -> Option<Self> {
        if token.len() > TOKEN_MAX {
            return None;
        }
        let (message, signature) = token.rsplit_once('.')?;
        // Neither padding nor blanks nor other letters, and no bit that counts for nothing.
        let decode = |it: &str| URL_SAFE_NO_PAD.decode(it).ok().filter(|it| !it.is_empty());
        let (header, claims) = message.split_once('.')?;
        let signature = decode(signature)?;
        let Unique(header) = serde_json::from_slice(&decode(header)?).ok()?;
        let Unique(claims) = serde_json::from_slice(&decode(claims)?).ok()?;
        if REFUSED.iter().any(|it| header.contains_key(*it)) {
            return None;
        }
        let text = |name: &str| match header.get(name) {
            None => Some(None),
            Some(Value::String(it)) if !it.is_empty() && it.len() <= KID_MAX => Some(Some(it.clone())),
            Some(_) => None,
        };
        let kind = text("typ")?.map(|it| it.to_ascii_lowercase());
        let kind = kind.map(|it| it.strip_prefix("application/").map_or(it.clone(), str::to_owned));
        Some(Self {
            algorithm: text("alg")??.parse().ok()?,
            kid: text("kid")?,
            kind,
            claims,
            message: message.as_bytes(),
            signature,
        })
    }

    /// Whether this key signed it, by the key's own algorithm.
    #[must_use]
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        self.algorithm == key.algorithm() && key.verifies(self.message, &self.signature)
    }

    /// Whether it is meant for this audience: `aud` is a text or a list of texts.
    #[must_use]
    pub fn is_for(&self, audience: &str) -> bool {
        match self.claims.get("aud") {
            Some(Value::String(one)) => one == audience,
            Some(Value::Array(all)) => {
                all.iter().all(Value::is_string) && all.iter().any(|it| it.as_str() == Some(audience))
            }
            _ => false,
        }
    }

    /// A claim that is a text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.claims.get(name)?.as_str()
    }
}

/// An object whose members are there once: of two, readers choose differently.
struct Unique(Map<String, Value>);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Unique;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Unique, A::Error> {
                let mut members = Map::new();
                while let Some((name, value)) = access.next_entry::<String, Value>()? {
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom("a member is there twice"));
                    }
                }
                Ok(Unique(members))
            }
        }
        from.deserialize_map(Members)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::{Algorithm, Jws, PublicKey};

    fn token(header: &str, claims: &str) -> String {
        [header, claims, "signature"].map(|it| URL_SAFE_NO_PAD.encode(it)).join(".")
    }

    #[test]
    fn a_token_is_read_whole_or_not_at_all() {
        let good = token(r#"{"alg":"ES256","kid":"k","typ":"application/AT+jwt"}"#, r#"{"aud":["a","b"]}"#);
        let read = Jws::parse(&good).unwrap();
        assert_eq!((read.algorithm, read.kid.as_deref()), (Algorithm::Es256, Some("k")));
        assert_eq!(read.kind.as_deref(), Some("at+jwt"));
        assert!(read.is_for("b") && !read.is_for("c"));
        for bad in [
            String::new(),
            "..".to_owned(),
            format!("{good}="),
            format!("{good}."),
            format!(" {good}"),
            token(r#"{"alg":"none"}"#, "{}"),
            token(r#"{"alg":"ES256","alg":"ES256"}"#, "{}"),
            token(r#"{"alg":"ES256","crit":["exp"]}"#, "{}"),
            token(r#"{"alg":"ES256"}"#, r#"{"exp":1,"exp":2}"#),
            token(r#"{"alg":"ES256"}"#, "[]"),
            token(r#"{"alg":"ES256","kid":["k"]}"#, "{}"),
        ] {
            assert!(Jws::parse(&bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_key_is_for_one_algorithm() {
        let coordinate = URL_SAFE_NO_PAD.encode([1; 32]);
        let point = json!({"kty": "EC", "crv": "P-256", "x": coordinate, "y": coordinate});
        assert_eq!(PublicKey::from_jwk(&point).unwrap().algorithm(), Algorithm::Es256);
        for (member, value) in [("alg", "RS256"), ("use", "enc"), ("crv", "P-384"), ("x", "AQ")] {
            let mut other = point.clone();
            other[member] = value.into();
            assert!(PublicKey::from_jwk(&other).is_none(), "{member}");
        }
        let modulus =
            |bytes: usize| json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode(vec![0xc1; bytes]), "e": "AQAB"});
        assert!(PublicKey::from_jwk(&modulus(256)).is_some());
        assert!(
            PublicKey::from_jwk(&modulus(128)).is_none() && PublicKey::from_jwk(&modulus(2048)).is_none()
        );
        assert!(PublicKey::from_jwk(&json!({"kty": "oct", "k": "AQAB"})).is_none());
    }
}
