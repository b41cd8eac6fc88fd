//! A configuration on trial: confirmed, turned back, cut off, refused because another came between.

use std::collections::HashMap;
use std::time::Duration;

use zbus::OwnedVariant;

use crate::apply::{CONFIG, DOCUMENT, Options, apply, apply_with, file};
use crate::fake::{LIMIT, Lab};
use crate::ours::Ours;

/// Changes what gateway and console read, and makes a file that was not there.
pub(crate) fn second() -> String {
    format!("{DOCUMENT}\n[gateway]\npublic_https = true\n\n[console]\nkeep = 7\n")
}

const MADE: &str = "etc/pilothouse/public-https";
const RESTART: &str = "systemctl restart pilothouse-gateway.service pilothouse-console.service";

fn number(value: u64) -> OwnedVariant {
    OwnedVariant::from(value)
}

fn text(value: &str) -> OwnedVariant {
    OwnedVariant::from(zbus::Str::from(value.to_owned()))
}

async fn property(lab: &Lab, name: &str) -> u64 {
    lab.object("", CONFIG).await.get_property(name).await.unwrap()
}

/// Waits until a property of the configuration has a value.
pub(crate) async fn until(lab: &Lab, name: &str, value: u64) {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let seen = async {
        while property(lab, name).await != value {
            tick.tick().await;
        }
    };
    tokio::time::timeout(LIMIT, seen).await.unwrap_or_else(|_| panic!("{name} is never {value}"));
}

/// Waits until no generation is on trial, whoever ended that.
async fn until_settled(lab: &Lab) {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let settled = async {
        while lab.folder.path().join("config/pending").exists() {
            tick.tick().await;
        }
    };
    tokio::time::timeout(LIMIT, settled).await.unwrap();
}

async fn call(lab: &Lab, method: &str, generation: u64) -> zbus::Result<u64> {
    let config = lab.object("", CONFIG).await;
    if method == "Rollback" {
        return config.call(method, &(generation, Options::new())).await;
    }
    config.call(method, &(generation,)).await
}

/// State and detail of each generation.
async fn history(lab: &Lab) -> Vec<(String, String)> {
    let config = lab.object("", CONFIG).await;
    let lines: Vec<HashMap<String, OwnedVariant>> = config.call("History", &()).await.unwrap();
    let word =
        |it: &HashMap<String, OwnedVariant>, name: &str| <&str>::try_from(&it[name]).unwrap().to_owned();
    lines.iter().map(|it| (word(it, "state"), word(it, "detail"))).collect()
}

/// A head with one generation in force; nothing of that is in the logs any more.
async fn set_up(lab: &Lab) -> Ours {
    let ours = Ours::in_lab(lab);
    assert_eq!(apply(lab, DOCUMENT).await.unwrap(), 1);
    assert_eq!(ours.read("etc/pilothouse/pilothouse.toml"), DOCUMENT);
    lab.script.lock().unwrap().calls.clear();
    ours.programs();
    ours
}

#[tokio::test]
async fn only_daemons_whose_files_changed_are_told() {
    let lab = Lab::new().await;
    let _supervisor = lab.supervisor("/bin/true").await;
    let ours = set_up(&lab).await;
    apply(&lab, &second()).await.unwrap();
    assert_eq!(ours.programs(), [""; 0]);
    let ntp =
        DOCUMENT.replace("[[network.planes]]", "[network]\nntp = [\"192.0.2.7\"]\n\n[[network.planes]]");
    apply(&lab, &ntp).await.unwrap();
    assert_eq!(ours.programs(), ["systemctl restart chrony.service"]);
    assert!(ours.read("etc/chrony/pilothouse.conf").contains("192.0.2.7"));
    ours.await_guards().await;
}

