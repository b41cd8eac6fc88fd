//! A session: opened by the handshake, used by any number of tasks, closed by hand or with its last handle.

use std::any::type_name;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ipmi_rs_core::app::{DeviceId, GetDeviceId};
use ipmi_rs_core::connection::{IpmiCommand, Message, NetFn};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use crate::sol;
use crate::{CipherSuite, Error, PrivilegeLevel, Sol, SolOptions, Target};
pub(crate) use link::{Link, lock};

mod handshake;
mod link;
mod upkeep;
mod window;

const SET_PRIVILEGE: u8 = 0x3b;
pub(crate) const CLOSE_SESSION: u8 = 0x3c;
/// How long to wait for the answer to Close Session: what matters is that it was sent.
const CLOSE_WAIT: Duration = Duration::from_millis(1500);

/// A session with a BMC. Clones are handles of the same one; the last to be dropped closes it.
#[derive(Clone)]
pub struct Session {
    link: Arc<Link>,
    tasks: Arc<Tasks>,
}

/// Whether a request may be sent again when nothing comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Carrying it out twice does the same as once.
    WhenSilent,
    /// It is sent once; after a timeout it may or may not have been carried out.
    Never,
}

impl Session {
    /// Opens a session at the target's privilege level.
    ///
    /// # Errors
    ///
    /// The step that failed: no answer, no common cipher suite, another password, a privilege the user may
    /// not have, an answer that is not IPMI 2.0.
    pub async fn open(target: &Target, options: crate::SessionOptions) -> Result<Self, Error> {
        target.check()?;
        let address = target.address;
        let failed = |source| Error::Io { step: "open socket", address, source };
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
        };
        let socket = UdpSocket::bind(any).await.map_err(failed)?;
        socket.connect(address).await.map_err(failed)?;
        let agreed = handshake::run(&socket, target, &options).await?;
        tracing::debug!(%address, suite = %agreed.suite, "IPMI session opened");
        let link = Arc::new(Link::new(socket, address, agreed, options));
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&link).receive());
        tasks.spawn(upkeep::run(Arc::clone(&link)));
        let tasks = Arc::new(Tasks { set: Mutex::new(tasks), link: Arc::clone(&link) });
        let session = Self { link, tasks };
        session.raise_privilege(target.privilege).await?;
        Ok(session)
    }

    /// A session starts at user level whatever its handshake asked for (section 22.18).
    async fn raise_privilege(&self, privilege: PrivilegeLevel) -> Result<(), Error> {
        let message = Message::new_request(NetFn::App, SET_PRIVILEGE, vec![privilege.into()]);
        let step = "set session privilege level";
        match self.link.ask(step, message, Repeat::WhenSilent).await {
            // Some BMCs grant less without calling it an error.
            Ok(granted) if granted.first().is_some_and(|level| level & 0x0f < privilege.into()) => {
                Err(Error::Auth { step, reason: crate::AuthFailure::Privilege })
            }
            Ok(_) => Ok(()),
            Err(error) if matches!(error.completion(), Some(0x80 | 0x81)) => {
                Err(Error::Auth { step, reason: crate::AuthFailure::Privilege })
            }
            Err(error) => Err(error),
        }
    }

    /// Sends any command and reads its answer; it may be sent again when nothing comes back.
    ///
    /// # Errors
    ///
    /// No answer, a completion code other than success, an answer the command cannot read.
    pub async fn request<C: IpmiCommand>(&self, command: C) -> Result<C::Output, Error> {
        let step = type_name::<C>().rsplit("::").next().unwrap_or("request");
        self.ask(step, command, Repeat::WhenSilent).await
    }

    /// [`Self::request`] with a name for the errors, and whether it may be sent again.
    ///
    /// # Errors
    ///
    /// As for [`Self::request`].
    pub async fn ask<C: IpmiCommand>(
        &self,
        step: &'static str,
        command: C,
        repeat: Repeat,
    ) -> Result<C::Output, Error> {
        if command.target().is_some() {
            return Err(Error::Invalid { reason: "a command for another controller than the BMC itself" });
        }
        let data = self.link.ask(step, command.into(), repeat).await?;
        C::parse_success_response(&data)
            .map_err(|_| Error::Protocol { step, reason: "the command's answer cannot be read" })
    }

    /// Asks who the BMC is; also the cheapest sign of life.
    ///
    /// # Errors
    ///
    /// As for [`Self::request`].
    pub async fn device_id(&self) -> Result<DeviceId, Error> {
        self.ask("get device id", GetDeviceId, Repeat::WhenSilent).await
    }

    /// Starts serial over LAN; a session has one at a time.
    ///
    /// # Errors
    ///
    /// As for [`Self::request`]; completion code 0x80 if another session has the line and
    /// [`SolOptions::take_over`] does not allow to take it.
    pub async fn activate_sol(&self, options: SolOptions) -> Result<Sol, Error> {
        sol::activate(self, options).await
    }

    /// Ends the session for all its handles and tells the BMC so.
    ///
    /// # Errors
    ///
    /// The BMC did not confirm it. The session is closed on our side all the same.
    pub async fn close(&self) -> Result<(), Error> {
        let id = self.link.bmc_id().to_le_bytes().to_vec();
        let message = Message::new_request(NetFn::App, CLOSE_SESSION, id);
        let closed = self.link.ask_within("close session", message, Repeat::WhenSilent, CLOSE_WAIT).await;
        self.link.end(link::End::Closed);
        let tasks = std::mem::take(&mut *lock(&self.tasks.set));
        drop(tasks);
        closed.map(drop)
    }

    /// Whether the session was closed or its BMC found dead.
    pub fn is_closed(&self) -> bool {
        self.link.ended().is_some()
    }

    /// Waits for the session's end, and tells it.
    pub async fn closed(&self) -> Error {
        self.link.wait_for_end().await
    }

    /// Whom the session is with.
    pub fn address(&self) -> SocketAddr {
        self.link.address()
    }

    /// The cipher suite agreed on.
    pub fn cipher_suite(&self) -> CipherSuite {
        self.link.suite()
    }

    /// The GUID by which the BMC named itself in the handshake, as sent.
    pub fn guid(&self) -> [u8; 16] {
        self.link.guid()
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// Runs a task as long as the session lasts.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut set = lock(&self.tasks.set);
        while set.try_join_next().is_some() {} // Those that have ended would be kept otherwise.
        set.spawn(task);
    }
}

/// Names the session without its keys.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.link.fmt(f)
    }
}

/// The session's tasks, ended with its last handle.
struct Tasks {
    set: Mutex<JoinSet<()>>,
    link: Arc<Link>,
}

impl Drop for Tasks {
    /// BMCs have few sessions, so one that nobody closed is given back without waiting for an answer.
    fn drop(&mut self) {
        if self.link.ended().is_none() {
            self.link.send_close();
            self.link.end(link::End::Closed);
        }
        self.set.get_mut().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}
