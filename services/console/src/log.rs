//! The logs: what consoles write waits in memory for a moment and is written by one thread, so that whoever
//! talks to BMCs waits for no disk. Two files a console: the text, as conman writes it, and the bytes as they
//! came.

mod aside;
mod files;
mod room;
mod writer;

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::Xname;
use time::OffsetDateTime;

use crate::config::Config;
pub(crate) use aside::{Kept, all_kept};
use files::Files;
use room::Room;
use writer::{Job, Threads};

/// The longest name that becomes part of a file's.
const NAME_BYTES_MAX: usize = 64;

/// Where logs are and how long they stay.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) folder: PathBuf,
    pub(crate) rotate_bytes: u64,
    pub(crate) rotate_after: Duration,
    pub(crate) keep: usize,
    pub(crate) keep_for: Duration,
    pub(crate) compress: bool,
}

/// All logs, and the threads behind them. Dropped, what waits is written.
pub(crate) struct Logs {
    settings: Arc<Settings>,
    room: Arc<Room>,
    jobs: Sender<Job>,
    threads: Mutex<Option<Threads>>,
}

/// The log of one console.
pub(crate) struct Log {
    node: Xname,
    /// What `console.` is put before.
    name: String,
    settings: Arc<Settings>,
    room: Arc<Room>,
    jobs: Sender<Job>,
    waiting: Mutex<Waiting>,
    files: Mutex<Files>,
}

/// What was not written yet.
#[derive(Default)]
struct Waiting {
    text: Vec<u8>,
    raw: Vec<u8>,
    /// The writer knows of it.
    queued: bool,
}

impl Waiting {
    fn bytes(&self) -> usize {
        self.text.len() + self.raw.len()
    }
}

/// A log that nobody writes to meanwhile.
pub(crate) struct Held<'a> {
    log: &'a Log,
    _files: MutexGuard<'a, Files>,
}

impl Logs {
    /// Makes the folders and starts the threads.
    ///
    /// # Errors
    ///
    /// If a folder cannot be made, or no thread be had.
    pub(crate) fn start(config: &Config) -> io::Result<Self> {
        let settings = Arc::new(Settings {
            folder: config.log_dir.clone(),
            rotate_bytes: config.rotate_size.0,
            rotate_after: config.rotate_after.0,
            keep: config.keep,
            keep_for: config.keep_for.0,
            compress: config.compress,
        });
        // The image makes the upper one for operators to read; elsewhere it is for its owner and group, as
        // its files are: consoles show what people type.
        for folder in [settings.folder.clone(), settings.raw_folder()] {
            std::fs::DirBuilder::new().recursive(true).mode(0o750).create(folder)?;
        }
        let (jobs, queue) = channel();
        let threads = Threads::start(queue, Arc::clone(&settings))?;
        Ok(Self { settings, room: Arc::default(), jobs, threads: Mutex::new(Some(threads)) })
    }

    /// The log `console.<name>`; its files are opened when something is to be written.
    pub(crate) fn open(&self, name: &str, node: &Xname) -> Arc<Log> {
        Arc::new(Log {
            node: node.clone(),
            name: safe_name(name, node).to_owned(),
            settings: Arc::clone(&self.settings),
            room: Arc::clone(&self.room),
            jobs: self.jobs.clone(),
            waiting: Mutex::default(),
            files: Mutex::default(),
        })
    }

    pub(crate) fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// Writes what waits, and ends; whether all that was received is in the files, or they say what they lack.
    pub(crate) fn close(&self) -> bool {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        threads.is_none_or(|it| it.end(&self.jobs))
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.close();
    }
}

impl Settings {
    pub(crate) fn raw_folder(&self) -> PathBuf {
        self.folder.join("raw")
    }

    /// Where the log of this name is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("console.{name}"))
    }

    fn raw_path(&self, name: &str) -> PathBuf {
        self.raw_folder().join(format!("console.{name}"))
    }
}

/// A name is data: what could leave the folder is not used.
fn safe_name<'a>(name: &'a str, node: &'a Xname) -> &'a str {
    if is_name(name) { name } else { node.as_str() }
}