#[tokio::test]
async fn what_fails_gives_way_to_the_generation_before_it() {
    let lab = Lab::new().await;
    let _supervisor = lab.supervisor("/bin/true").await;
    let ours = set_up(&lab).await;
    let unit = "pilothouse-console.service".to_owned();
    lab.script.lock().unwrap().results.insert(unit, "failed".to_owned());
    let error = apply(&lab, &second()).await.unwrap_err().to_string();
    assert!(
        error.contains("generation 1 is in force again") && error.contains("console.service: failed"),
        "{error}"
    );
    assert_eq!((property(&lab, "Generation").await, property(&lab, "Pending").await), (1, 0));
    assert_eq!(ours.read("etc/pilothouse/pilothouse.toml"), DOCUMENT);
    assert_eq!(ours.read(MADE), "");
    let programs = ours.programs();
    assert!(programs.iter().any(|it| it == RESTART), "{programs:?}");
    let history = history(&lab).await;
    assert_eq!((history[0].0.as_str(), history[1].0.as_str()), ("in force", "reverted"));
    assert!(history[1].1.contains("console.service: failed"), "{history:?}");
    lab.script.lock().unwrap().results.clear();
    assert_eq!(apply(&lab, &second()).await.unwrap(), 3, "nothing is in the way of the next one");
}

#[tokio::test]
async fn what_is_confirmed_stays_also_without_the_supervisor() {
    let lab = Lab::new().await;
    let mut supervisor = lab.supervisor("/bin/true").await;
    let ours = set_up(&lab).await;
    let confirm = Options::from([("confirm-within", number(60))]);
    assert_eq!(apply_with(&lab, &second(), confirm).await.unwrap(), 2);
    assert_eq!((property(&lab, "Generation").await, property(&lab, "Pending").await), (1, 2));
    assert!(property(&lab, "Deadline").await > 0);
    let error = apply(&lab, DOCUMENT).await.unwrap_err().to_string();
    assert!(error.contains("Error.Busy") && error.contains("generation 2 is not in force yet"), "{error}");
    assert!(call(&lab, "Confirm", 7).await.is_err());
    assert_eq!(call(&lab, "Confirm", 2).await.unwrap(), 2);
    supervisor.kill().await.unwrap();
    ours.await_guards().await;
    assert!(ours.call(&["revert", "--wait", "2"]).await, "a guard that comes late");
    ours.cut_machine("second").await;
    assert!(ours.call(&["revert-boot"]).await);
    assert_eq!(ours.read("etc/pilothouse/pilothouse.toml"), second());
    let _supervisor = lab.supervisor_with("/bin/true", &["--boot", "second"]).await;
    assert_eq!((property(&lab, "Generation").await, property(&lab, "Pending").await), (2, 0));
    assert_eq!(ours.read("etc/pilothouse/pilothouse.toml"), second());
}

#[tokio::test]
async fn what_nobody_confirms_is_turned_back_also_without_the_supervisor() {
    for kill in [false, true] {
        let lab = Lab::new().await;
        let mut supervisor = lab.supervisor("/bin/true").await;
        let ours = set_up(&lab).await;
        let confirm = Options::from([("confirm-within", number(2))]);
        // On a busy machine its time may be over before it answers.
        let applied = apply_with(&lab, &second(), confirm).await;
        assert!(applied.as_ref().is_ok_and(|it| *it == 2) || applied.is_err(), "{applied:?}");
        if kill {
            supervisor.kill().await.unwrap();
        }
        until_settled(&lab).await;
        assert_eq!(ours.read("etc/pilothouse/pilothouse.toml"), DOCUMENT);
        assert_eq!(ours.read(MADE), "");
        let programs = ours.programs();
        assert!(programs.iter().any(|it| it == RESTART), "{programs:?}");
        let _again = if kill { Some(lab.supervisor("/bin/true").await) } else { None };
        until(&lab, "Pending", 0).await;
        assert_eq!(history(&lab).await[1].0, "reverted");
        assert!(call(&lab, "Confirm", 0).await.is_err());
        ours.await_guards().await;
    }
}

#[tokio::test]
async fn a_machine_that_was_cut_off_comes_up_with_what_was_in_force() {
    let lab = Lab::new().await;
    let mut supervisor = lab.supervisor("/bin/true").await;
    let ours = set_up(&lab).await;
    let confirm = Options::from([("confirm-within", number(3600))]);
    apply_with(&lab, &second(), confirm).await.unwrap();
    supervisor.kill().await.unwrap();
    ours.cut_machine("second").await;
    ours.programs();
    assert!(ours.call(&["revert-boot"]).await);
    assert_eq!(ours.read("etc/pilothouse/pilothouse.toml"), DOCUMENT, "before anything is started");
    assert!(ours.programs().is_empty(), "nothing is there to be told");
    let _supervisor = lab.supervisor_with("/bin/true", &["--boot", "second"]).await;
    until(&lab, "Pending", 0).await;
    assert_eq!(property(&lab, "Generation").await, 1);
    let programs = ours.programs();
    assert!(!programs.iter().any(|it| it.starts_with("systemctl restart pilothouse")), "{programs:?}");
    assert!(history(&lab).await[1].1.contains("restarted"));
    assert_eq!(apply(&lab, &second()).await.unwrap(), 3);
}

