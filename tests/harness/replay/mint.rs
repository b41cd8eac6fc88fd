//! Tokens as a recording names them, good and faulty, of an issuer that the replay invents.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// Who issues the tokens.
pub const ISSUER: &str = "http://127.0.0.1:3333";
/// For whom.
pub const AUDIENCE: &str = "smd";
const KID: &str = "test-key-1";
const HOUR_S: u64 = 3600;

/// The key that the server trusts, and one of the same name that it does not.
#[derive(Debug)]
pub struct Keys {
    signing: KeyPair,
    untrusted: KeyPair,
}

impl Keys {
    /// New keys.
    ///
    /// # Errors
    ///
    /// If there is no randomness.
    pub fn generate() -> anyhow::Result<Self> {
        let key = || KeyPair::generate(KeySize::Rsa2048).context("generate an RSA key");
        Ok(Self { signing: key()?, untrusted: key()? })
    }

    /// What the server is to trust, as a JWK set (RFC 7517).
    #[must_use]
    pub fn jwks(&self) -> Value {
        let public = self.signing.public_key();
        let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let modulus = number(public.modulus().big_endian_without_leading_zero());
        let exponent = number(public.exponent().big_endian_without_leading_zero());
        json!({"keys": [{"kty": "RSA", "n": modulus, "e": exponent, "kid": KID, "alg": "RS256", "use": "sig"}]})
    }

    /// A token of a kind: `valid`, or named after what is wrong with it.
    ///
    /// # Errors
    ///
    /// If there is no such kind.
    pub fn mint(&self, kind: &str) -> anyhow::Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let mut claims = json!({
            "iss": ISSUER, "sub": "admin", "aud": [AUDIENCE], "iat": now, "nbf": now, "exp": now + 24 * HOUR_S,
            "jti": "t", "scp": ["smd.read"],
        });
        match kind {
            "valid" | "badsig" | "tampered" | "algnone" => {}
            "garbage" => return Ok("not.a.token".to_owned()),
            "expired" => {
                claims["iat"] = (now - 2 * HOUR_S).into();
                claims["nbf"] = (now - 2 * HOUR_S).into();
                claims["exp"] = (now - HOUR_S).into();
            }
            "notyet" => claims["nbf"] = (now + HOUR_S).into(),
            "wrongaud" => claims["aud"] = json!(["something-else"]),
            "wrongiss" => claims["iss"] = "https://elsewhere.example".into(),
            "nosub" | "noiss" | "noaud" | "noexp" => {
                claims.as_object_mut().map(|it| it.remove(&kind[2..]));
            }
            _ => bail!("{kind:?} is no kind of token"),
        }
        match kind {
            "badsig" => sign(&self.untrusted, &claims),
            "algnone" => Ok(unsigned(&claims, "none") + "."),
            "tampered" => {
                let token = sign(&self.signing, &claims)?;
                let parts: Vec<&str> = token.split('.').collect();
                claims["sub"] = "root".into();
                Ok([parts[0], &URL_SAFE_NO_PAD.encode(claims.to_string()), parts[2]].join("."))
            }
            _ => sign(&self.signing, &claims),
        }
    }
}

fn unsigned(claims: &Value, algorithm: &str) -> String {
    let header = json!({"alg": algorithm, "typ": "JWT", "kid": KID});
    [header.to_string(), claims.to_string()].map(|it| URL_SAFE_NO_PAD.encode(it)).join(".")
}

fn sign(key: &KeyPair, claims: &Value) -> anyhow::Result<String> {
    let message = unsigned(claims, "RS256");
    let mut signature = vec![0; key.public_modulus_len()];
    let signed = key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature);
    signed.context("sign a token")?;
    Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
}