/// Whether a log can have this name.
pub(crate) fn is_name(name: &str) -> bool {
    let plain = name.chars().all(|it| it.is_ascii_graphic() && it != '/');
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.starts_with('.') && plain
}

impl Log {
    /// Has text and bytes written soon. They are taken in any case: whoever has more waits [for room](Self::room).
    pub(crate) fn append(self: &Arc<Self>, text: &[u8], raw: &[u8]) {
        let mut waiting = self.waiting();
        waiting.text.extend_from_slice(text);
        waiting.raw.extend_from_slice(raw);
        self.room.take(text.len() + raw.len());
        if !std::mem::replace(&mut waiting.queued, true)
            && self.jobs.send(Job::Write(Arc::clone(self))).is_err()
        {
            tracing::debug!("what {} writes after the end is not logged", self.name);
        }
    }

    /// Whether the disk lags behind this console, or behind all of them.
    pub(crate) fn is_full(&self) -> bool {
        self.room.is_over(self.waiting().bytes())
    }

    /// Waits until the disk has caught up.
    pub(crate) async fn room(&self) {
        self.room.wait_while(|| self.is_full()).await;
    }

    /// When it was last written to, if ever.
    pub(crate) fn last_written(&self) -> Option<OffsetDateTime> {
        let metadata = std::fs::metadata(self.path()).ok().filter(std::fs::Metadata::is_file)?;
        metadata.modified().ok().map(OffsetDateTime::from)
    }

    /// Its last line, if that has not ended: a process before this one was in the middle of it.
    pub(crate) fn last_line(&self) -> String {
        let tail = files::tail(&self.path(), 4096);
        let begin = tail.iter().rposition(|it| *it == b'\n').map_or(0, |it| it + 1);
        String::from_utf8_lossy(tail.get(begin..).unwrap_or_default()).into_owned()
    }

    /// Keeps the writer away, so that what is in the files and what waits is all there is.
    pub(crate) fn hold(&self) -> Held<'_> {
        Held { log: self, _files: self.files() }
    }

    /// The bytes that wait; for whoever holds the log.
    pub(crate) fn waiting_raw(&self) -> Vec<u8> {
        self.waiting().raw.clone()
    }

    /// Writes what waits.
    fn flush(&self, now: OffsetDateTime) {
        let mut files = self.files();
        let waiting = std::mem::take(&mut *self.waiting());
        let written = files.write(self, &waiting.text, &waiting.raw, now);
        self.room.free(waiting.bytes());
        if let Err(error) = written {
            let (node, name) = (&self.node, &self.name);
            daemon::event!(
                domain::event::CONSOLE_LOST,
                node = node,
                "the log of {name} cannot be written: {error}"
            );
        }
    }

    fn path(&self) -> PathBuf {
        self.settings.path(&self.name)
    }

    fn raw_path(&self) -> PathBuf {
        self.settings.raw_path(&self.name)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held<'_> {
    /// The last bytes in the file of bytes, so many at most.
    pub(crate) fn last_raw(&self, max: usize) -> Vec<u8> {
        files::tail(&self.log.raw_path(), max)
    }

    /// The end of the text, with what waits of it, so many bytes at most.
    pub(crate) fn last_text(&self, max: usize) -> Vec<u8> {
        let waiting = self.log.waiting().text.clone();
        let mut text = files::tail(&self.log.path(), max.saturating_sub(waiting.len()));
        text.extend(waiting);
        text.drain(..text.len().saturating_sub(max));
        text
    }
}

