#![expect(clippy::unwrap_used, reason = "tests")]

use domain::Nid;
use domain::feed::{Change, View};
use domain::inventory::Inventory;
use serde_json::json;

use super::{Asked, Defaults, Known, Outcome, explain, look_up};
use crate::model::{KIND, ONCE, Parameters};

const NODE: &str = "x1000c1s7b1n0";

fn inventory() -> Inventory {
    let mut view = Inventory::default();
    let mut put = |kind: &str, id: &str, row| view.apply(&Change::put(kind, id, row)).unwrap();
    put("component", NODE, json!({"id": NODE, "nid": 2, "name": "login1"}));
    for mac in ["ec:e7:a7:05:a1:fc", "ec:e7:a7:05:a1:fd"] {
        let id = mac.replace(':', "");
        put("interface", &id, json!({"id": id, "mac": mac, "component": NODE}));
    }
    for label in ["zeta", "compute"] {
        put("group", label, json!({"label": label, "members": [NODE]}));
    }
    view
}

fn source(parameters: &Parameters, asked: &Asked, arch: Option<&str>) -> String {
    source_of(parameters, &Defaults::default(), asked, arch)
}

fn source_of(parameters: &Parameters, defaults: &Defaults, asked: &Asked, arch: Option<&str>) -> String {
    let inventory = &inventory();
    let known = Known { inventory, parameters, defaults, pattern: "nid{nid:03}" };
    match look_up(known, asked, arch, |_| false) {
        Outcome::Boot(found) => found.source.to_string(),
        Outcome::Ask(found) => format!("ask {}", found.source),
        Outcome::Wait => "wait".to_owned(),
    }
}

/// Set from the last to the first of the list, each one wins over those before.
#[test]
fn the_nearer_target_wins() {
    let mut parameters = Parameters::default();
    let asked = Asked::Mac("EC:E7:A7:05:A1:FC".into());
    assert_eq!(source(&parameters, &asked, Some("x86_64")), "wait");
    for (id, expected) in [
        ("host:Default", "default"),
        ("host:zeta", "group:zeta"),
        ("host:compute", "group:compute"),
        ("nid:2", "nid"),
        ("host:login1", "host"),
        ("host:x1000c1s7b1n0", "host"),
        ("mac:ec:e7:a7:05:a1:fd", "mac"),
        ("mac:ec:e7:a7:05:a1:fc", "mac"),
    ] {
        let row = json!({"kernel": format!("http://h/{id}")});
        parameters.apply(&Change::put(KIND, id, row)).unwrap();
        assert_eq!(source(&parameters, &asked, None), expected);
        let (inventory, defaults) = (inventory(), Defaults::default());
        let known =
            Known { inventory: &inventory, parameters: &parameters, defaults: &defaults, pattern: "" };
        let Outcome::Boot(found) = look_up(known, &asked, None, |_| false) else { panic!() };
        assert_eq!(found.settings.kernel(), format!("http://h/{id}"));
        assert_eq!(found.target.to_string(), id);
    }
    let (inventory, defaults) = (inventory(), Defaults::default());
    let known = Known { inventory: &inventory, parameters: &parameters, defaults: &defaults, pattern: "" };
    let all = explain(known, &asked, None);
    let all: Vec<String> = all.iter().map(|it| it.0.to_string()).collect();
    assert_eq!(all[..3], ["mac:ec:e7:a7:05:a1:fc", "mac:ec:e7:a7:05:a1:fd", "host:x1000c1s7b1n0"]);
    assert_eq!(all[3..], ["host:login1", "nid:2", "host:compute", "host:zeta", "host:Default"]);
    assert_eq!(source(&parameters, &Asked::Name("login1".into()), None), "host");
    assert_eq!(source(&parameters, &Asked::Nid(Nid(2)), None), "nid");
}

#[test]
fn a_node_asked_for_by_name_is_sent_on_to_its_mac() {
    let mut parameters = Parameters::default();
    parameters.apply(&Change::put(KIND, "mac:ec:e7:a7:05:a1:fc", json!({"kernel": "http://h/k"}))).unwrap();
    assert_eq!(source(&parameters, &Asked::Name(NODE.into()), None), "wait");
    assert_eq!(source(&parameters, &Asked::Name(NODE.into()), Some("x86_64")), "mac");
}

