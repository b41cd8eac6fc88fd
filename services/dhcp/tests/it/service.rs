//! dhcp as a process: this test binary starts itself again, with the service in place of the tests.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use dhcp::client::Client;
use sqlx::Connection;

use super::LIMIT;
use super::lab::Lab;

const FOLDER: &str = "DHCP_TEST_FOLDER";
const LISTEN: &str = "DHCP_TEST_LISTEN";
const DATABASE: &str = "DHCP_TEST_DATABASE";

/// The document of every test.
pub(super) const DOCUMENT: &str = r#"
version = 1
cluster = { name = "demo", domain = "cluster.example" }
[[network.planes]]
name = "nodes"
kind = "nodes"
interface = "head"
addresses = ["172.16.0.254/24"]
[[network.planes.subnets]]
cidr = "172.16.0.0/24"
range = "172.16.0.200-172.16.0.250"
[[network.planes]]
name = "remote"
kind = "nodes"
[[network.planes.subnets]]
cidr = "10.9.0.0/24"
router = "10.9.0.1"
"#;

/// The ports of the protocols.
const PORTS: &str = "dhcp=udp:0.0.0.0:67 proxy=udp:0.0.0.0:4011 tftp=udp:0.0.0.0:69";

/// Not a test: the entry of the child process. Alone it does nothing.
#[test]
fn serve_when_started_as_the_service() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let folder = Path::new(&folder);
    let listen = std::env::var(LISTEN).unwrap();
    let socket = folder.join("dhcp.sock");
    let listen = listen.split(' ').map(|it| it.split_once('=').unwrap());
    let mut listen: Vec<_> = listen.map(|(name, it)| (name.to_owned(), it.parse().unwrap())).collect();
    listen.push(("http".to_owned(), daemon::Address::Unix(socket)));
    let options = daemon::Options {
        service: domain::Service::Dhcp,
        config: folder.join("pilothouse.toml"),
        run: folder.to_owned(),
        state: Some(folder.join("state")),
        listen,
    };
    match std::env::var(DATABASE) {
        Ok(name) => daemon::run(options, move |context| async move {
            let pool = sqlx::PgPool::connect_lazy_with(Database::options(&name));
            dhcp::serve_with(context, web::Database::ready(pool)).await
        }),
        Err(_) => daemon::run(options, dhcp::serve),
    }
    .unwrap();
}

/// A database of a test's own, migrated; gone when dropped.
pub(super) struct Database(String);

impl Database {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("dhcp_it_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        run_sql(&format!("create database {name} strategy file_copy"), "postgres");
        wait(async {
            let mut own = sqlx::PgConnection::connect_with(&Self::options(&name)).await.unwrap();
            dhcp::MIGRATIONS.run_direct(None, &mut own, false).await.unwrap();
        });
        Self(name)
    }

    /// Runs a statement.
    pub(super) fn run(&self, statement: &str) {
        run_sql(statement, &self.0);
    }

    /// Ends every connection and lets nobody in, or lets them in again.
    pub(super) fn close(&self, closed: bool) {
        run_sql(&format!("alter database {} allow_connections {}", self.0, !closed), "postgres");
        if closed {
            let all = format!(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{}'",
                self.0
            );
            run_sql(&all, "postgres");
        }
    }

    fn options(name: &str) -> sqlx::postgres::PgConnectOptions {
        let server = std::env::var("DATABASE_URL").expect("DATABASE_URL names a PostgreSQL server");
        server.parse::<sqlx::postgres::PgConnectOptions>().unwrap().database(name)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        run_sql(&format!("drop database {} with (force)", self.0), "postgres");
    }
}

fn run_sql(statement: &str, database: &str) {
    wait(async {
        let mut server = sqlx::PgConnection::connect_with(&Database::options(database)).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned())).execute(&mut server).await.unwrap();
    });
}

pub(super) struct Service {
    child: Child,
    folder: std::path::PathBuf,
    lines: Arc<(Mutex<Vec<String>>, Condvar)>,
    pub(super) client: Client,
    pub(super) plain: web::Client,
}

impl Service {
    /// Starts it in the lab's head, on the ports of the protocols. `before` goes before the program.
    pub(super) fn start(lab: &Lab, document: &str, before: &[&str]) -> Self {
        let words = [&["ip", "netns", "exec", &lab.head], before].concat();
        Self::spawn(&words, &lab.path("head"), document, PORTS)
    }

