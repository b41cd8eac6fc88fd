//! `pilotctl console`: conman's keys on a WebSocket, and what consoles have written.

mod grep;
mod keys;

use std::io::{IsTerminal, Write};

use clap::Subcommand;
use console::client::{AttachError, Attachment, How};
use domain::Service;
use futures_util::SinkExt;
use futures_util::StreamExt;
use futures_util::stream::SplitSink;
use nix::sys::signal::{Signal, raise};
use nix::sys::termios::{LocalFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::ttyname;
use tokio::io::AsyncReadExt;
use tokio_tungstenite::tungstenite::Message;

use crate::Head;
use crate::error::Failure;
use crate::output::print;
use keys::{Key, Keys};

/// Attaches to a node's serial console, or looks at what consoles have written.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Keys, as conman's:
  &.  leave          &B  send a break      &L  show the end of the log again
  &&  send one &     &F  take the keyboard &R  switch the node off and on
  &?  show all       &M  only read         &Z  stop for a while

Examples:
  pilotctl console nid001
  pilotctl console nid001 --read-only --lines 200
  pilotctl console grep 'MCE|Oops' --since 1h 'nid[001-640]'
  pilotctl console list"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    attach: Attach,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lines of the logs that match a pattern
    Grep(grep::Arguments),
    /// Every console, and whether its line is up
    List,
}

#[derive(Debug, clap::Args)]
struct Attach {
    /// A name or an xname
    #[arg(required = true)]
    node: Option<String>,
    /// Only read
    #[arg(long)]
    read_only: bool,
    /// Take the keyboard from whoever has it
    #[arg(long, short)]
    force: bool,
    /// Type beside whoever has the keyboard
    #[arg(long, short, conflicts_with = "force")]
    join: bool,
    /// So many lines of the past
    #[arg(long, short = 'n')]
    lines: Option<usize>,
    /// The character before the keys
    #[arg(long, short, default_value = "&")]
    escape: String,
}

/// Puts the terminal back, however the command ends.
pub(crate) struct Raw {
    before: Termios,
    raw: Termios,
}

impl Raw {
    /// Has each key at once; None if the input is no terminal.
    pub(crate) fn start() -> Result<Option<Self>, Failure> {
        let input = std::io::stdin();
        if !input.is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(&input).map_err(std::io::Error::from)?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(&input, SetArg::TCSANOW, &raw).map_err(std::io::Error::from)?;
        Ok(Some(Self { before, raw }))
    }

    /// Shows what is typed, or does no more.
    fn toggle_echo(&mut self) -> Result<(), Failure> {
        self.raw.local_flags.toggle(LocalFlags::ECHO);
        Ok(tcsetattr(std::io::stdin(), SetArg::TCSANOW, &self.raw).map_err(std::io::Error::from)?)
    }

    /// Stops this process; goes on when it is continued.
    fn suspend(&self) -> Result<(), Failure> {
        let set =
            |termios| tcsetattr(std::io::stdin(), SetArg::TCSANOW, termios).map_err(std::io::Error::from);
        set(&self.before)?;
        raise(Signal::SIGTSTP).map_err(std::io::Error::from)?;
        Ok(set(&self.raw)?)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(std::io::stdin(), SetArg::TCSANOW, &self.before) {
            eprintln!("pilotctl: the terminal could not be put back ({error}); type `reset`");
        }
    }
}

pub(crate) async fn run(head: &Head, arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Some(Command::Grep(arguments)) => grep::run(head, arguments).await,
        Some(Command::List) => list(head).await,
        None => attach(head, arguments.attach).await,
    }
}

async fn list(head: &Head) -> Result<(), Failure> {
    let consoles = console::client::list(&head.client(Service::Console)).await?;
    let rows: Vec<Vec<String>> = consoles
        .iter()
        .map(|it| {
            let state = if it.connected { "open" } else { "lost" };
            let trouble = it.trouble.clone().unwrap_or_default();
            vec![it.name.clone(), it.node.to_string(), state.to_owned(), it.readers.to_string(), trouble]
        })
        .collect();
    let value = serde_json::json!({ "consoles": consoles });
    print(head.format, &value, &["NODE", "XNAME", "LINE", "READERS", "TROUBLE"], &rows);
    Ok(())
}

