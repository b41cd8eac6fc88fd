//! A private bus, a supervisor that does what a test says, terminals, and the program between them.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use zbus::{Connection, OwnedVariant, fdo, interface};

/// Nothing here takes longer, even on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
pub(crate) const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMkK1vB7nQvJ3p7yq0o3Yl0m5yqO6y3m7m8m9n0p1q2r alice@site";

const PROGRAM: &str = env!("CARGO_BIN_EXE_pilothouse-firstboot");

/// What the supervisor was handed, and how it answers.
#[derive(Debug, Default)]
pub(crate) struct Script {
    pub(crate) applied: Vec<String>,
    /// The next calls fail with these, first one first.
    pub(crate) failures: Vec<String>,
    /// Calls have no end.
    pub(crate) hangs: bool,
}

struct Config {
    script: Arc<Mutex<Script>>,
    marker: PathBuf,
}

#[interface(name = "org.pilothouse.Supervisor1.Config")]
impl Config {
    async fn apply(
        &self,
        document: zbus::OwnedFd,
        options: HashMap<String, OwnedVariant>,
    ) -> fdo::Result<u64> {
        assert!(options.is_empty());
        let mut file = File::from(OwnedFd::from(document));
        let seals = SealFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GET_SEALS).unwrap());
        assert!(seals.contains(SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK));
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        let hangs = {
            let mut script = self.script.lock().unwrap();
            script.applied.push(text);
            script.hangs
        };
        if hangs {
            std::future::pending::<()>().await;
        }
        let mut script = self.script.lock().unwrap();
        if !script.failures.is_empty() {
            return Err(fdo::Error::Failed(script.failures.remove(0)));
        }
        fs::write(&self.marker, "").unwrap();
        Ok(1)
    }
    #[zbus(property(emits_changed_signal = "false"))]
    fn setup_complete(&self) -> bool {
        self.marker.exists()
    }
    #[zbus(property(emits_changed_signal = "false"))]
    fn step(&self) -> String {
        "Services are started.".to_owned()
    }
}

/// A bus and the files the program reads.
pub(crate) struct Lab {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) script: Arc<Mutex<Script>>,
    address: String,
    _bus: Child,
}

impl Lab {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (nic, mac) in [("ens3", "52:54:00:00:00:03"), ("ens4", "52:54:00:00:00:04")] {
            let nic = folder.path().join("sys/class/net").join(nic);
            fs::create_dir_all(nic.join("device")).unwrap();
            for (file, text) in [("type", "1"), ("address", mac), ("carrier", "1"), ("speed", "1000")] {
                fs::write(nic.join(file), text).unwrap();
            }
        }
        fs::create_dir(folder.path().join("credentials")).unwrap();
        let mut bus = Command::new("/usr/bin/dbus-daemon")
            .args(["--session", "--nofork", "--print-address=1"])
            .arg(format!("--address=unix:path={}", folder.path().join("bus").display()))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(bus.stdout.take().unwrap()).lines();
        let address = timeout(LIMIT, lines.next_line()).await.unwrap().unwrap().unwrap();
        Self { folder, script: Arc::default(), address, _bus: bus }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Serves `org.pilothouse.Supervisor1` as long as the connection lives.
    pub(crate) async fn supervisor(&self) -> Connection {
        let config = Config { script: Arc::clone(&self.script), marker: self.path("setup-complete") };
        let builder = zbus::connection::Builder::address(self.address.as_str());
        let builder = builder.serve_at("/org/pilothouse/Supervisor1", config);
        builder.name("org.pilothouse.Supervisor1").build().await.unwrap()
    }

    /// Starts the program on these terminals.
    pub(crate) fn start(&self, terminals: &[&Terminal]) -> Program {
        let mut command = Command::new(PROGRAM);
        for terminal in terminals {
            command.arg("--console").arg(&terminal.path);
        }
        self.spawn(command)
    }

