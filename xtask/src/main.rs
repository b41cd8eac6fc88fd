//! `cargo xtask`: the commands of a developer. Thin: what they do lives in `tests/harness`, `image/` and cargo.

mod bench;
mod demo;
mod fleet;
mod image;
mod replay;
mod root;
mod swarm;
mod test;
mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The commands of a developer.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Arguments),
    Enter(demo::EnterArguments),
    Up(up::Arguments),
    Fleet(fleet::Arguments),
    Swarm(swarm::Arguments),
    Replay(replay::Arguments),
    Test(test::Arguments),
    Image(image::Arguments),
    Bench(bench::Arguments),
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Enter(arguments) => demo::enter(&arguments),
        Command::Up(arguments) => root::run(up::run(arguments)),
        Command::Fleet(arguments) => return root::run(fleet::run(arguments)),
        Command::Swarm(arguments) => root::runtime()?.block_on(swarm::run(arguments)),
        Command::Replay(arguments) => root::runtime()?.block_on(replay::run(arguments)),
        Command::Test(arguments) => test::run(&arguments),
        Command::Image(arguments) => image::run(&arguments),
        Command::Bench(arguments) => bench::run(arguments),
    }
    .map(|()| ExitCode::SUCCESS)
}
