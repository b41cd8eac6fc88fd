//! `pilotctl config`: the document, its generations, and what becomes of them.

mod bus;
mod edit;
mod schema;
mod show;
mod when;

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use domain::Span;
use serde_json::json;
use zbus::Variant;

use crate::Head;
use crate::error::Failure;
use crate::output::{Format, print};
use bus::{ConfigProxy, Options, connect, failure};

/// Changes the head's configuration
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print the JSON Schema of the document, for editors
    Schema,
    /// Print the document in force, or an earlier one
    Show {
        /// Its generation
        generation: Option<u64>,
    },
    /// Write the document in force, or an earlier one, into a file: byte for byte what was applied
    Export {
        /// Its generation
        generation: Option<u64>,
        /// The file; stdout if not given
        #[arg(long, short)]
        file: Option<PathBuf>,
    },
    /// Change the document in an editor, $VISUAL or $EDITOR, and apply it
    Edit(Apply),
    /// What differs: from the document in force to a file, or between generations. Ends with 1 if anything does
    #[command(after_help = "Examples:
  pilotctl config diff -f pilothouse.toml
  pilotctl config diff 3          from generation 3 to the one in force
  pilotctl config diff 3 4
  pilotctl config diff            the one on trial, and files that were changed by hand")]
    Diff {
        /// From this generation
        #[arg(conflicts_with = "file")]
        from: Option<u64>,
        /// To this one; the one in force if not given
        to: Option<u64>,
        /// To this file
        #[arg(long, short)]
        file: Option<PathBuf>,
    },
    /// Check a document; nothing is changed
    Check {
        /// The file; stdin if not given
        #[arg(long, short)]
        file: Option<PathBuf>,
    },
    /// Put a document in force: what reads it is restarted, and if that fails the one before it comes back
    #[command(after_help = "Examples:
  pilotctl config apply -f pilothouse.toml --reason 'the new rack'
  pilotctl config apply -f pilothouse.toml --confirm-within 120s && pilotctl config confirm
  pilotctl config apply -f pilothouse.toml --at 2026-12-01T03:00:00Z")]
    Apply(Apply),
    /// Keep the generation that waits to be confirmed
    Confirm {
        /// Its number; whichever waits if not given
        generation: Option<u64>,
    },
    /// Turn back the generation that waits to be confirmed; else put an earlier one's document in force again
    Rollback {
        /// Whose document; the last one that was in force before this one if not given
        generation: Option<u64>,
        #[command(flatten)]
        how: How,
    },
    /// Forget the generation that is kept for later
    Cancel,
    /// Who changed what, when and why, and what became of it
    History,
}

/// What is applied, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Apply {
    /// The document; stdin if not given
    #[arg(long, short)]
    file: Option<PathBuf>,
    /// The generation that it was made from; refused if another one is in force
    #[arg(long)]
    base: Option<u64>,
    /// When: an instant as 2026-12-01T03:00:00Z, or in how long: 2h
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    at: Option<when::When>,
    #[command(flatten)]
    how: How,
}

/// How a document is applied, wherever it is from.
#[derive(Debug, clap::Args)]
pub(crate) struct How {
    /// Why, for the history
    #[arg(long)]
    reason: Option<String>,
    /// Turn it back unless `pilotctl config confirm` says otherwise within this time
    #[arg(long, value_name = "TIME")]
    confirm_within: Option<Span>,
    /// Apply it although the configuration is frozen; say why with --reason
    #[arg(long, requires = "reason")]
    override_freeze: bool,
}

impl How {
    fn options(&self) -> Options<'_> {
        let mut options = Options::new();
        if let Some(reason) = &self.reason {
            options.insert("reason", Variant::from(reason.as_str()));
        }
        if let Some(span) = self.confirm_within {
            options.insert("confirm-within", Variant::from(span.0.as_secs()));
        }
        if self.override_freeze {
            options.insert("override-freeze", Variant::from(true));
        }
        options
    }
}

impl Apply {
    fn options(&self) -> Options<'_> {
        let mut options = self.how.options();
        if let Some(base) = self.base {
            options.insert("base", Variant::from(base));
        }
        if let Some(at) = &self.at {
            options.insert("at", Variant::from(at.unix_s()));
        }
        options
    }
}

