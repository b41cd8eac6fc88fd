//! `cargo xtask replay`: recordings against services that run already.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use tests::replay::{Replay, load};

/// Replay recordings against running services; each file expects an empty server
#[derive(Debug, Args)]
#[command(after_help = "Example:
  cargo xtask up --profile noauth --empty --port-base 20000
  cargo xtask replay --base http://127.0.0.1:20082 tests/contract/smd-components.jsonl")]
pub(crate) struct Arguments {
    /// What stands before the recorded paths; plain HTTP
    #[arg(long, value_name = "URL")]
    base: String,
    /// What `{{token}}` becomes
    #[arg(long, env = "PILOTHOUSE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Compare the lines too that record a fault of the original
    #[arg(long)]
    quirks: bool,
    /// The lines to compare; the others are sent all the same
    #[arg(long, value_delimiter = ',', value_name = "ID")]
    only: Vec<String>,
    /// The recordings
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { base, token, quirks, only, files } = arguments;
    let replay = Replay { base, token, quirks, only, ..Replay::default() };
    let mut failed = 0;
    for file in files {
        let findings = replay.run(&load(&file)?).await?;
        for (line, differences) in &findings.failed {
            println!("FAIL {line}");
            for difference in differences.iter().take(6) {
                println!("     {difference}");
            }
        }
        let name = file.display();
        let (passed, skipped) = (findings.passed, findings.skipped);
        println!("{name}: {passed} passed, {} failed, {skipped} sent alone", findings.failed.len());
        failed += findings.failed.len();
    }
    if failed > 0 {
        bail!("{failed} lines differ");
    }
    Ok(())
}
