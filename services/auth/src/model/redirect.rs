//! Where an answer of the authorization endpoint may go, and who may take it from there (RFC 7636, RFC 8252).

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Uri;

use super::same;

/// The longest address.
const LENGTH_MAX: usize = 512;

/// What is wrong with an address that a client registers.
pub(crate) fn check_redirect(text: &str) -> Result<(), String> {
    let wrong = |why: &str| Err(format!("{text:?} is no redirect address: {why}"));
    if text.len() > LENGTH_MAX || text.bytes().any(|it| !it.is_ascii_graphic()) {
        return wrong("at most 512 plain characters");
    }
    let Ok(uri) = text.parse::<Uri>() else { return wrong("it cannot be read") };
    let Some(authority) = uri.authority() else { return wrong("it names no host") };
    if text.contains('#') || authority.as_str().contains('@') {
        return wrong("it has a fragment or an account");
    }
    match uri.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if is_loopback(authority.host()) => Ok(()),
        _ => wrong("it is https, or http to 127.0.0.1, [::1] or localhost"),
    }
}

fn is_loopback(host: &str) -> bool {
    matches!(host, "127.0.0.1" | "[::1]" | "localhost")
}

/// Whether an address is the registered one; to the loopback interface any port is (RFC 8252 section 7.3).
pub(crate) fn same_redirect(registered: &str, given: &str) -> bool {
    if registered == given {
        return true;
    }
    if check_redirect(given).is_err() {
        return false;
    }
    let (Ok(one), Ok(other)) = (registered.parse::<Uri>(), given.parse::<Uri>()) else { return false };
    one.scheme_str() == Some("http")
        && other.scheme_str() == Some("http")
        && one.host().is_some_and(is_loopback)
        && one.host() == other.host()
        && one.path_and_query() == other.path_and_query()
}

/// Whether the text may be a challenge: the digest of a verifier, S256.
pub(crate) fn is_challenge(text: &str) -> bool {
    text.len() == 43 && URL_SAFE_NO_PAD.decode(text).is_ok()
}

/// Whether who brings this verifier made the challenge.
pub(crate) fn proves(verifier: &str, challenge: &str) -> bool {
    let inner = |it: u8| it.is_ascii_alphanumeric() || b"-._~".contains(&it);
    (43..=128).contains(&verifier.len())
        && verifier.bytes().all(inner)
        && same(&URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes())), challenge)
}

#[cfg(test)]
mod tests {
    use super::{check_redirect, is_challenge, proves, same_redirect};

    #[test]
    fn an_address_is_the_registered_one_whatever_the_loopback_port() {
        let loopback = "http://127.0.0.1/callback";
        for given in [loopback, "http://127.0.0.1:4711/callback", "http://127.0.0.1:1/callback"] {
            assert!(same_redirect(loopback, given), "{given}");
        }
        for given in [
            "http://127.0.0.1:4711/other",
            "http://127.0.0.1:4711/callback?a=b",
            "https://127.0.0.1:4711/callback",
            "http://localhost:4711/callback",
            "http://127.0.0.1.evil.example/callback",
            "http://127.0.0.1:80@evil.example/callback",
            "http://evil.example#http://127.0.0.1/callback",
        ] {
            assert!(!same_redirect(loopback, given), "{given}");
        }
        assert!(same_redirect("https://app.site/cb", "https://app.site/cb"));
        for given in
            ["https://app.site/cb/", "https://app.site:444/cb", "https://APP.site/cb", "http://app.site/cb"]
        {
            assert!(!same_redirect("https://app.site/cb", given), "{given}");
        }
    }

    #[test]
    fn what_is_registered_is_safe() {
        for good in
            ["https://app.site/cb?x=1", "http://127.0.0.1/cb", "http://[::1]:1/cb", "http://localhost/"]
        {
            assert!(check_redirect(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/cb",
            "http://app.site/cb",
            "https://a@app.site/",
            "https://app.site/#x",
            "javascript:x",
            "data:x",
        ] {
            assert!(check_redirect(bad).is_err(), "{bad}");
        }
    }

    /// The pair of RFC 7636 appendix B.
    #[test]
    fn a_verifier_proves_its_challenge() {
        let (verifier, challenge) =
            ("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        assert!(is_challenge(challenge) && proves(verifier, challenge));
        assert!(!proves(challenge, challenge) && !proves("short", challenge) && !is_challenge("plain"));
    }
}
