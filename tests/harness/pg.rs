//! A throwaway PostgreSQL: real, on a UNIX socket alone, gone with its handle.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::folder::Folder;
use crate::process::{Process, Run};
use crate::settle;
use anyhow::{Context as _, bail};
use domain::Service;
use nix::sys::signal::Signal;
use nix::unistd::{Uid, User, chown};

/// The versions that the SQL is written for, the image's first.
const VERSIONS: [&str; 3] = ["17", "16", "15"];
/// How long a start may take; a machine under load needs seconds.
const START_MAX: Duration = Duration::from_secs(60);
/// The settings of a server whose data nobody will miss.
const SETTINGS: [&str; 9] = [
    "listen_addresses=",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "autovacuum_naptime=1h",
    "max_connections=120",
    "shared_buffers=32MB",
    "dynamic_shared_memory_type=mmap", // Else a kill would leave files in /dev/shm.
    "log_min_messages=warning",
];

/// What is different for figures that are measured: nothing is told to be written that is not.
const DURABLE: [&str; 3] = ["fsync=on", "synchronous_commit=on", "full_page_writes=on"];

/// A server.
#[derive(Debug)]
pub struct Pg {
    durable: bool,
    process: Option<Process>,
    programs: PathBuf,
    owner: Option<u32>,
    // Last, so that the folder goes when the server has gone.
    folder: Folder,
}

impl Pg {
    /// Makes a cluster and starts it. As root it runs as `postgres`, or else as `nobody`: it refuses to be root.
    ///
    /// # Errors
    ///
    /// If PostgreSQL is not installed or does not start.
    pub async fn start() -> anyhow::Result<Self> {
        Self::make_one(false).await
    }

    /// The same, which writes to its disk what it says is written, for measurements. It is in the temporary folder.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn start_durable() -> anyhow::Result<Self> {
        Self::make_one(true).await
    }

    async fn make_one(durable: bool) -> anyhow::Result<Self> {
        let programs = VERSIONS.iter().map(|it| PathBuf::from(format!("/usr/lib/postgresql/{it}/bin")));
        let programs = programs.into_iter().find(|it| it.join("initdb").is_file()).with_context(|| {
            format!("no PostgreSQL of {VERSIONS:?} is here; install postgresql, or run image/prepare test")
        })?;
        let folder = Folder::make("pg")?;
        let owner = if Uid::effective().is_root() {
            let postgres = User::from_name("postgres").context("look up the user postgres")?;
            Some(postgres.map_or(65534, |it| it.uid.as_raw()))
        } else {
            None
        };
        if let Some(uid) = owner {
            chown(folder.path(), Some(uid.into()), Some(uid.into())).context("give the folder away")?;
        }
        let mut pg = Self { durable, process: None, programs, owner, folder };
        pg.make().await?;
        pg.resume().await?;
        Ok(pg)
    }

    /// The server's pid, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// The folder of its socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        self.folder.path()
    }

    /// Where clients find it, as a superuser: the value for `DATABASE_URL`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres:///postgres?host={}&user=postgres", self.folder.path().display())
    }

    /// Makes role and database of each service, as the head's set-up does.
    ///
    /// # Errors
    ///
    /// If the server refuses.
    pub fn make_databases(&self, services: &[Service]) -> anyhow::Result<()> {
        let statements = services.iter().filter(|it| it.has_database()).map(|service| {
            let key = service.key();
            format!(
                "create role \"{key}\" login;\ncreate database \"{key}\" owner \"{key}\" strategy file_copy;\n"
            )
        });
        self.psql("postgres", &statements.collect::<String>()).map(drop)
    }

    /// Runs statements, each for itself, and gives what they print, unaligned.
    ///
    /// # Errors
    ///
    /// If one fails.
    pub fn psql(&self, database: &str, statements: &str) -> anyhow::Result<String> {
        let mut command = Command::new(self.programs.join("psql"));
        command.args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "postgres",
            "-d",
            database,
            "-h",
        ]);
        command.arg(self.folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("run psql")?;
        let mut input = child.stdin.take().context("write to psql")?;
        std::io::Write::write_all(&mut input, statements.as_bytes()).context("write to psql")?;
        drop(input);
        let output = child.wait_with_output().context("wait for psql")?;
        if !output.status.success() {
            bail!("psql: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Stops the server at once, as a crash would; [`resume`](Self::resume) brings it back with its data.
    ///
    /// # Errors
    ///
    /// If it does not end.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        if let Some(process) = self.process.take() {
            process.stop(Signal::SIGQUIT, Duration::from_secs(10)).await.context("stop PostgreSQL")?;
        }
        Ok(())
    }

    /// Starts the server (again).
    ///
    /// # Errors
    ///
    /// If it does not answer in time.
    pub async fn resume(&mut self) -> anyhow::Result<()> {
        let data = self.folder.path().join("data");
        let mut run = self.run("postgres").arg("-D").arg(&data).arg("-k").arg(self.folder.path());
        run = run.on_our_death(Signal::SIGQUIT);
        for setting in SETTINGS {
            run = run.args(["-c", setting]);
        }
        for setting in DURABLE.iter().filter(|_| self.durable) {
            run = run.args(["-c", setting]);
        }
        let process = run.spawn()?;
        let ready = settle::until(START_MAX, "PostgreSQL answers", async || {
            if !process.is_running() {
                bail!("PostgreSQL ended\n{}", process.tail(20));
            }
            Ok(self.psql("postgres", "select 1").ok())
        });
        ready.await?;
        self.process = Some(process);
        Ok(())
    }

    async fn make(&self) -> anyhow::Result<()> {
        let data = self.folder.path().join("data");
        let run = self.run("initdb").arg("-D").arg(data);
        let run =
            run.args(["-U", "postgres", "-A", "trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]);
        let process = run.spawn()?;
        let status =
            tokio::time::timeout(START_MAX, process.ended()).await.context("initdb takes too long")?;
        if !status.success() {
            bail!("initdb failed\n{}", process.tail(20));
        }
        Ok(())
    }

    fn run(&self, program: &str) -> Run {
        let log = self.folder.path().join("log");
        let run = Run::new(program, self.programs.join(program), log).env("LC_ALL", "C.UTF-8");
        match self.owner {
            Some(uid) => run.uid(uid),
            None => run,
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use domain::Service;

    use super::Pg;

    #[tokio::test]
    async fn a_server_keeps_its_data_over_a_stop_and_leaves_nothing() {
        let mut pg = Pg::start().await.unwrap();
        pg.make_databases(&[Service::CloudInit, Service::Power]).unwrap();
        pg.stop().await.unwrap();
        assert!(pg.psql("postgres", "select 1").is_err());
        pg.resume().await.unwrap();
        let owners =
            pg.psql("cloud_init", "select tableowner from pg_tables limit 1; select current_database();");
        assert!(owners.unwrap().ends_with("cloud_init\n"));
        assert!(pg.psql("power", "select 1").is_err());
        let folder = pg.socket().to_owned();
        drop(pg);
        assert!(!folder.exists());
    }
}
