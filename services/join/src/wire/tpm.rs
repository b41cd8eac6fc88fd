//! TPM 2.0 structures (TCG TPM 2.0 Library, part 2) and TPM2_MakeCredential in software (part 1, section 24):
//! what is made here opens only in the TPM that holds the private half of the endorsement key.

use aws_lc_rs::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::rsa::{
    OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey, PublicKeyComponents,
};
use aws_lc_rs::{digest, hmac};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use zeroize::Zeroizing;

const ALG_RSA: u16 = 0x0001;
const ALG_AES: u16 = 0x0006;
const ALG_SHA256: u16 = 0x000b;
const ALG_SHA384: u16 = 0x000c;
const ALG_SHA512: u16 = 0x000d;
const ALG_NULL: u16 = 0x0010;
const ALG_ECC: u16 = 0x0023;
const ALG_ECDAA: u16 = 0x001a;
const ALG_RSAES: u16 = 0x0015;
const ALG_CFB: u16 = 0x0043;
const CURVE_P256: u16 = 0x0003;
/// The exponent where the structure says 0.
const EXPONENT: u32 = 65_537;
/// What a seed is encrypted for, with its terminating zero (part 1, annex B.4).
const IDENTITY: &[u8] = b"IDENTITY\0";
/// How the files of tpm2-tools for credentials begin: a mark, and version 1.
const FILE_HEADER: [u8; 8] = [0xba, 0xdc, 0xc0, 0xde, 0, 0, 0, 1];
/// A SubjectPublicKeyInfo of P-256 up to the point (RFC 5480).
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// What cannot be read, or is a kind of key that is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TpmError {
    /// Not a structure of the kind that was expected.
    #[error("it is no TPM2B_PUBLIC; send the file that tpm2_createek -u or tpm2_createak -u wrote")]
    Malformed,
    /// Another algorithm.
    #[error("the endorsement key is of a kind that is not taken; make one of RSA 2048 or P-256 with SHA-256")]
    Algorithm,
    /// No public key in any form.
    #[error("it is no endorsement key; give a PEM or DER public key or certificate, or tpm2_createek's file")]
    NoKey,
    /// The system.
    #[error("the cryptography failed")]
    Crypto,
}

/// A public key, as far as it is used here.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Key {
    Rsa { modulus: Vec<u8>, exponent: u32 },
    P256 { x: [u8; 32], y: [u8; 32] },
}

/// An endorsement key as the TPM tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EndorsementKey {
    key: Key,
    symmetric_bits: u16,
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], TpmError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(TpmError::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, TpmError> {
        Ok(self.take(2)?.iter().fold(0, |it, byte| it << 8 | u16::from(*byte)))
    }

    fn u32(&mut self) -> Result<u32, TpmError> {
        Ok(self.take(4)?.iter().fold(0, |it, byte| it << 8 | u32::from(*byte)))
    }

    fn sized(&mut self) -> Result<&'a [u8], TpmError> {
        let length = self.u16()?;
        self.take(length.into())
    }

    /// A scheme is an algorithm and, mostly, its hash.
    fn skip_scheme(&mut self) -> Result<(), TpmError> {
        match self.u16()? {
            ALG_NULL | ALG_RSAES => {}
            ALG_ECDAA => drop(self.take(4)?),
            _ => drop(self.take(2)?),
        }
        Ok(())
    }
}

/// The area in a TPM2B_PUBLIC, all of it.
fn public_area(bytes: &[u8]) -> Result<&[u8], TpmError> {
    let mut reader = Reader(bytes);
    let area = reader.sized()?;
    if reader.0.is_empty() && !area.is_empty() { Ok(area) } else { Err(TpmError::Malformed) }
}

