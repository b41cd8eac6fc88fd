//! Health: faults of the real kind, seen on the bus, mended, gone.

use std::process::Command as Blocking;

use zbus::fdo::ManagedObjects;

use crate::fake::{LIMIT, Lab, set_state};

const ISSUE: &str = "org.pilothouse.Supervisor1.Issue";
const HEALTH: &str = "org.pilothouse.Supervisor1.Health";

/// The ids of what is wrong, in order.
async fn ids(lab: &Lab) -> Vec<String> {
    let manager = lab.object("", "org.freedesktop.DBus.ObjectManager").await;
    let managed: ManagedObjects = manager.call("GetManagedObjects", &()).await.unwrap();
    let issues = managed.values().filter_map(|it| it.get(ISSUE));
    let mut ids: Vec<String> = issues.map(|it| String::try_from(it["Id"].clone()).unwrap()).collect();
    ids.sort();
    ids
}

fn path(id: &str) -> String {
    format!("/issue/{}", zbus_systemd::bus_label_escape(id))
}

/// Has everything looked at.
async fn check(lab: &Lab) {
    let health = lab.object("", HEALTH).await;
    let checked = health.call::<_, _, ()>("Check", &());
    tokio::time::timeout(LIMIT, checked).await.unwrap().unwrap();
}

async fn fix(lab: &Lab, id: &str) -> zbus::Result<()> {
    let issue = lab.object(&path(id), ISSUE).await;
    tokio::time::timeout(LIMIT, issue.call("Fix", &())).await.unwrap()
}

async fn property(lab: &Lab, id: &str, name: &str) -> String {
    lab.object(&path(id), ISSUE).await.get_property(name).await.unwrap()
}

/// Waits until these are wrong; the supervisor looks by itself every second.
pub(crate) async fn until(lab: &Lab, expected: &[&str]) {
    let seen = async {
        while ids(lab).await != expected {
            tokio::task::yield_now().await;
        }
    };
    if tokio::time::timeout(LIMIT, seen).await.is_err() {
        panic!("expected {expected:?}, there is {:?}", ids(lab).await);
    }
}

#[tokio::test]
async fn a_unit_that_fails_is_an_issue_until_it_is_restarted() {
    let lab = Lab::new().await;
    let _supervisor = lab.supervisor("/bin/true").await;
    let health = lab.object("", HEALTH).await;
    assert_eq!(health.get_property::<String>("Worst").await.unwrap(), "ok");
    set_state(&lab.systemd, "pilothouse-boot.service", "failed", "failed", 0).await;
    let id = "unit-failed/pilothouse-boot.service";
    until(&lab, &[id]).await;
    assert_eq!(health.get_property::<String>("Worst").await.unwrap(), "error");
    assert_eq!(property(&lab, id, "FixVerb").await, "restart-unit");
    assert!(property(&lab, id, "Suggestion").await.contains("journalctl -u pilothouse-boot.service"));
    fix(&lab, id).await.unwrap();
    until(&lab, &[]).await;
    let expected = [
        "polkit org.pilothouse.supervisor1.manage-services service=pilothouse-boot.service verb=restart-unit",
        "restart pilothouse-boot.service",
    ];
    assert_eq!(lab.calls(), expected);
    assert_eq!(health.get_property::<String>("Worst").await.unwrap(), "ok");
}

#[tokio::test]
async fn a_unit_that_does_not_stay_up_is_flapping() {
    let lab = Lab::new().await;
    let _supervisor = lab.supervisor("/bin/true").await;
    set_state(&lab.systemd, "pilothouse-dhcp.service", "active", "running", 1).await;
    lab.wait_for("dhcp", "Health", "ok").await;
    check(&lab).await;
    assert!(ids(&lab).await.is_empty(), "one restart is none too many");
    set_state(&lab.systemd, "pilothouse-dhcp.service", "active", "running", 4).await;
    until(&lab, &["unit-flapping/pilothouse-dhcp.service"]).await;
    fix(&lab, "unit-flapping/pilothouse-dhcp.service").await.unwrap();
    until(&lab, &[]).await;
}

#[tokio::test]
async fn a_failed_unit_of_somebody_else_is_named_and_one_of_ours_forgotten_on_demand() {
    let lab = Lab::new().await;
    let _supervisor = lab.supervisor("/bin/true").await;
    let units = ["nftables.service", "pilothouse-renew@gateway.service"];
    lab.script.lock().unwrap().failed = units.map(str::to_owned).to_vec();
    check(&lab).await;
    let (other, ours) = ("unit-failed/nftables.service", "unit-failed/pilothouse-renew@gateway.service");
    assert_eq!(ids(&lab).await, [other, ours]);
    assert!(fix(&lab, other).await.unwrap_err().to_string().contains("NotSupported"));
    fix(&lab, ours).await.unwrap();
    assert_eq!(ids(&lab).await, [other]);
    lab.script.lock().unwrap().denied = true;
    lab.script.lock().unwrap().failed.push(units[1].to_owned());
    check(&lab).await;
    assert!(fix(&lab, ours).await.unwrap_err().to_string().contains("AccessDenied"));
    assert_eq!(ids(&lab).await, [other, ours]);
}

