//! Host keys as nodes report them, and the files that `ssh` reads.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::net::IpAddr;

/// Host keys of one node that are kept.
const KEYS_MAX: usize = 8;
/// The longest: RSA of 16,384 bits.
const KEY_MAX: usize = 4096;
/// What OpenSSH's server may have (sshd_config(5), HostKeyAlgorithms).
const KINDS: [&str; 5] =
    ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa"];

/// A host key without its comment, if the text is one.
pub(crate) fn host_key(text: &str) -> Option<String> {
    let mut words = text.split_ascii_whitespace();
    let (kind, key) = (words.next()?, words.next()?);
    let known = KINDS.contains(&kind) && text.len() <= KEY_MAX;
    let blob = STANDARD.decode(key).ok()?;
    // The blob begins with its own kind, so that no other key is meant than is said.
    let begin = [&u32::try_from(kind.len()).ok()?.to_be_bytes()[..], kind.as_bytes()].concat();
    (known && blob.starts_with(&begin)).then(|| format!("{kind} {key}"))
}

/// The host keys of a text with one a line, or of several texts; what is none is left out.
pub(crate) fn host_keys<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut keys: Vec<String> = texts.into_iter().flat_map(str::lines).filter_map(host_key).collect();
    keys.sort();
    keys.dedup();
    keys.truncate(KEYS_MAX);
    keys
}

/// The file of known hosts for one node at one address (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).
pub(crate) fn known_hosts(address: IpAddr, port: u16, keys: &[String]) -> String {
    let host = if port == 22 { address.to_string() } else { format!("[{address}]:{port}") };
    keys.iter().map(|it| format!("{host} {it}\n")).collect()
}

/// The algorithms by which a server with these keys may show itself, for `HostKeyAlgorithms`.
pub(crate) fn algorithms(keys: &[String]) -> String {
    let kinds = keys.iter().filter_map(|it| it.split(' ').next());
    let names: Vec<&str> =
        kinds.map(|it| if it == "ssh-rsa" { "rsa-sha2-512,rsa-sha2-256" } else { it }).collect();
    names.join(",")
}

#[cfg(test)]
mod tests {
    use super::{algorithms, host_key, host_keys, known_hosts};

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMkK1vB7nQvJ3p7yq0o3Yl0m5yqO6y3m7m8m9n0p1q2r";

    #[test]
    fn a_host_key_loses_its_comment_and_nothing_else_is_one() {
        assert_eq!(host_key(&format!("{KEY} root@node\n")).as_deref(), Some(KEY));
        for bad in
            ["", "ssh-ed25519", "ssh-ed25519 !!!!", "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAA", "* ssh-ed25519 x"]
        {
            assert_eq!(host_key(bad), None, "{bad}");
        }
        let both = host_keys([format!("{KEY} a\n{KEY} b\n# no\n").as_str(), "@cert-authority x y"]);
        assert_eq!(both, [KEY]);
        let address = [172, 16, 0, 1].into();
        assert_eq!(known_hosts(address, 22, &both), format!("172.16.0.1 {KEY}\n"));
        assert_eq!(known_hosts(address, 2222, &both), format!("[172.16.0.1]:2222 {KEY}\n"));
        assert_eq!(algorithms(&both), "ssh-ed25519");
    }
}