impl EndorsementKey {
    /// Reads a TPM2B_PUBLIC.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, TpmError> {
        let mut it = Reader(public_area(bytes)?);
        let (kind, name_hash) = (it.u16()?, it.u16()?);
        it.u32()?;
        it.sized()?;
        let symmetric = it.u16()?;
        if symmetric != ALG_AES || name_hash != ALG_SHA256 {
            return Err(TpmError::Algorithm);
        }
        let (symmetric_bits, mode) = (it.u16()?, it.u16()?);
        if !matches!(symmetric_bits, 128 | 256) || mode != ALG_CFB {
            return Err(TpmError::Algorithm);
        }
        it.skip_scheme()?;
        let key = match kind {
            ALG_RSA => {
                let (_bits, exponent) = (it.u16()?, it.u32()?);
                let exponent = if exponent == 0 { EXPONENT } else { exponent };
                let modulus = it.sized()?.to_vec();
                if !(256..=512).contains(&modulus.len()) || modulus[0] == 0 {
                    return Err(TpmError::Algorithm);
                }
                Key::Rsa { modulus, exponent }
            }
            ALG_ECC => {
                let curve = it.u16()?;
                it.skip_scheme()?;
                if curve != CURVE_P256 {
                    return Err(TpmError::Algorithm);
                }
                Key::P256 { x: coordinate(it.sized()?)?, y: coordinate(it.sized()?)? }
            }
            _ => return Err(TpmError::Algorithm),
        };
        if it.0.is_empty() { Ok(Self { key, symmetric_bits }) } else { Err(TpmError::Malformed) }
    }

    /// What it is enrolled by: the SHA-256 of its SubjectPublicKeyInfo, in hexadecimal.
    pub(crate) fn fingerprint(&self) -> Result<String, TpmError> {
        Ok(fingerprint_of(&self.key.spki()?))
    }

    /// The credential for the object of this name in the key's own TPM, in the file form of tpm2-tools.
    pub(crate) fn make_credential(&self, secret: &[u8], name: &[u8]) -> Result<Vec<u8>, TpmError> {
        let (seed, encrypted_seed) = self.key.make_seed()?;
        let symmetric_key = kdf_a(&seed, b"STORAGE", name, self.symmetric_bits.into());
        let mut identity = Zeroizing::new(sized(secret));
        encrypt(&symmetric_key, &mut identity)?;
        let integrity_key = kdf_a(&seed, b"INTEGRITY", b"", 256);
        let mut message = identity.to_vec();
        message.extend_from_slice(name);
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &integrity_key), &message);
        let object = [&sized(tag.as_ref()), &identity[..]].concat();
        Ok([&FILE_HEADER[..], &sized(&object), &sized(&encrypted_seed)].concat())
    }
}

impl Key {
    /// A DER SubjectPublicKeyInfo.
    fn spki(&self) -> Result<Vec<u8>, TpmError> {
        match self {
            Self::Rsa { modulus, exponent } => {
                let components = components(modulus, *exponent);
                let der = components.as_der().map_err(|_| TpmError::Algorithm)?;
                Ok(der.as_ref().to_vec())
            }
            Self::P256 { x, y } => Ok([&P256_SPKI[..], &[4], x, y].concat()),
        }
    }

    /// A seed, and the same encrypted for the key's holder.
    fn make_seed(&self) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), TpmError> {
        match self {
            Self::Rsa { modulus, exponent } => {
                let mut seed = Zeroizing::new(vec![0; digest::SHA256_OUTPUT_LEN]);
                rand::fill(&mut seed).map_err(|_| TpmError::Crypto)?;
                let key: PublicEncryptingKey =
                    components(modulus, *exponent).try_into().map_err(|_| TpmError::Algorithm)?;
                let key = OaepPublicEncryptingKey::new(key).map_err(|_| TpmError::Crypto)?;
                let mut encrypted = vec![0; key.ciphertext_size()];
                let length = key
                    .encrypt(&OAEP_SHA256_MGF1SHA256, &seed, &mut encrypted, Some(IDENTITY))
                    .map_err(|_| TpmError::Crypto)?
                    .len();
                encrypted.truncate(length);
                Ok((seed, encrypted))
            }
            Self::P256 { x, y } => {
                let ephemeral = EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new())
                    .map_err(|_| TpmError::Crypto)?;
                let own = ephemeral.compute_public_key().map_err(|_| TpmError::Crypto)?;
                let (own_x, own_y) = own.as_ref()[1..].split_at(32);
                let peer = UnparsedPublicKey::new(&ECDH_P256, [&[4][..], x, y].concat());
                let seed = agree_ephemeral(ephemeral, &peer, TpmError::Algorithm, |shared| {
                    // KDFe (part 1, section 11.4.10.3): one round gives as much as is needed.
                    let text = [&1u32.to_be_bytes()[..], shared, IDENTITY, own_x, x].concat();
                    let text = Zeroizing::new(text);
                    Ok(Zeroizing::new(digest::digest(&digest::SHA256, &text).as_ref().to_vec()))
                })?;
                Ok((seed, [sized(own_x), sized(own_y)].concat()))
            }
        }
    }
}