/// As a service does it: replaced as a whole.
fn tell(lab: &Lab, service: &str, file: &str, text: &str) {
    let folder = lab.folder.path().join("sockets").join(service);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("new"), text).unwrap();
    std::fs::rename(folder.join("new"), folder.join(file)).unwrap();
}

#[tokio::test]
async fn what_a_service_says_is_shown_until_it_says_it_no_more() {
    let lab = Lab::new().await;
    let issue = |severity: &str, fix: &str| {
        format!(
            r#"[{{"id":"other-dhcp-server/10.0.0.66","kind":"other-dhcp-server","context":{{"unit":"ssh.service"}},
            "severity":"{severity}","since":"2026-11-23T00:00:00Z","summary":"s","suggestion":"t","fix":{fix},
            "message_id":"x"}}]"#
        )
    };
    tell(&lab, "dhcp", "issues.json", &issue("warning", "null"));
    let supervisor = lab.supervisor("/bin/true").await;
    let id = "other-dhcp-server/10.0.0.66";
    assert_eq!(ids(&lab).await, [id], "what is there is shown from the beginning");
    assert_eq!(property(&lab, id, "Since").await, "2026-11-23T00:00:00Z");
    assert_eq!(property(&lab, id, "Source").await, "dhcp");
    tell(&lab, "dhcp", "issues.json", &issue("error", "\"restart-unit\""));
    let worse = async {
        while property(&lab, id, "Severity").await != "error" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, worse).await.unwrap();
    let refused = fix(&lab, id).await.unwrap_err().to_string();
    assert!(refused.contains("ssh.service is none of the head's services"), "{refused}");
    assert!(lab.calls().iter().all(|it| it.starts_with("polkit")), "{:?}", lab.calls());
    tell(&lab, "dhcp", "issues.json", "[]");
    until(&lab, &[]).await;
    drop(supervisor);
}

