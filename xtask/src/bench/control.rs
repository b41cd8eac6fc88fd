//! `cargo xtask bench control`: power and consoles of simulated BMCs, beside the programs that a site would use instead.

mod consoles;
mod logs;
mod peers;
mod power;
mod restart;
mod site;
mod timed;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, ValueEnum};
use tests::program::build;
use tests::{Net, lab};

use super::figure::Row;
use crate::root;

/// As many as the peers were measured with before.
const COUNT: u32 = 200;

/// Compare power and consoles with ipmipower, powerman and conman over thousands of simulated BMCs
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask bench control
  cargo xtask bench control --only status,consoles-200 --rounds 3
  cargo xtask bench control --count 20 --thousand 50 --debug      small, for work on the bench itself

Everything runs in a network namespace of its own, the BMCs in this process. Peers are Debian's: freeipmi-tools, powerman,
conman. A peer that is not here is named and left out. Rounds alternate; the middle one counts.")]
pub(super) struct Arguments {
    /// Measure these rows alone
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<What>,
    /// How often each is measured that takes seconds; what takes longer, three times at most
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..100))]
    rounds: u32,
    /// BMCs of the rows beside peers
    #[arg(long, default_value_t = COUNT, value_parser = clap::value_parser!(u32).range(20..=250))]
    count: u32,
    /// BMCs of the row without peers
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(20..=5000))]
    thousand: u32,
    /// How long consoles are watched
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u64).range(2..600))]
    seconds: u64,
    /// Programs of the profile dev, for work on the bench itself
    #[arg(long)]
    pub(super) debug: bool,
    /// How to print the table
    #[arg(long, value_enum, default_value = "text")]
    output: super::api::Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Power status, all BMCs alive
    Status,
    /// The same with one in twenty silent
    Silent,
    /// Power on with one in twenty silent
    OnSilent,
    /// Power status and power on of a thousand
    Thousand,
    #[value(name = "consoles-200")]
    Consoles200,
    #[value(name = "consoles-1000")]
    Consoles1000,
    #[value(name = "consoles-5000")]
    Consoles5000,
    /// The service is started again, and killed
    Restart,
}

/// What is measured, how often and where.
struct Place {
    rounds: u32,
    count: u32,
    thousand: u32,
    watch: Duration,
    folder: PathBuf,
}

impl Place {
    /// Rounds of what takes long.
    fn few(&self) -> u32 {
        self.rounds.min(3)
    }

    /// One in twenty.
    fn silent(&self) -> Vec<u32> {
        (1..=self.count / 20).map(|it| it * 20).collect()
    }
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if lab::is_inside() {
        lab::settle_in()?;
        return root::runtime()?.block_on(inside(arguments));
    }
    ensure!(
        std::thread::available_parallelism()?.get() >= 2,
        "two processors are needed, one for the services and one for their BMCs"
    );
    let profile = if arguments.debug { "dev" } else { "release" };
    let programs = build(profile, &["--package", "pilothouse", "--package", "cli"])?;
    let mut command = lab::command(std::env::args_os().skip(1))?;
    let status = command.env("PILOTHOUSE_PROGRAMS", programs).status().context("enter a lab")?;
    ensure!(status.success(), "the bench ended with {status}");
    Ok(())
}

async fn inside(arguments: &Arguments) -> anyhow::Result<()> {
    let folder = tests::folder::Folder::make("control")?;
    let _net = Net::up(folder.path())?;
    tests::fleet::space::raise_limits(arguments.thousand.max(COUNT))?;
    let place = Place {
        rounds: arguments.rounds,
        count: arguments.count,
        thousand: arguments.thousand,
        watch: Duration::from_secs(arguments.seconds),
        folder: folder.path().to_owned(),
    };
    for settings in peers::settings() {
        eprintln!("{settings}");
    }
    let mut rows: Vec<Row> = Vec::new();
    let wanted = |it: &What| arguments.only.is_empty() || arguments.only.contains(it);
    for what in What::value_variants().iter().copied().filter(wanted) {
        eprintln!("{what:?}");
        let measured = match what {
            What::Status => power::status(&place).await,
            What::Silent => power::silent(&place).await,
            What::OnSilent => power::on_silent(&place).await,
            What::Thousand => power::thousand(&place).await,
            What::Consoles200 => consoles::beside_conman(&place).await,
            What::Consoles1000 => consoles::alone(&place, 1000).await,
            What::Consoles5000 => consoles::alone(&place, 5000).await,
            What::Restart => restart::rows(&place).await,
        };
        let measured = measured.with_context(|| format!("measure {what:?}"))?;
        measured.iter().for_each(|it| eprint!("{}", it.text()));
        rows.extend(measured);
    }
    match arguments.output {
        super::api::Output::Text => rows.iter().for_each(|it| print!("{}", it.text())),
        super::api::Output::Json => println!("{}", serde_json::to_string_pretty(&rows)?),
    }
    if rows.iter().any(|it| it.met == Some(false)) {
        bail!("a target is missed; on a machine that does other things that says nothing");
    }
    Ok(())
}
