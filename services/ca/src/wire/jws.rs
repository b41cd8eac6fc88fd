//! JSON Web Signatures in the flattened form (RFC 7515 section 7.2.2), as strictly as RFC 8555 section 6.2 asks.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Jwk;

/// A signature, read and not yet verified.
#[derive(Clone, Debug)]
pub(crate) struct Jws {
    pub(crate) algorithm: String,
    pub(crate) nonce: Option<String>,
    pub(crate) url: String,
    pub(crate) key: Key,
    pub(crate) payload: Vec<u8>,
    message: String,
    signature: Vec<u8>,
}

/// Whose signature it is said to be.
#[derive(Clone, Debug)]
pub(crate) enum Key {
    /// The key itself.
    Jwk(Jwk),
    /// The name of one that we know.
    Kid(String),
}

/// Why a signature is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Malformed(&'static str),
    Algorithm,
    Key(&'static str),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Flattened {
    protected: String,
    payload: String,
    signature: String,
}

/// Others are passed over, but for `crit` (RFC 7515 section 4.1.11): we understand none.
#[derive(Deserialize)]
struct Protected {
    alg: String,
    url: String,
    nonce: Option<String>,
    jwk: Option<Map<String, Value>>,
    kid: Option<String>,
    crit: Option<Value>,
    b64: Option<Value>,
}

/// The algorithms that are verified; `HS256` is for external accounts alone.
const ALGORITHMS: [&str; 5] = ["ES256", "ES384", "EdDSA", "RS256", "HS256"];

impl Jws {
    /// Reads one.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, Refused> {
        let flattened: Flattened = serde_json::from_slice(text)
            .map_err(|_| Refused::Malformed("the body is no JWS of protected, payload and signature"))?;
        let malformed = Refused::Malformed("a JWS's members are base64url without padding");
        let octets = |it: &str| decode(it).ok_or_else(|| malformed.clone());
        let protected = octets(&flattened.protected)?;
        let (payload, signature) = (octets(&flattened.payload)?, octets(&flattened.signature)?);
        let protected: Protected = serde_json::from_slice(&protected)
            .map_err(|_| Refused::Malformed("the protected header is an object with alg, url and one key"))?;
        if protected.crit.is_some() || protected.b64.is_some() {
            return Err(Refused::Malformed("the protected header has crit or b64, which is not understood"));
        }
        if !ALGORITHMS.contains(&protected.alg.as_str()) {
            return Err(Refused::Algorithm);
        }
        let key = match (protected.jwk, protected.kid) {
            (Some(jwk), None) => Key::Jwk(Jwk::read(&jwk).map_err(Refused::Key)?),
            (None, Some(kid)) => Key::Kid(kid),
            _ => return Err(Refused::Malformed("the protected header is to have one of jwk and kid")),
        };
        let message = format!("{}.{}", flattened.protected, flattened.payload);
        let (algorithm, url, nonce) = (protected.alg, protected.url, protected.nonce);
        Ok(Self { algorithm, nonce, url, key, payload, message, signature })
    }

    /// Verifies it with the key that it is said to be of.
    ///
    /// # Errors
    ///
    /// If the algorithm is not the key's, or the signature not of this key.
    pub(crate) fn verify(&self, key: &Jwk) -> Result<(), Refused> {
        if self.algorithm != key.algorithm() {
            return Err(Refused::Algorithm);
        }
        let good = key.verifies(self.message.as_bytes(), &self.signature);
        good.then_some(()).ok_or(Refused::Malformed("the signature is not of this key"))
    }

    /// Verifies it with a shared secret (RFC 8555 section 7.3.4), in constant time.
    pub(crate) fn is_of_secret(&self, secret: &[u8]) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        self.algorithm == "HS256" && hmac::verify(&key, self.message.as_bytes(), &self.signature).is_ok()
    }
}

/// Base64url without padding, in its one spelling.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};

    use super::{Jws, Key, Refused};

    fn sign(key: &EcdsaKeyPair, protected: &Value, payload: &str) -> Value {
        let text = |it: &[u8]| URL_SAFE_NO_PAD.encode(it);
        let (protected, payload) = (text(protected.to_string().as_bytes()), text(payload.as_bytes()));
        let signature = key.sign(&SystemRandom::new(), format!("{protected}.{payload}").as_bytes()).unwrap();
        json!({"protected": protected, "payload": payload, "signature": text(signature.as_ref())})
    }

    fn new_key() -> (EcdsaKeyPair, Value) {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let point = key.public_key().as_ref();
        let text = |it: &[u8]| URL_SAFE_NO_PAD.encode(it);
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": text(&point[1..33]), "y": text(&point[33..])});
        (key, jwk)
    }

    fn verify(body: &Value) -> Result<(), Refused> {
        let jws = Jws::parse(body.to_string().as_bytes())?;
        let Key::Jwk(key) = &jws.key else { return Err(Refused::Malformed("kid")) };
        jws.verify(key)
    }

    #[test]
    fn a_signature_holds_with_and_without_payload() {
        let (key, jwk) = new_key();
        let protected = json!({"alg": "ES256", "nonce": "n", "url": "u", "jwk": jwk});
        assert_eq!(verify(&sign(&key, &protected, "")), Ok(()));
        let mut body = sign(&key, &protected, "{}");
        assert_eq!(verify(&body), Ok(()));
        body["payload"] = "e30x".into();
        assert!(verify(&body).is_err());
    }

    #[test]
    fn whatever_is_loose_is_refused() {
        let (key, jwk) = new_key();
        let protected = |more: Value| {
            let mut all = json!({"alg": "ES256", "nonce": "n", "url": "u", "jwk": jwk});
            for (name, value) in more.as_object().unwrap() {
                if value.is_null() {
                    all.as_object_mut().unwrap().remove(name);
                } else {
                    all[name] = value.clone();
                }
            }
            all
        };
        for (more, algorithm) in [
            (json!({"alg": "none"}), true),
            (json!({"alg": "HS256"}), true),
            (json!({"alg": "ES384"}), true),
            (json!({"alg": null}), false),
            (json!({"url": null}), false),
            (json!({"jwk": null}), false),
            (json!({"kid": "https://head/acme/account/1"}), false),
            (json!({"crit": ["exp"]}), false),
            (json!({"b64": false}), false),
        ] {
            let refused = verify(&sign(&key, &protected(more.clone()), "{}")).unwrap_err();
            assert_eq!(refused == Refused::Algorithm, algorithm, "{more}: {refused:?}");
        }
        let good = sign(&key, &protected(json!({})), "{}");
        for (member, value) in [
            ("header", json!({"alg": "ES256"})),
            ("signatures", json!([])),
            ("signature", json!("")),
            ("signature", json!("****")),
            ("protected", json!("e30=")),
            ("payload", json!(null)),
        ] {
            let mut body = good.clone();
            body[member] = value.clone();
            assert!(verify(&body).is_err(), "{member} {value}");
        }
        // A DER signature is none of JOSE's.
        let other = new_key().0;
        assert!(verify(&sign(&other, &protected(json!({})), "{}")).is_err());
        assert!(Jws::parse(b"").is_err() && Jws::parse(b"[]").is_err());
    }
}
