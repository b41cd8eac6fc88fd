//! Secrets: drawn, compared, and what is kept of them.

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::{constant_time, digest, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

/// Too long to be guessed, so that a plain digest keeps it.
const SECRET_BYTES: usize = 32;
/// Letters that are not taken for others and spell no words (RFC 8628 section 6.1).
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
const USER_CODE_LETTERS: usize = 8;

/// A new secret as text.
pub(crate) fn new_secret() -> Result<Zeroizing<String>, Unspecified> {
    let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
    rand::fill(&mut *bytes)?;
    Ok(Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes)))
}

/// What is kept of a secret.
pub(crate) fn digest_of(secret: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, secret.as_bytes()))
}

/// Whether two texts are one, in a time that tells nothing.
pub(crate) fn same(one: &str, other: &str) -> bool {
    constant_time::verify_slices_are_equal(one.as_bytes(), other.as_bytes()).is_ok()
}

/// A code that a person types, `WDJB-MJHT`.
pub(crate) fn new_user_code() -> Result<String, Unspecified> {
    let mut code = String::new();
    while code.len() < USER_CODE_LETTERS {
        let mut byte = [0];
        rand::fill(&mut byte)?;
        // Above it some letters would be likelier than others.
        let even = 256 / LETTERS.len() * LETTERS.len();
        if usize::from(byte[0]) < even {
            code.push(char::from(LETTERS[usize::from(byte[0]) % LETTERS.len()]));
        }
    }
    Ok(shown(&code))
}

/// What a person typed, as it was given out; none if it cannot be.
pub(crate) fn normal_user_code(typed: &str) -> Option<String> {
    let letters: String =
        typed.chars().filter(|it| !matches!(it, '-' | ' ')).map(|it| it.to_ascii_uppercase()).collect();
    let good = letters.len() == USER_CODE_LETTERS && letters.bytes().all(|it| LETTERS.contains(&it));
    good.then(|| shown(&letters))
}

fn shown(code: &str) -> String {
    let (one, other) = code.split_at(USER_CODE_LETTERS / 2);
    format!("{one}-{other}")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{new_user_code, normal_user_code, same};

    #[test]
    fn a_user_code_is_read_as_people_type_it() {
        let code = new_user_code().unwrap();
        assert_eq!(code.len(), 9);
        let typed = format!(" {} ", code.to_lowercase().replace('-', " "));
        assert_eq!(normal_user_code(&typed), Some(code));
        for typed in ["", "AAAA-AAAA", "WDJB-MJH", "WDJB-MJHTT", "ẞßẞß"] {
            assert_eq!(normal_user_code(typed), None);
        }
        assert!(same("a", "a") && !same("a", "b") && !same("a", "ab"));
    }
}
