//! Where programs are: ours as cargo built them, the system's by their full path.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context as _, bail};

/// The top of the source tree.
#[must_use]
pub fn top() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The program `pilothouse`: built once in a process if need be, so that no test runs an old one.
///
/// # Errors
///
/// If it does not build.
pub fn pilothouse() -> anyhow::Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    ours("pilothouse", "pilothouse", &BUILT)
}

/// The program `pilotctl`, likewise.
///
/// # Errors
///
/// If it does not build.
pub fn pilotctl() -> anyhow::Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    ours("pilotctl", "cli", &BUILT)
}

fn ours(name: &str, package: &str, built: &OnceLock<Result<PathBuf, String>>) -> anyhow::Result<PathBuf> {
    let built = built.get_or_init(|| build("dev", &["--package", package]).map_err(|it| format!("{it:#}")));
    Ok(built.clone().map_err(anyhow::Error::msg)?.join(name))
}

/// Builds packages as cargo's arguments name them, by the profile `dev` or `release`; the folder of the programs. The
/// folder in `PILOTHOUSE_PROGRAMS` has them ready instead.
///
/// # Errors
///
/// If they do not build.
pub fn build(profile: &str, arguments: &[&str]) -> anyhow::Result<PathBuf> {
    if let Some(folder) = std::env::var_os("PILOTHOUSE_PROGRAMS") {
        return Ok(folder.into());
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--profile", profile]).args(arguments).current_dir(top());
    let status = command.status();
    if !status.context("run cargo")?.success() {
        bail!("`cargo build {}` failed", arguments.join(" "));
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| top().join("target"), PathBuf::from);
    let folder = if profile == "dev" { "debug" } else { profile };
    target.join(folder).canonicalize().context("find the folder of the programs")
}

/// Whether every count and matrix is to be run, as `cargo xtask test --all` asks, or each kind of case once.
#[must_use]
pub fn is_whole() -> bool {
    std::env::var("PILOTHOUSE_TESTS").is_ok_and(|it| it == "all")
}

/// A program of the system; the error names the package that has it.
///
/// # Errors
///
/// If it is not installed.
pub fn find(name: &str, package: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let found = folders.map(|it| it.join(name)).find(|it| it.is_file());
    found.with_context(|| {
        format!("{name} is not here; install the package {package}, or run image/prepare test")
    })
}

/// Runs a command with an input; what it prints on both outputs.
///
/// # Errors
///
/// If it fails, with what it printed.
pub fn converse(command: &mut Command, input: &str) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("run {name}"))?;
    let mut stdin = child.stdin.take().with_context(|| format!("write to {name}"))?;
    // One that ends without reading all of it says why in its status.
    if let Err(error) = std::io::Write::write_all(&mut stdin, input.as_bytes())
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        return Err(error).with_context(|| format!("write to {name}"));
    }
    drop(stdin);
    let output = child.wait_with_output().with_context(|| format!("wait for {name}"))?;
    let text = [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned()).concat();
    if !output.status.success() {
        bail!("{name}: {}\n{text}", output.status);
    }
    Ok(text)
}
