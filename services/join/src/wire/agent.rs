//! The protocol of SSH agents (draft-ietf-sshm-ssh-agent): the key signs here, and never leaves this process.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
const ALGORITHM: &[u8] = b"ssh-ed25519";
/// The longest request: what is signed is a session's hash, names and the key.
pub(crate) const REQUEST_MAX: usize = 16 << 10;

/// The public key as OpenSSH writes it on the wire.
pub(crate) fn public_blob(key: &Ed25519KeyPair) -> Vec<u8> {
    [text(ALGORITHM), text(key.public_key().as_ref())].concat()
}

/// The answer to a request, both without their lengths.
pub(crate) fn answer(key: &Ed25519KeyPair, request: &[u8]) -> Vec<u8> {
    match request.split_first() {
        Some((&REQUEST_IDENTITIES, [])) => {
            [&[IDENTITIES_ANSWER][..], &1u32.to_be_bytes(), &text(&public_blob(key)), &text(b"join")].concat()
        }
        Some((&SIGN_REQUEST, rest)) => sign(key, rest).unwrap_or_else(|| vec![FAILURE]),
        _ => vec![FAILURE],
    }
}

fn sign(key: &Ed25519KeyPair, request: &[u8]) -> Option<Vec<u8>> {
    let (blob, rest) = take(request)?;
    let (data, flags) = take(rest)?;
    if blob != public_blob(key) || flags.len() != 4 {
        return None;
    }
    let signature = [text(ALGORITHM), text(key.sign(data).as_ref())].concat();
    Some([&[SIGN_RESPONSE][..], &text(&signature)].concat())
}

fn text(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], bytes].concat()
}

fn take(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{Ed25519KeyPair, FAILURE, answer, public_blob, text};

    #[test]
    fn only_its_own_key_signs_and_no_cut_request_is_taken() {
        let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        assert_eq!(answer(&key, &[11])[0], 12);
        let request = [&[13][..], &text(&public_blob(&key)), &text(b"data"), &[0; 4]].concat();
        assert_eq!(answer(&key, &request)[0], 14);
        for length in 0..request.len() {
            assert_eq!(answer(&key, &request[..length]), [FAILURE], "{length}");
        }
        let other = Ed25519KeyPair::from_seed_unchecked(&[8; 32]).unwrap();
        assert_eq!(answer(&other, &request), [FAILURE]);
    }
}