    /// Starts the program as systemd does, with the terminals open and named.
    pub(crate) fn start_with_open(&self, serial: &Terminal, screen: &Terminal) -> Program {
        let mut command = Command::new("/bin/sh");
        let script = r#"exec 3<>"$1" 4<>"$2"; shift 2; LISTEN_PID=$$ exec "$@""#;
        command.arg("-c").arg(script).arg("sh").args([&serial.path, &screen.path]).arg(PROGRAM);
        command.env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", "ttyS0:tty1");
        self.spawn(command)
    }

    fn spawn(&self, mut command: Command) -> Program {
        command
            .env("DBUS_SYSTEM_BUS_ADDRESS", &self.address)
            .env("CREDENTIALS_DIRECTORY", self.path("credentials"))
            .env_remove("JOURNAL_STREAM")
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let places = [("--sys", "sys"), ("--seed", "seed.toml"), ("--marker", "setup-complete")];
        for (option, name) in places {
            command.arg(option).arg(self.path(name));
        }
        Program(command.spawn().unwrap())
    }

    pub(crate) fn applied(&self) -> Vec<String> {
        self.script.lock().unwrap().applied.clone()
    }
}

pub(crate) struct Program(Child);

impl Program {
    /// Waits for its end; what it wrote to the log comes too.
    pub(crate) async fn end(mut self) -> (ExitStatus, String) {
        let mut log = String::new();
        let mut stderr = self.0.stderr.take().unwrap();
        timeout(LIMIT, stderr.read_to_string(&mut log)).await.unwrap().unwrap();
        (timeout(LIMIT, self.0.wait()).await.unwrap().unwrap(), log)
    }

    /// Asks it to end, as systemd does.
    pub(crate) async fn stop(self) -> (ExitStatus, String) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.0.id().unwrap()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.end().await
    }
}

/// A terminal with a person at it.
pub(crate) struct Terminal {
    person: AsyncFd<OwnedFd>,
    /// Kept open, so that what is written before the program has opened it is not lost.
    _line: File,
    path: PathBuf,
    /// All that was shown.
    pub(crate) shown: String,
    read: usize,
}

impl Terminal {
    pub(crate) fn new() -> Self {
        // Not openpty(3): its ends would be inherited by the programs of other tests.
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let master = nix::pty::posix_openpt(flags).unwrap();
        nix::pty::grantpt(&master).unwrap();
        nix::pty::unlockpt(&master).unwrap();
        let path = PathBuf::from(nix::pty::ptsname_r(&master).unwrap());
        let mut options = fs::OpenOptions::new();
        let line = options.read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits()).open(&path).unwrap();
        #[expect(
            unsafe_code,
            reason = "the descriptor is owned, so it stays open and the same while registered"
        )]
        let person = unsafe { AsyncFd::register(OwnedFd::from(master)).unwrap() };
        Self { person, _line: line, path, shown: String::new(), read: 0 }
    }

    pub(crate) fn name(&self) -> String {
        self.path.strip_prefix(Path::new("/dev")).unwrap().display().to_string()
    }

    /// Reads until a text is seen, after what was expected before.
    pub(crate) async fn expect(&mut self, text: &str) {
        let found = async {
            loop {
                if let Some(at) = self.shown[self.read..].find(text) {
                    self.read += at + text.len();
                    return;
                }
                let mut buffer = [0; 4096];
                let mut ready = self.person.readable().await.unwrap();
                let got = ready.try_io(|it| Ok(nix::unistd::read(it.as_fd(), &mut buffer)?));
                if let Ok(length) = got {
                    self.shown.push_str(&String::from_utf8_lossy(&buffer[..length.unwrap()]));
                }
            }
        };
        let seen = timeout(LIMIT, found).await;
        assert!(seen.is_ok(), "{text:?} was not shown after:\n{}", self.shown);
    }

    pub(crate) fn send(&self, bytes: &[u8]) {
        assert_eq!(nix::unistd::write(self.person.get_ref(), bytes).unwrap(), bytes.len());
    }

    /// Waits for a prompt and types a line.
    pub(crate) async fn answer(&mut self, prompt: &str, line: &str) {
        self.expect(prompt).await;
        self.send(format!("{line}\r").as_bytes());
    }
}
