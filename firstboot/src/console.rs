//! The consoles: terminals of any kind, in plain lines. The terminal itself edits and echoes the line.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sys::termios::{
    self, ControlFlags, FlushArg, InputFlags, LocalFlags, OutputFlags, SetArg, SpecialCharacterIndices,
    Termios,
};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use zeroize::{Zeroize as _, Zeroizing};

/// A terminal keeps at most 4095 characters of a line (termios(3), canonical mode) and drops the rest.
const LINE_MAX: usize = 4000;
/// Lines that wait to be looked at; the terminals hold the rest.
const QUEUE_MAX: usize = 16;
/// After that a terminal which takes no characters (XOFF, no peer) is left alone until something is typed
/// there.
const WRITE_MAX: Duration = Duration::from_secs(5);
/// How long the last words may take on a slow line: 2000 characters at 9600 baud.
const DRAIN_MAX: Duration = Duration::from_secs(3);
const CTRL_C: u8 = 3;

/// What happened on a console.
#[derive(Debug)]
pub(crate) enum Event {
    /// A line without its end.
    Line(Zeroizing<String>),
    /// Ctrl-C.
    Interrupt,
    /// A line that cannot be taken, and why.
    Unusable(&'static str),
    /// It is not there any more.
    Gone,
}

/// All consoles, numbered from 0; numbers stay when one goes.
#[derive(Debug)]
pub(crate) struct Consoles {
    list: Vec<Console>,
    events: mpsc::Receiver<(usize, Event)>,
    readers: JoinSet<()>,
}

#[derive(Debug)]
struct Console {
    name: String,
    terminal: Arc<AsyncFd<OwnedFd>>,
    before: Termios,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Usable,
    /// It takes no characters for now.
    Stuck,
    Gone,
}

/// The terminals to ask on: what the kernel calls consoles, and tty1. systemd opened them for us, as they are
/// root's.
pub(crate) fn discover(sys: &Path) -> Vec<(String, io::Result<OwnedFd>)> {
    let active = fs::read_to_string(sys.join("class/tty/console/active")).unwrap_or_default();
    // tty0 stands for the virtual terminal in front, which is tty1.
    let names = active.split_whitespace().map(|it| if it == "tty0" { "tty1" } else { it });
    let mut wanted: Vec<&str> = Vec::new();
    for name in names.chain(["tty1"]) {
        if !wanted.contains(&name) {
            wanted.push(name);
        }
    }
    let mut passed = take_passed();
    let find = |name: &str| match passed.iter().position(|it| it.0 == name) {
        Some(at) => (name.to_owned(), Ok(passed.swap_remove(at).1)),
        None => (name.to_owned(), open(&Path::new("/dev").join(name))),
    };
    wanted.into_iter().map(find).collect()
}

/// The terminals at these paths.
pub(crate) fn open_all(paths: &[PathBuf]) -> Vec<(String, io::Result<OwnedFd>)> {
    let name = |it: &PathBuf| it.strip_prefix("/dev").unwrap_or(it).display().to_string();
    paths.iter().map(|it| (name(it), open(it))).collect()
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK);
    options.open(path).map(OwnedFd::from)
}

/// What systemd passed by OpenFile= (sd_listen_fds(3)), with its names.
fn take_passed() -> Vec<(String, OwnedFd)> {
    let Ok(passed) = sd_notify::listen_fds_with_names() else { return Vec::new() };
    let own = |(fd, name)| {
        #[expect(unsafe_code, reason = "systemd passed this descriptor to us alone; taken once")]
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        (name, fd)
    };
    passed.map(own).collect()
}

impl Consoles {
    /// Makes terminals ready and listens on them. What is no terminal, or not there, is left out and logged.
    pub(crate) fn start(terminals: Vec<(String, io::Result<OwnedFd>)>) -> Self {
        let (sender, events) = mpsc::channel(QUEUE_MAX);
        let mut consoles = Self { list: Vec::new(), events, readers: JoinSet::new() };
        for (name, terminal) in terminals {
            match terminal.and_then(prepare) {
                Ok((terminal, before)) => {
                    let number = consoles.list.len();
                    consoles.readers.spawn(read_lines(number, Arc::clone(&terminal), sender.clone()));
                    consoles.list.push(Console { name, terminal, before, state: State::Usable });
                }
                Err(error) => log::warn!("the console {name} cannot be used: {error}"),
            }
        }
        consoles
    }

