//! A lab: namespaces for network, mounts and processes that end with us, however we end. Whoever needs one runs
//! itself again inside: `unshare --kill-child` kills its first process when it is killed, and with the first
//! process of a pid namespace the kernel kills all others, drops the mounts and removes the interfaces.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use nix::mount::{MsFlags, mount};
use nix::unistd::{Pid, Uid};

use crate::program::{find, top};

/// Set inside a lab.
const VARIABLE: &str = "PILOTHOUSE_LAB";
/// Where the lab's files are, in memory and gone with it; one of these folders is nobody's source tree.
const PLACES: [&str; 3] = ["/media", "/mnt", "/srv"];

/// Where programs lock serial lines (FHS 3.0 section 5.9).
const LOCKS: &str = "/run/lock";

/// Whether this process is in a lab.
#[must_use]
pub fn is_inside() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// Where the lab's files are, inside.
///
/// # Errors
///
/// If no place can be used.
pub fn place() -> anyhow::Result<&'static Path> {
    let program = std::env::current_exe().context("find our own program")?;
    let free =
        |place: &&str| Path::new(place).is_dir() && !program.starts_with(place) && !top().starts_with(place);
    PLACES.into_iter().find(free).map(Path::new).context("none of /media, /mnt and /srv can be used")
}

/// What runs this program again inside a lab with these arguments. It dies with its parent.
///
/// # Errors
///
/// If the tools are not installed.
pub fn command<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> anyhow::Result<Command> {
    let mut command = Command::new(find("setpriv", "util-linux")?);
    command.args(["--pdeathsig", "KILL", "--"]).arg(find("unshare", "util-linux")?);
    if !Uid::effective().is_root() {
        command.args(["--user", "--map-auto", "--map-root-user"]);
    }
    command.args(["--mount", "--net", "--pid", "--mount-proc", "--fork", "--kill-child=KILL", "--"]);
    command.arg(std::env::current_exe().context("find our own program")?).args(arguments);
    command.env(VARIABLE, "1").env("TMPDIR", place()?);
    Ok(command)
}

/// Makes the inside habitable: a file system in memory for temporary files. Call it first of all inside.
///
/// # Errors
///
/// If this is no lab, or mounting fails.
pub fn settle_in() -> anyhow::Result<PathBuf> {
    if !is_inside() || std::process::id() != 1 {
        bail!("this is no lab; it is entered by `cargo xtask demo` and by tests");
    }
    let place = place()?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    // Locks of terminals name processes by pids, which are others outside.
    for folder in [place, Path::new(LOCKS)] {
        let mounted = mount(Some("lab"), folder, Some("tmpfs"), flags, Some("mode=1777"));
        mounted.with_context(|| format!("mount {}", folder.display()))?;
    }
    Ok(place.to_owned())
}

/// Runs a test inside a lab: outside, its own binary again with this test alone; inside, the body. `name` is the
/// test's path in the binary. Its output is shown if it fails.
///
/// # Panics
///
/// If the test fails.
pub fn test<F: Future<Output = anyhow::Result<()>>>(name: &str, body: impl FnOnce(PathBuf) -> F) {
    if is_inside() {
        return run_inside(body);
    }
    let output = again(name).output().expect("run unshare");
    let text = [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned()).concat();
    assert!(text.contains("running 1 test"), "no test is called {name}:\n{text}");
    assert!(output.status.success(), "{text}");
}

/// As [`test`], with its output shown as it comes: for tests of minutes.
///
/// # Panics
///
/// If the test fails.
pub fn test_aloud<F: Future<Output = anyhow::Result<()>>>(name: &str, body: impl FnOnce(PathBuf) -> F) {
    if is_inside() {
        return run_inside(body);
    }
    let status = again(name).status().expect("run unshare");
    assert!(status.success(), "the test in the lab ended with {status}; what it said stands above");
}

fn again(name: &str) -> Command {
    let mut command = command([name, "--exact", "--nocapture", "--test-threads=1"]).expect("the lab's tools");
    command.stdin(Stdio::null());
    command
}

fn run_inside<F: Future<Output = anyhow::Result<()>>>(body: impl FnOnce(PathBuf) -> F) {
    let place = settle_in().expect("a habitable lab");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if let Err(error) = runtime.block_on(body(place)) {
        panic!("{error:#}");
    }
}

/// The pid, seen from outside, of the first process inside the lab whose [`command`] runs as `pid`.
#[must_use]
pub fn first_process(pid: u32) -> Option<Pid> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok().map(Pid::from_raw)
}

/// Shows a folder at another place of the lab, which is made.
///
/// # Errors
///
/// If it cannot be mounted.
pub fn bind(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("make {}", to.display()))?;
    bind_file(from, to)
}

/// Shows a file or folder in the place of one that is there.
///
/// # Errors
///
/// If the system says no.
pub fn bind_file(from: &Path, to: &Path) -> anyhow::Result<()> {
    let none = None::<&str>;
    mount(Some(from), to, none, MsFlags::MS_BIND, none)
        .with_context(|| format!("show {} there", from.display()))
}
