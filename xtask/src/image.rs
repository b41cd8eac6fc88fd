//! `cargo xtask image`: the head image and the demo compute image.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use clap::Args;
use tests::program::{build, top};

/// Build the programs, the head image and the demo compute image into target/image
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask image              release programs, head and compute image
  cargo xtask image --dev        programs of the development profile: quicker
  cargo xtask image --only head  the head image alone")]
pub(crate) struct Arguments {
    /// Take the programs of the development profile
    #[arg(long)]
    dev: bool,
    /// Build one of them alone
    #[arg(long, value_parser = ["head", "compute"])]
    only: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    script("image/prepare", &["build"])?;
    if arguments.only.as_deref() != Some("head") {
        script("image/build", &["compute", "target/image/compute"])?;
    }
    if arguments.only.as_deref() != Some("compute") {
        head(!arguments.dev).map(drop)?;
    }
    Ok(())
}

/// Builds the programs and the head image; the folder of the programs.
pub(crate) fn head(release: bool) -> anyhow::Result<PathBuf> {
    let profile = if release { "release" } else { "dev" };
    let programs = build(
        profile,
        &["--package", "pilothouse", "--package", "supervisor", "--package", "firstboot", "--package", "cli"],
    )?;
    head_of(&programs)?;
    Ok(programs)
}

/// Builds the head image of the programs in a folder.
pub(crate) fn head_of(programs: &Path) -> anyhow::Result<()> {
    let folder = programs.to_str().context("the target folder's name is no text")?;
    script("image/build", &["head", "target/image/head", "--programs", folder])
}

/// Runs a script of the tree.
pub(crate) fn script(path: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new(top().join(path)).args(arguments).current_dir(top()).status();
    if !status.with_context(|| format!("run {path}"))?.success() {
        bail!("`{path} {}` failed", arguments.join(" "));
    }
    Ok(())
}
