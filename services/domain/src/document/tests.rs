#![expect(clippy::unwrap_used, reason = "tests")]

use super::{Answer, Document};

const GOOD: &str = r#"version = 1

[cluster]
name = "demo"
domain = "openchami.cluster"

[[network.planes]]
name = "nodes"
kind = "nodes"
interface = "ens3"
addresses = ["172.16.0.254/24"]

[[network.planes.subnets]]
cidr = "172.16.0.0/24"
range = "172.16.0.200-172.16.0.250"

[secrets.bmc]
user = "admin"
password = "canary"

[admins.alice]
ssh_keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMkK1vB7nQvJ3p7yq0o3Yl0m5yqO6y3m7m8m9n0p1q2r alice@site"]

[gateway]
trusted_proxies = ["127.0.0.1"]
"#;

#[test]
fn an_answer_gives_up_its_secrets_and_no_other_line() {
    let answer = Answer::parse(GOOD).unwrap();
    assert!(!answer.text.contains("canary") && answer.text.contains("trusted_proxies"));
    assert_eq!(answer.secrets.bmc.unwrap().password, "canary");
    assert_eq!(Document::parse(&answer.text).unwrap(), answer.document);
}

#[test]
fn no_message_holds_a_secret() {
    for bad in ["password = [\"canary\"]", "password = 987654", "pass = \"canary\""] {
        let text = GOOD.replace("password = \"canary\"", bad);
        let error = Answer::parse(&text).unwrap_err().to_string();
        assert!(!error.contains("canary") && !error.contains("987654"), "{error}");
    }
    let error = Answer::parse("version = 1\nsecrets = \"canary\"").unwrap_err().to_string();
    assert!(!error.contains("canary"), "{error}");
}

#[test]
fn what_is_wrong_is_named_with_line_and_column() {
    let cases = [
        ("name = \"demo\"", "name = \"Demo!\"", 4, "DNS label"),
        ("254/24", "254/33", 11, ""),
        ("254/24", "0/24", 11, "network's own"),
        ("172.16.0.250", "172.16.1.250", 15, "not in 172.16.0.0/24"),
        ("kind = \"nodes\"", "kind = \"node\"", 9, "unknown variant"),
        ("ssh-ed25519 AAAA", "ssh-ed25519 BBBB", 22, "OpenSSH"),
        ("interface =", "interfaces =", 10, "unknown field"),
        ("version = 1", "version = 2", 1, "version 1"),
    ];
    for (good, bad, line, word) in cases {
        let error = Answer::parse(&GOOD.replacen(good, bad, 1)).unwrap_err();
        assert_eq!(error.line, line, "{error}");
        assert!(error.message.contains(word) && error.column >= 1, "{error}");
    }
}

#[test]
fn a_document_without_secrets_is_kept_byte_for_byte() {
    let text = "# by hand\r\nversion = 1\r\n[cluster]\nname = 'demo'\ndomain = \"a.b\"\n\n\n";
    assert_eq!(Answer::parse(text).unwrap().text, text);
}

#[test]
fn a_freeze_covers_its_time_and_ends_after_it_begins() {
    let text = "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"a.b\"\n[[freeze]]\n\
        from = \"2026-12-20T00:00:00Z\"\nuntil = \"2027-01-02T00:00:00+01:00\"\nreason = \"holidays\"\n";
    let freeze = Document::parse(text).unwrap().freeze.remove(0);
    let at = |seconds| time::OffsetDateTime::from_unix_timestamp(seconds).unwrap();
    assert!(freeze.covers(at(1_797_724_800)) && !freeze.covers(at(1_797_724_799)));
    assert!(freeze.covers(at(1_798_844_399)) && !freeze.covers(at(1_798_844_400)));
    let error = Document::parse(&text.replace("2027-01-02", "2026-01-02")).unwrap_err();
    assert_eq!((error.line, error.column), (7, 9), "{error}");
}

#[test]
fn a_syslog_server_has_a_name_and_a_bounded_queue() {
    let head =
        "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"a.b\"\n[[logs.targets]]\nhost = \"log.a.b\"\n";
    let target = Document::parse(head).unwrap().logs.targets.remove(0);
    assert_eq!((target.port(), target.queue.0), (514, 256 << 20));
    let tls = Document::parse(&format!("{head}tls = true\n")).unwrap().logs.targets.remove(0);
    assert_eq!(tls.port(), 6514);
    for (key, line) in [("queue = \"1KiB\"", 7), ("ca = \"x\"", 7), ("port = 0", 7)] {
        let error = Document::parse(&format!("{head}{key}\n")).unwrap_err();
        assert_eq!(error.line, line, "{error}");
    }
    // It becomes a line of rsyslog's configuration.
    for host in ["", "a b", "a\\\"b", "-a", "a)"] {
        assert!(Document::parse(&head.replace("log.a.b", host)).is_err(), "{host}");
    }
}
