//! What the journal tells of who did what: a program in journalctl's place prints recorded lines, and journalctl itself
//! reads a journal that was made of recorded entries.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use sqlx::{Executor, PgPool};
use timeline::Journal;
use timeline::client::{self, Record, Verdict, Wanted};
use web::Database;

use super::head::{Head, until};

const HEAD: &str = "0123456789abcdef0123456789abcdef";
/// From Debian's package systemd-journal-remote.
const REMOTE: &str = "/usr/lib/systemd/systemd-journal-remote";

/// A program that prints the lines behind a cursor and follows the file, as journalctl does. With a number it ends after
/// so many lines, as journalctl does when it is killed.
struct Fake {
    folder: tempfile::TempDir,
}

impl Fake {
    fn new(lines_at_once: Option<u32>) -> Self {
        let fake = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::write(fake.lines(), "").unwrap();
        let lines = fake.lines();
        let rest = match lines_at_once {
            Some(count) => format!("tail -n +$((at + 1)) '{}' | head -n {count}", lines.display()),
            None => format!("exec tail -n +$((at + 1)) -f '{}'", lines.display()),
        };
        let script = format!(
            "#!/bin/sh\nat=0\nfor word; do case $word in --after-cursor=*)\n\
             at=$(grep -nF \"\\\"__CURSOR\\\":\\\"${{word#*=}}\\\"\" '{}' | cut -d: -f1);; esac; done\n{rest}\n",
            lines.display()
        );
        std::fs::write(fake.program(), script).unwrap();
        std::fs::set_permissions(fake.program(), std::fs::Permissions::from_mode(0o755)).unwrap();
        fake
    }

    fn lines(&self) -> PathBuf {
        self.folder.path().join("lines")
    }

    fn program(&self) -> PathBuf {
        self.folder.path().join("journalctl")
    }

    fn journal(&self) -> Journal {
        Journal::new(self.program(), self.folder.path(), HEAD)
    }

    /// Writes so many entries, from a number on; every third is of no interest.
    fn tell(&self, numbers: std::ops::Range<u32>) {
        let mut text = String::new();
        for number in numbers {
            let mut entry = json!({"__CURSOR": format!("s=a;i={number}"), "_UID": "809",
                "__REALTIME_TIMESTAMP": (1_764_000_000_000_000_u64 + u64::from(number)).to_string()});
            let fields = match number % 3 {
                0 => json!({"MESSAGE": "Connection from 10.0.0.1 port 4", "_COMM": "sshd", "_UID": "0"}),
                _ => json!({"PILOTHOUSE_AUDIT": "1", "PILOTHOUSE_ACTOR": "alice (uid:1000)",
                    "PILOTHOUSE_WHENCE": "10.0.0.1", "PILOTHOUSE_RESULT": "ok",
                    "PILOTHOUSE_NODE": "x0c0s1b0n0", "MESSAGE": format!("deed {number}")}),
            };
            for (name, value) in fields.as_object().unwrap() {
                entry[name] = value.clone();
            }
            text.push_str(&format!("{entry}\n"));
        }
        self.put(&text);
    }

    fn put(&self, text: &str) {
        let mut file = std::fs::OpenOptions::new().append(true).open(self.lines()).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }
}

/// Those of `tell`.
fn deeds(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.filter(|it| it % 3 != 0).map(|it| format!("deed {it}")).collect()
}

async fn start(db: &PgPool, fake: &Fake) -> Head {
    let folder = tempfile::tempdir().unwrap();
    Head::start_at(folder, Database::ready(db.clone()), Some(fake.journal()), 1, "").await
}

/// The first one first.
async fn list(head: &Head, wanted: &Wanted<'_>) -> Vec<Record> {
    let mut records = client::list_audit(&head.client(), wanted).await.unwrap();
    records.reverse();
    records
}

async fn whats(head: &Head) -> Vec<String> {
    list(head, &Wanted::default()).await.into_iter().map(|it| it.deed.what).collect()
}

async fn verdict(head: &Head) -> Verdict {
    client::verify_audit(&head.client()).await.unwrap().pop().unwrap()
}

