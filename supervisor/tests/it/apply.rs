//! Config.Apply: a document is checked, written, rendered, and what reads it restarted.

use std::collections::HashMap;
use std::io::Write as _;
use std::os::fd::OwnedFd;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use zbus::OwnedVariant;

use crate::fake::{LIMIT, Lab, set_state};

pub(crate) const CONFIG: &str = "org.pilothouse.Supervisor1.Config";
pub(crate) const DOCUMENT: &str = r#"version = 1

[cluster]
name = "demo"
domain = "openchami.cluster"

[[network.planes]]
name = "nodes"
kind = "nodes"
interface = "ens3"
addresses = ["172.16.0.254/24"]
"#;

/// The mark of a set-up that is under way.
const SET_UP: &str = r#"{"generation":1,"base":null,"boot":"","deadline_us":18446744073709551615,"confirm":false,
    "stage":"applying"}"#;

/// A document as Apply takes it.
pub(crate) fn file(text: &str) -> zbus::OwnedFd {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    zbus::OwnedFd::from(OwnedFd::from(file))
}

pub(crate) type Options = HashMap<&'static str, OwnedVariant>;

pub(crate) async fn apply(lab: &Lab, text: &str) -> zbus::Result<u64> {
    apply_with(lab, text, Options::new()).await
}

pub(crate) async fn apply_with(lab: &Lab, text: &str, options: Options) -> zbus::Result<u64> {
    let config = lab.object("", CONFIG).await;
    tokio::time::timeout(LIMIT, config.call("Apply", &(file(text), options))).await.unwrap()
}

#[tokio::test]
async fn the_first_document_sets_the_head_up() {
    let lab = Lab::new().await;
    let _supervisor = lab.supervisor("/bin/true").await;
    assert_eq!(apply(&lab, DOCUMENT).await.unwrap(), 1);
    let expected = [
        "polkit org.pilothouse.supervisor1.configure verb=apply",
        "start pilothouse-render@1.service",
        "start pilothouse.target",
        "start pilothouse-setup-complete.service",
    ];
    assert_eq!(lab.calls(), expected);
    let written = std::fs::read_to_string(lab.folder.path().join("config/1/pilothouse.toml")).unwrap();
    assert_eq!(written, DOCUMENT);
    let config = lab.object("", CONFIG).await;
    assert_eq!(config.get_property::<u64>("Generation").await.unwrap(), 1);
    assert!(config.get_property::<bool>("SetupComplete").await.unwrap());
}

#[tokio::test]
async fn a_later_document_restarts_what_it_changes() {
    let lab = Lab::new().await;
    let _supervisor = lab.supervisor("/bin/true").await;
    apply(&lab, DOCUMENT).await.unwrap();
    lab.script.lock().unwrap().calls.clear();
    assert_eq!(apply(&lab, &format!("{DOCUMENT}\n[console]\nkeep = \"7d\"\n")).await.unwrap(), 2);
    let expected = [
        "polkit org.pilothouse.supervisor1.configure verb=apply",
        "start pilothouse-revert@2.service",
        "start pilothouse-render@2.service",
        "restart pilothouse-console.service",
        "start pilothouse.target",
    ];
    assert_eq!(lab.calls(), expected);
}

#[tokio::test]
async fn a_document_that_does_not_hold_changes_nothing() {
    let lab = Lab::new().await;
    let _supervisor = lab.supervisor("/bin/true").await;
    let error = apply(&lab, &DOCUMENT.replace("254/24", "0/24")).await.unwrap_err().to_string();
    assert!(error.contains("line 11, column") && error.contains("172.16.0.0/24"), "{error}");
    assert_eq!(lab.calls(), ["polkit org.pilothouse.supervisor1.configure verb=apply"]);
    assert!(std::fs::read_dir(lab.folder.path().join("config")).unwrap().next().is_none());
}

#[tokio::test]
async fn a_service_that_refuses_its_table_is_named() {
    let lab = Lab::new().await;
    let _supervisor = lab.supervisor("/bin/false").await;
    let error = apply(&lab, DOCUMENT).await.unwrap_err().to_string();
    assert!(error.contains("[inventory]") && error.contains("--check"), "{error}");
    assert_eq!(lab.calls().len(), 1);
}

