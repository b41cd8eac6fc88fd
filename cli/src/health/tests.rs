#![expect(clippy::unwrap_used, reason = "tests")]

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use zbus::{Connection, fdo, interface};

use super::{ROOT, SUPERVISOR, find, fix_all, nagios, shown, sorted, unreachable};

fn issue(severity: &str, id: &str) -> Value {
    json!({"id": id, "severity": severity, "since": "2026-11-23T00:00:00Z", "summary": "it | is\nwrong",
        "suggestion": "mend it", "fix": "restart-unit"})
}

#[test]
fn the_worst_is_shown_first_with_what_to_do() {
    let issues = sorted(vec![issue("warning", "a"), issue("critical", "c"), issue("warning", "b")]);
    let text = shown(&issues);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "critical  c  since 2026-11-23T00:00:00Z");
    assert_eq!(lines[1..4], ["          it | is?wrong", "          mend it", "          fix: restart-unit"]);
    assert!(lines[4].starts_with("warning   a"), "{}", lines[4]);
    assert_eq!(shown(&[]), "nothing is wrong\n");
}

#[test]
fn monitoring_gets_one_line_and_the_status_it_knows() {
    let none = "PILOTHOUSE OK - nothing is wrong | info=0;;;0 warning=0;;;0 error=0;;;0 critical=0;;;0";
    assert_eq!(nagios(&[], true), (0, none.to_owned()));
    assert_eq!(nagios(&[issue("info", "a")], true).0, 0);
    let two = [issue("warning", "a"), issue("warning", "b")];
    let (code, line) = nagios(&two, true);
    assert_eq!(code, 1);
    assert!(
        line.starts_with("PILOTHOUSE WARNING - it / is?wrong (and 1 more) | info=0;;;0 warning=2;"),
        "{line}"
    );
    assert_eq!(line.lines().count(), 1);
    assert_eq!(nagios(&[issue("error", "a")], true).0, 2);
    let away = unreachable(&zbus::Error::InvalidReply);
    assert_eq!(nagios(std::slice::from_ref(&away), false).0, 3, "who sees little knows little");
    assert_eq!(nagios(&[issue("critical", "a"), away], false).0, 2, "what is known counts");
}

/// An issue as the supervisor shows it.
struct Issue {
    id: &'static str,
    severity: &'static str,
    context: &'static str,
    verb: &'static str,
    calls: Arc<Mutex<Vec<&'static str>>>,
}

#[interface(name = "org.pilothouse.Supervisor1.Issue")]
impl Issue {
    #[zbus(property)]
    fn id(&self) -> &str {
        self.id
    }
    #[zbus(property)]
    fn severity(&self) -> &str {
        self.severity
    }
    #[zbus(property)]
    fn context(&self) -> &str {
        self.context
    }
    #[zbus(property)]
    fn fix_verb(&self) -> &str {
        self.verb
    }
    fn fix(&self) -> fdo::Result<()> {
        self.calls.lock().unwrap().push(self.id);
        match self.verb {
            "refuse" => Err(fdo::Error::AccessDenied("ask an administrator".to_owned())),
            _ => Ok(()),
        }
    }
}

struct Health(Arc<Mutex<Vec<&'static str>>>);

#[interface(name = "org.pilothouse.Supervisor1.Health")]
impl Health {
    fn check(&self) {
        self.0.lock().unwrap().push("check");
    }
}

/// A bus of the test's own; gone when dropped.
struct Bus {
    _daemon: tokio::process::Child,
    supervisor: Connection,
    caller: Connection,
    calls: Arc<Mutex<Vec<&'static str>>>,
}

impl Bus {
    async fn new() -> Self {
        let mut daemon = tokio::process::Command::new("/usr/bin/dbus-daemon")
            .args(["--session", "--nofork", "--print-address=1"])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(daemon.stdout.take().unwrap()).lines();
        let limit = Duration::from_secs(30);
        let address = tokio::time::timeout(limit, lines.next_line()).await.unwrap().unwrap().unwrap();
        let calls = Arc::default();
        let connect = || zbus::connection::Builder::address(address.as_str());
        let supervisor = connect()
            .serve_at(ROOT, fdo::ObjectManager)
            .serve_at(ROOT, Health(Arc::clone(&calls)))
            .name(SUPERVISOR)
            .build()
            .await
            .unwrap();
        let caller = connect().build().await.unwrap();
        Self { _daemon: daemon, supervisor, caller, calls }
    }

    async fn add(&self, id: &'static str, severity: &'static str, verb: &'static str, context: &'static str) {
        let issue = Issue { id, severity, context, verb, calls: Arc::clone(&self.calls) };
        let path = format!("{ROOT}/issue/{}", id.replace(['/', '-', '.'], "_"));
        assert!(self.supervisor.object_server().at(path, issue).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn each_fix_is_carried_out_once_and_the_worst_is_first() {
    let bus = Bus::new().await;
    bus.add("database-bloat/a", "warning", "vacuum", r#"{"database":"a"}"#).await;
    bus.add("database-bloat/b", "warning", "vacuum", r#"{"database":"b"}"#).await;
    bus.add("unit-failed/a.service", "error", "restart-unit", r#"{"unit":"a.service"}"#).await;
    bus.add("disk-full/srv", "critical", "", "null").await;
    let issues = find(Some(&bus.caller), true).await.unwrap();
    let ids: Vec<_> = issues.iter().map(|it| it["id"].as_str().unwrap()).collect();
    let expected = ["disk-full/srv", "unit-failed/a.service", "database-bloat/a", "database-bloat/b"];
    assert_eq!(ids, expected);
    assert_eq!(issues[1]["context"]["unit"], "a.service");
    fix_all(&bus.caller, &issues).await.unwrap();
    assert_eq!(*bus.calls.lock().unwrap(), ["check", "unit-failed/a.service", "database-bloat/a"]);
}

#[tokio::test]
async fn a_fix_that_is_refused_says_so_and_one_that_is_gone_does_not() {
    let bus = Bus::new().await;
    bus.add("unit-failed/a.service", "error", "refuse", r#"{"unit":"a.service"}"#).await;
    let mut issues = find(Some(&bus.caller), false).await.unwrap();
    let gone = json!({"fix": "restart-unit", "path": format!("{ROOT}/issue/gone"), "context": {"unit": "b"}});
    issues.push(gone.clone());
    let failure = fix_all(&bus.caller, &issues).await.unwrap_err();
    assert_eq!(failure.code, 4, "{}", failure.message);
    assert!(failure.message.contains("refuse a.service: ask an administrator"), "{}", failure.message);
    assert!(fix_all(&bus.caller, &[gone]).await.is_ok());
    assert!(find(None, false).await.is_err());
}
