//! A session's keys at work: integrity codes and encryption of packets (sections 13.28, 13.29, 13.32).

use std::ops::Range;

use aes::{Aes128, Block};
use cbc::cipher::{BlockDecryptMut, BlockEncryptMut, InnerIvInit, KeyInit};
use zeroize::Zeroizing;

use super::mac::{Authenticator, CODE_BYTES_MAX};
use super::{authenticate, code_bytes, same_code};
use crate::CipherSuite;
use crate::record::{ENCRYPTION_KEY_BYTES, INTEGRITY_KEY_BYTES};
use crate::wire::{PayloadType, PlusPacket, WireError, begin_plus, end_plus};

const BLOCK_BYTES: usize = 16;
/// The constants from which K1 and K2 are made have 20 bytes with either hash (section 13.32).
const CONSTANT_BYTES: usize = 20;

/// The keys of a session: K1 for the integrity codes, K2 for the encryption.
pub struct SessionKeys {
    suite: CipherSuite,
    integrity: Zeroizing<[u8; INTEGRITY_KEY_BYTES]>,
    encryption: Zeroizing<[u8; ENCRYPTION_KEY_BYTES]>,
    authenticator: Authenticator,
    cipher: Aes128,
}

impl SessionKeys {
    /// Makes K1 and K2 from the session integrity key (section 13.32).
    pub fn derive(suite: CipherSuite, session_key: &[u8]) -> Self {
        let first = authenticate(suite, session_key, &[&[1; CONSTANT_BYTES]]);
        let second = authenticate(suite, session_key, &[&[2; CONSTANT_BYTES]]);
        Self::from_parts(suite, &first, &second)
    }

    /// The same from K1 and K2, which are cut off or filled up with zeros.
    pub(crate) fn from_parts(suite: CipherSuite, first: &[u8], second: &[u8]) -> Self {
        let mut integrity = Zeroizing::new([0; INTEGRITY_KEY_BYTES]);
        let mut encryption = Zeroizing::new([0; ENCRYPTION_KEY_BYTES]);
        for (to, from) in integrity.iter_mut().zip(first) {
            *to = *from;
        }
        for (to, from) in encryption.iter_mut().zip(second) {
            *to = *from;
        }
        let cipher = Aes128::new((&*encryption).into());
        // HMAC fills keys up with zeros as well, so those at the end of SHA-1's change nothing.
        let authenticator = Authenticator::new(suite, &*integrity);
        Self { suite, integrity, encryption, authenticator, cipher }
    }

    pub(crate) fn parts(&self) -> (&[u8; INTEGRITY_KEY_BYTES], &[u8; ENCRYPTION_KEY_BYTES]) {
        (&self.integrity, &self.encryption)
    }

    /// Encrypts and signs a payload; `iv` is random and never used twice.
    pub fn seal(
        &self,
        payload_type: PayloadType,
        session_id: u32,
        sequence: u32,
        payload: &[u8],
        iv: [u8; BLOCK_BYTES],
    ) -> Vec<u8> {
        let mut out = Vec::with_capacity(payload.len() + 80);
        self.seal_into(&mut out, payload_type, [session_id, sequence], &[payload], iv);
        out
    }

    /// The same with the payload in parts, for session `id` under number `sequence`, into a buffer that is
    /// emptied first.
    pub(crate) fn seal_into(
        &self,
        out: &mut Vec<u8>,
        payload_type: PayloadType,
        [id, sequence]: [u32; 2],
        payload: &[&[u8]],
        iv: [u8; BLOCK_BYTES],
    ) {
        begin_plus(out, payload_type, [id, sequence]);
        out.extend(iv);
        let at = out.len();
        for part in payload {
            out.extend_from_slice(part);
        }
        let mut count = 0_u8;
        while !(out.len() - at + 1).is_multiple_of(BLOCK_BYTES) {
            count += 1;
            out.push(count);
        }
        out.push(count);
        self.encrypt_blocks(out.get_mut(at..).unwrap_or_default(), iv);
        end_plus(out, code_bytes(self.suite), &|covered| self.authenticator.code(&[covered]));
    }

    /// Proves that the packet comes from who holds the keys. To be asked before [`Self::decrypt`].
    ///
    /// # Errors
    ///
    /// The packet's code is wrong, or it has none, or it is not encrypted.
    pub fn verify(&self, packet: &PlusPacket<'_>) -> Result<(), WireError> {
        let length = code_bytes(self.suite);
        let (covered, code) = packet.split_code(length)?;
        let ours: [u8; CODE_BYTES_MAX] = self.authenticator.code(&[covered]);
        let right = same_code(ours.get(..length).unwrap_or_default(), code) && packet.encrypted;
        if right { Ok(()) } else { Err(WireError::Integrity) }
    }

    /// Decrypts a payload: 16 bytes of initial vector, then blocks, the last ending in 1, 2, 3, … and their
    /// count (section 13.29).
    ///
    /// # Errors
    ///
    /// Not a whole number of blocks, or another end than that.
    pub fn decrypt(&self, payload: &[u8]) -> Result<Vec<u8>, WireError> {
        let mut plain = payload.to_vec();
        let range = self.decrypt_in_place(&mut plain)?;
        plain.truncate(range.end);
        plain.drain(..range.start);
        Ok(plain)
    }

