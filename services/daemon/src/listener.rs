//! Sockets: inherited from systemd by name, or bound here when `--listen` names them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::{fs, io};

/// Where to listen, for a process that systemd did not start: `unix:/path`, `unixgram:/path`, `tcp:ADDR:PORT`,
/// `udp:ADDR:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A UNIX stream socket, mode 0666: authorisation is in the service.
    Unix(PathBuf),
    /// A UNIX datagram socket, mode 0666.
    Datagram(PathBuf),
    /// A TCP socket.
    Tcp(SocketAddr),
    /// A UDP socket.
    Udp(SocketAddr),
}

/// Sockets by name; a name may stand for several.
#[derive(Debug, Default)]
pub struct Inherited(Mutex<HashMap<String, Vec<OwnedFd>>>);

/// A socket that is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Nobody handed it over.
    #[error("no socket named {0:?} was inherited; start the socket unit, or give --listen {0}=unix:PATH")]
    Missing(String),
    /// It could not be bound.
    #[error("cannot listen on {address:?}")]
    Bind {
        /// Where.
        address: Address,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It was handed over but is not what was expected.
    #[error("the socket named {name:?} cannot be used")]
    Unusable {
        /// Which.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl FromStr for Address {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let fail =
            || format!("{text:?} is no address; write unix:/path, tcp:127.0.0.1:8081 or udp:127.0.0.1:67");
        match text.split_once(':').ok_or_else(fail)? {
            ("unix", path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            ("unixgram", path) if path.starts_with('/') => Ok(Self::Datagram(path.into())),
            ("tcp", address) => address.parse().map(Self::Tcp).map_err(|_| fail()),
            ("udp", address) => address.parse().map(Self::Udp).map_err(|_| fail()),
            _ => Err(fail()),
        }
    }
}

impl Inherited {
    /// Takes what systemd passed (sd_listen_fds(3)) and binds what is named besides.
    pub(crate) fn take(listen: Vec<(String, Address)>) -> Result<Self, ListenError> {
        let mut sockets: HashMap<String, Vec<OwnedFd>> = HashMap::new();
        if let Ok(passed) = sd_notify::listen_fds_with_names() {
            for (fd, name) in passed {
                #[expect(unsafe_code, reason = "systemd passed this descriptor to us alone; taken once")]
                let fd = unsafe { OwnedFd::from_raw_fd(fd) };
                sockets.entry(name).or_default().push(fd);
            }
        }
        for (name, address) in listen {
            let fd = bind(&address).map_err(|source| ListenError::Bind { address, source })?;
            sockets.entry(name).or_default().push(fd);
        }
        Ok(Self(Mutex::new(sockets)))
    }

    pub(crate) fn add(&self, more: Vec<(String, OwnedFd)>) {
        let mut sockets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, fd) in more {
            sockets.entry(name).or_default().push(fd);
        }
    }

    /// The descriptors of this name, whatever they are: what an earlier process had kept in its
    /// [`Store`](crate::Store).
    #[must_use]
    pub fn stored(&self, name: &str) -> Vec<OwnedFd> {
        self.take_all(name)
    }

    fn take_all(&self, name: &str) -> Vec<OwnedFd> {
        let mut sockets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.remove(name).unwrap_or_default()
    }

    fn take_one(&self, name: &str) -> Result<OwnedFd, ListenError> {
        self.take_all(name).into_iter().next().ok_or_else(|| ListenError::Missing(name.to_owned()))
    }

    /// The UNIX stream socket of this name.
    ///
    /// # Errors
    ///
    /// If there is none, or it is of another kind.
    pub fn unix(&self, name: &str) -> Result<tokio::net::UnixListener, ListenError> {
        let listener = std::os::unix::net::UnixListener::from(self.take_one(name)?);
        let usable =
            listener.set_nonblocking(true).and_then(|()| tokio::net::UnixListener::from_std(listener));
        usable.map_err(|source| ListenError::Unusable { name: name.to_owned(), source })
    }

    /// The TCP sockets of this name, perhaps none.
    ///
    /// # Errors
    ///
    /// If one is of another kind.
    pub fn tcp(&self, name: &str) -> Result<Vec<tokio::net::TcpListener>, ListenError> {
        let take = |fd| {
            let listener = std::net::TcpListener::from(fd);
            listener.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(listener))
        };
        let taken: io::Result<_> = self.take_all(name).into_iter().map(take).collect();
        taken.map_err(|source| ListenError::Unusable { name: name.to_owned(), source })
    }

    /// The UNIX datagram socket of this name, in non-blocking mode.
    ///
    /// # Errors
    ///
    /// If there is none, or it is of another kind.
    pub fn datagram(&self, name: &str) -> Result<std::os::unix::net::UnixDatagram, ListenError> {
        let socket = std::os::unix::net::UnixDatagram::from(self.take_one(name)?);
        let usable = socket.set_nonblocking(true).map(|()| socket);
        usable.map_err(|source| ListenError::Unusable { name: name.to_owned(), source })
    }

    /// The UDP socket of this name, in non-blocking mode.
    ///
    /// # Errors
    ///
    /// If there is none, or it is of another kind.
    pub fn udp(&self, name: &str) -> Result<std::net::UdpSocket, ListenError> {
        let socket = std::net::UdpSocket::from(self.take_one(name)?);
        let usable = socket.set_nonblocking(true).map(|()| socket);
        usable.map_err(|source| ListenError::Unusable { name: name.to_owned(), source })
    }
}

fn bind(address: &Address) -> io::Result<OwnedFd> {
    match address {
        Address::Unix(path) => {
            remove_socket(path)?;
            let listener = std::os::unix::net::UnixListener::bind(path)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
            Ok(listener.into())
        }
        Address::Datagram(path) => {
            remove_socket(path)?;
            let socket = std::os::unix::net::UnixDatagram::bind(path)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
            Ok(socket.into())
        }
        Address::Tcp(address) => std::net::TcpListener::bind(address)?.as_fd().try_clone_to_owned(),
        Address::Udp(address) => Ok(std::net::UdpSocket::bind(address)?.into()),
    }
}

/// A socket that an earlier process left there.
fn remove_socket(path: &std::path::Path) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket()) {
        fs::remove_file(path)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn an_address_says_its_kind() {
        assert_eq!("unix:/a/b".parse(), Ok(Address::Unix("/a/b".into())));
        assert_eq!("unixgram:/a/b".parse(), Ok(Address::Datagram("/a/b".into())));
        assert_eq!("tcp:127.0.0.1:80".parse(), Ok(Address::Tcp(([127, 0, 0, 1], 80).into())));
        for text in ["", "unix:relative", "tcp:nowhere", "http:127.0.0.1:1", "udp:127.0.0.1"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