#[tokio::test]
async fn one_on_trial_is_rolled_back_and_an_earlier_one_comes_back() {
    let lab = Lab::new().await;
    let _supervisor = lab.supervisor("/bin/true").await;
    let ours = set_up(&lab).await;
    let confirm = Options::from([("confirm-within", number(3600))]);
    apply_with(&lab, &second(), confirm).await.unwrap();
    assert_eq!(call(&lab, "Rollback", 0).await.unwrap(), 1);
    assert_eq!(ours.read("etc/pilothouse/pilothouse.toml"), DOCUMENT);
    assert_eq!(apply(&lab, &second()).await.unwrap(), 3);
    assert_eq!(call(&lab, "Rollback", 1).await.unwrap(), 4);
    assert_eq!(ours.read("etc/pilothouse/pilothouse.toml"), DOCUMENT);
    let calls = lab.calls().join("\n");
    assert!(calls.contains("configure generation=1 verb=rollback"), "{calls}");
    assert!(call(&lab, "Rollback", 77).await.is_err());
}

#[tokio::test]
async fn a_document_made_from_an_older_one_is_refused_with_what_came_between() {
    let lab = Lab::new().await;
    let _supervisor = lab.supervisor("/bin/true").await;
    let from = |base| Options::from([("base", number(base)), ("reason", text("more consoles"))]);
    assert_eq!(apply_with(&lab, DOCUMENT, from(0)).await.unwrap(), 1);
    assert_eq!(apply_with(&lab, &second(), from(1)).await.unwrap(), 2);
    let error = apply_with(&lab, DOCUMENT, from(1)).await.unwrap_err().to_string();
    assert!(error.contains("Error.Superseded") && error.contains("+public_https = true"), "{error}");
    assert_eq!(property(&lab, "Generation").await, 2);
}

#[tokio::test]
async fn a_freeze_refuses_whoever_gives_no_reason() {
    let lab = Lab::new().await;
    let _supervisor = lab.supervisor("/bin/true").await;
    let freeze =
        "[[freeze]]\nfrom = \"2020-01-01T00:00:00Z\"\nuntil = \"2100-01-01T00:00:00Z\"\nreason = \"a run\"\n";
    apply(&lab, &format!("{DOCUMENT}{freeze}")).await.unwrap();
    let error = apply(&lab, DOCUMENT).await.unwrap_err().to_string();
    assert!(error.contains("Error.Frozen") && error.contains("a run"), "{error}");
    let config = lab.object("", CONFIG).await;
    assert!(config.get_property::<String>("Frozen").await.unwrap().contains("a run"));
    let but = Options::from([("override-freeze", true.into()), ("reason", text("the head is on fire"))]);
    assert_eq!(apply_with(&lab, DOCUMENT, but).await.unwrap(), 2);
}

#[tokio::test]
async fn what_was_applied_is_read_byte_for_byte() {
    let lab = Lab::new().await;
    let _supervisor = lab.supervisor("/bin/true").await;
    let config = lab.object("", CONFIG).await;
    assert!(config.call::<_, _, String>("Read", &(0_u64,)).await.is_err());
    let odd = format!("# site \u{fc}ber alles\r\n{DOCUMENT}\n\n  # the end");
    for (generation, written) in [(1, odd.as_str()), (2, DOCUMENT)] {
        assert_eq!(apply(&lab, written).await.unwrap(), generation);
        assert_eq!(config.call::<_, _, String>("Read", &(0_u64,)).await.unwrap(), written);
        assert_eq!(config.call::<_, _, String>("Read", &(generation,)).await.unwrap(), written);
    }
}