/// A coordinate with the zeros that a TPM may leave out in front.
fn coordinate(bytes: &[u8]) -> Result<[u8; 32], TpmError> {
    let missing = 32usize.checked_sub(bytes.len()).ok_or(TpmError::Malformed)?;
    let mut whole = [0; 32];
    whole[missing..].copy_from_slice(bytes);
    Ok(whole)
}

fn components(modulus: &[u8], exponent: u32) -> PublicKeyComponents<Vec<u8>> {
    let exponent = exponent.to_be_bytes();
    let zeros = exponent.iter().take_while(|it| **it == 0).count();
    PublicKeyComponents { n: modulus.to_vec(), e: exponent[zeros..].to_vec() }
}

/// A TPM2B: the length and the bytes.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], bytes].concat()
}

/// KDFa with SHA-256 (part 1, section 11.4.10.2); one round gives up to 256 bits.
fn kdf_a(seed: &[u8], label: &[u8], context: &[u8], bits: u32) -> Zeroizing<Vec<u8>> {
    let text = [&1u32.to_be_bytes()[..], label, &[0], context, &bits.to_be_bytes()].concat();
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, seed), &text);
    let length = usize::try_from(bits / 8).unwrap_or(0).min(tag.as_ref().len());
    Zeroizing::new(tag.as_ref()[..length].to_vec())
}

/// AES in CFB mode with a zero vector, as part 1 section 24.4 has it: the key is used once.
fn encrypt(key: &[u8], data: &mut [u8]) -> Result<(), TpmError> {
    let algorithm = if key.len() == 16 { &AES_128 } else { &AES_256 };
    let key = UnboundCipherKey::new(algorithm, key).and_then(EncryptingKey::cfb128);
    let context = EncryptionContext::Iv128(FixedLength::from([0; 16]));
    let encrypted = key.and_then(|it| it.less_safe_encrypt(data, context));
    encrypted.map(drop).map_err(|_| TpmError::Crypto)
}

/// The name of an object: its hash algorithm and the hash of its public area (part 1, section 16).
pub(crate) fn name_of(public: &[u8]) -> Result<Vec<u8>, TpmError> {
    let area = public_area(public)?;
    let mut reader = Reader(area);
    reader.u16()?;
    let hash = reader.u16()?;
    let algorithm = match hash {
        ALG_SHA256 => &digest::SHA256,
        ALG_SHA384 => &digest::SHA384,
        ALG_SHA512 => &digest::SHA512,
        _ => return Err(TpmError::Malformed),
    };
    Ok([&hash.to_be_bytes()[..], digest::digest(algorithm, area).as_ref()].concat())
}

/// The fingerprint of an endorsement key in any form that an administrator may have it: PEM or DER, a public key
/// or a certificate, or the TPM's own structure.
pub(crate) fn fingerprint(bytes: &[u8]) -> Result<String, TpmError> {
    if let Ok(key) = EndorsementKey::parse(bytes) {
        return key.fingerprint();
    }
    let certified = |der: &[u8]| {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        Some(certificate.tbs_certificate.subject_pki.raw.to_vec())
    };
    let plain = |der: &[u8]| {
        use x509_parser::prelude::FromDer as _;
        let (rest, key) = x509_parser::x509::SubjectPublicKeyInfo::from_der(der).ok()?;
        (rest.is_empty() && key.parsed().is_ok()).then(|| der.to_vec())
    };
    let spki = if bytes.starts_with(b"-----BEGIN") {
        let key = SubjectPublicKeyInfoDer::from_pem_slice(bytes).ok();
        let certificate = || CertificateDer::from_pem_slice(bytes).ok().and_then(|it| certified(&it));
        key.and_then(|it| plain(&it)).or_else(certificate)
    } else {
        certified(bytes).or_else(|| plain(bytes))
    };
    spki.map(|it| fingerprint_of(&it)).ok_or(TpmError::NoKey)
}

fn fingerprint_of(spki: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, spki))
}

#[cfg(test)]
#[path = "tpm/tests.rs"]
mod tests;
