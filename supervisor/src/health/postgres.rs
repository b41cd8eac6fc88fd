//! PostgreSQL by its own views: age of transactions, bloat, WAL that is kept back, archiving, standbys.
//!
//! The supervisor links no database: psql asks, as the role `supervisor`, which has pg_monitor and may connect to the
//! services' databases, and nothing more.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use domain::event;
use serde::Deserialize;
use serde_json::json;
use tokio::process::Command;

use super::issue::{Issue, Severity};
use crate::program::run_command;

/// How long psql may take.
const ASK_MAX: Duration = Duration::from_secs(30);
/// Tables of a database that are looked at, those with most dead rows.
const TABLES_MAX: usize = 20;
/// Fewer dead rows are no bloat, whatever their share.
const DEAD_MIN: u64 = 10_000;
/// Transactions until the server refuses to work (documentation of PostgreSQL, 24.1.5).
const AGE_MAX: u64 = 2_000_000_000;
/// A transaction that is open for so long keeps vacuum from its work.
const OPEN_S: u64 = 3600;
/// A standby that is behind by so much is of no use to anybody.
const LAG_S: f64 = 60.0;
const BEHIND: u64 = 256 << 20;

/// How psql gets there.
#[derive(Clone, Debug)]
pub(super) struct Way {
    /// psql.
    pub(super) psql: PathBuf,
    /// A connection string or URI without a password (libpq's).
    pub(super) connection: String,
}

/// The server as its views show it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Server {
    /// autovacuum_freeze_max_age
    freeze_max: u64,
    max_connections: u64,
    connections: u64,
    /// The longest open transaction of a client, in seconds.
    open_s: u64,
    wal_bytes: u64,
    wal_max: u64,
    archive_fails: bool,
    /// synchronous_standby_names
    synchronous: String,
    slots: Vec<Slot>,
    standbys: Vec<Standby>,
    databases: Vec<Database>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Slot {
    name: String,
    active: bool,
    /// Bytes of WAL that are kept for it.
    kept: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Standby {
    name: String,
    sync: String,
    lag_s: f64,
    behind: i64,
}

/// A database.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Database {
    name: String,
    age: u64,
    checksum_failures: u64,
    /// Filled in by a question of its own.
    tables: Vec<Table>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Table {
    name: String,
    live: u64,
    dead: u64,
}

const SERVER: &str = "select json_build_object(
    'freeze_max', current_setting('autovacuum_freeze_max_age')::bigint,
    'max_connections', current_setting('max_connections')::bigint,
    'connections', (select count(*) from pg_stat_activity where backend_type = 'client backend'),
    'open_s', (select coalesce(max(extract(epoch from clock_timestamp() - xact_start)), 0)::bigint
        from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()),
    'wal_bytes', (select coalesce(sum(size), 0)::bigint from pg_ls_waldir()),
    'wal_max', pg_size_bytes(current_setting('max_wal_size')),
    'archive_fails', (select current_setting('archive_mode') <> 'off'
        and coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false) from pg_stat_archiver),
    'synchronous', current_setting('synchronous_standby_names'),
    'slots', (select coalesce(json_agg(json_build_object('name', slot_name, 'active', active,
            'kept', pg_wal_lsn_diff(place.lsn, restart_lsn)::bigint)), '[]')
        from pg_replication_slots where restart_lsn is not null),
    'standbys', (select coalesce(json_agg(json_build_object('name', application_name, 'sync', sync_state,
            'lag_s', coalesce(extract(epoch from replay_lag), 0)::float8,
            'behind', coalesce(pg_wal_lsn_diff(place.lsn, replay_lsn), 0)::bigint)), '[]')
        from pg_stat_replication),
    'databases', (select json_agg(json_build_object('name', datname, 'age', age(datfrozenxid),
            'checksum_failures', coalesce(pg_stat_get_db_checksum_failures(oid), 0)) order by datname)
        from pg_database where datallowconn and not datistemplate and has_database_privilege(oid, 'connect')))
    from (select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end as lsn)
        as place";

