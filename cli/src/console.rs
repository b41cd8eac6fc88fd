//! `pilotctl console`: conman's keys on a WebSocket.

use std::io::{IsTerminal, Write};

use console::client::AttachError;
use domain::Service;
use futures_util::{SinkExt, StreamExt};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use tokio::io::AsyncReadExt;
use tokio_tungstenite::tungstenite::Message;

use crate::Head;
use crate::error::Failure;

/// Attaches to a node's serial console.
#[derive(Debug, clap::Args)]
#[command(after_help = "Keys, as conman's:
  &.  leave          &B  send a break
  &&  send one &     &?  show these

Examples:
  pilotctl console nid001
  pilotctl console nid001 --read-only")]
pub(crate) struct Arguments {
    /// A name or an xname
    node: String,
    /// Only read
    #[arg(long)]
    read_only: bool,
    /// Take the keyboard from whoever has it
    #[arg(long, short)]
    force: bool,
}

/// Puts the terminal back, however the command ends.
pub(crate) struct Raw(Termios);

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
        Ok(Some(Self(before)))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(std::io::stdin(), SetArg::TCSANOW, &self.0) {
            eprintln!("pilotctl: the terminal could not be put back ({error}); type `reset`");
        }
    }
}

/// What the keys mean.
#[derive(Debug, PartialEq, Eq)]
enum Key {
    Send(Vec<u8>),
    Break,
    Help,
    Leave,
}

/// Takes what was typed apart; remembers a `&` that waits for its second key.
#[derive(Debug, Default)]
struct Keys {
    escaped: bool,
}

impl Keys {
    fn take(&mut self, typed: &[u8]) -> Vec<Key> {
        let mut keys = Vec::new();
        let mut plain = Vec::new();
        for &byte in typed {
            if !std::mem::take(&mut self.escaped) {
                if byte == b'&' {
                    self.escaped = true;
                } else {
                    plain.push(byte);
                }
                continue;
            }
            let key = match byte {
                b'.' => Key::Leave,
                b'B' | b'b' => Key::Break,
                b'?' => Key::Help,
                b'&' => {
                    plain.push(b'&');
                    continue;
                }
                other => {
                    plain.extend([b'&', other]);
                    continue;
                }
            };
            if !plain.is_empty() {
                keys.push(Key::Send(std::mem::take(&mut plain)));
            }
            keys.push(key);
        }
        if !plain.is_empty() {
            keys.push(Key::Send(plain));
        }
        keys
    }
}

pub(crate) async fn run(head: &Head, arguments: Arguments) -> Result<(), Failure> {
    let Arguments { node, read_only, force } = arguments;
    let mode = if read_only { "tail" } else { "interactive" };
    let attached = console::client::attach(&head.socket(Service::Console), &node, mode, force).await;
    let (mut sink, mut stream) = attached
        .map_err(|error| match error {
            AttachError::Unreachable(_) => Failure::unreachable(error.to_string()),
            AttachError::Refused(_) => Failure::refused(error.to_string()),
            AttachError::Broken(_) => Failure::failed(error.to_string()),
        })?
        .split();
    eprintln!("<Pilothouse> console of {node}; &. leaves, &? shows the keys");
    let raw = Raw::start()?;
    let mut input = tokio::io::stdin();
    let mut buffer = [0; 1024];
    let (mut keys, mut open) = (Keys::default(), true);
    let mut output = std::io::stdout();
    loop {
        tokio::select! {
            message = stream.next() => match message {
                None | Some(Ok(Message::Close(_))) => break,
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
                    let message = match key {
                        Key::Send(bytes) => Message::Binary(bytes.into()),
                        Key::Break => Message::Binary(Vec::new().into()),
                        Key::Help => {
                            eprint!("\r\n<Pilothouse> &. leave, &B break, && one &\r\n");
                            continue;
                        }
                        Key::Leave => {
                            drop(raw);
                            eprintln!("\n<Pilothouse> left the console of {node}");
                            std::process::exit(0); // A read of standard input cannot be taken back.
                        }
                    };
                    sink.send(message).await.map_err(|it| Failure::failed(format!("not sent: {it}")))?;
                }
            }
        }
    }
    drop(raw);
    Err(Failure::failed(format!("the console service ended the attachment to {node}")))
}

#[cfg(test)]
mod tests {
    use super::{Key, Keys};

    #[test]
    fn an_escape_may_be_cut_in_two() {
        let mut keys = Keys::default();
        assert_eq!(keys.take(b"ls\r&"), [Key::Send(b"ls\r".to_vec())]);
        assert_eq!(keys.take(b"."), [Key::Leave]);
        assert_eq!(keys.take(b"a&&b&xc&B"), [Key::Send(b"a&b&xc".to_vec()), Key::Break]);
    }
}
