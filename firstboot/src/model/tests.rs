//! Whole dialogues.

#![expect(clippy::unwrap_used, reason = "tests")]

use domain::document::Answer;

use super::{Interview, Turn};
use crate::machine::{Machine, Nic};

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMkK1vB7nQvJ3p7yq0o3Yl0m5yqO6y3m7m8m9n0p1q2r alice@site";

fn machine() -> Machine {
    let nic = |name: &str, last, link| Nic {
        name: name.to_owned(),
        mac: domain::MacAddr::new([0x52, 0x54, 0, 0, 0, last]),
        link,
        speed: None,
    };
    let nics = vec![nic("ens3", 3, Some(false)), nic("ens4", 4, Some(true)), nic("ens5", 5, None)];
    Machine { nics, accounts: vec!["root".to_owned(), "backup".to_owned()] }
}

/// Plays a dialogue: each prompt must be the one that is expected. Returns all that was shown between.
fn play(interview: &mut Interview, dialogue: &[(&str, &str)]) -> Vec<String> {
    let mut shown = Vec::new();
    for (prompt, line) in dialogue {
        assert_eq!(interview.prompt().text, *prompt, "after {shown:#?}");
        match interview.take(line) {
            Turn::Ask(lines) => shown.extend(lines),
            Turn::Apply => shown.push("applied".to_owned()),
        }
    }
    shown
}

/// The shortest way through: defaults wherever there is one.
const SHORTEST: &[(&str, &str)] = &[
    ("Cluster name [demo]: ", ""),
    ("Domain [openchami.cluster]: ", ""),
    ("Name of the head [demo-head]: ", ""),
    ("Nodes network, interface [ens4]: ", ""),
    ("Nodes network, address of the head [172.16.0.254/24]: ", ""),
    ("Nodes network, range for unknown machines [none]: ", ""),
    ("BMC network, same or an interface [same]: ", ""),
    ("Site network, none, dhcp or static [none]: ", ""),
    ("Name servers [none]: ", ""),
    ("Time servers [none]: ", ""),
    ("Administrator, account [admin]: ", ""),
    ("Administrator, SSH public key: ", KEY),
    ("BMC account, user [none]: ", ""),
];
const CONFIRM: &str = "Apply this? yes, no or a number to change: ";

#[test]
fn the_shortest_way_is_a_document_with_one_network() {
    let (mut interview, lines) = Interview::begin(machine());
    assert_eq!(lines[2], "  ens4            52:54:00:00:00:04  link up");
    let shown = play(&mut interview, SHORTEST);
    assert_eq!(shown[0], "Summary:");
    assert_eq!(play(&mut interview, &[(CONFIRM, "yes")]), ["applied"]);
    let answer = Answer::parse(&interview.answer()).unwrap();
    let headless = format!(
        r#"version = 1
[cluster]
name = "demo"
domain = "openchami.cluster"
[[network.planes]]
name = "nodes"
kind = "nodes"
interface = "ens4"
addresses = ["172.16.0.254/24"]
[admins.admin]
ssh_keys = ["{KEY}"]
"#
    );
    assert_eq!(answer.document, Answer::parse(&headless).unwrap().document);
    assert!(answer.secrets.bmc.is_none());
}

