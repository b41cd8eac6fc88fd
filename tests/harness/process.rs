//! Processes that end with their handle, and with us, however we end.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::{mpsc, watch};

/// How long a process that was killed may take to be gone; more means the kernel holds it.
const KILLED_MAX: Duration = Duration::from_secs(10);
/// Inherited sockets begin here (sd_listen_fds(3)).
const FIRST_SOCKET: RawFd = 3;

/// What to run, and as whom.
#[derive(Debug)]
pub struct Run {
    name: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    uid: Option<u32>,
    capabilities: Option<&'static str>,
    sockets: Vec<(String, OwnedFd)>,
    log: PathBuf,
    folder: Option<PathBuf>,
    death: Signal,
}

/// A process that was started. Dropped, it is killed and waited for.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: Pid,
    log: PathBuf,
    ended: watch::Receiver<Option<ExitStatus>>,
}

impl Run {
    /// A program by its path; its output goes to the file `log`, appended.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            uid: None,
            capabilities: None,
            sockets: Vec::new(),
            log: log.into(),
            folder: None,
            death: Signal::SIGKILL,
        }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|it| it.as_ref().to_owned()));
        self
    }

    /// One variable; of our own environment the process gets `PATH`, `RUST_LOG` and `TZ` alone.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Runs it as this uid and gid, in no other group; needs root.
    #[must_use]
    pub fn uid(mut self, uid: u32) -> Self {
        self.uid = Some(uid);
        self
    }

    /// Leaves it capabilities beside its uid, as setpriv(1) spells them: `+net_raw`.
    #[must_use]
    pub fn capabilities(mut self, capabilities: &'static str) -> Self {
        self.capabilities = Some(capabilities);
        self
    }

    /// Hands sockets over by name, as systemd does (sd_listen_fds_with_names(3)).
    #[must_use]
    pub fn sockets(mut self, sockets: Vec<(String, OwnedFd)>) -> Self {
        self.sockets = sockets;
        self
    }

    /// The folder to run in; else `/`.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// The signal it gets when we are gone; else SIGKILL.
    #[must_use]
    pub fn on_our_death(mut self, signal: Signal) -> Self {
        self.death = signal;
        self
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// If the log cannot be written or the program not be run.
    pub fn spawn(self) -> anyhow::Result<Process> {
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("open {}", self.log.display()))?;
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let started = start(command, self.sockets.into_iter().map(|(_, fd)| fd).collect());
        let (pid, ended) =
            started.with_context(|| format!("start {} ({})", self.name, self.program.display()))?;
        Ok(Process { name: self.name, pid, log: self.log, ended })
    }

    /// setpriv(1) changes the ids and asks for the signal at our death (in this order: a change of ids would take the
    /// signal back); sh writes the pid that sd_listen_fds(3) compares; `exec` keeps it.
    fn command(&self) -> Command {
        let mut command = Command::new("setpriv");
        command.arg("--pdeathsig").arg(self.death.as_str().trim_start_matches("SIG"));
        if let Some(uid) = self.uid {
            let uid = uid.to_string();
            command.args(["--reuid", &uid, "--regid", &uid, "--clear-groups"]);
        }
        if let Some(it) = self.capabilities {
            command.args(["--inh-caps", it, "--ambient-caps", it]);
        }
        command.arg("--");
        if !self.sockets.is_empty() {
            command.args(["/bin/sh", "-c", "export LISTEN_PID=$$; exec \"$0\" \"$@\""]);
        }
        command.arg(&self.program).args(&self.arguments).env_clear();
        for name in ["PATH", "RUST_LOG", "TZ"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        if !self.sockets.is_empty() {
            let names: Vec<&str> = self.sockets.iter().map(|(name, _)| name.as_str()).collect();
            command.env("LISTEN_FDS", names.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.folder.as_deref().unwrap_or(Path::new("/")));
        command
    }
}

impl Process {
    /// What it is called in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its pid; another process may have it once this one has ended.
    #[must_use]
    pub fn pid(&self) -> u32 {
        u32::try_from(self.pid.as_raw()).unwrap_or(0)
    }

    /// Whether it has not ended yet.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.ended.borrow().is_none()
    }

    /// Waits for its end.
    pub async fn ended(&self) -> ExitStatus {
        let mut ended = self.ended.clone();
        loop {
            if let Some(status) = *ended.borrow_and_update() {
                return status;
            }
            if ended.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Sends a signal; nothing happens if it has ended.
    ///
    /// # Errors
    ///
    /// If it may not be signalled.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        if !self.is_running() {
            return Ok(());
        }
        match kill(self.pid, signal) {
            // It has ended this moment, and word of it is on its way.
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("send {signal} to {}", self.name)),
        }
    }

    /// Sends a signal and waits for the end.
    ///
    /// # Errors
    ///
    /// If it has not ended within the limit; it is killed then.
    pub async fn stop(self, signal: Signal, limit: Duration) -> anyhow::Result<ExitStatus> {
        self.signal(signal)?;
        match tokio::time::timeout(limit, self.ended()).await {
            Ok(status) => Ok(status),
            Err(_) => bail!("{} did not end within {limit:?} of {signal}\n{}", self.name, self.tail(20)),
        }
    }

    /// The file with its output.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines of its output, indented.
    #[must_use]
    pub fn tail(&self, lines: usize) -> String {
        tail_of(&self.log, lines)
    }
}