/// One attachment.
struct Session {
    node: String,
    escape: u8,
    raw: Option<Raw>,
    sink: SplitSink<Attachment, Message>,
    reads: bool,
    quiet: bool,
}

async fn attach(head: &Head, attach: Attach) -> Result<(), Failure> {
    let Attach { node, read_only, force, join, lines, escape } = attach;
    let node = node.unwrap_or_default();
    let [escape] = escape.as_bytes() else { return Err(Failure::usage("--escape takes one character")) };
    let tty = ttyname(std::io::stdin()).ok().map(|it| it.display().to_string().replacen("/dev/", "", 1));
    let how = How { tail: read_only, force, join, control: true, lines, tty };
    let attached = console::client::attach(&head.socket(Service::Console), &node, &how).await;
    let (sink, mut stream) = attached
        .map_err(|error| match error {
            AttachError::Unreachable(_) => Failure::unreachable(error.to_string()),
            AttachError::Refused(_) => Failure::refused(error.to_string()),
            AttachError::Broken(_) => Failure::failed(error.to_string()),
        })?
        .split();
    eprintln!("<Pilothouse> console of {node}; {0}. leaves, {0}? shows the keys", char::from(*escape));
    let raw = Raw::start()?;
    let mut session = Session { node, escape: *escape, raw, sink, reads: read_only, quiet: false };
    let mut input = tokio::io::stdin();
    let mut buffer = [0; 1024];
    let (mut keys, mut open) = (Keys::new(*escape), true);
    let mut output = std::io::stdout();
    loop {
        tokio::select! {
            message = stream.next() => match message {
                None | Some(Ok(Message::Close(_))) => break,
                // What the service says is text, what the node writes is not.
                Some(Ok(Message::Text(_))) if session.quiet => {}
                Some(Ok(message)) => {
                    output.write_all(&message.into_data())?;
                    output.flush()?;
                }
                Some(Err(error)) => return Err(Failure::failed(format!("the attachment broke off: {error}"))),
            },
            typed = input.read(&mut buffer), if open => {
                let count = typed?;
                // The end of a pipe ends typing, not reading.
                open = count > 0;
                for key in keys.take(&buffer[..count]) {
                    session.take(key).await?;
                }
            }
        }
    }
    let node = session.node.clone();
    drop(session);
    Err(Failure::failed(format!("the console service ended the attachment to {node}")))
}

impl Session {
    async fn take(&mut self, key: Key) -> Result<(), Failure> {
        match key {
            Key::Send(bytes) => self.send(Message::Binary(bytes.into())).await?,
            Key::Break => self.command("break").await?,
            Key::Force | Key::Join => {
                self.reads = false;
                self.command(if key == Key::Force { "force" } else { "join" }).await?;
            }
            Key::Monitor => {
                self.reads = true;
                self.command("monitor").await?;
            }
            Key::Replay => self.command("replay").await?,
            Key::Reset => self.command("reset").await?,
            Key::Echo => {
                if let Some(raw) = &mut self.raw {
                    raw.toggle_echo()?;
                }
            }
            Key::Suspend => {
                if let Some(raw) = &self.raw {
                    raw.suspend()?;
                }
            }
            Key::Help => self.say(&format!("keys:{}", keys::help(self.escape))),
            Key::Info => {
                let mode = if self.reads { "reading" } else { "reading and writing" };
                self.say(&format!("console of {}, {mode}", self.node));
            }
            Key::Quiet => {
                self.quiet = !self.quiet;
                self.say(if self.quiet {
                    "what the service says is hidden"
                } else {
                    "what the service says is shown"
                });
            }
            Key::Leave => {
                drop(self.raw.take());
                eprintln!("\n<Pilothouse> left the console of {}", self.node);
                std::process::exit(0); // A read of standard input cannot be taken back.
            }
        }
        Ok(())
    }

    fn say(&self, text: &str) {
        eprint!("\r\n<Pilothouse> {text}\r\n");
    }

    async fn command(&mut self, word: &'static str) -> Result<(), Failure> {
        self.send(Message::Text(word.into())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Failure> {
        self.sink.send(message).await.map_err(|it| Failure::failed(format!("not sent: {it}")))
    }
}
