//! `cargo xtask bench`: figures, beside those that are promised.

mod api;
mod change;
mod control;
mod cost;
mod data;
mod figure;
mod gateway;
mod load;
mod netboot;
mod table;

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::Context as _;
use clap::Subcommand;
use tests::program::build;

use crate::root;

pub(crate) use api::Output;

/// Where the programs are, once they are built.
const PROGRAMS: &str = "PILOTHOUSE_PROGRAMS";

/// Measure, and compare with what is promised
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Api(api::Arguments),
    Control(control::Arguments),
    Gateway(gateway::Arguments),
    Netboot(netboot::Arguments),
    /// The clients of `netboot`'s TFTP rows
    #[command(hide = true)]
    TftpLoad(netboot::TftpLoadArguments),
    /// What `gateway` puts behind the front doors
    #[command(hide = true)]
    Backend(gateway::BackendArguments),
    /// The load tool, as `api` starts it: what to ask on the standard input, what came of it on the output
    #[command(hide = true)]
    Load,
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.what {
        What::Load => load::run(),
        What::Backend(arguments) => gateway::run_backend(&arguments),
        What::Control(arguments) => control::run(&arguments),
        What::Netboot(arguments) => netboot::run(&arguments),
        What::TftpLoad(arguments) => netboot::run_tftp_load(&arguments),
        What::Gateway(arguments) => {
            let profile = if arguments.debug { "dev" } else { "release" };
            gateway::run(&arguments, &build(profile, &["--package", "pilothouse"])?)
        }
        What::Api(arguments) if std::env::var_os(PROGRAMS).is_none() => {
            let profile = if arguments.debug { "dev" } else { "release" };
            let programs = build(profile, &["--package", "pilothouse", "--package", "cli"])?;
            let mut again = Command::new(std::env::current_exe().context("find our own program")?);
            Err(again.args(std::env::args_os().skip(1)).env(PROGRAMS, programs).exec())
                .context("run again with the programs")
        }
        What::Api(arguments) => root::run(api::run(arguments)),
    }
}
