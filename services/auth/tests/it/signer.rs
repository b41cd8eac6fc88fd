//! Signs whatever it is told to, as our own services never would.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// A key of each kind, with the kids `ec` and `rsa`.
pub(crate) struct Signer {
    ec: EcdsaKeyPair,
    der: EcdsaKeyPair,
    rsa: RsaKeyPair,
}

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Signer {
    pub(crate) fn new() -> Self {
        let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let pkcs8 = ec.to_pkcs8v1().unwrap();
        let der = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref()).unwrap();
        Self { ec, der, rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap() }
    }

    pub(crate) fn point(&self) -> Vec<u8> {
        self.ec.public_key().as_ref().to_vec()
    }

    pub(crate) fn modulus(&self) -> Vec<u8> {
        self.rsa.public_key().modulus().big_endian_without_leading_zero().to_vec()
    }

    pub(crate) fn ec_jwk(&self) -> Value {
        let point = self.point();
        json!({"kty": "EC", "crv": "P-256", "kid": "ec", "alg": "ES256", "use": "sig",
            "x": encode(&point[1..33]), "y": encode(&point[33..])})
    }

    pub(crate) fn rsa_jwk(&self) -> Value {
        json!({"kty": "RSA", "kid": "rsa", "alg": "RS256", "use": "sig", "n": encode(self.modulus()), "e": "AQAB"})
    }

    pub(crate) fn jwks(&self) -> Vec<Value> {
        vec![self.ec_jwk(), self.rsa_jwk()]
    }

    pub(crate) fn es256(&self, message: &str) -> Vec<u8> {
        self.ec.sign(&SystemRandom::new(), message.as_bytes()).unwrap().as_ref().to_vec()
    }

    pub(crate) fn es256_der(&self, message: &str) -> Vec<u8> {
        self.der.sign(&SystemRandom::new(), message.as_bytes()).unwrap().as_ref().to_vec()
    }

    fn rsa(&self, how: &'static dyn RsaEncoding, message: &str) -> Vec<u8> {
        let mut signature = vec![0; self.rsa.public_modulus_len()];
        self.rsa.sign(how, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
        signature
    }

    pub(crate) fn rs256(&self, message: &str) -> Vec<u8> {
        self.rsa(&RSA_PKCS1_SHA256, message)
    }

    pub(crate) fn ps256(&self, message: &str) -> Vec<u8> {
        self.rsa(&RSA_PSS_SHA256, message)
    }

    /// A token by ES256 with these parts, as texts.
    pub(crate) fn token(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = self.es256(&message);
        format!("{message}.{}", encode(signature))
    }
}

pub(crate) fn hs256(secret: &[u8], message: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes()).as_ref().to_vec()
}
