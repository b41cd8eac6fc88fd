//! dhcp as a process: this test binary starts itself again, with the service in place of the tests.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use dhcp::client::Client;

use super::LIMIT;
use super::lab::Lab;

const FOLDER: &str = "DHCP_TEST_FOLDER";
const LISTEN: &str = "DHCP_TEST_LISTEN";

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
    daemon::run(options, dhcp::serve).unwrap();
}

pub(super) struct Service {
    child: Child,
    lines: Arc<(Mutex<Vec<String>>, Condvar)>,
    pub(super) client: Client,
    pub(super) plain: web::Client,
}

impl Service {
    /// Starts it in the lab's head, on the ports of the protocols. `before` goes before the program.
    pub(super) fn start(lab: &Lab, document: &str, before: &[&str]) -> Self {
        let words = [&["ip", "netns", "exec", &lab.head], before].concat();
        let folder = lab.path("head");
        Self::spawn(&words, &folder, document, "dhcp=udp:0.0.0.0:67 tftp=udp:0.0.0.0:69")
    }

    /// Starts it with these words before the program, in this folder.
    pub(super) fn spawn(words: &[&str], folder: &Path, document: &str, listen: &str) -> Self {
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
        let service = Self { child, lines, client, plain };
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
