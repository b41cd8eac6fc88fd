//! What looks like a secret is masked, wherever it stands. Nothing of ours writes secrets into logs or answers; this is
//! for what others write there.

use std::sync::LazyLock;

use regex::Regex;

/// What stands in a secret's place.
const MASK: &str = "[masked]";

/// Whole values, wherever they stand.
static VALUES: LazyLock<Regex> = LazyLock::new(|| {
    let parts = [
        // A key in PEM, in one line or many; JSON and journals write its line ends as `\n`.
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)-----END [A-Z ]*PRIVATE KEY-----",
        // A JSON web token.
        r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
        // A kept password: argon2, yescrypt, SHA-crypt, bcrypt.
        r"\$(?:argon2[a-z]*|y|gy|7|6|5|2[aby])\$[A-Za-z0-9./$=,+_-]{8,}",
        // An age identity.
        r"AGE-SECRET-KEY-[A-Z0-9]+",
    ];
    compile(&parts.join("|"))
});

/// `password = "…"`, `"secret": "…"`, `token=…`, `Authorization: Bearer …`: the word stays.
static NAMED: LazyLock<Regex> = LazyLock::new(|| {
    compile(
        r#"(?i)((?:passw(?:or)?d|passphrase|secret|psk|api_?key|private_?key|(?:access|refresh|id)_token|token|community)["']?\s*[:=]\s*["']?|\bbearer\s+|\bauthorization\s*:\s*basic\s+)([^\s"',;&}\]{\[][^\s"',;&}]{3,})"#,
    )
});

fn compile(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant, which a test compiles")
}

/// The text without them.
pub(super) fn mask(text: &str) -> String {
    let text = VALUES.replace_all(text, MASK);
    NAMED.replace_all(&text, format!("${{1}}{MASK}")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn secrets_are_masked_wherever_they_stand() {
        for (text, masked) in [
            ("user=root password=kanarie-1 x", "user=root password=[masked] x"),
            (r#"{"Password": "kanarie-1", "User": "root"}"#, r#"{"Password": "[masked]", "User": "root"}"#),
            ("psk = 'kanarie-1'", "psk = '[masked]'"),
            ("curl -H 'Authorization: Bearer abcdefgh'", "curl -H 'Authorization: Bearer [masked]'"),
            ("told eyJhbGciOiJF.eyJzdWIiOiJh.c2ln and on", "told [masked] and on"),
            ("alice:$y$j9T$abcdefgh$ijklmnop:1", "alice:[masked]:1"),
            (
                "-----BEGIN EC PRIVATE KEY-----\nMHc\nCAQ\n-----END EC PRIVATE KEY-----\nnext",
                "[masked]\nnext",
            ),
            (r#""-----BEGIN PRIVATE KEY-----\nMHc\n-----END PRIVATE KEY-----\n""#, r#""[masked]\n""#),
            ("https://h/x?access_token=abcdefgh&y=1", "https://h/x?access_token=[masked]&y=1"),
        ] {
            assert_eq!(mask(text), masked);
        }
    }

    #[test]
    fn what_helps_stays() {
        for text in [
            "pilothouse_join_tokens_total 5",
            "secret = { credential = \"inventory.bmc\" }",
            "ssh_keys = [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMkK1vB7nQvJ3p7yq0o3Yl0m5yqO6y3m7m8m9n0p1q2r\"]",
            "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
            "log-in with a password by alice",
            "a token with the role admin",
        ] {
            assert_eq!(mask(text), text);
        }
    }
}