/// Asks the server, and each of its databases that we may connect to and `of` names; no names: all of them.
///
/// # Errors
///
/// If it does not answer.
pub(super) async fn gather(way: &Way, of: &[String]) -> anyhow::Result<Server> {
    let answer = ask(way, SERVER).await?;
    let mut server: Server = serde_json::from_str(&answer).context("read what PostgreSQL says of itself")?;
    server.databases.retain(|it| of.is_empty() || of.contains(&it.name));
    for database in &mut server.databases {
        // Names come from the catalog; psql gets them quoted as its own documentation has it.
        let name = database.name.replace('\\', "\\\\").replace('\'', "\\'");
        let script = format!(
            "\\connect -reuse-previous=on \"dbname='{name}'\"\n\
             select coalesce(json_agg(it), '[]') from (
                 select schemaname || '.' || relname as name, n_live_tup as live, n_dead_tup as dead
                 from pg_stat_user_tables where n_dead_tup > 0 order by n_dead_tup desc limit {TABLES_MAX}) as it"
        );
        match ask(way, &script).await {
            Ok(answer) => {
                database.tables =
                    serde_json::from_str(&answer).context("read what a database says of itself")?;
            }
            // It may have been dropped meanwhile.
            Err(error) => log::warn!("the database {} cannot be asked: {error:#}", database.name),
        }
    }
    Ok(server)
}

async fn ask(way: &Way, script: &str) -> anyhow::Result<String> {
    let mut psql = Command::new(&way.psql);
    psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d"]).arg(&way.connection);
    // Only what is asked for: no settings of whoever started us.
    psql.env("PGCONNECT_TIMEOUT", "10").env("PGAPPNAME", "pilothouse-supervisor").env("LC_ALL", "C.UTF-8");
    let script = format!("{script};\n");
    run_command(psql, "psql", script.as_bytes(), ASK_MAX).await
}

/// What is wrong with it.
pub(super) fn check(server: &Server) -> Vec<Issue> {
    let mut issues = Vec::new();
    for database in &server.databases {
        issues.extend(check_age(database, server.freeze_max));
        issues.extend(check_tables(database));
        if database.checksum_failures > 0 {
            let summary = format!(
                "PostgreSQL read {} damaged pages of the database {}",
                database.checksum_failures, database.name
            );
            let suggestion = "the disk loses data: journalctl -k; restore a backup onto another disk";
            let id = format!("database-damaged/{}", database.name);
            issues.push(issue(id, Severity::Critical, summary, suggestion));
        }
    }
    issues.extend(check_wal(server));
    issues.extend(check_standbys(server));
    if server.max_connections > 0 && server.connections * 10 >= server.max_connections * 9 {
        let summary = format!(
            "PostgreSQL has {} connections of at most {}",
            server.connections, server.max_connections
        );
        let suggestion = "see whose they are: select usename, count(*) from pg_stat_activity group by 1";
        issues.push(issue("database-connections", Severity::Warning, summary, suggestion));
    }
    if server.open_s >= OPEN_S {
        let summary = format!("a transaction has been open for {} minutes", server.open_s / 60);
        let suggestion = "see whose it is: select pid, usename, query from pg_stat_activity order by xact_start; \
            end it: select pg_terminate_backend(PID)";
        issues.push(issue("database-open-transaction", Severity::Warning, summary, suggestion));
    }
    issues
}

/// What is wrong when it cannot be asked.
pub(super) fn unreachable(error: &anyhow::Error) -> Issue {
    let summary = format!("PostgreSQL cannot be asked: {error:#}");
    let suggestion = "nodes boot on, writes are refused; see why: journalctl -u pilothouse-postgres";
    issue("database-unreachable", Severity::Error, summary, suggestion)
}

fn issue(id: impl Into<String>, severity: Severity, summary: String, suggestion: &str) -> Issue {
    Issue::new(id, severity, event::DATABASE_TROUBLE, summary, suggestion)
}

