//! Passwords from the terminal or standard input.

use std::io::{BufRead, IsTerminal, Write};

use crate::error::Failure;

/// One line, without echo on a terminal.
pub(crate) fn read_password() -> Result<zeroize::Zeroizing<String>, Failure> {
    use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
    let input = std::io::stdin();
    let mut line = zeroize::Zeroizing::new(String::new());
    let terminal =
        input.is_terminal().then(|| tcgetattr(&input)).transpose().map_err(std::io::Error::from)?;
    if let Some(before) = &terminal {
        eprint!("Password: ");
        std::io::stderr().flush()?;
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(&input, SetArg::TCSAFLUSH, &quiet).map_err(std::io::Error::from)?;
    }
    let read = input.lock().read_line(&mut line);
    if let Some(before) = &terminal {
        tcsetattr(&input, SetArg::TCSAFLUSH, before).map_err(std::io::Error::from)?;
        eprintln!();
    }
    read?;
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    if line.is_empty() { Err(Failure::usage("the password is empty")) } else { Ok(line) }
}