#[tokio::test]
async fn files_changed_by_hand_are_named_and_written_anew() {
    let lab = Lab::new().await;
    let _supervisor = lab.supervisor("/bin/true").await;
    let ours = set_up(&lab).await;
    let config = lab.object("", CONFIG).await;
    let edited = async || config.get_property::<Vec<String>>("EditedFiles").await.unwrap();
    assert!(edited().await.is_empty());
    let path = lab.folder.path().join("root/etc/chrony/pilothouse.conf");
    std::fs::write(path, "server by.hand\n").unwrap();
    assert_eq!(edited().await, ["/etc/chrony/pilothouse.conf"]);
    apply(&lab, DOCUMENT).await.unwrap();
    assert!(edited().await.is_empty() && !ours.read("etc/chrony/pilothouse.conf").contains("by.hand"));
    assert_eq!(ours.programs(), ["systemctl restart chrony.service"]);
}

#[tokio::test]
async fn a_document_kept_for_later_is_applied_then_or_cancelled() {
    let lab = Lab::new().await;
    let _supervisor = lab.supervisor("/bin/true").await;
    apply(&lab, DOCUMENT).await.unwrap();
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let at = |seconds| Options::from([("at", number(now + seconds))]);
    assert!(apply_with(&lab, &second(), Options::from([("at", number(now - 3600))])).await.is_err());
    assert_eq!(apply_with(&lab, &second(), at(3600)).await.unwrap(), 2);
    assert_eq!((property(&lab, "Generation").await, property(&lab, "Scheduled").await), (1, 2));
    let config = lab.object("", CONFIG).await;
    assert_eq!(config.call::<_, _, u64>("Cancel", &()).await.unwrap(), 2);
    assert_eq!(history(&lab).await[1].0, "cancelled");
    assert_eq!(apply_with(&lab, &second(), at(1)).await.unwrap(), 3);
    until(&lab, "Generation", 3).await;
    assert_eq!(property(&lab, "Scheduled").await, 0);
}

#[tokio::test]
async fn long_work_is_a_job_that_is_followed_to_its_end() {
    let lab = Lab::new().await;
    let _supervisor = lab.supervisor("/bin/true").await;
    let config = lab.object("", CONFIG).await;
    let mut ends = Vec::new();
    for document in [DOCUMENT.to_owned(), DOCUMENT.replace("254/24", "0/24")] {
        let path: zbus::OwnedObjectPath =
            config.call("StartApply", &(file(&document), Options::new())).await.unwrap();
        let path = path.as_str().strip_prefix("/org/pilothouse/Supervisor1").unwrap();
        let job = lab.object(path, "org.pilothouse.Supervisor1.Job").await;
        let word = async |name: &str| job.get_property::<String>(name).await.unwrap();
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        let ended = async {
            while word("State").await == "running" {
                tick.tick().await;
            }
        };
        tokio::time::timeout(LIMIT, ended).await.unwrap();
        assert_eq!(
            (word("Kind").await, job.get_property::<u32>("Progress").await.unwrap()),
            ("apply".into(), 100)
        );
        ends.push((
            word("State").await,
            job.get_property::<u64>("Result").await.unwrap(),
            word("Error").await,
        ));
    }
    assert_eq!(ends[0], ("done".to_owned(), 1, String::new()));
    assert!(ends[1].0 == "failed" && ends[1].2.contains("line 11, column"), "{ends:?}");
}

#[tokio::test]
async fn check_changes_nothing() {
    let lab = Lab::new().await;
    let _supervisor = lab.supervisor("/bin/true").await;
    let config = lab.object("", CONFIG).await;
    config.call::<_, _, ()>("Check", &(file(DOCUMENT),)).await.unwrap();
    let wrong = file(&DOCUMENT.replace("254/24", "0/24"));
    let error = config.call::<_, _, ()>("Check", &(wrong,)).await.unwrap_err().to_string();
    assert!(error.contains("line 11, column"), "{error}");
    assert!(std::fs::read_dir(lab.folder.path().join("config")).unwrap().next().is_none());
}

/// systemd starts it again then, and it finds everything anew.
#[tokio::test]
async fn a_supervisor_that_lost_the_bus_ends_and_comes_back() {
    let mut lab = Lab::new().await;
    let mut supervisor = lab.supervisor("/bin/true").await;
    apply(&lab, DOCUMENT).await.unwrap();
    lab.restart_bus().await;
    let status = tokio::time::timeout(LIMIT, supervisor.wait()).await.unwrap().unwrap();
    assert!(!status.success());
    let _supervisor = lab.supervisor("/bin/true").await;
    assert_eq!(property(&lab, "Generation").await, 1);
    assert_eq!(apply(&lab, &second()).await.unwrap(), 2);
}