/// The last lines of a file, indented.
#[must_use]
pub fn tail_of(file: &Path, lines: usize) -> String {
    let text = std::fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    let last = &all[all.len().saturating_sub(lines)..];
    last.iter().map(|it| format!("    {it}")).collect::<Vec<_>>().join("\n")
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.signal(Signal::SIGKILL) {
            eprintln!("{error:#}");
        }
        let begun = Instant::now();
        while self.is_running() && begun.elapsed() < KILLED_MAX {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

type Started = (Pid, watch::Receiver<Option<ExitStatus>>);
struct Job {
    command: Command,
    sockets: Vec<OwnedFd>,
    answer: std::sync::mpsc::Sender<io::Result<Started>>,
}

/// One thread starts all processes and never ends: the signal at our death comes when the *thread* that started a
/// process ends (prctl(2), PR_SET_PDEATHSIG), and a runtime's threads come and go.
static STARTER: LazyLock<mpsc::UnboundedSender<Job>> = LazyLock::new(|| {
    let (sender, mut jobs) = mpsc::unbounded_channel::<Job>();
    let serve = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime for the starter").block_on(async {
            while let Some(job) = jobs.recv().await {
                // Whoever asked may be gone; then nobody needs the answer.
                job.answer.send(start_here(job.command, job.sockets)).unwrap_or_default();
            }
        });
    };
    std::thread::Builder::new().name("starter".into()).spawn(serve).expect("a thread for the starter");
    sender
});

fn start(command: Command, sockets: Vec<OwnedFd>) -> io::Result<Started> {
    let (answer, answered) = std::sync::mpsc::channel();
    let gone = || io::Error::other("the starter has ended");
    STARTER.send(Job { command, sockets, answer }).map_err(|_| gone())?;
    answered.recv().map_err(|_| gone())?
}

fn start_here(mut command: Command, sockets: Vec<OwnedFd>) -> io::Result<Started> {
    if !sockets.is_empty() {
        let mut fds: Vec<RawFd> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
        #[expect(
            unsafe_code,
            reason = "between fork and exec; fcntl and dup2 alone are called, both are signal-safe"
        )]
        unsafe {
            command.pre_exec(move || pass(&mut fds));
        }
    }
    let mut child = tokio::process::Command::from(command).spawn()?;
    drop(sockets);
    let pid = Pid::from_raw(child.id().and_then(|it| i32::try_from(it).ok()).unwrap_or(i32::MAX));
    let (sender, ended) = watch::channel(None);
    tokio::spawn(async move {
        let status = child.wait().await.unwrap_or_default();
        sender.send_replace(Some(status));
    });
    Ok((pid, ended))
}

/// Puts the sockets at 3 and on. They move out of the way first, since one may stand where another belongs.
#[expect(
    unsafe_code,
    reason = "the descriptors are open, and the new ones are for the program that is run next"
)]
fn pass(fds: &mut [RawFd]) -> io::Result<()> {
    for fd in fds.iter_mut() {
        *fd = unsafe { libc::fcntl(*fd, libc::F_DUPFD_CLOEXEC, 100) };
        if *fd < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    for (fd, target) in fds.iter().zip(FIRST_SOCKET..) {
        if unsafe { libc::dup2(*fd, target) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    use nix::sys::signal::Signal;

    use super::Run;

    #[tokio::test]
    async fn sockets_are_handed_over_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let socket = |name: &str| UnixListener::bind(folder.path().join(name)).unwrap().into();
        let log = folder.path().join("log");
        let script =
            "echo $LISTEN_FDS $LISTEN_FDNAMES; test $LISTEN_PID = $$ && readlink /proc/$$/fd/3 /proc/$$/fd/4";
        let run = Run::new("it", "/bin/sh", &log).args(["-c", script]);
        let run = run.sockets(vec![("http".into(), socket("a")), ("plain".into(), socket("b"))]);
        let process = run.spawn().unwrap();
        assert!(process.ended().await.success());
        let text = std::fs::read_to_string(log).unwrap();
        assert!(text.starts_with("2 http:plain\nsocket:[") && text.lines().count() == 3, "{text}");
    }

    #[tokio::test]
    async fn a_process_that_does_not_end_is_named_and_killed() {
        let folder = tempfile::tempdir().unwrap();
        let script = "trap '' TERM; echo begun; while :; do sleep 1; done";
        let process =
            Run::new("deaf", "/bin/sh", folder.path().join("log")).args(["-c", script]).spawn().unwrap();
        crate::settle::until(Duration::from_secs(10), "it runs", async || {
            Ok(process.tail(1).contains("begun").then_some(()))
        })
        .await
        .unwrap();
        let pid = process.pid();
        let error = process.stop(Signal::SIGTERM, Duration::from_millis(50)).await.unwrap_err().to_string();
        assert!(error.contains("deaf did not end") && error.contains("begun"), "{error}");
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}
