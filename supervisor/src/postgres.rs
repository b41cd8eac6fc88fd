//! PostgreSQL's files, and the services' roles and databases in it (the database's user).

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use domain::Service;

use crate::program::Program;

const DATA: &str = "/var/lib/pilothouse/postgres/17";
const NEW: &str = "/var/lib/pilothouse/postgres/17.new";
const SOCKETS: &str = "/run/postgresql";
/// `initdb` writes 40 MB and waits for the disk.
const INIT_MAX: Duration = Duration::from_secs(280);
const SETUP_MAX: Duration = Duration::from_secs(100);
/// Below the limit of its unit.
pub(crate) const VACUUM_MAX: Duration = Duration::from_secs(3500);

/// Makes the cluster's files where there are none. Cut in the middle, it leaves nothing that is taken for a
/// cluster.
///
/// # Errors
///
/// If initdb fails.
pub(crate) async fn init() -> anyhow::Result<()> {
    if Path::new(DATA).join("PG_VERSION").exists() {
        return Ok(());
    }
    if Path::new(NEW).exists() {
        fs::remove_dir_all(NEW).context("remove an unfinished cluster")?;
    }
    let arguments = [
        "--pgdata",
        NEW,
        "--username=postgres",
        "--auth=peer",
        "--data-checksums",
        "--encoding=UTF8",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--locale=C.UTF-8",
    ];
    Program::new("/usr/lib/postgresql/17/bin/initdb", &arguments).limit(INIT_MAX).run().await?;
    fs::rename(NEW, DATA).context("put the new cluster in its place")?;
    let parent = Path::new(DATA).parent().context("find the cluster's folder")?;
    fs::File::open(parent).and_then(|it| it.sync_all()).context("write the cluster's folder to disk")
}

/// Makes the roles and databases that are missing.
///
/// # Errors
///
/// If the server does not answer or refuses.
pub(crate) async fn setup() -> anyhow::Result<()> {
    let arguments =
        ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", SOCKETS, "-U", "postgres", "-d", "postgres"];
    let psql = Program::new("/usr/lib/postgresql/17/bin/psql", &arguments);
    psql.input(statements("")).limit(SETUP_MAX).run().await.map(|_| ())
}

/// Clears dead rows and freezes old transactions of every database, beside the services' work.
///
/// # Errors
///
/// If the server does not answer, or it takes too long.
pub(crate) async fn vacuum() -> anyhow::Result<()> {
    let arguments = ["--all", "--freeze", "--analyze", "--host", SOCKETS, "--username=postgres"];
    let vacuumdb = Program::new("/usr/lib/postgresql/17/bin/vacuumdb", &arguments);
    vacuumdb.limit(VACUUM_MAX).run().await.map(|_| ())
}

/// What psql is told, with names that begin so (tests have names of their own); each line does nothing where
/// its work is done. A database cannot be made inside a transaction or a function, so the statement is made
/// by a query and run by `\gexec`. Names stand in quotation marks: `join` is a word of SQL.
fn statements(prefix: &str) -> String {
    // The supervisor's own: it reads the views that tell how the server is, and no table.
    let mut text = format!(
        "select 'create role \"{prefix}supervisor\" login in role pg_monitor' \
         where not exists (select from pg_roles where rolname = '{prefix}supervisor') \\gexec\n"
    );
    for service in Service::ALL.into_iter().filter(|it| it.has_database()) {
        let key = format!("{prefix}{}", service.key());
        text += &format!(
            "select 'create role \"{key}\" login' where not exists (select from pg_roles where rolname = '{key}') \\gexec\n\
             select 'create database \"{key}\" owner \"{key}\"' \
             where not exists (select from pg_database where datname = '{key}') \\gexec\n\
             revoke all on database \"{key}\" from public;\n\
             grant connect on database \"{key}\" to \"{prefix}supervisor\";\n"
        );
    }
    text
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use domain::Service;

    use crate::program::run_command;

    /// Against the server of `DATABASE_URL` where there is one: twice, and the second time nothing is left to
    /// do.
    #[tokio::test]
    async fn roles_and_databases_are_made_once() {
        let Ok(url) = std::env::var("DATABASE_URL") else { return };
        let text = super::statements("supervisor_test_");
        for _ in 0..2 {
            let mut psql = tokio::process::Command::new("psql");
            psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", &url]);
            run_command(psql, "psql", text.as_bytes(), super::SETUP_MAX).await.unwrap();
        }
        let services = Service::ALL.into_iter().filter(|it| it.has_database());
        let names = services.map(|it| format!("supervisor_test_{}", it.key()));
        let mut text: String = names.map(|it| format!("drop database {it};\ndrop role {it};\n")).collect();
        text += "drop role supervisor_test_supervisor;\n";
        let mut psql = tokio::process::Command::new("psql");
        psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", &url]);
        run_command(psql, "psql", text.as_bytes(), super::SETUP_MAX).await.unwrap();
    }
}
