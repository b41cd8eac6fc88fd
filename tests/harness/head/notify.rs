//! What a service tells systemd, and the descriptors that it has kept for its next start (sd_notify(3), `FDSTORE=1`).

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg};
use tokio::io::Interest;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// So many descriptors are kept, as the units say (`FileDescriptorStoreMax=`).
pub(super) const STORE_MAX: usize = 64;
/// So many come with one message at most (unix(7), SCM_RIGHTS).
const RIGHTS_MAX: usize = 253;

/// The socket of one service; it is read as long as this lives.
#[derive(Debug)]
pub(super) struct Notify {
    inner: Arc<Inner>,
    // Aborted when dropped.
    _reading: JoinSet<()>,
}

#[derive(Debug)]
struct Inner {
    socket: UnixDatagram,
    kept: Mutex<Vec<(String, OwnedFd)>>,
    ready: watch::Sender<bool>,
}

impl Notify {
    pub(super) fn bind(path: &Path) -> anyhow::Result<Self> {
        let socket = UnixDatagram::bind(path).with_context(|| format!("listen on {}", path.display()))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
        socket.set_nonblocking(true)?;
        let watched = tokio::net::UnixDatagram::from_std(socket.try_clone()?)?;
        let inner = Arc::new(Inner { socket, kept: Mutex::default(), ready: watch::Sender::new(false) });
        let mut reading = JoinSet::new();
        reading.spawn({
            let inner = Arc::clone(&inner);
            async move {
                while watched.readable().await.is_ok() {
                    let drained = watched.try_io(Interest::READABLE, || {
                        inner.drain();
                        Err::<(), _>(std::io::ErrorKind::WouldBlock.into())
                    });
                    // There is nothing left, which the runtime knows now.
                    drop(drained);
                }
            }
        });
        Ok(Self { inner, _reading: reading })
    }

    /// A new process begins: what the one before said does not count, what it had kept does.
    pub(super) fn begin(&self) -> std::io::Result<Vec<(String, OwnedFd)>> {
        self.inner.drain();
        self.inner.ready.send_replace(false);
        let kept = self.inner.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().map(|(name, fd)| Ok((name.clone(), fd.try_clone()?))).collect()
    }

    /// Waits for READY=1.
    pub(super) async fn ready(&self) {
        let mut ready = self.inner.ready.subscribe();
        // The sender is in what we hold.
        if ready.wait_for(|it| *it).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Inner {
    /// Takes all messages that are there.
    fn drain(&self) {
        // One at a time, so that two who drain keep the order.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = [0; 4096];
        let mut control = nix::cmsg_space!([RawFd; RIGHTS_MAX]);
        loop {
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
            let control = Some(&mut control[..]);
            let (length, fds) = match recvmsg::<UnixAddr>(self.socket.as_raw_fd(), &mut parts, control, flags)
            {
                Ok(message) => (message.bytes, rights(message.cmsgs())),
                Err(Errno::EINTR) => continue,
                Err(_) => return,
            };
            let text = String::from_utf8_lossy(&buffer[..length]);
            let says = |it: &str| text.lines().any(|line| line == it);
            let name = text.lines().find_map(|it| it.strip_prefix("FDNAME=")).unwrap_or("stored");
            if says("FDSTOREREMOVE=1") {
                kept.retain(|it| it.0 != name);
            } else if says("FDSTORE=1") {
                let room = STORE_MAX.saturating_sub(kept.len());
                kept.extend(fds.into_iter().take(room).map(|it| (name.to_owned(), it)));
            }
            if says("READY=1") {
                self.ready.send_replace(true);
            }
        }
    }
}

fn rights(messages: nix::Result<impl Iterator<Item = ControlMessageOwned>>) -> Vec<OwnedFd> {
    let fds = messages.into_iter().flatten().filter_map(|it| match it {
        ControlMessageOwned::ScmRights(fds) => Some(fds),
        _ => None,
    });
    #[expect(unsafe_code, reason = "the kernel has just opened these for us, and nobody else knows them")]
    fds.flatten().map(|it| unsafe { OwnedFd::from_raw_fd(it) }).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::io::IoSlice;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixDatagram;

    use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};

    use super::Notify;

    fn say(socket: &UnixDatagram, text: &str, fds: &[i32]) {
        let control = [ControlMessage::ScmRights(fds)];
        let control = if fds.is_empty() { &control[..0] } else { &control[..] };
        let parts = [IoSlice::new(text.as_bytes())];
        sendmsg::<UnixAddr>(socket.as_raw_fd(), &parts, control, MsgFlags::empty(), None).unwrap();
    }

    #[tokio::test]
    async fn descriptors_are_kept_for_the_next_process_and_ready_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let notify = Notify::bind(&path).unwrap();
        let service = UnixDatagram::unbound().unwrap();
        service.connect(&path).unwrap();
        let pair = UnixDatagram::pair().unwrap();
        say(&service, "FDSTORE=1\nFDNAME=ipmi\nFDPOLL=0", &[pair.0.as_raw_fd(), pair.1.as_raw_fd()]);
        say(&service, "FDSTORE=1\nFDNAME=sessions", &[pair.0.as_raw_fd()]);
        say(&service, "READY=1\nSTATUS=here", &[]);
        notify.ready().await;
        say(&service, "FDSTOREREMOVE=1\nFDNAME=sessions", &[]);
        let names: Vec<String> = notify.begin().unwrap().into_iter().map(|it| it.0).collect();
        assert_eq!(names, ["ipmi", "ipmi"]);
        assert!(!*notify.inner.ready.borrow());
    }
}
