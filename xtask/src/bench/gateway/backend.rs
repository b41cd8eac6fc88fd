//! The service behind: it answers two bytes, and costs the load's processor as little as can be.

use std::collections::HashMap;
use std::fs::Permissions;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok";
/// The listener's mark among the events; a connection's is its descriptor.
const LISTENER: u64 = u64::MAX;

/// Answer on a socket
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    socket: PathBuf,
}

/// Three system calls a request at most: one wait for many, one read, one write. No runtime, which would
/// read once more only to hear that there is nothing.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let socket = &arguments.socket;
    let listener = UnixListener::bind(socket).with_context(|| format!("listen on {}", socket.display()))?;
    std::fs::set_permissions(socket, Permissions::from_mode(0o666))?;
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("make an epoll instance")?;
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    let mut streams: HashMap<u64, UnixStream> = HashMap::new();
    let mut events = [EpollEvent::empty(); 256];
    loop {
        let count = match epoll.wait(&mut events, EpollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            count => count.context("wait for requests")?,
        };
        for mark in events.iter().take(count).map(EpollEvent::data) {
            if mark == LISTENER {
                accept(&listener, &epoll, &mut streams)?;
            } else if streams.get_mut(&mark).is_some_and(|it| !answer(it)) {
                // Closing it takes it out of the set as well.
                streams.remove(&mark);
            }
        }
    }
}

fn accept(
    listener: &UnixListener,
    epoll: &Epoll,
    streams: &mut HashMap<u64, UnixStream>,
) -> anyhow::Result<()> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true)?;
                let mark = u64::try_from(stream.as_raw_fd())?;
                epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, mark))?;
                streams.insert(mark, stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("accept"),
        }
    }
}

/// Answers what one read brings; false: the connection is over.
fn answer(stream: &mut UnixStream) -> bool {
    let mut buffer = [0; 8192];
    match stream.read(&mut buffer) {
        Ok(0) => false,
        // Neither front door sends half a head.
        Ok(read) => {
            let mut heads = buffer.get(..read).unwrap_or_default().windows(4).filter(|it| it == b"\r\n\r\n");
            heads.all(|_| stream.write_all(ANSWER).is_ok())
        }
        Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
    }
}
