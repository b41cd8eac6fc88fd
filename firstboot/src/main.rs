//! The program `pilothouse-firstboot`: gathers the answers of the first boot and hands them to the
//! supervisor.
//!
//! An answer that was left for us (a credential, a file on the volume `PH_SEED`) is applied or refused, and
//! nobody is asked; without one the questions are asked on every console. It ends when the head is set up.

mod apply;
mod console;
mod log;
mod machine;
mod model;
mod seed;
mod session;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::console::Consoles;
use crate::session::Session;

/// Gathers the answers of the first boot and hands them to the supervisor.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "Started by pilothouse-firstboot.service until the head is set up. To check an answer file:
  pilothouse-supervisor check pilothouse.toml"
)]
struct Arguments {
    /// Ask on this terminal alone (several may be given)
    #[arg(long = "console", value_name = "PATH", hide = true)]
    consoles: Vec<PathBuf>,
    /// Where sysfs is
    #[arg(long, default_value = "/sys", hide = true)]
    sys: PathBuf,
    /// Where the accounts are
    #[arg(long, default_value = "/etc/passwd", hide = true)]
    passwd: PathBuf,
    /// The answer file on the volume
    #[arg(long, default_value = "/run/pilothouse/seed/volume/pilothouse.toml", hide = true)]
    seed: PathBuf,
    /// The mark that the head is set up
    #[arg(long, default_value = "/var/lib/pilothouse/setup-complete", hide = true)]
    marker: PathBuf,
}

fn main() -> ExitCode {
    log::start("pilothouse-firstboot");
    let arguments = Arguments::parse();
    // One thread: it waits for people.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.context("start the runtime").and_then(|it| it.block_on(run(arguments)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            ::log::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    if arguments.marker.exists() {
        ::log::info!("the head is set up; nothing is to be done");
        return Ok(());
    }
    // Passwords pass through our memory: no core file, and no look from another process.
    nix::sys::prctl::set_dumpable(false).context("keep our memory private")?;
    let mut term = signal(SignalKind::terminate()).context("watch SIGTERM")?;
    // A terminal that is ours by accident must not end us when it hangs up; its reader tells.
    let _hangup = signal(SignalKind::hangup()).context("take SIGHUP")?;
    let terminals = match arguments.consoles.as_slice() {
        [] => console::discover(&arguments.sys),
        paths => console::open_all(paths),
    };
    let mut consoles = Consoles::start(terminals);
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let session = Session {
        sources: seed::Sources { credentials, seed: arguments.seed },
        marker: arguments.marker,
        sys: arguments.sys,
        passwd: arguments.passwd,
    };
    let ended = tokio::select! {
        ended = session.run(&mut consoles) => ended,
        _ = term.recv() => {
            ::log::info!("stopped; the questions come back at the next boot");
            Ok(())
        }
    };
    consoles.stop().await;
    ended
}
