//! Answers that were left for the program: nobody is asked.

use std::fs;

use crate::lab::{KEY, Lab, Terminal};

fn answer() -> String {
    format!(
        r#"version = 1
[cluster]
name = "demo"
domain = "openchami.cluster"
[[network.planes]]
name = "nodes"
kind = "nodes"
interface = "ens3"
addresses = ["172.16.0.254/24"]
[admins.alice]
ssh_keys = ["{KEY}"]
[secrets.bmc]
user = "admin"
password = "canary"
"#
    )
}

#[tokio::test]
async fn a_credential_is_applied_and_every_console_tells_how_to_go_on() {
    let lab = Lab::new().await;
    let _supervisor = lab.supervisor().await;
    fs::write(lab.path("credentials/pilothouse.answer"), answer()).unwrap();
    // The volume is not looked at.
    fs::write(lab.path("seed.toml"), "nonsense").unwrap();
    let (mut one, mut other) = (Terminal::new(), Terminal::new());
    let (status, log) = lab.start(&[&one, &other]).end().await;
    assert!(status.success(), "{log}");
    assert_eq!(lab.applied(), [answer()]);
    for terminal in [&mut one, &mut other] {
        terminal.expect("https://demo.openchami.cluster:8443").await;
        terminal.expect("ssh alice@172.16.0.254").await;
        terminal.expect("pilotctl status").await;
        assert!(!terminal.shown.contains("Press Enter"), "{}", terminal.shown);
        assert!(!terminal.shown.contains("canary"));
    }
    assert!(!log.contains("canary"), "{log}");
}

#[tokio::test]
async fn a_volume_that_still_holds_secrets_is_named() {
    let lab = Lab::new().await;
    let _supervisor = lab.supervisor().await;
    fs::write(lab.path("seed.toml"), answer()).unwrap();
    let mut terminal = Terminal::new();
    let (status, log) = lab.start(&[&terminal]).end().await;
    assert!(status.success(), "{log}");
    terminal.expect("still holds secrets").await;
}

#[tokio::test]
async fn an_answer_that_does_not_hold_is_refused_with_its_place_and_nobody_is_asked() {
    let lab = Lab::new().await;
    let _supervisor = lab.supervisor().await;
    fs::write(lab.path("seed.toml"), answer().replace("254/24", "0/24")).unwrap();
    let (mut one, mut other) = (Terminal::new(), Terminal::new());
    let (status, log) = lab.start(&[&one, &other]).end().await;
    assert!(!status.success());
    for terminal in [&mut one, &mut other] {
        terminal.expect("pilothouse.toml on the volume PH_SEED".replace("pilothouse", "seed").as_str()).await;
        terminal.expect("line 9, column").await;
        terminal.expect("network's own address").await;
        assert!(!terminal.shown.contains("Press Enter"));
    }
    assert!(log.contains(domain::event::CONFIG_REFUSED.id) && log.contains("line 9, column"), "{log}");
    assert!(!log.contains("canary"));
    assert!(lab.applied().is_empty() && !lab.path("setup-complete").exists());
}

#[tokio::test]
async fn what_the_supervisor_refuses_is_shown_and_nobody_is_asked() {
    let lab = Lab::new().await;
    let _supervisor = lab.supervisor().await;
    lab.script.lock().unwrap().failures.push("[console]: line 3, column 1: keep is too long".to_owned());
    fs::write(lab.path("seed.toml"), answer()).unwrap();
    let mut terminal = Terminal::new();
    let (status, log) = lab.start(&[&terminal]).end().await;
    assert!(!status.success());
    terminal.expect("line 3, column 1: keep is too long").await;
    assert!(log.contains("keep is too long"), "{log}");
}

#[tokio::test]
async fn it_waits_for_the_supervisor() {
    let lab = Lab::new().await;
    fs::write(lab.path("seed.toml"), answer()).unwrap();
    let mut terminal = Terminal::new();
    let program = lab.start(&[&terminal]);
    terminal.expect("Waiting for the supervisor").await;
    let _supervisor = lab.supervisor().await;
    assert!(program.end().await.0.success());
}

#[tokio::test]
async fn a_head_that_is_set_up_is_left_alone() {
    let lab = Lab::new().await;
    fs::write(lab.path("setup-complete"), "").unwrap();
    fs::write(lab.path("seed.toml"), answer()).unwrap();
    let (status, log) = lab.start(&[]).end().await;
    assert!(status.success(), "{log}");
    assert!(lab.applied().is_empty());
}

#[tokio::test]
async fn a_supervisor_that_is_started_again_is_followed_to_its_end() {
    let lab = Lab::new().await;
    lab.script.lock().unwrap().hangs = true;
    let supervisor = lab.supervisor().await;
    fs::write(lab.path("seed.toml"), answer()).unwrap();
    let mut terminal = Terminal::new();
    let program = lab.start(&[&terminal]);
    terminal.expect("Services are started.").await;
    supervisor.close().await.unwrap();
    terminal.expect("The supervisor ended").await;
    let _supervisor = lab.supervisor().await;
    fs::write(lab.path("setup-complete"), "").unwrap();
    let (status, log) = program.end().await;
    assert!(status.success(), "{log}");
    terminal.expect("The head is set up.").await;
    assert_eq!(lab.applied().len(), 1, "nothing is handed over twice");
}
