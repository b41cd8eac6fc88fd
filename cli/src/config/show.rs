//! What differs, and what was.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use nix::sys::memfd::{MFdFlags, memfd_create};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::bus::{ConfigProxy, Members, failure};
use crate::Head;
use crate::error::Failure;
use crate::output::{print, text};

/// A document and what it is called.
struct Named(String, String);

async fn read(config: &ConfigProxy<'_>, generation: u64) -> Result<Named, Failure> {
    let number = if generation == 0 { config.generation().await.map_err(failure)? } else { generation };
    let text = config.read(number).await.map_err(failure)?;
    Ok(Named(format!("generation {number}"), text))
}

pub(super) async fn diff(
    config: &ConfigProxy<'_>,
    from: Option<u64>,
    to: Option<u64>,
    file: Option<&Path>,
) -> Result<(), Failure> {
    let mut differs = false;
    if let Some(file) = file {
        let new = super::read(Some(file))?;
        differs = compare(&read(config, 0).await?, &Named(file.display().to_string(), new))?;
    } else if let Some(from) = from {
        differs = compare(&read(config, from).await?, &read(config, to.unwrap_or(0)).await?)?;
    } else {
        let on_trial = config.pending().await.map_err(failure)?;
        if on_trial != 0 {
            differs = compare(&read(config, 0).await?, &read(config, on_trial).await?)?;
        }
        for file in config.edited_files().await.map_err(failure)? {
            println!("{file} was changed by hand");
            differs = true;
        }
    }
    // As diff(1).
    if differs { Err(Failure::failed("")) } else { Ok(()) }
}

/// Shows what differs by diff(1); whether anything does.
pub(super) fn compare_texts(old: (&str, &str), new: (&str, &str)) -> Result<bool, Failure> {
    let named = |it: (&str, &str)| Named(it.0.to_owned(), it.1.to_owned());
    compare(&named(old), &named(new))
}

fn compare(old: &Named, new: &Named) -> Result<bool, Failure> {
    // Files in memory alone; diff inherits them.
    let (old_file, new_file) = (inherited(&old.1)?, inherited(&new.1)?);
    let path = |it: &File| format!("/proc/self/fd/{}", it.as_raw_fd());
    let labels = ["--label", &old.0, "--label", &new.0];
    let status = std::process::Command::new("/usr/bin/diff")
        .arg("--unified")
        .args(labels)
        .args([path(&old_file), path(&new_file)])
        .status();
    match status.map_err(|error| Failure::failed(format!("cannot run diff: {error}")))?.code() {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        _ => Err(Failure::failed("diff failed")),
    }
}

fn inherited(text: &str) -> Result<File, Failure> {
    let file = memfd_create(c"pilothouse-document", MFdFlags::empty()).map_err(std::io::Error::from)?;
    let mut file = File::from(file);
    file.write_all(text.as_bytes())?;
    Ok(file)
}

fn number(members: &Members, name: &str) -> u64 {
    let value = members.get(name);
    value.and_then(|it| u64::try_from(it).or_else(|_| u32::try_from(it).map(u64::from)).ok()).unwrap_or(0)
}

fn word(members: &Members, name: &str) -> String {
    members.get(name).and_then(|it| <&str>::try_from(it).ok()).unwrap_or_default().to_owned()
}

fn instant(seconds: u64) -> String {
    let instant = i64::try_from(seconds).ok().and_then(|it| OffsetDateTime::from_unix_timestamp(it).ok());
    instant.filter(|_| seconds != 0).and_then(|it| it.format(&Rfc3339).ok()).unwrap_or_default()
}

fn line(members: &Members) -> Value {
    json!({
        "generation": number(members, "generation"), "time": instant(number(members, "time")),
        "author": word(members, "author"), "uid": number(members, "uid"), "reason": word(members, "reason"),
        "base": number(members, "base"), "state": word(members, "state"), "detail": word(members, "detail"),
        "ended": instant(number(members, "ended")),
    })
}

pub(super) async fn history(head: &Head, config: &ConfigProxy<'_>) -> Result<(), Failure> {
    let lines: Vec<_> = config.history().await.map_err(failure)?.iter().map(line).collect();
    let row = |it: &Value| {
        ["generation", "time", "author", "state", "reason", "detail"].map(|name| text(it, name)).to_vec()
    };
    let rows: Vec<_> = lines.iter().map(row).collect();
    print(head.format, &json!(lines), &["GENERATION", "TIME", "AUTHOR", "STATE", "REASON", "DETAIL"], &rows);
    Ok(())
}

/// The last generation that was in force before the one that is.
pub(super) fn last_before(history: &[Members]) -> Option<u64> {
    let was = |it: &&Members| word(it, "state") == "applied";
    history.iter().filter(was).max_by_key(|it| number(it, "ended")).map(|it| number(it, "generation"))
}

#[cfg(test)]
mod tests {
    use zbus::OwnedVariant;

    use super::Members;

    fn line(generation: u64, state: &'static str, ended: u64) -> Members {
        let text = OwnedVariant::from(zbus::Str::from(state));
        let members = [("generation", generation.into()), ("state", text), ("ended", ended.into())];
        members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    #[test]
    fn the_one_before_is_the_last_that_was_in_force() {
        let history = [
            line(1, "applied", 10),
            line(2, "applied", 20),
            line(3, "reverted", 30),
            line(4, "in force", 40),
        ];
        assert_eq!(super::last_before(&history), Some(2));
        assert_eq!(super::last_before(&history[2..]), None);
    }

    #[test]
    fn texts_are_compared() {
        assert!(!super::compare_texts(("a", "x\n"), ("b", "x\n")).is_ok_and(|it| it));
        assert!(super::compare_texts(("a", "x\n"), ("b", "y\n")).is_ok_and(|it| it));
    }
}