    /// What a console is called.
    pub(crate) fn name(&self, number: usize) -> &str {
        &self.list[number].name
    }

    /// What happens next on any console. Never returns when there is none.
    pub(crate) async fn next(&mut self) -> (usize, Event) {
        let Some((number, event)) = self.events.recv().await else { return std::future::pending().await };
        let gone = matches!(event, Event::Gone);
        if gone {
            log::warn!("the console {} is gone", self.list[number].name);
        }
        self.list[number].state = if gone { State::Gone } else { State::Usable };
        (number, event)
    }

    /// Forgets what was typed while nobody asked.
    pub(crate) fn forget_typed(&mut self) {
        for console in &self.list {
            // It only fails where reading will too.
            if let Err(error) = termios::tcflush(&*console.terminal, FlushArg::TCIFLUSH) {
                log::debug!("{}: {error}", console.name);
            }
        }
        while let Ok((number, event)) = self.events.try_recv() {
            if matches!(event, Event::Gone) {
                self.list[number].state = State::Gone;
            }
        }
    }

    /// Writes to one console.
    pub(crate) async fn write(&mut self, number: usize, text: &str) {
        let console = &mut self.list[number];
        if console.state != State::Usable {
            return;
        }
        match timeout(WRITE_MAX, write_text(&console.terminal, text)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                log::warn!("the console {} cannot be written to: {error}", console.name);
                console.state = State::Gone;
            }
            Err(_) => {
                log::warn!("the console {} takes no characters; it is left alone", console.name);
                console.state = State::Stuck;
            }
        }
    }

    /// Writes to every console.
    pub(crate) async fn write_all(&mut self, text: &str) {
        self.write_others(usize::MAX, text).await;
    }

    /// Writes to every console but one.
    pub(crate) async fn write_others(&mut self, but: usize, text: &str) {
        for number in (0..self.list.len()).filter(|it| *it != but) {
            self.write(number, text).await;
        }
    }

    /// Whether a console shows what is typed.
    pub(crate) fn set_echo(&self, number: usize, echo: bool) {
        let console = &self.list[number];
        let set = termios::tcgetattr(&*console.terminal).and_then(|mut it| {
            it.local_flags.set(LocalFlags::ECHO, echo);
            termios::tcsetattr(&*console.terminal, SetArg::TCSANOW, &it)
        });
        if let Err(error) = set {
            log::warn!("the echo of the console {} cannot be set: {error}", console.name);
        }
    }

    /// Lets the last words out and leaves the terminals as they were found.
    pub(crate) async fn stop(mut self) {
        self.readers.shutdown().await;
        for console in self.list.into_iter().filter(|it| it.state == State::Usable) {
            let terminal = Arc::clone(&console.terminal);
            let drained = tokio::task::spawn_blocking(move || termios::tcdrain(&*terminal));
            // Out of time, or gone: nothing can be done about either.
            if timeout(DRAIN_MAX, drained).await.is_err() {
                log::warn!("the console {} is slow; its last lines may be missing", console.name);
            }
            if let Err(error) = termios::tcsetattr(&*console.terminal, SetArg::TCSANOW, &console.before) {
                log::info!("the console {} was taken over: {error}", console.name);
            }
        }
    }
}

