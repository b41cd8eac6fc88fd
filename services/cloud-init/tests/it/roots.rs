//! The text that makes a machine trust the head's roots, run on a copy of this machine's own certificates.

use std::path::Path;
use std::process::Command;

/// What the script sees: the certificates of the machine are a copy, which a mount namespace puts in place.
const RUN: &str = r#"
set -eu
certs=$1 keys=$2 script=$3
cp -a /etc/ssl/certs/. "$certs"
mount --bind "$certs" /etc/ssl/certs
for name in old new; do
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=root $name" \
        -keyout "$keys/key" -out "$keys/$name.pem" 2>/dev/null
done
sh "$script" "$keys/kept" </dev/null
cp /etc/ssl/certs/ca-certificates.crt "$keys/before"
cat "$keys/old.pem" "$keys/new.pem" | sh "$script" "$keys/kept"
openssl verify -CApath /etc/ssl/certs "$keys/old.pem" "$keys/new.pem"
openssl verify -no-CApath -CAfile /etc/ssl/certs/ca-certificates.crt "$keys/old.pem" "$keys/new.pem"
sh "$script" "$keys/kept" <"$keys/new.pem"
openssl verify -CApath /etc/ssl/certs "$keys/new.pem"
if openssl verify -CApath /etc/ssl/certs "$keys/old.pem" 2>/dev/null; then exit 10; fi
if openssl verify -no-CApath -CAfile /etc/ssl/certs/ca-certificates.crt "$keys/old.pem" 2>/dev/null; then exit 11; fi
sh "$script" "$keys/kept" </dev/null
cmp /etc/ssl/certs/ca-certificates.crt "$keys/before"
"#;

#[test]
fn roots_are_trusted_and_no_longer_once_they_are_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (certs, keys) = (folder.path().join("certs"), folder.path().join("keys"));
    std::fs::create_dir(&certs).unwrap();
    std::fs::create_dir(&keys).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../units/usr/lib/pilothouse/trust-roots");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", RUN, "sh"]).args([&certs, &keys, &script]);
    let done = command.output().unwrap();
    let told = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{}: {told}", done.status);
    assert_eq!(told.matches(": OK").count(), 5, "{told}");
}
