//! The cryptography of RMCP+: RAKP's codes, session keys, integrity and encryption (sections 13.28 to 13.32).
//!
//! Both sides compute the same codes, so a simulated BMC uses this module as it is.

use aes::{Aes128, Block};
use cbc::cipher::{BlockDecryptMut, BlockEncryptMut, KeyIvInit};
use hmac::digest::{Key, KeyInit};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::CipherSuite;
use crate::wire::{PayloadType, PlusPacket, WireError, encode_plus};

const BLOCK_BYTES: usize = 16;
/// The constants from which K1 and K2 are made have 20 bytes with either hash (section 13.32).
const CONSTANT_BYTES: usize = 20;

/// What both sides know after RAKP message 2, from which every code of the handshake is made.
#[derive(Clone, Debug)]
pub struct Rakp {
    /// The suite agreed on.
    pub suite: CipherSuite,
    /// The console's id of the session, SIDm.
    pub console_id: u32,
    /// The BMC's id of the session, SIDc.
    pub bmc_id: u32,
    /// The console's random number, Rm.
    pub console_random: [u8; 16],
    /// The BMC's random number, Rc.
    pub bmc_random: [u8; 16],
    /// The BMC's GUID.
    pub bmc_guid: [u8; 16],
    /// The role byte of RAKP message 1.
    pub role: u8,
    /// The user name, at most 16 bytes.
    pub user: Vec<u8>,
}

impl Rakp {
    /// The BMC's code of message 2, with the user's password as key.
    pub fn second_code(&self, password: &[u8]) -> Zeroizing<Vec<u8>> {
        let (console_id, bmc_id) = (self.console_id.to_le_bytes(), self.bmc_id.to_le_bytes());
        let (randoms, guid) = (&[self.console_random, self.bmc_random].concat(), &self.bmc_guid);
        authenticate(self.suite, password, &[&console_id, &bmc_id, randoms, guid, &self.name()])
    }

    /// The console's code of message 3, with the user's password as key.
    pub fn third_code(&self, password: &[u8]) -> Zeroizing<Vec<u8>> {
        let console_id = self.console_id.to_le_bytes();
        authenticate(self.suite, password, &[&self.bmc_random, &console_id, &self.name()])
    }

    /// The session integrity key, with Kg as key, or the password if there is none.
    pub fn session_key(&self, key: &[u8]) -> Zeroizing<Vec<u8>> {
        authenticate(self.suite, key, &[&self.console_random, &self.bmc_random, &self.name()])
    }

    /// The BMC's code of message 4, with the session integrity key as key.
    pub fn fourth_code(&self, session_key: &[u8]) -> Zeroizing<Vec<u8>> {
        let bmc_id = self.bmc_id.to_le_bytes();
        let mut code =
            authenticate(self.suite, session_key, &[&self.console_random, &bmc_id, &self.bmc_guid]);
        code.truncate(code_bytes(self.suite));
        code
    }

    /// Role, length of the name, name: what ends three of the four.
    fn name(&self) -> Vec<u8> {
        let length = u8::try_from(self.user.len()).unwrap_or(u8::MAX);
        [&[self.role, length], self.user.as_slice()].concat()
    }
}

/// Compares two codes in a time that tells nothing about where they differ.
pub fn same_code(ours: &[u8], theirs: &[u8]) -> bool {
    ours.ct_eq(theirs).into()
}

/// The keys of a session: K1 for the integrity codes, K2 for the encryption.
pub struct SessionKeys {
    suite: CipherSuite,
    integrity: Zeroizing<Vec<u8>>,
    encryption: Zeroizing<[u8; BLOCK_BYTES]>,
}

impl SessionKeys {
    /// Makes K1 and K2 from the session integrity key (section 13.32).
    pub fn derive(suite: CipherSuite, session_key: &[u8]) -> Self {
        let integrity = authenticate(suite, session_key, &[&[1; CONSTANT_BYTES]]);
        let second = authenticate(suite, session_key, &[&[2; CONSTANT_BYTES]]);
        let mut encryption = Zeroizing::new([0; BLOCK_BYTES]);
        for (to, from) in encryption.iter_mut().zip(second.iter()) {
            *to = *from;
        }
        Self { suite, integrity, encryption }
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
        let sealed = self.encrypt(payload, iv);
        encode_plus(payload_type, session_id, sequence, &sealed, Some(&|covered| self.code(covered)))
    }

    /// Proves that the packet comes from who holds the keys. To be asked before [`Self::decrypt`].
    ///
    /// # Errors
    ///
    /// The packet's code is wrong, or it has none, or it is not encrypted.
    pub fn verify(&self, packet: &PlusPacket<'_>) -> Result<(), WireError> {
        let (covered, code) = packet.split_code(code_bytes(self.suite))?;
        let right = same_code(&self.code(covered), code) && packet.encrypted;
        if right { Ok(()) } else { Err(WireError::Integrity) }
    }

