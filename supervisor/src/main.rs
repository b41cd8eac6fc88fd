//! The program `pilothouse-supervisor`: keeps the head in its desired state over systemd's D-Bus.
//!
//! The daemon has no right of its own: polkit lets it start and stop our units, and whatever needs more is a
//! unit of its own that runs this program with a subcommand: `render` and `revert` (root), `postgres-init` and
//! `postgres-setup` (the database's user), `complete` (root). Killed, it disturbs no service; restarted, it
//! reads the truth again.

mod apply;
mod bmc;
mod bus;
mod certificates;
mod check;
mod clock;
mod complete;
mod config;
mod diff;
mod generations;
mod health;
mod job;
mod log;
mod log_control;
mod model;
mod polkit;
mod postgres;
mod program;
mod registry;
mod render;
mod revert;
mod root;
mod secrets;
mod serve;
mod systemd;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use domain::document::Answer;

/// Keeps the head in its desired state.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "Examples:
  pilothouse-supervisor                     as pilothouse-supervisor.service starts it
  pilothouse-supervisor check answer.toml   says whether a document or answer file holds"
)]
struct Arguments {
    #[command(subcommand)]
    task: Option<Task>,
    #[command(flatten)]
    places: serve::Places,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Write a generation of the configuration to the system (pilothouse-render@.service)
    Render {
        /// The generation's number
        generation: u64,
    },
    /// Wait until a generation is in force for good, or put back the one before it (pilothouse-revert@.service)
    Revert {
        /// The generation's number
        #[arg(long)]
        wait: u64,
    },
    /// Put back the files of a generation that was not in force when the machine went down
    /// (pilothouse-revert-boot.service)
    RevertBoot,
    /// Make the database cluster's files (pilothouse-postgres-init.service)
    PostgresInit,
    /// Make the services' roles and databases (pilothouse-postgres-setup.service)
    PostgresSetup,
    /// Clear what is dead in the databases (pilothouse-postgres-vacuum.service)
    PostgresVacuum,
    /// Tell people what is wrong, by mail and webhooks (pilothouse-notify.service)
    Notify,
    /// Mark the set-up as complete and wipe the answer file's secrets (pilothouse-setup-complete.service)
    Complete,
    /// Check a document or an answer file
    Check {
        /// The file
        file: PathBuf,
    },
}

fn main() -> std::process::ExitCode {
    log::start("pilothouse-supervisor");
    let Arguments { task, places } = Arguments::parse();
    let ended = match task {
        None => in_runtime(serve::run(places)),
        Some(Task::Render { generation }) => in_runtime(render::run(&places, generation)),
        Some(Task::Revert { wait }) => in_runtime(revert::wait(&places, wait)),
        Some(Task::RevertBoot) => revert::at_boot(&places),
        Some(Task::PostgresInit) => in_runtime(postgres::init()),
        Some(Task::PostgresSetup) => in_runtime(postgres::setup()),
        Some(Task::PostgresVacuum) => in_runtime(postgres::vacuum()),
        Some(Task::Notify) => in_runtime(health::tell_people(&places.run, places.document())),
        Some(Task::Complete) => complete::run(),
        Some(Task::Check { file }) => return check_file(&places, &file),
    };
    match ended {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            ::log::error!("{error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn in_runtime(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    // One thread: it waits nearly all the time, and answers to a handful of callers.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("start the runtime")?.block_on(work)
}

/// Prints `FILE:line:column: reason` and ends with 2 when the document does not hold.
fn check_file(places: &serve::Places, file: &std::path::Path) -> std::process::ExitCode {
    let name = file.display();
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("{name}: {error}");
            return 1.into();
        }
    };
    let answer = match Answer::parse(&text) {
        Ok(answer) => answer,
        Err(error) => {
            eprintln!("{name}:{}:{}: {}", error.line, error.column, error.message);
            return 2.into();
        }
    };
    let checked = in_runtime(async {
        check::machine(&answer.document)?;
        check::services(&answer.text, &places.pilothouse, &std::env::temp_dir()).await?;
        Ok(())
    });
    match checked {
        Ok(()) => 0.into(),
        Err(error) => {
            eprintln!("{name}: {error:#}");
            2.into()
        }
    }
}