#[sqlx::test(migrator = "timeline::MIGRATIONS")]
async fn what_the_journal_tells_is_chained(db: PgPool) {
    let fake = Fake::new(None);
    fake.tell(1..7);
    let head = start(&db, &fake).await;
    until(async || whats(&head).await == deeds(1..7)).await;
    let line = |fields: Value| format!("{fields}\n");
    let mut text = line(json!({"__CURSOR": "f", "__REALTIME_TIMESTAMP": "1764000001000000", "_UID": "1000",
        "PILOTHOUSE_AUDIT": "1", "PILOTHOUSE_ACTOR": "alice", "MESSAGE": "forged"}));
    text += "no JSON\n";
    text += &format!("{{\"__CURSOR\":\"{}\"}}\n", "x".repeat(300_000));
    text += &line(json!({"__CURSOR": "g", "__REALTIME_TIMESTAMP": "1764000002000000", "_UID": "0",
        "_COMM": "sshd-session",
        "MESSAGE": "Accepted publickey for bob from 10.0.0.7 port 5 ssh2: ED25519 SHA256:k"}));
    fake.put(&text);
    until(async || whats(&head).await.len() == 5).await;
    let records = list(&head, &Wanted { actor: Some("BOB"), ..Wanted::default() }).await;
    let deed = &records[0].deed;
    assert_eq!((records.len(), deed.source.as_str(), deed.whence.as_str()), (1, "ssh", "10.0.0.7"));
    assert_eq!((records[0].id, records[0].head.as_str()), (5, HEAD));
    for (wanted, count) in [
        (Wanted { node: Some("nid001"), ..Wanted::default() }, 4),
        (Wanted { what: Some("deed 2"), ..Wanted::default() }, 1),
        (Wanted { result: Some("refused"), ..Wanted::default() }, 0),
        (Wanted { since: Some("2025-11-24T16:00:01+00:00"), ..Wanted::default() }, 1),
        (Wanted { until: Some("2025-11-24T16:00:01Z"), ..Wanted::default() }, 4),
        (Wanted { limit: Some(2), ..Wanted::default() }, 2),
    ] {
        assert_eq!(list(&head, &wanted).await.len(), count, "{wanted:?}");
    }
    let verdict = verdict(&head).await;
    assert_eq!((verdict.records, verdict.broken), (5, None));
    assert_eq!(verdict.last.hash, records[0].hash);
    // Nobody can write; the journal keeps what there is.
    db.execute("alter table audit_chain rename to away").await.unwrap();
    fake.tell(7..10);
    until(async || !head.issues().is_empty()).await;
    assert_eq!(head.issues()[0]["kind"], "audit-behind");
    db.execute("alter table away rename to audit_chain").await.unwrap();
    until(async || whats(&head).await.len() == 7 && head.issues().is_empty()).await;
    head.stop().await;
}

/// Whatever ends between two entries, the service or journalctl, none is taken twice and none is left out.
#[sqlx::test(migrator = "timeline::MIGRATIONS")]
async fn a_restart_goes_on_at_the_cursor(db: PgPool) {
    let fake = Fake::new(Some(4));
    fake.tell(1..12);
    let mut head = start(&db, &fake).await;
    until(async || whats(&head).await == deeds(1..12)).await;
    for from in [12, 20, 21] {
        let folder = head.leave().await;
        fake.tell(from..from + 1);
        let journal = Some(fake.journal());
        head = Head::start_at(folder, Database::ready(db.clone()), journal, 1, "").await;
        fake.tell(from + 1..if from == 12 { 20 } else { from + 1 });
        let end = if from == 12 { 20 } else { from + 1 };
        until(async || whats(&head).await == deeds(1..end)).await;
    }
    assert_eq!(verdict(&head).await.broken, None);
    head.stop().await;
}

#[sqlx::test(migrator = "timeline::MIGRATIONS")]
async fn what_is_done_to_the_table_is_found(db: PgPool) {
    let fake = Fake::new(None);
    fake.tell(1..31);
    let head = start(&db, &fake).await;
    until(async || whats(&head).await.len() == 20).await;
    db.execute("create table kept as select * from audit").await.unwrap();
    for (what, statement, first) in [
        ("a changed row", "update audit set actor = 'nobody' where id = 7", 7),
        ("a changed time", "update audit set time = time - interval '1 microsecond' where id = 1", 1),
        ("a removed row", "delete from audit where id = 11", 11),
        ("the first row", "delete from audit where id = 1", 1),
        ("the last row", "delete from audit where id = 20", 20),
        ("all rows", "delete from audit", 1),
        (
            "the last row, and the chain made to fit",
            "with gone as (delete from audit where id = 20)
             update audit_chain set last = 19, last_hash = (select hash from audit where id = 19)",
            20,
        ),
        (
            "a swapped pair",
            "update audit set id = 1000 where id = 4; update audit set id = 4 where id = 5;
             update audit set id = 5 where id = 1000",
            4,
        ),
        (
            "the oldest rows, as if for their age",
            "with gone as (delete from audit where id <= 3)
             update audit_chain set pruned = 3, pruned_hash = (select hash from audit where id = 3)",
            3,
        ),
    ] {
        db.execute("create table chain_kept as select * from audit_chain").await.unwrap();
        db.execute(statement).await.unwrap();
        let broken = verdict(&head).await.broken;
        assert_eq!(broken.as_ref().map(|it| it.id), Some(first), "{what}: {broken:?}");
        db.execute(
            "delete from audit; insert into audit select * from kept; delete from audit_chain;
             insert into audit_chain select * from chain_kept; drop table chain_kept",
        )
        .await
        .unwrap();
        assert_eq!(verdict(&head).await.broken, None, "after {what}");
    }
    head.stop().await;
}