    /// As [`start`](Self::start), with leases that are kept.
    pub(super) fn start_with(lab: &Lab, document: &str, database: &Database) -> Self {
        let words = ["ip", "netns", "exec", &lab.head];
        let service = Self::spawn_with(&words, &lab.path("head"), document, PORTS, Some(database));
        service.wait_durable(true);
        service
    }

    /// Waits until leases are kept, or are not.
    pub(super) fn wait_durable(&self, durable: bool) {
        let began = std::time::Instant::now();
        loop {
            // It is 503 while the inventory is not there.
            let ready: Result<serde_json::Value, _> = wait(self.plain.get("/readyz"));
            let text = ready.map_or_else(|it| format!("{it:?}"), |it| it.to_string());
            if text.contains("kept") && text.contains("not kept") != durable {
                return;
            }
            assert!(began.elapsed() < LIMIT, "leases: {text}");
            std::thread::yield_now();
        }
    }

    /// Starts it with these words before the program, in this folder.
    pub(super) fn spawn(words: &[&str], folder: &Path, document: &str, listen: &str) -> Self {
        Self::spawn_with(words, folder, document, listen, None)
    }

    pub(super) fn spawn_with(
        words: &[&str],
        folder: &Path,
        document: &str,
        listen: &str,
        database: Option<&Database>,
    ) -> Self {
        std::fs::create_dir_all(folder.join("state")).unwrap();
        std::fs::write(folder.join("pilothouse.toml"), document).unwrap();
        let program = std::env::current_exe().unwrap();
        let mut command = Command::new(words.first().map_or(program.as_os_str(), |it| it.as_ref()));
        if !words.is_empty() {
            command.args(&words[1..]).arg(&program);
        }
        command
            .args(["--exact", "it::service::serve_when_started_as_the_service", "--nocapture"])
            .env(FOLDER, folder)
            .env(LISTEN, listen)
            .env("RUST_LOG", "info,dhcp=debug")
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0);
        if let Some(database) = database {
            command.env(DATABASE, &database.0);
        }
        let mut child = command.spawn().unwrap();
        let lines: Arc<(Mutex<Vec<String>>, Condvar)> = Arc::default();
        let (stderr, sink) = (child.stderr.take().unwrap(), Arc::clone(&lines));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                let Ok(line) = line else { return };
                sink.0.lock().unwrap().push(line);
                sink.1.notify_all();
            }
        });
        let plain = web::Client::unix(folder.join("dhcp.sock"));
        let client = Client::new(plain.clone());
        let service = Self { child, folder: folder.to_owned(), lines, client, plain };
        service.wait_for("dhcp answers");
        service
    }

    /// Waits for a line of the log that holds this.
    pub(super) fn wait_for(&self, text: &str) -> String {
        let lines = self.lines.0.lock().unwrap();
        let holds = |lines: &mut Vec<String>| !lines.iter().any(|it| it.contains(text));
        let (lines, waited) = self.lines.1.wait_timeout_while(lines, LIMIT, holds).unwrap();
        assert!(!waited.timed_out(), "no line with {text:?}:\n{}", lines.join("\n"));
        lines.iter().find(|it| it.contains(text)).cloned().unwrap_or_default()
    }

    /// Waits until the service knows a machine by the inventory, which it follows beside its work.
    pub(super) fn wait_known(&self, mac: &str) {
        let began = std::time::Instant::now();
        let mac = mac.parse().unwrap();
        while wait(self.client.find_lease_by_mac(mac)).unwrap().is_none_or(|it| it.node.is_none()) {
            assert!(began.elapsed() < LIMIT, "the inventory is not followed");
            std::thread::yield_now();
        }
    }

    /// Where its runtime files are.
    pub(super) fn run_folder(&self) -> &Path {
        &self.folder
    }

    /// How much memory it has, in KiB.
    pub(super) fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// How many lines of the log hold this.
    pub(super) fn count(&self, text: &str) -> usize {
        self.lines.0.lock().unwrap().iter().filter(|it| it.contains(text)).count()
    }

    /// Ends it as systemd does, and says how.
    pub(super) fn stop(mut self) -> std::process::ExitStatus {
        self.terminate();
        self.child.wait().unwrap()
    }

    fn terminate(&self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        if let Err(error) = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM) {
            eprintln!("the service is gone: {error}");
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
        if std::thread::panicking() {
            let lines = self.lines.0.lock().unwrap_or_else(PoisonError::into_inner);
            eprintln!("--- the service's log\n{}", lines.join("\n"));
        }
    }
}

/// Runs a future to its end.
pub(super) fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}