/// Readable by the group alone, which is the operators' in the image.
fn open_file(path: &Path) -> io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::File::options().append(true).create(true).mode(0o640).open(path)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use domain::Size;

    use super::aside::kept_of;
    use super::{Log, Logs, safe_name};
    use crate::config::Config;

    fn logs(folder: &std::path::Path, rotate_bytes: u64) -> Logs {
        let config = Config {
            log_dir: folder.into(),
            rotate_size: Size(rotate_bytes),
            keep: 2,
            compress: false,
            ..Config::default()
        };
        Logs::start(&config).unwrap()
    }

    /// Writes what waits, here and now.
    fn write(log: &std::sync::Arc<Log>, text: &str, raw: &str) {
        log.append(text.as_bytes(), raw.as_bytes());
        log.flush(time::OffsetDateTime::now_utc());
    }

    #[test]
    fn a_full_log_is_put_aside_between_lines_and_its_bytes_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let logs = logs(folder.path(), 10);
        let log = logs.open("nid001", &"x1000c1s7b1n0".parse().unwrap());
        assert!(log.last_written().is_none());
        for text in ["12345", "67890", "1\n", "second line\n", "third line\nfour", "th"] {
            write(&log, text, text);
        }
        let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
        assert_eq!(read(&folder.path().join("console.nid001")), "fourth");
        assert_eq!(log.last_line(), "fourth");
        logs.close();
        let kept = kept_of(logs.settings(), "nid001");
        let texts: Vec<String> = kept.iter().map(|it| read(&it.path)).collect();
        assert_eq!(texts, ["second line\n", "third line\n"], "the oldest is over the count");
        let raw = std::fs::read_dir(folder.path().join("raw")).unwrap().count();
        assert_eq!(raw, 3);
        assert!(log.last_written().is_some());
    }

    #[test]
    fn what_is_put_aside_is_compressed() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            log_dir: folder.path().into(),
            rotate_size: Size(10),
            compress: true,
            ..Config::default()
        };
        let logs = Logs::start(&config).unwrap();
        let log = logs.open("nid001", &"x1000c1s7b1n0".parse().unwrap());
        write(&log, "a line that is long enough\n", "");
        write(&log, "the next\n", "");
        logs.close();
        let kept = kept_of(logs.settings(), "nid001");
        let names: Vec<String> = kept.iter().map(|it| it.path.display().to_string()).collect();
        assert!(names.len() == 1 && names[0].ends_with("Z.gz"), "{names:?}");
        let mut text = String::new();
        std::io::Read::read_to_string(&mut kept[0].open().unwrap(), &mut text).unwrap();
        assert_eq!(text, "a line that is long enough\n");
    }

    #[test]
    fn a_name_cannot_leave_the_folder() {
        let node = "x1000c1s7b1n0".parse().unwrap();
        assert_eq!(safe_name("nid001", &node), "nid001");
        for name in ["../escape", "", ".hidden", "a b", "a\0"] {
            assert_eq!(safe_name(name, &node), "x1000c1s7b1n0", "{name:?}");
        }
    }

    #[test]
    fn a_log_that_could_not_be_written_is_tried_again_and_says_what_it_lacks() {
        let folder = tempfile::tempdir().unwrap();
        let logs = logs(folder.path(), 1 << 20);
        let log = logs.open("nid001", &"x1000c1s7b1n0".parse().unwrap());
        let path = folder.path().join("console.nid001");
        std::fs::create_dir(&path).unwrap();
        write(&log, "lost\n", "");
        std::fs::remove_dir(&path).unwrap();
        write(&log, "kept\n", "");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.contains("5 bytes could not be written to this log") && text.ends_with("kept\n"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn who_writes_quicker_than_the_disk_waits_and_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let logs = logs(folder.path(), 1 << 20);
        let log = logs.open("nid001", &"x1000c1s7b1n0".parse().unwrap());
        let line = [b'x'; 1000];
        let held = log.hold();
        let mut written = 0;
        while !log.is_full() {
            log.append(&line, &[]);
            written += line.len();
        }
        assert!(written <= super::room::WAITING_MAX + line.len());
        let other = logs.open("nid002", &"x1000c1s7b1n1".parse().unwrap());
        assert!(!other.is_full());
        let room = log.room();
        let mut room = std::pin::pin!(room);
        assert!(futures_util::poll!(&mut room).is_pending());
        drop(held);
        room.await;
        log.append(&line, &[]);
        assert!(logs.close());
        let text = std::fs::read_to_string(folder.path().join("console.nid001")).unwrap();
        assert_eq!(text.len(), written + line.len());
    }

    #[test]
    fn an_end_that_leaves_a_log_without_its_last_lines_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let logs = logs(folder.path(), 1 << 20);
        let log = logs.open("nid001", &"x1000c1s7b1n0".parse().unwrap());
        std::fs::create_dir(folder.path().join("console.nid001")).unwrap();
        log.append(b"lost\n", &[]);
        assert!(!logs.close());
    }
}