#[tokio::test]
async fn a_certificate_that_ends_is_an_issue_until_it_is_renewed() {
    let lab = Lab::new().await;
    let certificate = |until: &str| {
        format!(r#"[{{"id":"gateway","not_before":"2020-01-01T00:00:00Z","not_after":"{until}"}}]"#)
    };
    tell(&lab, "gateway", "certificates.json", &certificate("2020-02-01T00:00:00Z"));
    let _supervisor = lab.supervisor("/bin/true").await;
    let id = "certificate-expiring/gateway";
    assert_eq!(ids(&lab).await, [id]);
    fix(&lab, id).await.unwrap();
    assert!(lab.calls().contains(&"start pilothouse-renew@gateway.service".to_owned()), "{:?}", lab.calls());
    assert_eq!(ids(&lab).await, [id], "the fake one renews nothing");
    tell(&lab, "gateway", "certificates.json", &certificate("2999-01-01T00:00:00Z"));
    check(&lab).await;
    assert!(ids(&lab).await.is_empty());
}

#[tokio::test]
async fn an_issue_that_outlives_the_supervisor_keeps_its_beginning() {
    let lab = Lab::new().await;
    let mut first = lab.supervisor("/bin/true").await;
    set_state(&lab.systemd, "pilothouse-ca.service", "failed", "failed", 0).await;
    let id = "unit-failed/pilothouse-ca.service";
    until(&lab, &[id]).await;
    let since = property(&lab, id, "Since").await;
    first.kill().await.unwrap();
    let _second = lab.supervisor("/bin/true").await;
    assert_eq!(ids(&lab).await, [id]);
    assert_eq!(property(&lab, id, "Since").await, since);
}

pub(crate) const NTP: &str =
    "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"a.b\"\n[network]\nntp = [\"ntp.example\"]\n";

#[tokio::test]
async fn a_clock_that_nobody_sets_is_an_issue_until_somebody_does() {
    let lab = Lab::new().await;
    configure(&lab, NTP);
    lab.script.lock().unwrap().synchronised = false;
    set_state(&lab.systemd, "chrony.service", "active", "running", 0).await;
    let _supervisor = lab.supervisor_with("/bin/true", &["--clock-patience", "0"]).await;
    assert_eq!(ids(&lab).await, ["clock-unsynchronised"]);
    lab.script.lock().unwrap().synchronised = true;
    check(&lab).await;
    assert!(ids(&lab).await.is_empty());
    set_state(&lab.systemd, "chrony.service", "inactive", "dead", 0).await;
    check(&lab).await;
    assert_eq!(ids(&lab).await, ["clock-service-stopped"]);
    set_state(&lab.systemd, "chrony.service", "active", "running", 0).await;
    check(&lab).await;
    assert!(ids(&lab).await.is_empty());
}

/// A file system in memory, in the tests' own folder; needs root. Gone when dropped.
struct Small(std::path::PathBuf);

impl Small {
    fn mount(folder: &std::path::Path, options: &str) -> Self {
        std::fs::create_dir(folder).unwrap();
        run("mount", &["-t", "tmpfs", "-o", options, "tmpfs", folder.to_str().unwrap()]);
        Self(folder.to_owned())
    }

    fn again(&self, options: &str) {
        run("mount", &["-o", &format!("remount,{options}"), self.0.to_str().unwrap()]);
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        run("umount", &["-l", self.0.to_str().unwrap()]);
    }
}

fn run(program: &str, words: &[&str]) {
    let output = Blocking::new(program).args(words).output().unwrap();
    assert!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn a_disk_that_fills_up_or_fails_is_an_issue_until_there_is_room() {
    let lab = Lab::new().await;
    let place = lab.folder.path().join("disk");
    let small = Small::mount(&place, "size=4m,nr_inodes=1000");
    let place = place.to_str().unwrap();
    let _supervisor = lab.supervisor_with("/bin/true", &["--disks", place]).await;
    assert!(ids(&lab).await.is_empty());
    std::fs::write(small.0.join("much"), vec![0; 4_100_000]).unwrap();
    check(&lab).await;
    let full = format!("disk-full/{place}");
    assert_eq!(ids(&lab).await, [full.as_str()]);
    assert_eq!(property(&lab, &full, "Severity").await, "error");
    std::fs::remove_file(small.0.join("much")).unwrap();
    for number in 0..990 {
        std::fs::write(small.0.join(number.to_string()), "").unwrap();
    }
    check(&lab).await;
    assert_eq!(ids(&lab).await, [format!("disk-inodes/{place}")]);
    for number in 0..990 {
        std::fs::remove_file(small.0.join(number.to_string())).unwrap();
    }
    small.again("ro");
    check(&lab).await;
    assert_eq!(ids(&lab).await, [format!("disk-read-only/{place}")]);
    small.again("rw");
    check(&lab).await;
    assert!(ids(&lab).await.is_empty());
}

#[tokio::test]
async fn bloat_of_the_database_is_an_issue_until_it_is_vacuumed() {
    let Ok(url) = std::env::var("DATABASE_URL") else { return };
    let lab = Lab::new().await;
    let name = format!("supervisor_health_{}", std::process::id());
    let sql = |script: &str| run("psql", &["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &url, "-c", script]);
    sql(&format!("create database {name}"));
    let own = own_database(&url, &name);
    let in_own = |script: &str| run("psql", &["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &own, "-c", script]);
    in_own("create table grown (id int) with (autovacuum_enabled = false)");
    let options = ["--psql", "/usr/bin/psql", "--database", &url, "--databases", &name];
    let _supervisor = lab.supervisor_with("/bin/true", &options).await;
    set_state(&lab.systemd, "pilothouse-postgres.service", "active", "running", 0).await;
    lab.wait_for("postgres", "Health", "ok").await;
    check(&lab).await;
    let bloat = format!("database-bloat/{name}.public.grown");
    assert!(!ids(&lab).await.contains(&bloat));
    in_own("insert into grown select generate_series(1, 12000)");
    in_own("update grown set id = id + 1");
    check(&lab).await;
    assert!(ids(&lab).await.contains(&bloat), "{:?}", ids(&lab).await);
    fix(&lab, &bloat).await.unwrap();
    assert!(lab.calls().contains(&"start pilothouse-postgres-vacuum.service".to_owned()));
    in_own("vacuum");
    check(&lab).await;
    assert!(!ids(&lab).await.contains(&bloat), "{:?}", ids(&lab).await);
    sql(&format!("drop database {name} with (force)"));
}

/// The same server, another database: the path's part of a URI.
fn own_database(url: &str, name: &str) -> String {
    let (server, query) = url.split_once('?').map_or((url, ""), |(server, query)| (server, query));
    let server = server.rsplit_once('/').map_or(server, |it| it.0);
    format!("{server}/{name}{}{query}", if query.is_empty() { "" } else { "?" })
}

/// A document in force.
pub(crate) fn configure(lab: &Lab, document: &str) {
    let generation = lab.folder.path().join("config/1");
    std::fs::create_dir_all(&generation).unwrap();
    std::fs::write(generation.join("pilothouse.toml"), document).unwrap();
    std::fs::write(lab.folder.path().join("config/applied"), "1\n").unwrap();
}
