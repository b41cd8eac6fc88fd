//! `cargo xtask test`: everything that is checked.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use nix::unistd::Uid;
use tests::Pg;
use tests::program::{build, top};
use tests::vm::kvm;

use crate::root::NAMESPACE;
use crate::{image, root};

/// Check format and lints, run unit, wire and VM tests
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask test           what CI runs
  cargo xtask test --fast    without virtual machines
  cargo xtask test --all     every count and matrix

One kind alone: `cargo test -p inventory`, with DATABASE_URL set, or `cargo test -p tests --test contract`.")]
pub(crate) struct Arguments {
    /// Leave the virtual machines out
    #[arg(long, conflicts_with = "all")]
    fast: bool,
    /// Run every count and matrix
    #[arg(long)]
    all: bool,
}

/// What took how long.
#[derive(Debug, Default)]
struct Timings(Vec<(&'static str, Duration)>);

impl Timings {
    fn time<T>(&mut self, what: &'static str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        println!("=== {what}");
        let begun = Instant::now();
        let done = work()?;
        self.0.push((what, begun.elapsed()));
        Ok(done)
    }
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut timings = Timings::default();
    timings.time("host packages", || {
        image::script("image/prepare", &[if arguments.fast { "test" } else { "all" }])
    })?;
    if !arguments.fast {
        // Early: the kernel in it also proves KVM.
        timings
            .time("compute image", || image::script("image/build", &["compute", "target/image/compute"]))?;
    }
    timings.time("cargo fmt", || cargo(&["fmt", "--check"], &[]))?;
    timings.time("cargo clippy", || {
        cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"], &[])
    })?;
    // The tests with them: what `cargo test` then asks for has the same features, so that nothing is built twice.
    let programs =
        timings.time("programs and tests", || build("dev", &["--workspace", "--bins", "--tests"]))?;

    let runtime = root::runtime()?;
    let pg = runtime.block_on(Pg::start())?;
    let url = pg.url();
    let kvm = timings.time("does KVM work?", kvm::works)?;
    let count = if arguments.all { "all" } else { "ci" };
    let environment = [
        ("DATABASE_URL", url.as_str()),
        ("PILOTHOUSE_PROGRAMS", text(&programs)?),
        ("PILOTHOUSE_TESTS", count),
        (kvm::VARIABLE, if kvm { "yes" } else { "no" }),
    ];
    timings
        .time("unit and wire tests", || cargo(&["test", "--workspace", "--no-fail-fast"], &environment))?;
    if !arguments.fast {
        timings.time("head image", || image::head_of(&programs))?;
        timings.time("virtual machines", || {
            // One after the other: each takes both cores.
            cargo(&["test", "--workspace", "--test", "vm", "--", "--test-threads=1"], &environment)
        })?;
    }
    drop(pg);
    println!("=== all is well");
    for (what, took) in timings.0 {
        println!("{:8.1} s  {what}", took.as_secs_f64());
    }
    Ok(())
}

fn text(path: &std::path::Path) -> anyhow::Result<&str> {
    path.to_str().context("the target folder's name is no text")
}

/// Runs cargo; an ordinary user's tests run in a user namespace, where they find the services' uids.
fn cargo(arguments: &[&str], environment: &[(&str, &str)]) -> anyhow::Result<()> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).envs(environment.iter().copied()).current_dir(top());
    if !Uid::effective().is_root() {
        let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH).to_uppercase().replace('-', "_");
        command.env(format!("CARGO_TARGET_{host}_RUNNER"), NAMESPACE.join(" "));
    }
    if !command.status().context("run cargo")?.success() {
        bail!("`cargo {}` failed", arguments.join(" "));
    }
    Ok(())
}