    /// Decrypts a payload: 16 bytes of initial vector, then blocks, the last ending in 1, 2, 3, … and their
    /// count (section 13.29).
    ///
    /// # Errors
    ///
    /// Not a whole number of blocks, or another end than that.
    pub fn decrypt(&self, payload: &[u8]) -> Result<Vec<u8>, WireError> {
        let (iv, blocks) = payload.split_first_chunk::<BLOCK_BYTES>().ok_or(WireError::Short)?;
        let mut plain = blocks.to_vec();
        if !plain.len().is_multiple_of(BLOCK_BYTES) {
            return Err(WireError::Padding);
        }
        let mut cipher = cbc::Decryptor::<Aes128>::new((&*self.encryption).into(), iv.into());
        for block in plain.chunks_exact_mut(BLOCK_BYTES) {
            cipher.decrypt_block_mut(Block::from_mut_slice(block));
        }
        let count = plain.pop().ok_or(WireError::Padding)?;
        // The count is below the block's length; a BMC that pads by a whole block is not refused for it.
        if usize::from(count) > BLOCK_BYTES {
            return Err(WireError::Padding);
        }
        let at = plain.len().checked_sub(usize::from(count)).ok_or(WireError::Padding)?;
        let regular = plain.iter().skip(at).zip(1_u8..).all(|(byte, expected)| *byte == expected);
        plain.truncate(at);
        if regular { Ok(plain) } else { Err(WireError::Padding) }
    }

    fn encrypt(&self, payload: &[u8], iv: [u8; BLOCK_BYTES]) -> Vec<u8> {
        let mut plain = payload.to_vec();
        let mut count = 0_u8;
        while !(plain.len() + 1).is_multiple_of(BLOCK_BYTES) {
            count += 1;
            plain.push(count);
        }
        plain.push(count);
        self.encrypt_blocks(&mut plain, iv);
        [iv.as_slice(), &plain].concat()
    }

    /// Encrypts in place; what is not a whole block at the end stays as it is.
    fn encrypt_blocks(&self, plain: &mut [u8], iv: [u8; BLOCK_BYTES]) {
        let mut cipher = cbc::Encryptor::<Aes128>::new((&*self.encryption).into(), (&iv).into());
        for block in plain.chunks_exact_mut(BLOCK_BYTES) {
            cipher.encrypt_block_mut(Block::from_mut_slice(block));
        }
    }

    fn code(&self, covered: &[u8]) -> Vec<u8> {
        let mut code = authenticate(self.suite, &self.integrity, &[covered]);
        code.truncate(code_bytes(self.suite));
        code.to_vec()
    }
}

/// The length of a packet's code and of message 4's.
fn code_bytes(suite: CipherSuite) -> usize {
    match suite {
        CipherSuite::Three => 12,
        CipherSuite::Seventeen => 16,
    }
}

/// The suite's HMAC over the parts, one after the other.
fn authenticate(suite: CipherSuite, key: &[u8], parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    match suite {
        CipherSuite::Three => run::<Hmac<Sha1>>(key, parts),
        CipherSuite::Seventeen => run::<Hmac<Sha256>>(key, parts),
    }
}

/// Every key here is shorter than the hash's block of 64 bytes, to which HMAC fills it up with zeros.
fn run<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let mut block = Key::<M>::default();
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    let mut mac = <M as KeyInit>::new(&block);
    block.as_mut_slice().zeroize();
    for part in parts {
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().to_vec())
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
    fn hmac_gives_the_published_values() {
        // RFC 2202 and RFC 4231, test case 2.
        let data: [&[u8]; 1] = [b"what do ya want for nothing?"];
        let first = authenticate(CipherSuite::Three, b"Jefe", &data);
        assert_eq!(hex(&first), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
        let second = authenticate(CipherSuite::Seventeen, b"Jefe", &data);
        assert_eq!(hex(&second), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn aes_cbc_gives_the_published_values() {
        // NIST SP 800-38A, F.2.1, first block.
        let mut keys = SessionKeys::derive(CipherSuite::Three, &[]);
        let key =
            [0x2b, 0x7e, 0x15, 0x16, 0x28, 0xae, 0xd2, 0xa6, 0xab, 0xf7, 0x15, 0x88, 9, 0xcf, 0x4f, 0x3c];
        keys.encryption = Zeroizing::new(key);
        let iv = std::array::from_fn(|at| u8::try_from(at).unwrap());
        let plain =
            [0x6b, 0xc1, 0xbe, 0xe2, 0x2e, 0x40, 0x9f, 0x96, 0xe9, 0x3d, 0x7e, 0x11, 0x73, 0x93, 0x17, 0x2a];
        let sealed = keys.encrypt(&plain, iv);
        assert_eq!(hex(&sealed[16..32]), "7649abac8119b246cee98e9b12e9197d");
        assert_eq!(keys.decrypt(&sealed), Ok(plain.to_vec()));
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
