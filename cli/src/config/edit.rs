//! The document in an editor.

use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::bus::{self, ConfigProxy, failure};
use super::show::compare_texts;
use super::{Apply, apply};
use crate::Head;
use crate::error::Failure;

/// Edits until the document holds or nobody wants to any more, and applies it; made from what was in force at the
/// beginning.
pub(super) async fn run(head: &Head, config: &ConfigProxy<'_>, mut how: Apply) -> Result<(), Failure> {
    if how.file.is_some() {
        return Err(Failure::usage(
            "edit begins with the document in force; apply a file with `config apply -f`",
        ));
    }
    let base = config.generation().await.map_err(failure)?;
    let before = config.read(base).await.map_err(failure)?;
    how.base = Some(how.base.unwrap_or(base));
    let place = keep(&before)?;
    loop {
        open(&place)?;
        let after = std::fs::read_to_string(&place)?;
        if after == before {
            std::fs::remove_file(&place)?;
            println!("nothing was changed");
            return Ok(());
        }
        let refused = match bus::check(config, &after).await {
            Ok(()) => {
                compare_texts((&format!("generation {base}"), &before), ("edited", &after))?;
                match apply(head, config, &after, &how).await {
                    Ok(()) => {
                        std::fs::remove_file(&place)?;
                        return Ok(());
                    }
                    Err(refused) => refused,
                }
            }
            Err(refused) => refused,
        };
        eprintln!("pilotctl: {}", refused.message);
        if refused.code != 1 || !again()? {
            let message = format!("what you wrote is in {}", place.display());
            return Err(Failure { code: refused.code, message });
        }
    }
}

/// The document in a file that is the caller's alone.
fn keep(text: &str) -> Result<PathBuf, Failure> {
    let folder = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let name = format!("pilothouse-{}-{}.toml", std::process::id(), uuid::Uuid::new_v4());
    let place = folder.join(name);
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&place);
    file.and_then(|mut it| it.write_all(text.as_bytes()))?;
    Ok(place)
}

/// The caller's editor, which may be a command with arguments.
fn open(place: &Path) -> Result<(), Failure> {
    let named = ["VISUAL", "EDITOR"].iter().find_map(|it| std::env::var(it).ok().filter(|it| !it.is_empty()));
    let editor = named.unwrap_or_else(|| "editor".to_owned());
    let mut shell = Command::new("/bin/sh");
    let status = shell.arg("-c").arg(format!("{editor} \"$1\"")).arg("sh").arg(place).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::failed(format!("{editor} ended with {status}; nothing was applied"))),
        Err(error) => Err(Failure::failed(format!("cannot run {editor}: {error}"))),
    }
}

fn again() -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    eprint!("Edit it again? [Y/n] ");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(!line.is_empty() && !matches!(line.trim(), "n" | "no"))
}