#[test]
fn wrong_answers_are_asked_again_with_their_reason_and_the_end_is_the_headless_document() {
    let (mut interview, _) = Interview::begin(machine());
    let shown = play(
        &mut interview,
        &[
            ("Cluster name [demo]: ", "Big Iron"),
            ("Cluster name [demo]: ", "iron"),
            ("Domain [openchami.cluster]: ", "hpc.example"),
            ("Name of the head [iron-head]: ", "anvil"),
            ("Nodes network, interface [ens4]: ", "eth0"),
            ("Nodes network, interface [ens4]: ", "52:54:00:00:00:03"),
            ("Nodes network, address of the head [172.16.0.254/24]: ", "10.1.0.0/16"),
            ("Nodes network, address of the head [172.16.0.254/24]: ", "10.1.0.1"),
            ("Nodes network, address of the head [172.16.0.254/24]: ", "10.1.0.1/16"),
            ("Nodes network, range for unknown machines [none]: ", "10.2.0.1-10.2.0.9"),
            ("Nodes network, range for unknown machines [none]: ", "10.1.9.1-10.1.9.99"),
            ("BMC network, same or an interface [same]: ", "ens4"),
            ("BMC network, address of the head: ", ""),
            ("BMC network, address of the head: ", "10.1.128.1/24"),
            ("BMC network, address of the head: ", "10.3.0.1/24"),
            ("Site network, none, dhcp or static [none]: ", "dynamic"),
            ("Site network, none, dhcp or static [none]: ", "static"),
            ("Site network, interface [ens5]: ", ""),
            ("Site network, address of the head: ", "192.0.2.9/24"),
            ("Site network, router [none]: ", "198.51.100.1"),
            ("Site network, router [none]: ", "192.0.2.1"),
            ("Name servers [none]: ", "192.0.2.53, 192.0.2.54"),
            ("Time servers [none]: ", "10.0.0.333"),
            ("Time servers [none]: ", "ntp.example 192.0.2.123"),
            ("Administrator, account [admin]: ", "backup"),
            ("Administrator, account [admin]: ", "alice"),
            ("Administrator, SSH public key: ", "ssh-ed25519 no-key alice@site"),
            ("Administrator, SSH public key: ", KEY),
            ("BMC account, user [none]: ", "root"),
            ("BMC account, password (not shown): ", "ca\"na\\ry "),
            ("BMC account, password again (not shown): ", "other"),
            ("BMC account, password (not shown): ", "ca\"na\\ry "),
            ("BMC account, password again (not shown): ", "ca\"na\\ry "),
            (CONFIRM, "perhaps"),
            (CONFIRM, "yes"),
        ],
    );
    let refused: Vec<&str> = shown.iter().filter_map(|it| it.strip_prefix("  ! ")).collect();
    let reasons = [
        "DNS label",
        "it has: ens3 ens4 ens5",
        "network's own address",
        "with a prefix",
        "range is not in 10.1.0.0/16",
        "needs an answer",
        "overlaps",
        "none, dhcp or static",
        "not in 192.0.2.0/24",
        "10.0.0.333",
        "account of the system",
        "OpenSSH public key",
        "not the same",
        "yes, no",
    ];
    assert_eq!(refused.len(), reasons.len(), "{refused:#?}");
    for (reason, expected) in refused.iter().zip(reasons) {
        assert!(reason.contains(expected), "{reason:?} does not say {expected:?}");
    }
    assert!(!shown.iter().any(|it| it.contains("na\\ry")), "no password is shown");
    let headless = format!(
        r#"version = 1
[cluster]
name = "iron"
domain = "hpc.example"
head = "anvil"
[network]
dns = ["192.0.2.53", "192.0.2.54"]
ntp = ["ntp.example", "192.0.2.123"]
[[network.planes]]
name = "nodes"
kind = "nodes"
interface = "52:54:00:00:00:03"
addresses = ["10.1.0.1/16"]
[[network.planes.subnets]]
cidr = "10.1.0.0/16"
range = "10.1.9.1-10.1.9.99"
[[network.planes]]
name = "bmc"
kind = "bmc"
interface = "ens4"
addresses = ["10.3.0.1/24"]
[[network.planes]]
name = "site"
kind = "site"
interface = "ens5"
addresses = ["192.0.2.9/24"]
[[network.planes.subnets]]
cidr = "192.0.2.0/24"
router = "192.0.2.1"
[admins.alice]
ssh_keys = ["{KEY}"]
[secrets.bmc]
user = "root"
password = 'ca"na\ry '
"#
    );
    let (answer, headless) = (Answer::parse(&interview.answer()).unwrap(), Answer::parse(&headless).unwrap());
    assert_eq!(answer.document, headless.document);
    assert!(answer.secrets == headless.secrets);
    assert!(!answer.text.contains("na\\"), "the document has no secret");
}

