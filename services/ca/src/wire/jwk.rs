//! JSON Web Keys (RFC 7517, RFC 7518 section 6, RFC 8037), as accounts have them.

use aws_lc_rs::{digest, signature};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::decode;

/// The bits of RSA moduli that are taken.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// A public key, of a kind that is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Jwk {
    /// Each coordinate.
    P256([u8; 32], [u8; 32]),
    /// Each coordinate.
    P384([u8; 48], [u8; 48]),
    Ed25519([u8; 32]),
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
}

impl Jwk {
    /// Reads a key; members that say nothing of the key itself are passed over.
    ///
    /// # Errors
    ///
    /// Why it is not taken.
    pub(crate) fn read(members: &Map<String, Value>) -> Result<Self, &'static str> {
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        if ["d", "p", "q", "dp", "dq", "qi", "k"].iter().any(|it| members.contains_key(*it)) {
            return Err("the key is not to be shown: it has private members");
        }
        let octets = |name: &str| text(name).and_then(decode);
        match (text("kty"), text("crv")) {
            (Some("EC"), Some("P-256")) => {
                let (x, y) = (fixed(octets("x"))?, fixed(octets("y"))?);
                Ok(Self::P256(x, y))
            }
            (Some("EC"), Some("P-384")) => {
                let (x, y) = (fixed(octets("x"))?, fixed(octets("y"))?);
                Ok(Self::P384(x, y))
            }
            (Some("OKP"), Some("Ed25519")) => Ok(Self::Ed25519(fixed(octets("x"))?)),
            (Some("RSA"), _) => {
                let (modulus, exponent) =
                    octets("n").zip(octets("e")).ok_or("an RSA key has n and e in base64url")?;
                let starts = |it: &[u8]| it.first().is_some_and(|first| *first != 0);
                if !starts(&modulus) || !starts(&exponent) || exponent.len() > 4 {
                    return Err("n and e are to be unsigned and short, without leading zeros");
                }
                let bits = modulus.len() * 8 - modulus.first().map_or(0, |it| it.leading_zeros() as usize);
                if !RSA_BITS.contains(&bits) {
                    return Err("an RSA key is to have 2048 to 8192 bits");
                }
                Ok(Self::Rsa { modulus, exponent })
            }
            _ => Err("a key is to be EC with P-256 or P-384, OKP with Ed25519, or RSA"),
        }
    }

    /// The only algorithm that signatures of this key are taken with.
    pub(crate) fn algorithm(&self) -> &'static str {
        match self {
            Self::P256(..) => "ES256",
            Self::P384(..) => "ES384",
            Self::Ed25519(_) => "EdDSA",
            Self::Rsa { .. } => "RS256",
        }
    }

    /// Whether the key signed the message, by [`algorithm`](Self::algorithm).
    pub(crate) fn verifies(&self, message: &[u8], signed: &[u8]) -> bool {
        let verify = |algorithm: &'static dyn signature::VerificationAlgorithm, key: &[u8]| {
            signature::UnparsedPublicKey::new(algorithm, key).verify(message, signed).is_ok()
        };
        match self {
            Self::P256(..) => verify(&signature::ECDSA_P256_SHA256_FIXED, &self.octets()),
            Self::P384(..) => verify(&signature::ECDSA_P384_SHA384_FIXED, &self.octets()),
            Self::Ed25519(key) => verify(&signature::ED25519, key),
            Self::Rsa { modulus, exponent } => {
                let key = signature::RsaPublicKeyComponents { n: modulus, e: exponent };
                key.verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, signed).is_ok()
            }
        }
    }

    /// A curve's key as certificates have it (SEC 1 section 2.3.3, RFC 8410 section 4).
    fn octets(&self) -> Vec<u8> {
        match self {
            Self::P256(x, y) => [&[4], &x[..], y].concat(),
            Self::P384(x, y) => [&[4], &x[..], y].concat(),
            Self::Ed25519(key) => key.to_vec(),
            Self::Rsa { .. } => Vec::new(),
        }
    }

    /// Whether it is a certificate's key.
    pub(crate) fn is_of(&self, certificate: &SubjectPublicKeyInfo<'_>) -> bool {
        match self {
            Self::Rsa { modulus, exponent } => match certificate.parsed() {
                Ok(PublicKey::RSA(key)) => {
                    strip(key.modulus) == modulus.as_slice() && strip(key.exponent) == exponent.as_slice()
                }
                _ => false,
            },
            _ => *certificate.subject_public_key.data == self.octets(),
        }
    }

    /// The members that make the key, in the one order and spelling (RFC 7638 section 3.2).
    pub(crate) fn canonical(&self) -> String {
        let text = |it: &[u8]| URL_SAFE_NO_PAD.encode(it);
        let value = match self {
            Self::P256(x, y) => json!({"crv": "P-256", "kty": "EC", "x": text(x), "y": text(y)}),
            Self::P384(x, y) => json!({"crv": "P-384", "kty": "EC", "x": text(x), "y": text(y)}),
            Self::Ed25519(x) => json!({"crv": "Ed25519", "kty": "OKP", "x": text(x)}),
            Self::Rsa { modulus, exponent } => json!({"e": text(exponent), "kty": "RSA", "n": text(modulus)}),
        };
        value.to_string()
    }

    /// Reads what [`canonical`](Self::canonical) wrote.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::read(&serde_json::from_str(text).ok()?).ok()
    }

    /// RFC 7638.
    pub(crate) fn thumbprint(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, self.canonical().as_bytes()))
    }
}

fn fixed<const N: usize>(octets: Option<Vec<u8>>) -> Result<[u8; N], &'static str> {
    octets.and_then(|it| it.try_into().ok()).ok_or("the key's numbers are to be base64url of the full length")
}

fn strip(mut number: &[u8]) -> &[u8] {
    while let [0, rest @ ..] = number {
        number = rest;
    }
    number
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::Jwk;

    fn read(text: &str) -> Result<Jwk, &'static str> {
        Jwk::read(&serde_json::from_str(text).unwrap())
    }

    /// The key and thumbprint of RFC 7638 section 3.1.
    #[test]
    fn a_thumbprint_is_that_of_the_rfc() {
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECP\
            ebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAt\
            aSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-\
            G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let text = format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB","alg":"RS256","kid":"2011-04-29"}}"#);
        let key = read(&text).unwrap();
        assert_eq!(key.thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        assert_eq!(Jwk::parse(&key.canonical()).unwrap(), key);
    }

    #[test]
    fn a_weak_or_private_key_is_not_taken() {
        let long = "A".repeat(43);
        for text in [
            "{}".to_owned(),
            r#"{"kty":"oct","k":"AAAA"}"#.to_owned(),
            r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#.to_owned(),
            format!(r#"{{"kty":"EC","crv":"P-256","x":"{long}"}}"#),
            format!(r#"{{"kty":"EC","crv":"P-256","x":"{long}","y":"{long}","d":"{long}"}}"#),
            format!(r#"{{"kty":"EC","crv":"P-256","x":"{long}=","y":"{long}"}}"#),
            format!(r#"{{"kty":"EC","crv":"secp256k1","x":"{long}","y":"{long}"}}"#),
            format!(r#"{{"kty":"EC","crv":"P-384","x":"{long}","y":"{long}"}}"#),
            format!(r#"{{"kty":"OKP","crv":"X25519","x":"{long}"}}"#),
        ] {
            assert!(read(&text).is_err(), "{text}");
        }
        assert!(read(&format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{long}"}}"#)).is_ok());
    }
}
