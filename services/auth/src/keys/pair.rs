//! Key pairs: made, sealed, opened; what they sign.

use anyhow::Context as _;
use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use web::jwt::Algorithm;
use zeroize::Zeroizing;

/// A key pair. Its private half is in the cryptography library's own memory, which is wiped when it is dropped.
pub(crate) enum Pair {
    Es256(EcdsaKeyPair),
    Rs256(Box<RsaKeyPair>),
}

impl Pair {
    /// A new pair, and its private half as PKCS #8.
    pub(crate) fn generate(algorithm: Algorithm) -> anyhow::Result<(Self, Zeroizing<Vec<u8>>)> {
        Ok(match algorithm {
            Algorithm::Es256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).context("generate")?;
                let der = Zeroizing::new(pair.to_pkcs8v1().context("encode")?.as_ref().to_vec());
                (Self::Es256(pair), der)
            }
            Algorithm::Rs256 => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).context("generate")?;
                let der: Pkcs8V1Der<'_> = pair.as_der().context("encode")?;
                let der = Zeroizing::new(der.as_ref().to_vec());
                (Self::Rs256(Box::new(pair)), der)
            }
        })
    }

    pub(crate) fn open(algorithm: Algorithm, pkcs8: &[u8]) -> anyhow::Result<Self> {
        let wrong = |it| anyhow::anyhow!("it is no key for {algorithm}: {it}");
        Ok(match algorithm {
            Algorithm::Es256 => {
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8);
                Self::Es256(pair.map_err(wrong)?)
            }
            Algorithm::Rs256 => Self::Rs256(Box::new(RsaKeyPair::from_pkcs8(pkcs8).map_err(wrong)?)),
        })
    }

    /// The JWK, with its thumbprint (RFC 7638) as `kid`.
    pub(crate) fn public(&self) -> Value {
        let encode = |it: &[u8]| URL_SAFE_NO_PAD.encode(it);
        let (canonical, mut jwk) = match self {
            Self::Es256(pair) => {
                let point = pair.public_key().as_ref(); // 4, then x and y of 32 bytes (SEC 1 section 2.3.3).
                let coordinate = |from: usize| encode(point.get(from..from + 32).unwrap_or_default());
                let (x, y) = (coordinate(1), coordinate(33));
                let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
                (canonical, json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "alg": "ES256"}))
            }
            Self::Rs256(pair) => {
                let n = encode(pair.public_key().modulus().big_endian_without_leading_zero());
                let e = encode(pair.public_key().exponent().big_endian_without_leading_zero());
                let canonical = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
                (canonical, json!({"kty": "RSA", "n": n, "e": e, "alg": "RS256"}))
            }
        };
        jwk["kid"] = encode(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref()).into();
        jwk["use"] = "sig".into();
        jwk
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, aws_lc_rs::error::Unspecified> {
        let random = SystemRandom::new();
        match self {
            Self::Es256(pair) => pair.sign(&random, message).map(|it| it.as_ref().to_vec()),
            Self::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)?;
                Ok(signature)
            }
        }
    }
}