#[tokio::test]
async fn a_step_that_fails_leaves_the_head_to_be_set_up_again() {
    let lab = Lab::new().await;
    let _supervisor = lab.supervisor("/bin/true").await;
    let render = "pilothouse-render@1.service".to_owned();
    lab.script.lock().unwrap().results.insert(render, "failed".to_owned());
    let error = apply(&lab, DOCUMENT).await.unwrap_err().to_string();
    assert!(error.contains("pilothouse-render@1.service: failed"), "{error}");
    assert!(!lab.folder.path().join("config/pending").exists());
    assert!(!lab.folder.path().join("setup-complete").exists());
    assert_eq!(apply(&lab, DOCUMENT).await.unwrap(), 2);
}

#[tokio::test]
async fn a_half_applied_document_is_taken_up_again() {
    let lab = Lab::new().await;
    let config = lab.folder.path().join("config");
    std::fs::create_dir(config.join("1")).unwrap();
    std::fs::write(config.join("1/pilothouse.toml"), DOCUMENT).unwrap();
    std::fs::write(config.join("pending"), SET_UP).unwrap();
    let secrets = r#"{"bmc":null,"password_hashes":{}}"#;
    std::fs::write(lab.folder.path().join("run/secrets-1.json"), secrets).unwrap();
    let _supervisor = lab.supervisor("/bin/true").await;
    let object = lab.object("", CONFIG).await;
    let done = async {
        while !object.get_property::<bool>("SetupComplete").await.unwrap() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, done).await.unwrap();
    assert_eq!(object.get_property::<u64>("Generation").await.unwrap(), 1);
}

/// The secrets were in memory alone: without them the questions come back rather than a head without BMC account.
#[tokio::test]
async fn a_set_up_that_was_cut_off_by_a_restart_of_the_machine_begins_anew() {
    let lab = Lab::new().await;
    let config = lab.folder.path().join("config");
    std::fs::create_dir(config.join("1")).unwrap();
    std::fs::write(config.join("1/pilothouse.toml"), DOCUMENT).unwrap();
    std::fs::write(config.join("pending"), SET_UP).unwrap();
    let _supervisor = lab.supervisor("/bin/true").await;
    assert_eq!(apply(&lab, DOCUMENT).await.unwrap(), 2, "another answer is taken");
    assert!(!lab.calls().iter().any(|it| it.contains("render@1")), "{:?}", lab.calls());
}

#[tokio::test]
async fn the_bmc_account_reaches_the_inventory_and_no_file() {
    let lab = Lab::new().await;
    let listener = tokio::net::UnixListener::bind(lab.folder.path().join("sockets/inventory.sock")).unwrap();
    let inventory = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let length = stream.read(&mut request).await.unwrap();
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    let _supervisor = lab.supervisor("/bin/true").await;
    let answer = format!("{DOCUMENT}\n[secrets.bmc]\nuser = \"admin\"\npassword = \"canary\"\n");
    assert_eq!(apply(&lab, &answer).await.unwrap(), 1);
    assert!(inventory.await.unwrap().contains("canary"));
    assert!(
        !std::fs::read_to_string(lab.folder.path().join("config/1/pilothouse.toml"))
            .unwrap()
            .contains("canary")
    );
    let run = std::fs::read_dir(lab.folder.path().join("run")).unwrap();
    let left: Vec<_> = run.map(|it| it.unwrap().file_name()).collect();
    assert!(!left.iter().any(|it| it.to_string_lossy().contains("secrets")), "{left:?}");
}

#[tokio::test]
async fn only_one_who_may_applies() {
    let lab = Lab::new().await;
    let _supervisor = lab.supervisor("/bin/true").await;
    lab.script.lock().unwrap().denied = true;
    let error = apply(&lab, DOCUMENT).await.unwrap_err().to_string();
    assert!(error.contains("AccessDenied"), "{error}");
    set_state(&lab.systemd, "pilothouse-ca.service", "active", "running", 0).await;
    lab.wait_for("ca", "Health", "ok").await;
}
