#![expect(clippy::unwrap_used, reason = "tests")]

use super::{Database, Server, Severity, Slot, Standby, Table, Way, check, gather, run_command};

fn way() -> Option<Way> {
    let connection = std::env::var("DATABASE_URL").ok()?;
    Some(Way { psql: "/usr/bin/psql".into(), connection })
}

async fn run(statements: &str) {
    let url = std::env::var("DATABASE_URL").unwrap();
    let mut psql = tokio::process::Command::new("psql");
    psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", &url]);
    run_command(psql, "psql", statements.as_bytes(), super::ASK_MAX).await.unwrap();
}

fn ids(server: &Server) -> Vec<String> {
    check(server).into_iter().map(|it| it.id).collect()
}

fn server() -> Server {
    Server {
        freeze_max: 200_000_000,
        max_connections: 64,
        connections: 12,
        wal_bytes: 64 << 20,
        wal_max: 1 << 30,
        databases: vec![Database { name: "inventory".into(), age: 190_000_000, ..Database::default() }],
        ..Server::default()
    }
}

#[test]
fn an_old_database_is_told_before_the_server_stops() {
    let mut server = server();
    assert!(ids(&server).is_empty());
    server.databases[0].age = 300_000_000;
    let found = check(&server);
    assert_eq!((found[0].id.as_str(), found[0].severity), ("database-age/inventory", Severity::Warning));
    assert_eq!(found[0].fix.as_deref(), Some("vacuum"));
    server.databases[0].age = 1_900_000_000;
    assert_eq!(check(&server)[0].severity, Severity::Error);
}

#[test]
fn wal_that_nobody_fetches_is_told_by_its_cause() {
    let mut server = server();
    server.wal_bytes = 4 << 30;
    assert_eq!(ids(&server), ["database-wal"]);
    let slot = |active, kept| Slot { name: "second".into(), active, kept };
    server.slots = vec![slot(true, 3 << 30)];
    assert_eq!(ids(&server), ["database-wal"], "it is being read");
    server.slots = vec![slot(false, 3 << 30)];
    assert_eq!(ids(&server), ["database-slot/second"], "the cause, not what follows from it");
    server.slots.clear();
    server.archive_fails = true;
    assert_eq!(ids(&server), ["database-archive"]);
}

#[test]
fn standbys_that_lag_and_writes_that_wait_are_told() {
    let mut server = server();
    let standby = Standby { name: "second".into(), sync: "async".into(), lag_s: 1.0, behind: 1 << 20 };
    server.standbys = vec![standby.clone()];
    assert!(ids(&server).is_empty());
    server.synchronous = "second".into();
    assert_eq!(ids(&server), ["database-standby"]);
    server.standbys = vec![Standby { sync: "sync".into(), behind: 300 << 20, ..standby }];
    assert_eq!(ids(&server), ["database-standby/second"]);
}

#[test]
fn open_transactions_full_connections_and_damaged_pages_are_told() {
    let mut server = server();
    server.open_s = 7200;
    server.connections = 60;
    server.databases[0].checksum_failures = 1;
    server.databases[0].tables = vec![
        Table { name: "public.lease".into(), live: 9, dead: 9_999 },
        Table { dead: 9, ..Table::default() },
    ];
    let expected = ["database-damaged/inventory", "database-connections", "database-open-transaction"];
    assert_eq!(ids(&server), expected);
}

/// The whole way on a real server: dead rows that nobody clears, seen, vacuumed, gone.
#[tokio::test]
async fn bloat_is_seen_and_gone_after_a_vacuum() {
    let Some(way) = way() else { return };
    let name = format!("health_bloat_{}", std::process::id());
    run(&format!("create database {name};")).await;
    run(&format!(
        "\\connect {name}\n\
         create table grown (id int) with (autovacuum_enabled = false);\n\
         insert into grown select generate_series(1, 12000);\n\
         update grown set id = id + 1;\n"
    ))
    .await;
    let look = async || gather(&way, std::slice::from_ref(&name)).await.unwrap();
    let server = look().await;
    let found = check(&server);
    let bloat = format!("database-bloat/{name}.public.grown");
    assert!(found.iter().any(|it| it.id == bloat && it.fix.as_deref() == Some("vacuum")), "{found:?}");
    run(&format!("\\connect {name}\nvacuum freeze;\n")).await;
    let after = look().await;
    assert!(!ids(&after).contains(&bloat), "{:?}", ids(&after));
    assert!(after.databases[0].age <= server.databases[0].age, "frozen is younger");
    run(&format!("drop database {name} with (force);")).await;
}

/// A slot that nobody reads, as the server's own view has it; how much is too much is max_wal_size's.
#[tokio::test]
async fn a_slot_is_seen_with_what_is_kept_for_it() {
    let Some(way) = way() else { return };
    let name = format!("health_slot_{}", std::process::id());
    run(&format!("select pg_create_physical_replication_slot('{name}', true);")).await;
    run("create table if not exists health_slot_wal (t text); insert into health_slot_wal \
         select repeat('x', 1000) from generate_series(1, 2000); drop table health_slot_wal;")
    .await;
    let mut server = gather(&way, &["postgres".to_owned()]).await.unwrap();
    run(&format!("select pg_drop_replication_slot('{name}');")).await;
    let slot = server.slots.iter().find(|it| it.name == name).unwrap();
    assert!(!slot.active && slot.kept > 1 << 20, "{slot:?}");
    server.wal_max = 1 << 20;
    assert!(ids(&server).contains(&format!("database-slot/{name}")), "{:?}", ids(&server));
    let after = gather(&way, &["postgres".to_owned()]).await.unwrap();
    assert!(after.slots.iter().all(|it| it.name != name));
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_an_error_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let connection = format!("postgres:///postgres?host={}", folder.path().display());
    let way = Way { psql: "/usr/bin/psql".into(), connection };
    let error = gather(&way, &[]).await.unwrap_err();
    let issue = super::unreachable(&error);
    assert!(issue.summary.contains("psql") && issue.id == "database-unreachable", "{issue:?}");
}
