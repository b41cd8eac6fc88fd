#![expect(clippy::unwrap_used, reason = "tests")]

use super::{ALG_CFB, EndorsementKey, Key, TpmError, fingerprint, kdf_a, name_of, sized};
use aws_lc_rs::encoding::AsDer;

/// A public area as a TPM makes it by the default template for RSA 2048 (TCG EK Credential Profile, L-1).
fn rsa(modulus: &[u8], mode: u16) -> Vec<u8> {
    let mut area = vec![0x00, 0x01, 0x00, 0x0b, 0x00, 0x03, 0x00, 0xb2];
    area.extend(sized(&[0x83; 32]));
    area.extend([0x00, 0x06, 0x00, 0x80]);
    area.extend(mode.to_be_bytes());
    area.extend([0x00, 0x10, 0x08, 0x00, 0, 0, 0, 0]);
    area.extend(sized(modulus));
    sized(&area)
}

/// The same for P-256 (L-2).
fn p256(x: &[u8], y: &[u8]) -> Vec<u8> {
    let mut area = vec![0x00, 0x23, 0x00, 0x0b, 0x00, 0x03, 0x00, 0xb2];
    area.extend(sized(&[0x83; 32]));
    area.extend([0x00, 0x06, 0x00, 0x80, 0x00, 0x43, 0x00, 0x10, 0x00, 0x03, 0x00, 0x10]);
    area.extend(sized(x));
    area.extend(sized(y));
    sized(&area)
}

#[test]
fn a_key_is_the_same_in_every_form() {
    let pair = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    use aws_lc_rs::signature::KeyPair as _;
    let public = pair.public_key();
    let der = public.as_der().unwrap().as_ref().to_vec();
    let modulus = public.modulus().big_endian_without_leading_zero().to_vec();
    let structure = rsa(&modulus, ALG_CFB);
    assert_eq!(fingerprint(&structure).unwrap(), fingerprint(&der).unwrap());
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(&der);
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n");
    assert_eq!(fingerprint(&structure).unwrap(), fingerprint(pem.as_bytes()).unwrap());
    let key = EndorsementKey::parse(&structure).unwrap();
    assert!(key.make_credential(&[1; 32], &[0, 11, 1, 2]).unwrap().len() > 256);
}

#[test]
fn a_leading_zero_may_be_left_out_of_a_coordinate() {
    let key = EndorsementKey::parse(&p256(&[7; 31], &[9; 32])).unwrap();
    let Key::P256 { x, y } = key.key else { panic!("{key:?}") };
    assert_eq!((x[0], x[1], y[0]), (0, 7, 9));
    // No point of the curve: refused by the agreement, not by a panic.
    let key = EndorsementKey::parse(&p256(&[7; 31], &[9; 32])).unwrap();
    assert_eq!(key.make_credential(&[1; 32], &[0, 11]), Err(TpmError::Algorithm));
}

#[test]
fn what_is_cut_or_of_another_kind_is_refused() {
    let whole = rsa(&[0xc1; 256], ALG_CFB);
    assert!(EndorsementKey::parse(&whole).is_ok() && name_of(&whole).unwrap().len() == 34);
    for length in 0..whole.len() {
        assert!(EndorsementKey::parse(&whole[..length]).is_err(), "{length}");
        assert!(name_of(&whole[..length]).is_err(), "{length}");
        assert!(fingerprint(&whole[..length]).is_err(), "{length}");
    }
    assert_eq!(EndorsementKey::parse(&rsa(&[0xc1; 256], 0x42)), Err(TpmError::Algorithm));
    assert_eq!(EndorsementKey::parse(&rsa(&[0xc1; 128], ALG_CFB)), Err(TpmError::Algorithm));
    assert!(EndorsementKey::parse(&[whole.as_slice(), &[0]].concat()).is_err());
}

/// A vector made with Python's hmac: KDFa of a seed of 32 zeros.
#[test]
fn the_derivation_is_the_specification_s() {
    let key = kdf_a(&[0; 32], b"INTEGRITY", b"", 256);
    assert_eq!(hex::encode(&*key), KDF_A);
    assert_eq!(kdf_a(&[0; 32], b"STORAGE", &[0, 11], 128).len(), 16);
}

const KDF_A: &str = "b47bc8bc5d6da6065f3e6ec1dbd7efc7c044eefd42e0c01dceb216a6c102db41";