#[test]
fn an_unknown_machine_gets_a_default_once_it_says_its_architecture() {
    let mut parameters = Parameters::default();
    let asked = Asked::Mac("02:00:00:00:00:99".into());
    parameters.apply(&Change::put(KIND, "host:Default", json!({"kernel": "http://h/k"}))).unwrap();
    assert_eq!(source(&parameters, &asked, None), "wait");
    assert_eq!(source(&parameters, &asked, Some("x86_64")), "default");
    parameters.apply(&Change::put(KIND, "host:Unknown-x86_64", json!({"kernel": "http://h/d"}))).unwrap();
    assert_eq!(source(&parameters, &asked, Some("x86_64")), "unknown:x86_64");
    assert_eq!(source(&parameters, &asked, Some("i386")), "unknown:x86_64", "a BIOS");
    assert_eq!(source(&parameters, &Asked::Mac("zz".into()), Some("arm64")), "default");
}

#[test]
fn a_machine_is_asked_for_its_architecture_where_the_kernel_differs_by_it() {
    let mut parameters = Parameters::default();
    let row = json!({"kernel": "http://h/k", "architectures": {"arm64": {"kernel": "http://h/arm"}}});
    parameters.apply(&Change::put(KIND, "host:compute", row)).unwrap();
    let asked = Asked::Mac("ec:e7:a7:05:a1:fc".into());
    assert_eq!(source(&parameters, &asked, None), "ask group:compute");
    assert_eq!(source(&parameters, &asked, Some("arm64")), "group:compute");
    assert_eq!(source(&parameters, &asked, Some("")), "group:compute", "an iPXE that does not know");
}

#[test]
fn what_is_for_one_boot_comes_before_everything_until_it_is_spent() {
    let mut parameters = Parameters::default();
    let asked = Asked::Mac("ec:e7:a7:05:a1:fc".into());
    let row = json!({"kernel": "http://h/k"});
    parameters.apply(&Change::put(KIND, "mac:ec:e7:a7:05:a1:fc", row.clone())).unwrap();
    let once = json!({"id": "6b1b36cb-31e2-4d9c-8d0c-6f0c3c2f6c55", "settings": row});
    parameters.apply(&Change::put(ONCE, NODE, once)).unwrap();
    assert_eq!(source(&parameters, &asked, None), "once");
    assert_eq!(source(&parameters, &Asked::Nid(Nid(2)), None), "once", "however it is asked for");
    let (inventory, defaults) = (inventory(), Defaults::default());
    let known = Known { inventory: &inventory, parameters: &parameters, defaults: &defaults, pattern: "" };
    let Outcome::Boot(found) = look_up(known, &asked, None, |_| true) else { panic!() };
    assert_eq!((found.source.to_string().as_str(), found.once()), ("mac", None));
    let all: Vec<String> = explain(known, &asked, None).iter().map(|it| it.1.to_string()).collect();
    assert_eq!(all[..3], ["once", "mac", "mac"], "{all:?}");
    parameters.apply(&Change::delete(ONCE, NODE)).unwrap();
    assert_eq!(source(&parameters, &asked, None), "mac");
}

#[test]
fn the_document_decides_where_nothing_else_does() {
    let mut parameters = Parameters::default();
    let settings = |kernel: &str| Some(serde_json::from_value(json!({"kernel": kernel})).unwrap());
    let defaults = Defaults { default: settings("http://h/d"), discovery: settings("http://h/u") };
    let (node, other) = (Asked::Nid(Nid(2)), Asked::Mac("02:00:00:00:00:99".into()));
    assert_eq!(source_of(&parameters, &defaults, &node, None), "boot.default");
    assert_eq!(source_of(&parameters, &defaults, &other, None), "wait");
    assert_eq!(source_of(&parameters, &defaults, &other, Some("arm64")), "boot.discovery");
    parameters.apply(&Change::put(KIND, "host:Default", json!({"kernel": "http://h/k"}))).unwrap();
    assert_eq!(source_of(&parameters, &defaults, &node, None), "default");
    assert_eq!(source_of(&parameters, &defaults, &other, Some("arm64")), "boot.discovery");
    let without = Defaults { discovery: None, ..defaults };
    assert_eq!(source_of(&parameters, &without, &other, Some("arm64")), "default");
}