/// A database from yesterday's backup: the records since are missing, and that stays to be seen though new ones come.
#[sqlx::test(migrator = "timeline::MIGRATIONS")]
async fn a_shorter_table_than_before_is_found_after_a_restart(db: PgPool) {
    let fake = Fake::new(None);
    fake.tell(1..31);
    let head = start(&db, &fake).await;
    until(async || whats(&head).await.len() == 20).await;
    let folder = head.leave().await;
    db.execute(
        "delete from audit where id > 15; update audit_chain set last = 15, cursor = 's=a;i=22',
             last_hash = (select hash from audit where id = 15)",
    )
    .await
    .unwrap();
    let head = Head::start_at(folder, Database::ready(db.clone()), Some(fake.journal()), 1, "").await;
    // What was lost is taken from the journal once more, as far as it is there.
    until(async || whats(&head).await == deeds(1..31)).await;
    let broken = verdict(&head).await.broken.unwrap();
    assert_eq!(broken.id, 16, "{broken:?}");
    head.stop().await;
}

/// Makes a journal of entries as systemd-journal-remote does of those of other machines, with their own trusted fields.
fn write_journal(folder: &Path, entries: &[(u64, &str, &str)]) {
    let mut text = String::new();
    for (number, boot, fields) in entries {
        text += &format!(
            "__REALTIME_TIMESTAMP={}\n__MONOTONIC_TIMESTAMP={}\n_BOOT_ID={boot}\n{fields}\n\n",
            1_764_000_000_000_000 + number * 1_000_000,
            number * 1_000_000,
        );
    }
    let mut remote = Command::new(REMOTE);
    let remote = remote.arg("--output").arg(folder.join("system.journal")).arg("-").stdin(Stdio::piped());
    let mut remote = remote.stderr(Stdio::null()).spawn().expect("apt-get install systemd-journal-remote");
    remote.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(remote.wait().unwrap().success());
}

#[sqlx::test(migrator = "timeline::MIGRATIONS")]
async fn journalctl_tells_of_every_boot_and_goes_on(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = ("0123456789abcdef0123456789abcdef", "1123456789abcdef0123456789abcdef");
    let deed = |what: &str| {
        format!(
            "_UID=801\nPILOTHOUSE_AUDIT=1\nPILOTHOUSE_ACTOR=alice\nPILOTHOUSE_WHENCE=local\n\
             PILOTHOUSE_RESULT=ok\nSECRET=x\nMESSAGE={what}"
        )
    };
    let ssh = "_UID=0\n_COMM=sshd-session\nMESSAGE=Accepted publickey for bob from ::1 port 5 ssh2";
    let noise = "_UID=0\n_COMM=cron\nMESSAGE=noise";
    write_journal(
        folder.path(),
        &[(1, old, &deed("one")), (2, old, noise), (3, old, ssh), (4, new, &deed("two"))],
    );
    let journal = Some(Journal::new("/usr/bin/journalctl", folder.path(), HEAD));
    let state = tempfile::tempdir().unwrap();
    let head = Head::start_at(state, Database::ready(db.clone()), journal.clone(), 1, "").await;
    let told = ["one", "log-in by publickey", "two"];
    until(async || whats(&head).await == told).await;
    write_journal(folder.path(), &[(5, new, &deed("three")), (6, new, noise)]);
    until(async || whats(&head).await.len() == 4).await;
    let state = head.leave().await;
    write_journal(folder.path(), &[(7, new, &deed("four"))]);
    let head = Head::start_at(state, Database::ready(db.clone()), journal, 1, "").await;
    until(async || whats(&head).await == [&told[..], &["three", "four"]].concat()).await;
    assert_eq!(verdict(&head).await.records, 5);
    head.stop().await;
}
