//! Bytes of files to a connection, without a copy (sendfile(2)).

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::MsgFlags;
use rustix::io::{Errno, ReadWriteFlags};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::model::Span;

/// What one call sends at most: long enough that calls hardly count, short enough for a thousand others.
const CALL_MAX: u64 = 2 << 20;
/// What is read at once of a file that is not in memory.
const READ_MAX: usize = 256 << 10;
/// A call that sent less than it was told to has most likely filled the connection, and waits for room; where it came
/// short for another reason nobody tells of room, so that it is made again after this time.
const SHORT_MAX: Duration = Duration::from_millis(50);
/// A client that takes nothing for so long is gone.
pub(crate) const UNREAD_MAX: Duration = Duration::from_secs(60);

/// Why an answer did not end well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The client is gone.
    Gone,
    /// The client takes nothing.
    Stalled,
    /// The file ended before it should, or cannot be read.
    Short,
}

/// Waits until the connection takes more.
async fn writable(stream: &TcpStream) -> Result<(), Broken> {
    match tokio::time::timeout(UNREAD_MAX, stream.writable()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Broken::Gone),
        Err(_) => Err(Broken::Stalled),
    }
}

/// Sends bytes from memory; with `more`, what follows may go in the same packet.
pub(crate) async fn send_bytes(stream: &TcpStream, mut bytes: &[u8], more: bool) -> Result<(), Broken> {
    let more = if more { libc::MSG_MORE } else { 0 };
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::from_bits_retain(more);
    while !bytes.is_empty() {
        let sent = stream
            .try_io(Interest::WRITABLE, || Ok(nix::sys::socket::send(stream.as_raw_fd(), bytes, flags)?));
        match sent {
            Ok(sent) => bytes = &bytes[sent..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => writable(stream).await?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(Broken::Gone),
        }
    }
    Ok(())
}

/// Sends a part of a file, and counts in `sent` what has left.
pub(crate) async fn send_file(
    stream: &TcpStream,
    file: &Arc<File>,
    span: Span,
    sent: &mut u64,
) -> Result<(), Broken> {
    let (mut offset, end) = (span.first, span.last + 1);
    let (mut there, mut unasked) = (offset, false);
    while offset < end {
        if offset >= there {
            there = (offset + CALL_MAX).min(end);
            if !is_in_memory(file, there - 1) {
                // Another thread waits for the disk; this one has others to serve.
                let (file, from) = (Arc::clone(file), offset);
                let read = tokio::task::spawn_blocking(move || read_in(&file, from, there)).await;
                read.map_err(|_| Broken::Short)?.map_err(|_| Broken::Short)?;
            }
        }
        let count = usize::try_from(there - offset).unwrap_or(usize::MAX);
        let mut call = || rustix::fs::sendfile(stream, file.as_ref(), Some(&mut offset), count);
        let called =
            if std::mem::take(&mut unasked) { Some(call()) } else { call_if_ready(stream, count, call) };
        match called {
            Some(Ok(0)) | Some(Err(Errno::IO)) => return Err(Broken::Short),
            Some(Ok(length)) => {
                *sent += length as u64;
                if length < count {
                    unasked = room_in_time(stream).await?;
                }
            }
            None | Some(Err(Errno::AGAIN)) => writable(stream).await?,
            Some(Err(Errno::INTR)) => {}
            Some(Err(_)) => return Err(Broken::Gone),
        }
    }
    Ok(())
}

/// Makes a call unless the connection is known to be full. One that sends less than `count` has filled it: made again at
/// once, it would send crumbs, one for each that the client takes.
fn call_if_ready(
    stream: &TcpStream,
    count: usize,
    call: impl FnOnce() -> rustix::io::Result<usize>,
) -> Option<rustix::io::Result<usize>> {
    let mut called = None;
    let tried = stream.try_io(Interest::WRITABLE, || {
        let result = called.insert(call());
        let full = result.map_or_else(|it| it == Errno::AGAIN, |it| it > 0 && it < count);
        if full { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    });
    // The call's own result says more.
    drop(tried);
    called
}

/// Waits for room after a short call; whether nobody told of any.
async fn room_in_time(stream: &TcpStream) -> Result<bool, Broken> {
    match tokio::time::timeout(SHORT_MAX, stream.writable()).await {
        Ok(Ok(())) => Ok(false),
        Ok(Err(_)) => Err(Broken::Gone),
        Err(_) => Ok(true),
    }
}

/// Whether a byte of the file can be had without a wait for the disk; with it, most likely, what is before it.
fn is_in_memory(file: &File, at: u64) -> bool {
    let mut byte = [0];
    let read = rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut byte)], at, ReadWriteFlags::NOWAIT);
    // A file system that cannot say so is asked as it is.
    read != Err(Errno::AGAIN)
}

/// Has the kernel read a part of the file.
fn read_in(file: &File, from: u64, to: u64) -> io::Result<()> {
    let mut buffer = vec![0; READ_MAX];
    let mut at = from;
    while at < to {
        let length = usize::try_from(to - at).unwrap_or(READ_MAX).min(READ_MAX);
        match file.read_at(&mut buffer[..length], at)? {
            0 => return Ok(()),
            read => at += read as u64,
        }
    }
    Ok(())
}