#[test]
fn a_line_of_the_summary_is_changed_and_the_rest_stays() {
    let (mut interview, _) = Interview::begin(machine());
    play(&mut interview, SHORTEST);
    let shown = play(
        &mut interview,
        &[
            (CONFIRM, "4"),
            ("Nodes network, interface [ens4]: ", ""),
            ("Nodes network, address of the head [172.16.0.254/24]: ", "10.0.0.1/24"),
            ("Nodes network, range for unknown machines [none]: ", "10.0.0.100-10.0.0.199"),
            (CONFIRM, "4"),
            ("Nodes network, interface [ens4]: ", ""),
            ("Nodes network, address of the head [10.0.0.1/24]: ", "10.0.0.2/24"),
            ("Nodes network, range for unknown machines [10.0.0.100-10.0.0.199]: ", ""),
            (CONFIRM, "10"),
            ("BMC account, user [none]: ", "admin"),
            ("BMC account, password (not shown): ", "canary"),
            ("BMC account, password again (not shown): ", "canary"),
            (CONFIRM, "6"),
            ("Site network, none, dhcp or static [none]: ", "dhcp"),
            ("Site network, interface [ens3]: ", "ens4"),
            ("Site network, interface [ens3]: ", "ens3"),
            (CONFIRM, "10"),
            ("BMC account, user [admin]: ", "none"),
        ],
    );
    let clash = shown.iter().filter(|it| it.contains("either the head gives the addresses")).count();
    assert_eq!(clash, 1);
    let answer = Answer::parse(&interview.answer()).unwrap();
    assert!(answer.secrets.bmc.is_none());
    let planes = answer.document.network.planes;
    assert_eq!(planes[0].address().unwrap().to_string(), "10.0.0.2/24");
    assert!(planes[0].range().is_some());
    assert!(planes[1].addresses.is_empty() && planes[1].interface.as_deref() == Some("ens3"));
}

#[test]
fn no_asks_all_again_with_the_answers_kept() {
    let (mut interview, _) = Interview::begin(machine());
    play(&mut interview, SHORTEST);
    let again = [(CONFIRM, "no"), ("Cluster name [demo]: ", "iron"), ("Domain [openchami.cluster]: ", "")];
    play(&mut interview, &again);
    assert_eq!(interview.prompt().text, "Name of the head [iron-head]: ");
}

#[test]
fn after_a_failure_the_summary_comes_back_with_all_answers() {
    let (mut interview, _) = Interview::begin(machine());
    let before = play(&mut interview, SHORTEST);
    assert_eq!(interview.take("yes"), Turn::Apply);
    assert_eq!(interview.summary(), before);
    assert_eq!(interview.prompt().text, CONFIRM);
}

#[test]
fn what_is_no_text_is_refused_everywhere() {
    let (mut interview, _) = Interview::begin(machine());
    for (prompt, line) in SHORTEST {
        let shown = play(&mut interview, &[(prompt, "a\x1b[A"), (prompt, line)]);
        assert!(shown[0].contains("printable"), "{shown:?}");
    }
    assert_eq!(
        interview.take("\x1b"),
        Turn::Ask(vec!["  ! An answer has printable characters alone; type it again.".to_owned()])
    );
}

#[test]
fn passwords_are_asked_without_echo_and_bounded() {
    let (mut interview, _) = Interview::begin(machine());
    play(&mut interview, &SHORTEST[..12]);
    play(&mut interview, &[("BMC account, user [none]: ", "keeper")]);
    assert!(interview.prompt().hidden);
    let shown = play(&mut interview, &[("BMC account, password (not shown): ", "123456789012345678901")]);
    assert!(shown[0].contains("at most 20 bytes"), "{shown:?}");
    assert!(!format!("{interview:?}").contains("keeper"), "a draft is not printed");
}
