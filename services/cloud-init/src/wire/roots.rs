//! The head's root certificates on their way to nodes, beside whatever else is vendor-data.

/// Between the parts; no certificate and no list of URLs has such a line.
const BOUNDARY: &str = "pilothouse-vendor-data";

/// What makes a machine trust the certificates on its standard input; the head runs the same file.
const SCRIPT: &str = include_str!("../../../../units/usr/lib/pilothouse/trust-roots");

/// vendor-data of two parts (RFC 2046 section 5.1), as cloud-init takes several kinds at once: the roots that the node
/// is to trust, and what it would have been given alone. None if there is no certificate in `roots`.
///
/// The roots come as a boothook and not as `ca_certs`, which hashes every certificate of the machine anew at each boot
/// of a diskless node; a boothook also runs before what the node's own data may fetch by https.
pub(crate) fn with_roots(roots: &str, kind: &str, text: &str) -> Option<String> {
    let end = "-----END CERTIFICATE-----";
    let certificates = roots.split_inclusive(end).filter_map(|it| it.find("-----BEGIN ").map(|at| &it[at..]));
    let trusted: String = certificates.filter(|it| it.ends_with(end)).map(|it| format!("{it}\n")).collect();
    if trusted.is_empty() {
        return None;
    }
    let part =
        |kind: &str, text: &str| format!("--{BOUNDARY}\nContent-Type: {kind}; charset=\"utf-8\"\n\n{text}\n");
    // The script's last line is the call that reads.
    let hook = format!("{} <<'ROOTS'\n{trusted}ROOTS", SCRIPT.trim_end());
    Some(format!(
        "Content-Type: multipart/mixed; boundary=\"{BOUNDARY}\"\nMIME-Version: 1.0\n\n{}{}--{BOUNDARY}--\n",
        part("text/cloud-boothook", &hook),
        part(kind, text),
    ))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::with_roots;

    #[test]
    fn roots_come_before_what_else_there_is() {
        let roots = "-----BEGIN CERTIFICATE-----\nYQ==\n-----END CERTIFICATE-----\n\
            -----BEGIN CERTIFICATE-----\nYg==\n-----END CERTIFICATE-----\n";
        let text = with_roots(roots, "text/x-include-url", "#include\nhttp://head/x.yaml\n").unwrap();
        let trusted = "trust_roots \"$@\" <<'ROOTS'\n-----BEGIN CERTIFICATE-----\nYQ==\n-----END CERTIFICATE-----\n\
            -----BEGIN CERTIFICATE-----\nYg==\n-----END CERTIFICATE-----\nROOTS\n";
        assert!(text.starts_with("Content-Type: multipart/mixed; ") && text.contains(trusted), "{text}");
        assert!(
            text.contains("Content-Type: text/cloud-boothook; charset=\"utf-8\"\n\n#!/bin/sh\n"),
            "{text}"
        );
        assert!(
            text.contains("Content-Type: text/x-include-url; charset=\"utf-8\"\n\n#include\nhttp://"),
            "{text}"
        );
        assert!(text.ends_with("--pilothouse-vendor-data--\n"));
        assert_eq!(text.matches("\n--pilothouse-vendor-data").count(), 3);
    }

    #[test]
    fn without_a_root_nothing_changes() {
        for roots in ["", "rubbish", "-----BEGIN CERTIFICATE-----\nYQ==\n"] {
            assert_eq!(with_roots(roots, "text/plain", "x"), None, "{roots}");
        }
    }
}