    /// The same without a copy: where in the payload the plain bytes are afterwards.
    pub(crate) fn decrypt_in_place(&self, payload: &mut [u8]) -> Result<Range<usize>, WireError> {
        let (iv, plain) = payload.split_first_chunk_mut::<BLOCK_BYTES>().ok_or(WireError::Short)?;
        if !plain.len().is_multiple_of(BLOCK_BYTES) {
            return Err(WireError::Padding);
        }
        let mut cipher = cbc::Decryptor::<Aes128>::inner_iv_init(self.cipher.clone(), (&*iv).into());
        for block in plain.chunks_exact_mut(BLOCK_BYTES) {
            cipher.decrypt_block_mut(Block::from_mut_slice(block));
        }
        let (&mut count, padded) = plain.split_last_mut().ok_or(WireError::Padding)?;
        // The count is below the block's length; a BMC that pads by a whole block is not refused for it.
        if usize::from(count) > BLOCK_BYTES {
            return Err(WireError::Padding);
        }
        let length = padded.len().checked_sub(usize::from(count)).ok_or(WireError::Padding)?;
        let regular = padded.iter().skip(length).zip(1_u8..).all(|(byte, expected)| *byte == expected);
        if regular { Ok(BLOCK_BYTES..BLOCK_BYTES + length) } else { Err(WireError::Padding) }
    }

    /// Encrypts in place; what is not a whole block at the end stays as it is.
    fn encrypt_blocks(&self, plain: &mut [u8], iv: [u8; BLOCK_BYTES]) {
        let mut cipher = cbc::Encryptor::<Aes128>::inner_iv_init(self.cipher.clone(), (&iv).into());
        for block in plain.chunks_exact_mut(BLOCK_BYTES) {
            cipher.encrypt_block_mut(Block::from_mut_slice(block));
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;
    use crate::wire::Datagram;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn aes_cbc_gives_the_published_values() {
        // NIST SP 800-38A, F.2.1, first block.
        let key =
            [0x2b, 0x7e, 0x15, 0x16, 0x28, 0xae, 0xd2, 0xa6, 0xab, 0xf7, 0x15, 0x88, 9, 0xcf, 0x4f, 0x3c];
        let keys = SessionKeys::from_parts(CipherSuite::Three, &[], &key);
        let iv = std::array::from_fn(|at| u8::try_from(at).unwrap());
        let mut block =
            [0x6b, 0xc1, 0xbe, 0xe2, 0x2e, 0x40, 0x9f, 0x96, 0xe9, 0x3d, 0x7e, 0x11, 0x73, 0x93, 0x17, 0x2a];
        keys.encrypt_blocks(&mut block, iv);
        assert_eq!(hex(&block), "7649abac8119b246cee98e9b12e9197d");
    }

    #[test]
    fn keys_made_again_from_their_parts_are_the_same() {
        for suite in [CipherSuite::Three, CipherSuite::Seventeen] {
            let keys = SessionKeys::derive(suite, b"session integrity key");
            let (first, second) = keys.parts();
            let again = SessionKeys::from_parts(suite, first, second);
            let sealed = keys.seal(PayloadType::Sol, 5, 6, b"the same", [9; 16]);
            assert_eq!(again.seal(PayloadType::Sol, 5, 6, b"the same", [9; 16]), sealed);
        }
    }

    #[test]
    fn every_length_survives_and_every_flipped_bit_is_noticed() {
        for suite in [CipherSuite::Three, CipherSuite::Seventeen] {
            let keys = SessionKeys::derive(suite, b"session integrity key");
            for length in 0..40 {
                let payload = vec![0x41; length];
                let bytes = keys.seal(PayloadType::Sol, 5, 6, &payload, [9; 16]);
                let Datagram::Plus(packet) = Datagram::decode(&bytes).unwrap() else { panic!("not RMCP+") };
                assert_eq!(keys.verify(&packet), Ok(()));
                assert_eq!(keys.decrypt(packet.payload), Ok(payload));
            }
            let bytes = keys.seal(PayloadType::Ipmi, 5, 6, b"message", [9; 16]);
            for bit in 4 * 8..bytes.len() * 8 {
                let mut bad = bytes.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                if let Ok(Datagram::Plus(packet)) = Datagram::decode(&bad) {
                    assert_eq!(keys.verify(&packet), Err(WireError::Integrity), "bit {bit}");
                }
            }
        }
    }

    #[test]
    fn padding_other_than_one_two_three_is_refused() {
        let keys = SessionKeys::derive(CipherSuite::Three, b"key");
        // Encrypting 15 bytes adds the count alone, so these bytes are taken for padding as they stand.
        let cases: [([u8; 16], bool); 4] = [
            ([7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 1, 2, 3, 3], true),
            ([7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 1, 9, 3, 3], false),
            ([0xff; 16], false),
            ([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16], false),
        ];
        for (plain, good) in cases {
            let mut sealed = plain;
            keys.encrypt_blocks(&mut sealed, [0; 16]);
            let payload = [[0; 16], sealed].concat();
            assert_eq!(keys.decrypt(&payload).is_ok(), good, "{plain:?}");
        }
        assert_eq!(keys.decrypt(&[0; 16]), Err(WireError::Padding), "no block at all");
        assert_eq!(keys.decrypt(&[0; 31]), Err(WireError::Padding), "half a block");
    }
}