pub(crate) async fn run(head: &Head, command: Command) -> Result<(), Failure> {
    if matches!(command, Command::Schema) {
        println!("{:#}", schema::whole());
        return Ok(());
    }
    let config = connect().await?;
    match command {
        Command::Schema => Ok(()),
        Command::Show { generation } => export(&config, generation, None).await,
        Command::Export { generation, file } => export(&config, generation, file.as_deref()).await,
        Command::Edit(how) => edit::run(head, &config, how).await,
        Command::Diff { from, to, file } => show::diff(&config, from, to, file.as_deref()).await,
        Command::Check { file } => {
            bus::check(&config, &read(file.as_deref())?).await?;
            println!("the document holds");
            Ok(())
        }
        Command::Apply(how) => {
            let text = read(how.file.as_deref())?;
            apply(head, &config, &text, &how).await
        }
        Command::Confirm { generation } => {
            let kept = config.confirm(generation.unwrap_or(0)).await.map_err(failure)?;
            tell(head, kept, "is in force");
            Ok(())
        }
        Command::Rollback { generation, how } => roll_back(head, &config, generation, &how).await,
        Command::Cancel => {
            let generation = config.cancel().await.map_err(failure)?;
            tell(head, generation, "is not kept for later any more");
            Ok(())
        }
        Command::History => show::history(head, &config).await,
    }
}

/// The document of a file or stdin.
fn read(file: Option<&Path>) -> Result<String, Failure> {
    match file {
        Some(file) if file != Path::new("-") => std::fs::read_to_string(file)
            .map_err(|error| Failure::failed(format!("cannot read {}: {error}", file.display()))),
        None if std::io::stdin().is_terminal() => {
            Err(Failure::usage("name the document with -f FILE, or write it to stdin"))
        }
        _ => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            Ok(text)
        }
    }
}

async fn export(
    config: &ConfigProxy<'_>,
    generation: Option<u64>,
    file: Option<&Path>,
) -> Result<(), Failure> {
    let text = config.read(generation.unwrap_or(0)).await.map_err(failure)?;
    match file {
        Some(file) => std::fs::write(file, text)
            .map_err(|error| Failure::failed(format!("cannot write {}: {error}", file.display()))),
        None => {
            print!("{text}");
            Ok(())
        }
    }
}

async fn apply(head: &Head, config: &ConfigProxy<'_>, text: &str, how: &Apply) -> Result<(), Failure> {
    for file in config.edited_files().await.map_err(failure)? {
        eprintln!("pilotctl: {file} was changed by hand; that is lost now");
    }
    let generation = bus::apply(config, text, &how.options()).await?;
    if let Some(at) = &how.at {
        tell(head, generation, &format!("is kept until {at}; `pilotctl config cancel` forgets it"));
        return Ok(());
    }
    tell_end(head, generation, &how.how);
    Ok(())
}

async fn roll_back(
    head: &Head,
    config: &ConfigProxy<'_>,
    generation: Option<u64>,
    how: &How,
) -> Result<(), Failure> {
    let on_trial = config.pending().await.map_err(failure)?;
    let wanted = match generation {
        Some(number) => number,
        None if on_trial != 0 => 0,
        None => show::last_before(&config.history().await.map_err(failure)?).ok_or_else(|| {
            Failure::failed("no other generation was in force; see `pilotctl config history`")
        })?,
    };
    let generation = bus::follow(config, config.rollback(wanted, &how.options())).await?;
    if wanted == 0 {
        tell(head, generation, "is in force again");
    } else {
        tell_end(head, generation, how);
    }
    Ok(())
}

fn tell_end(head: &Head, generation: u64, how: &How) {
    match how.confirm_within {
        Some(_) => tell(
            head,
            generation,
            "waits; `pilotctl config confirm` keeps it, else the one before it comes back",
        ),
        None => tell(head, generation, "is in force"),
    }
}

fn tell(head: &Head, generation: u64, what: &str) {
    match head.format {
        Format::Json => print(head.format, &json!({ "generation": generation }), &[], &[]),
        Format::Table => println!("generation {generation} {what}"),
    }
}