/// Sets a terminal up for lines: it edits and echoes, and Ctrl-C ends a line like Enter but stays in it.
fn prepare(terminal: OwnedFd) -> io::Result<(Arc<AsyncFd<OwnedFd>>, Termios)> {
    let before = termios::tcgetattr(&terminal)?;
    let mut sane = before.clone();
    let unwanted = InputFlags::INLCR | InputFlags::IGNCR | InputFlags::ISTRIP | InputFlags::BRKINT;
    sane.input_flags.remove(unwanted | InputFlags::PARMRK);
    sane.input_flags.insert(InputFlags::ICRNL | InputFlags::IGNBRK | InputFlags::IXON | InputFlags::IUTF8);
    sane.output_flags.insert(OutputFlags::OPOST | OutputFlags::ONLCR);
    // Who has a modem's carrier or not is no question here.
    sane.control_flags.insert(ControlFlags::CREAD | ControlFlags::CLOCAL);
    let echo =
        LocalFlags::ECHO | LocalFlags::ECHOE | LocalFlags::ECHOK | LocalFlags::ECHONL | LocalFlags::ECHOCTL;
    sane.local_flags.insert(LocalFlags::ICANON | LocalFlags::IEXTEN | echo);
    sane.local_flags.remove(LocalFlags::ISIG | LocalFlags::NOFLSH | LocalFlags::TOSTOP);
    sane.control_chars[SpecialCharacterIndices::VEOL as usize] = CTRL_C;
    sane.control_chars[SpecialCharacterIndices::VERASE as usize] = 0x7f;
    // Ctrl-D on an empty line would look as if the terminal was gone.
    sane.control_chars[SpecialCharacterIndices::VEOF as usize] = termios::_POSIX_VDISABLE;
    termios::tcsetattr(&terminal, SetArg::TCSANOW, &sane)?;
    // What lines brought before the questions is noise.
    termios::tcflush(&terminal, FlushArg::TCIFLUSH)?;
    let flags = OFlag::from_bits_retain(fcntl(&terminal, FcntlArg::F_GETFL)?);
    fcntl(&terminal, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    #[expect(unsafe_code, reason = "the descriptor is owned, so it stays open and the same while registered")]
    let terminal = unsafe { AsyncFd::register(terminal)? };
    Ok((Arc::new(terminal), before))
}

async fn write_text(terminal: &AsyncFd<OwnedFd>, text: &str) -> io::Result<()> {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let mut ready = terminal.writable().await?;
        if let Ok(written) = ready.try_io(|it| Ok(nix::unistd::write(it.as_fd(), rest)?)) {
            rest = &rest[written?..];
        }
    }
    Ok(())
}

/// Reads until the terminal is gone; a read gives one line at most.
async fn read_lines(number: usize, terminal: Arc<AsyncFd<OwnedFd>>, sender: mpsc::Sender<(usize, Event)>) {
    let mut buffer = Zeroizing::new([0_u8; 4096]);
    loop {
        let event = match read_line(&terminal, &mut buffer[..]).await {
            Ok(0) | Err(_) => Event::Gone,
            Ok(length) => parse_line(&buffer[..length]),
        };
        buffer.zeroize();
        let gone = matches!(event, Event::Gone);
        if sender.send((number, event)).await.is_err() || gone {
            return;
        }
    }
}

async fn read_line(terminal: &AsyncFd<OwnedFd>, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        let mut ready = terminal.readable().await?;
        if let Ok(length) = ready.try_io(|it| Ok(nix::unistd::read(it.as_fd(), buffer)?)) {
            return length;
        }
    }
}

fn parse_line(bytes: &[u8]) -> Event {
    if bytes.contains(&CTRL_C) {
        return Event::Interrupt;
    }
    let Some(line) = bytes.strip_suffix(b"\n").filter(|it| it.len() <= LINE_MAX) else {
        return Event::Unusable("This line is too long.");
    };
    match std::str::from_utf8(line) {
        Ok(text) => Event::Line(Zeroizing::new(text.to_owned())),
        Err(_) => Event::Unusable("This line is no text (UTF-8)."),
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, LINE_MAX, parse_line};

    #[test]
    fn a_line_is_text_of_bounded_length() {
        assert!(matches!(parse_line(b"demo\n"), Event::Line(it) if *it == "demo"));
        assert!(matches!(parse_line(b"de\x03"), Event::Interrupt));
        assert!(matches!(parse_line(b"\xff\n"), Event::Unusable(_)));
        assert!(matches!(parse_line(&[b'a'; 4095]), Event::Unusable(_)));
        let mut longest = vec![b'a'; LINE_MAX];
        longest.push(b'\n');
        assert!(matches!(parse_line(&longest), Event::Line(_)));
    }
}
