//! What names, accounts and keys look like.

/// Whether the text is a DNS label in lower case (RFC 1123 section 2.1).
#[must_use]
pub fn is_label(text: &str) -> bool {
    let inner = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Whether the text is an account name that useradd(8) would take.
#[must_use]
pub fn is_account(text: &str) -> bool {
    let inner = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || matches!(it, b'-' | b'_');
    (1..=31).contains(&text.len())
        && text.bytes().all(inner)
        && text.starts_with(|it: char| it.is_ascii_lowercase())
        && !matches!(text, "root" | "postgres" | "nobody" | "daemon" | "bin" | "sys")
        && !text.starts_with("pilothouse")
}

/// Whether the text is a line of an `authorized_keys` file without options: type, base64, comment.
#[must_use]
pub fn is_ssh_key(text: &str) -> bool {
    const TYPES: [&str; 6] = [
        "ssh-ed25519",
        "ssh-rsa",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    ];
    let mut words = text.split(' ');
    let known = words.next().is_some_and(|it| TYPES.contains(&it));
    let blob = words.next().is_some_and(|it| {
        let base64 = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'+' | b'/' | b'=');
        it.len() >= 40 && it.starts_with("AAAA") && it.bytes().all(base64)
    });
    known && blob && !text.contains(char::is_control)
}