/// autovacuum begins at `freeze_max` by itself; half as much again says that it does not get through.
fn check_age(database: &Database, freeze_max: u64) -> Option<Issue> {
    let Database { name, age, .. } = database;
    if freeze_max == 0 || *age < freeze_max + freeze_max / 2 {
        return None;
    }
    let severity = if *age > AGE_MAX / 2 { Severity::Error } else { Severity::Warning };
    let millions = age / 1_000_000;
    let summary = format!(
        "the database {name} has {millions} million transactions that vacuum has not frozen; at 2,000 million \
         PostgreSQL stops taking writes"
    );
    let suggestion = "have it vacuumed: pilotctl health --fix; long transactions keep it from its work";
    let found = issue(format!("database-age/{name}"), severity, summary, suggestion);
    Some(found.about(json!({"database": name, "age": age})).fixed_by("vacuum"))
}

fn check_tables(database: &Database) -> impl Iterator<Item = Issue> {
    let bloated = database.tables.iter().filter(|it| it.dead >= DEAD_MIN && it.dead >= it.live);
    bloated.map(|table| {
        let (of, Table { name, live, dead }) = (&database.name, table);
        let summary =
            format!("the table {name} of the database {of} has {dead} dead rows beside {live} live ones");
        let suggestion = "have it vacuumed: pilotctl health --fix";
        let id = format!("database-bloat/{of}.{name}");
        let context = json!({"database": of, "table": name, "dead": dead, "live": live});
        issue(id, Severity::Warning, summary, suggestion).about(context).fixed_by("vacuum")
    })
}

fn check_wal(server: &Server) -> Vec<Issue> {
    let mut issues = Vec::new();
    for slot in server.slots.iter().filter(|it| !it.active && it.kept.unsigned_abs() > server.wal_max) {
        let (name, kept) = (&slot.name, slot.kept >> 20);
        let summary =
            format!("{kept} MiB of WAL are kept for the replication slot {name}, which nobody reads");
        let suggestion =
            format!("start its standby again, or drop the slot: select pg_drop_replication_slot('{name}')");
        let found = issue(format!("database-slot/{name}"), Severity::Warning, summary, &suggestion);
        issues.push(found.about(json!({"slot": name, "kept": slot.kept})));
    }
    if server.archive_fails {
        let summary = "PostgreSQL cannot archive its WAL, and keeps it until it can".to_owned();
        let suggestion = "see why: journalctl -u pilothouse-postgres";
        issues.push(issue("database-archive", Severity::Error, summary, suggestion));
    }
    if issues.is_empty() && server.wal_max > 0 && server.wal_bytes > 3 * server.wal_max {
        let summary = format!(
            "PostgreSQL holds {} MiB of WAL, three times what max_wal_size means it to",
            server.wal_bytes >> 20
        );
        let suggestion = "a checkpoint does not get through: the disk is slow, or wal_keep_size is large";
        issues.push(issue("database-wal", Severity::Warning, summary, suggestion));
    }
    issues
}

fn check_standbys(server: &Server) -> Vec<Issue> {
    let mut issues = Vec::new();
    if !server.synchronous.is_empty() && !server.standbys.iter().any(|it| it.sync != "async") {
        let summary = format!("no synchronous standby of {:?} is connected: writes wait", server.synchronous);
        let suggestion = "start one, or go on without: alter system reset synchronous_standby_names";
        issues.push(issue("database-standby", Severity::Critical, summary, suggestion));
    }
    let late = |it: &&Standby| it.lag_s > LAG_S || it.behind.unsigned_abs() > BEHIND;
    for standby in server.standbys.iter().filter(late) {
        let (name, lag) = (&standby.name, standby.lag_s);
        let summary = format!("the standby {name} is {lag:.0} s and {} MiB behind", standby.behind >> 20);
        let suggestion = "look at its load and at the network between; it cannot take over so";
        issues.push(issue(format!("database-standby/{name}"), Severity::Warning, summary, suggestion));
    }
    issues
}

/// Whether a path is an executable file; without psql nothing is asked.
pub(super) fn is_there(way: &Way) -> bool {
    Path::new(&way.psql).is_file()
}

#[cfg(test)]
mod tests;
