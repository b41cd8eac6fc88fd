//! Logs that were put aside: `console.<name>-20261122T130547.123Z`, after the time of their end, and `.gz`
//! once they are compressed.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use super::Settings;

const GZ: &str = ".gz";
/// What is being compressed; one that an earlier process left is removed.
const NEW: &str = ".gz.new";
/// Logs that end in the same moment are put a thousandth of a second apart, so often at most.
const CLASHES_MAX: u32 = 1000;

/// A log that was put aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Its file.
    pub(crate) path: PathBuf,
    /// When its last line was written.
    pub(crate) ended: OffsetDateTime,
}

impl Kept {
    /// Reads it, compressed or not.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    pub(crate) fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        let file = File::open(&self.path)?;
        let packed = self.path.to_string_lossy().ends_with(GZ);
        Ok(if packed { Box::new(GzDecoder::new(file)) } else { Box::new(file) })
    }
}

/// The logs put aside of all consoles by name, the oldest first.
pub(crate) fn all_kept(settings: &Settings) -> HashMap<String, Vec<Kept>> {
    kept_in(&settings.folder, None)
}

/// Those of one console.
#[cfg(test)]
pub(super) fn kept_of(settings: &Settings, name: &str) -> Vec<Kept> {
    kept_in(&settings.folder, Some(name)).remove(name).unwrap_or_default()
}

fn kept_in(folder: &Path, of: Option<&str>) -> HashMap<String, Vec<Kept>> {
    let mut all: HashMap<String, Vec<Kept>> = HashMap::new();
    let Ok(entries) = fs::read_dir(folder) else { return all };
    for entry in entries.flatten() {
        let file = entry.file_name();
        let Some((name, ended)) = file.to_str().and_then(parse) else { continue };
        if of.is_none_or(|it| it == name) {
            all.entry(name.to_owned()).or_default().push(Kept { path: entry.path(), ended });
        }
    }
    for kept in all.values_mut() {
        kept.sort_by(|a, b| a.ended.cmp(&b.ended).then_with(|| a.path.cmp(&b.path)));
    }
    all
}

/// Whose log a file is and when it ended, if it is one put aside.
fn parse(file: &str) -> Option<(&str, OffsetDateTime)> {
    let file = file.strip_prefix("console.")?;
    let (name, time) = file.strip_suffix(GZ).unwrap_or(file).rsplit_once('-')?;
    let format = format_description!("[year][month][day]T[hour][minute][second].[subsecond digits:3]Z");
    Some((name, PrimitiveDateTime::parse(time, &format).ok()?.assume_utc()))
}

/// Puts a file aside that ends now; one that is not there is none.
pub(super) fn put(path: &Path, now: OffsetDateTime) -> io::Result<()> {
    let format = format_description!("[year][month][day]T[hour][minute][second].[subsecond digits:3]Z");
    for clash in 0..CLASHES_MAX {
        let time = now + Duration::from_millis(clash.into());
        let time = time.format(&format).map_err(io::Error::other)?;
        let aside = PathBuf::from(format!("{}-{time}", path.display()));
        if aside.exists() || PathBuf::from(format!("{}{GZ}", aside.display())).exists() {
            continue;
        }
        return match fs::rename(path, aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            renamed => renamed,
        };
    }
    Err(io::Error::other("there is a log of every moment already"))
}

/// Compresses what a console has put aside and removes what is over the count or too old; of all consoles
/// without a name.
pub(super) fn tidy(settings: &Settings, name: Option<&str>, now: SystemTime) {
    for folder in [settings.folder.clone(), settings.raw_folder()] {
        if name.is_none() {
            remove_halves(&folder);
        }
        let oldest = OffsetDateTime::from(now) - settings.keep_for;
        for kept in kept_in(&folder, name).into_values() {
            let over = kept.len().saturating_sub(settings.keep);
            for (index, one) in kept.iter().enumerate() {
                tidy_one(settings, one, index < over || one.ended < oldest);
            }
        }
    }
}

fn tidy_one(settings: &Settings, one: &Kept, goes: bool) {
    let path = &one.path;
    let packed = path.to_string_lossy().ends_with(GZ);
    let done = match (goes, settings.compress && !packed) {
        (true, _) => fs::remove_file(path),
        (false, true) => compress(path),
        (false, false) => Ok(()),
    };
    if let Err(error) = done {
        tracing::warn!(%error, "{} stays as it is", path.display());
    }
}

/// What an earlier process was compressing when it ended.
fn remove_halves(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten().filter(|it| it.file_name().to_string_lossy().ends_with(NEW)) {
        if let Err(error) = fs::remove_file(entry.path()) {
            tracing::debug!(%error, "{} stays", entry.path().display());
        }
    }
}

fn compress(path: &Path) -> io::Result<()> {
    let (new, packed) = (format!("{}{NEW}", path.display()), format!("{}{GZ}", path.display()));
    let mut from = File::open(path)?;
    let to = File::options().write(true).create(true).truncate(true).mode(0o640).open(&new)?;
    let mut encoder = GzEncoder::new(to, Compression::default());
    io::copy(&mut from, &mut encoder)?;
    let mut to = encoder.finish()?;
    to.flush()?;
    to.set_modified(from.metadata()?.modified()?)?;
    // Whole before the other goes: a head may lose its power.
    to.sync_all()?;
    fs::rename(new, packed)?;
    fs::remove_file(path)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use time::macros::datetime;

    use super::{parse, put};

    #[test]
    fn only_what_ends_with_a_time_was_put_aside() {
        let (name, ended) = parse("console.nid001-20261122T130547.123Z.gz").unwrap();
        assert_eq!((name, ended), ("nid001", datetime!(2026-11-22 13:05:47.123 UTC)));
        assert_eq!(parse("console.gpu-a-20261122T130547.123Z").unwrap().0, "gpu-a");
        for file in
            ["console.nid001", "console.nid001-gpu", "console.nid001-20261122T130547.123Z.gz.new", "x"]
        {
            assert!(parse(file).is_none(), "{file}");
        }
    }

    #[test]
    fn logs_that_end_in_one_moment_stay_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("console.nid001");
        let now = datetime!(2026-11-22 13:05:47.999 UTC);
        for text in ["one", "two"] {
            std::fs::write(&path, text).unwrap();
            put(&path, now).unwrap();
        }
        put(&path, now).unwrap();
        let read = |time: &str| {
            std::fs::read_to_string(folder.path().join(format!("console.nid001-{time}"))).unwrap()
        };
        assert_eq!(read("20261122T130547.999Z"), "one");
        assert_eq!(read("20261122T130548.000Z"), "two");
    }
}
