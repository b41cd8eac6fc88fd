//! Descriptors that outlive their process: systemd's store (`FileDescriptorStoreMax=`, systemd.service(5)).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use sd_notify::NotifyState;

/// The longest name of a descriptor (sd_pid_notify_with_fds(3)).
const NAME_BYTES_MAX: usize = 255;

/// Where descriptors stay while the service is started again.
#[derive(Debug)]
pub struct Store(Kind);

#[derive(Debug)]
enum Kind {
    None,
    Systemd,
    Held(Mutex<Vec<(String, OwnedFd)>>),
}

impl Store {
    /// systemd's, where the unit has one: `FDSTORE=` says how many descriptors it takes (systemd.exec(5)).
    pub(crate) fn of_systemd() -> Self {
        let room = std::env::var("FDSTORE").ok().and_then(|it| it.parse::<u32>().ok()).unwrap_or(0);
        let told = room > 0 && std::env::var_os("NOTIFY_SOCKET").is_some();
        Self(if told { Kind::Systemd } else { Kind::None })
    }

    /// One of this process, for tests that run a service in it several times.
    #[must_use]
    pub fn held() -> Self {
        Self(Kind::Held(Mutex::default()))
    }

    /// Whether what is kept outlives the process.
    #[must_use]
    pub fn is_there(&self) -> bool {
        !matches!(self.0, Kind::None)
    }

    /// Has descriptors kept under a name, beside those that are kept under it already; the next process finds them
    /// by [`Inherited::stored`](crate::Inherited::stored). Without a store it does nothing.
    ///
    /// # Errors
    ///
    /// If systemd cannot be told, or the name is none.
    pub fn keep(&self, name: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let fits = !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.contains([':', '\n']);
        if !fits {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} names no descriptor")));
        }
        match &self.0 {
            Kind::None => Ok(()),
            Kind::Held(held) => {
                let copies: io::Result<Vec<OwnedFd>> =
                    descriptors.iter().map(BorrowedFd::try_clone_to_owned).collect();
                let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
                held.extend(copies?.into_iter().map(|it| (name.to_owned(), it)));
                Ok(())
            }
            Kind::Systemd => {
                // Not watched: a socket with an error on it is still the one that its peers know.
                let state =
                    [NotifyState::FdStore, NotifyState::FdName(name), NotifyState::Custom("FDPOLL=0")];
                sd_notify::notify_with_fds(&state, descriptors)
            }
        }
    }

    /// Gives back all that is kept under a name.
    ///
    /// # Errors
    ///
    /// If systemd cannot be told.
    pub fn forget(&self, name: &str) -> io::Result<()> {
        match &self.0 {
            Kind::None => Ok(()),
            Kind::Held(held) => {
                held.lock().unwrap_or_else(PoisonError::into_inner).retain(|it| it.0 != name);
                Ok(())
            }
            Kind::Systemd => sd_notify::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)]),
        }
    }

    /// What a new process would be handed of a store that this process holds.
    pub(crate) fn handed_on(&self) -> io::Result<Vec<(String, OwnedFd)>> {
        let Kind::Held(held) = &self.0 else { return Ok(Vec::new()) };
        let held = held.lock().unwrap_or_else(PoisonError::into_inner);
        held.iter().map(|(name, fd)| Ok((name.clone(), fd.as_fd().try_clone_to_owned()?))).collect()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::{Kind, Store};

    #[test]
    fn what_is_kept_is_handed_on_until_it_is_forgotten() {
        let (store, socket) = (Store::held(), UdpSocket::bind("127.0.0.1:0").unwrap());
        store.keep("ipmi", &[socket.as_fd(), socket.as_fd()]).unwrap();
        store.keep("sessions", &[socket.as_fd()]).unwrap();
        let names: Vec<String> = store.handed_on().unwrap().into_iter().map(|it| it.0).collect();
        assert_eq!(names, ["ipmi", "ipmi", "sessions"]);
        store.forget("ipmi").unwrap();
        let (name, fd) = store.handed_on().unwrap().pop().unwrap();
        assert_eq!(name, "sessions");
        assert_eq!(UdpSocket::from(fd).local_addr().unwrap(), socket.local_addr().unwrap());
    }

    #[test]
    fn without_a_store_nothing_is_kept_and_a_bad_name_is_refused() {
        let none = Store(Kind::None);
        assert!(!none.is_there());
        none.keep("a", &[]).unwrap();
        none.keep("a:b", &[]).unwrap_err();
        none.keep("", &[]).unwrap_err();
    }
}
