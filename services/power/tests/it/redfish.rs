//! Commands to BMCs that speak Redfish.

use power::client::{bmc, test_bmc, trust_bmc};
use serde_json::json;
use tests::redfish::{Quirk, Redfish};
use web::Client;

use super::head::{Head, node, redfish};
use super::simulator::Simulator;

#[tokio::test]
async fn every_command_reaches_the_system() {
    let bmc = Redfish::start(1, &[Quirk::NeedsEtag]).await.unwrap();
    let head = Head::with_accounts(redfish(1, bmc.address().port()), "", &[1]).await;
    assert_eq!(head.done("nid001", None).await, "off");
    assert_eq!(head.done("nid001", Some("on")).await, "on");
    assert_eq!(head.done("nid001", Some("on")).await, "on", "on already, so nothing is sent");
    assert_eq!(head.done("nid001", Some("reset")).await, "on");
    assert_eq!(head.done("nid001", Some("cycle")).await, "on");
    assert_eq!(head.done("nid001", Some("soft")).await, "off");
    let on = head.ask(json!({"nodes": ["nid001"], "action": "on", "boot": "pxe"})).await;
    assert!(on[0].ok, "{on:?}");
    assert_eq!(head.done("nid001", Some("off")).await, "off");
    let expected = [
        "reset 1 On",
        "reset 1 ForceRestart",
        "reset 1 PowerCycle",
        "reset 1 GracefulShutdown",
        "boot 1 Pxe",
        "reset 1 On",
        "reset 1 ForceOff",
    ];
    assert_eq!(bmc.told(), expected);
    head.stop().await;
    assert_eq!(bmc.session_count(), 0, "each log-in was ended");
}

#[tokio::test]
async fn a_bmc_without_a_cycle_switches_off_and_on_and_a_slow_one_is_waited_for() {
    let bmc = Redfish::start(1, &[Quirk::NoCycle, Quirk::Slow(2)]).await.unwrap();
    let head = Head::with_accounts(redfish(1, bmc.address().port()), "", &[1]).await;
    assert_eq!(head.done("nid001", Some("on")).await, "on");
    assert_eq!(head.done("nid001", Some("cycle")).await, "on");
    assert_eq!(bmc.told(), ["reset 1 On", "reset 1 ForceOff", "reset 1 On"]);
}

#[tokio::test]
async fn what_was_not_answered_is_looked_at_and_never_sent_again() {
    let bmc = Redfish::start(1, &[Quirk::DropsAnswers]).await.unwrap();
    let head = Head::with_accounts(redfish(1, bmc.address().port()), "", &[1]).await;
    assert_eq!(head.done("nid001", Some("on")).await, "on", "the state tells");
    let unsure = head.refused("nid001", Some("reset")).await;
    assert!(unsure.contains("may or may not") && unsure.contains("console"), "{unsure}");
    let unsure = head.refused("nid001", Some("cycle")).await;
    assert!(unsure.contains("was not sent again"), "{unsure}");
    assert_eq!(head.done("nid001", Some("off")).await, "off");
    assert_eq!(bmc.told(), ["reset 1 On", "reset 1 ForceRestart", "reset 1 PowerCycle", "reset 1 ForceOff"]);
}

#[tokio::test]
async fn several_nodes_of_one_bmc_are_told_apart() {
    let bmc = Redfish::start(2, &[Quirk::TrailingSlash]).await.unwrap();
    let mut rows = redfish(1, bmc.address().port());
    rows[1]["row"]["nodes"] = json!(["x0c0s1b0n0", "x0c0s1b0n1"]);
    rows.push(json!({"kind": "component", "id": "x0c0s1b0n1", "row": {"id": "x0c0s1b0n1", "nid": 2}}));
    let head = Head::with_accounts(rows, "", &[1]).await;
    assert_eq!(head.done("nid002", Some("on")).await, "on");
    assert_eq!(head.done("nid001", None).await, "off");
    assert_eq!(bmc.told(), ["reset 2 On"]);
}

#[tokio::test]
async fn which_protocol_a_bmc_speaks_is_found_and_remembered() {
    let bmc = Redfish::start(1, &[]).await.unwrap();
    let simulator = Simulator::start();
    let rows = [node(1, bmc.address().port()), node(2, simulator.port)].concat();
    let head = Head::with_accounts(rows, "", &[1, 2]).await;
    let client = Client::unix(&head.socket);
    for (number, expected) in [(1, "redfish"), (2, "ipmi")] {
        let name = format!("x0c0s{number}b0");
        assert_eq!(bmc_speaks(&client, &name).await, None);
        assert_eq!(head.done(&format!("nid00{number}"), Some("on")).await, "on");
        assert_eq!(bmc_speaks(&client, &name).await.as_deref(), Some(expected));
        let tried = test_bmc(&client, &name).await.unwrap();
        assert!(tried.ok && tried.speaks.as_deref().is_some_and(|it| it.starts_with(expected)), "{tried:?}");
    }
}

async fn bmc_speaks(client: &Client, name: &str) -> Option<String> {
    bmc(client, name).await.unwrap().speaks
}

#[tokio::test]
async fn a_changed_certificate_stops_commands_until_somebody_vouches_for_it() {
    let first = Redfish::start(1, &[]).await.unwrap();
    let place = first.address();
    let head = Head::with_accounts(redfish(1, place.port()), "", &[1]).await;
    let client = Client::unix(&head.socket);
    assert_eq!(head.done("nid001", Some("on")).await, "on");
    let kept = bmc(&client, "x0c0s1b0").await.unwrap().certificate.unwrap().sha256;
    first.stop().await;
    let second = Redfish::start_at(place, 1, &[]).await.unwrap();
    let refused = head.refused("nid001", Some("on")).await;
    let shown = refused.rsplit(' ').next().unwrap().to_owned();
    assert!(refused.contains(&kept) && refused.contains("pilotctl bmc trust x0c0s1b0"), "{refused}");
    assert_eq!((second.logins(), second.told().len()), (0, 0), "nothing was sent");
    let issues = head.issues();
    assert!(issues.contains("bmc-certificate-changed/x0c0s1b0"), "{issues}");
    assert!(issues.contains(&kept) && issues.contains(&shown), "{issues}");
    trust_bmc(&client, "x0c0s1b0", &shown).await.unwrap();
    assert_eq!(head.done("nid001", Some("on")).await, "on");
    assert!(!head.issues().contains("certificate"), "{}", head.issues());
    assert!(trust_bmc(&client, "x0c0s1b0", "AA:BB").await.is_err());
}

#[tokio::test]
async fn a_certificate_may_be_believed_otherwise() {
    let bmc = Redfish::start(1, &[]).await.unwrap();
    let rows = redfish(1, bmc.address().port());
    let head = Head::with_accounts(rows.clone(), "[power.tls]\ndefault = \"insecure\"\n", &[1]).await;
    assert_eq!(head.done("nid001", None).await, "off");
    let shown = super::redfish::bmc(&Client::unix(&head.socket), "x0c0s1b0").await.unwrap();
    assert_eq!((shown.tls.as_str(), shown.certificate), ("insecure", None));
    let strict = "[power.tls]\ndefault = \"insecure\"\nx0c0s1b0 = \"ca\"\n";
    let head = Head::with_accounts(rows, strict, &[1]).await;
    let refused = head.refused("nid001", None).await;
    assert!(refused.contains("TLS") || refused.contains("root certificate"), "{refused}");
}
