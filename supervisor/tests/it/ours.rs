//! Units that run our own program as root, carried out below a folder: what render and revert write is there to see.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use zbus::fdo;

use crate::fake::{LIMIT, Lab};

/// Programs that render and revert call: each writes down how it was called.
const PROGRAMS: [&str; 7] = [
    "usr/bin/systemctl",
    "usr/bin/hostnamectl",
    "usr/bin/timedatectl",
    "usr/bin/systemd-creds",
    "usr/sbin/useradd",
    "usr/sbin/usermod",
    "usr/sbin/chpasswd",
];

/// When the supervisor is killed: at which job of systemd's, counted from 0, and on which side of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    pub(crate) job: usize,
    pub(crate) done: bool,
}

#[derive(Debug, Default)]
struct State {
    guards: Vec<(String, Child)>,
    cut: Option<(Cut, i32)>,
    jobs: usize,
    /// Which boot of the machine it is.
    boot: String,
}

/// What carries out pilothouse-render@ and pilothouse-revert@.
#[derive(Clone, Debug)]
pub(crate) struct Ours {
    folder: PathBuf,
    state: Arc<Mutex<State>>,
}

impl Ours {
    /// Makes a system below the lab's folder, and has its systemd use it.
    pub(crate) fn in_lab(lab: &Lab) -> Self {
        let folder = lab.folder.path().to_owned();
        std::fs::create_dir_all(folder.join("root/etc")).unwrap();
        for (name, text) in [("passwd", "root:x:0:0::/root:/bin/bash\n"), ("group", "root:x:0:\n")] {
            std::fs::write(folder.join("root/etc").join(name), text).unwrap();
        }
        // Links to one file: a program just written may be open for writing in a child that another thread has forked.
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/program.sh");
        for name in PROGRAMS {
            let link = folder.join("root").join(name);
            std::fs::create_dir_all(link.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(&program, link).unwrap();
        }
        let ours = Self { folder, state: Arc::default() };
        lab.script.lock().unwrap().ours = Some(ours.clone());
        ours
    }

    /// Our program with the lab's folders.
    fn command(&self) -> Command {
        let boot = self.state.lock().unwrap().boot.clone();
        let mut command = Command::new(env!("CARGO_BIN_EXE_pilothouse-supervisor"));
        for (option, folder) in [("--state", "config"), ("--run", "run"), ("--root", "root")] {
            command.arg(option).arg(self.folder.join(folder));
        }
        command.args(["--boot", &boot]).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs it to its end.
    pub(crate) async fn call(&self, arguments: &[&str]) -> bool {
        let status = self.command().args(arguments).status();
        tokio::time::timeout(LIMIT, status).await.unwrap().unwrap().success()
    }

    /// Kills this process at a job that is asked for from now on.
    pub(crate) fn cut(&self, cut: Cut, victim: &Child) {
        let mut state = self.state.lock().unwrap();
        state.jobs = 0;
        state.cut = Some((cut, i32::try_from(victim.id().unwrap()).unwrap()));
    }

    /// Whether that has happened.
    pub(crate) fn was_cut(&self) -> bool {
        self.state.lock().unwrap().cut.is_none()
    }

    pub(crate) fn before_job(&self) -> fdo::Result<()> {
        let mut state = self.state.lock().unwrap();
        let hit = state.cut.filter(|it| it.0.job == state.jobs && !it.0.done);
        if let Some((_, victim)) = hit {
            state.cut = None;
            kill(Pid::from_raw(victim), Signal::SIGKILL).unwrap();
            return Err(fdo::Error::Failed("whoever asked is gone".to_owned()));
        }
        Ok(())
    }

    pub(crate) fn after_job(&self) {
        let mut state = self.state.lock().unwrap();
        if let Some((_, victim)) = state.cut.filter(|it| it.0.job == state.jobs && it.0.done) {
            state.cut = None;
            kill(Pid::from_raw(victim), Signal::SIGKILL).unwrap();
        }
        state.jobs += 1;
    }

    /// Carries a unit out, if it is one of these; how that ended.
    pub(crate) async fn run(&self, unit: &str) -> String {
        if let Some(number) = instance(unit, "pilothouse-render@") {
            let done = self.call(&["render", number]).await;
            return if done { "done" } else { "failed" }.to_owned();
        }
        if let Some(number) = instance(unit, "pilothouse-revert@") {
            self.guard(number);
        }
        "done".to_owned()
    }

    /// Starts the guard of a generation, unless it stands.
    fn guard(&self, number: &str) {
        let mut command = self.command();
        let mut state = self.state.lock().unwrap();
        let stands = |it: &mut (String, Child)| it.0 == number && matches!(it.1.try_wait(), Ok(None));
        if !state.guards.iter_mut().any(stands) {
            let child = command.args(["revert", "--wait", number]).spawn().unwrap();
            state.guards.push((number.to_owned(), child));
        }
    }

    /// The machine is cut off: the guards are gone, and the next boot is another one.
    pub(crate) async fn cut_machine(&self, boot: &str) {
        let guards = {
            let mut state = self.state.lock().unwrap();
            boot.clone_into(&mut state.boot);
            std::mem::take(&mut state.guards)
        };
        for (_, mut guard) in guards {
            guard.kill().await.unwrap();
        }
    }

    /// Waits until every guard has ended by itself.
    pub(crate) async fn await_guards(&self) {
        let guards = std::mem::take(&mut self.state.lock().unwrap().guards);
        for (_, mut guard) in guards {
            assert!(tokio::time::timeout(LIMIT, guard.wait()).await.unwrap().unwrap().success());
        }
    }

    /// How programs were called since the last time.
    pub(crate) fn programs(&self) -> Vec<String> {
        let log = self.folder.join("programs");
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        std::fs::write(&log, "").unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// A file of the system.
    pub(crate) fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.folder.join("root").join(path)).unwrap_or_default()
    }
}

fn instance<'a>(unit: &'a str, prefix: &str) -> Option<&'a str> {
    unit.strip_prefix(prefix)?.strip_suffix(".service")
}
