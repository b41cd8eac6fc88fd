//! A session: opened by the handshake, used by any number of tasks, closed by hand or with its last handle.

use std::any::type_name;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ipmi_rs_core::app::{DeviceId, GetDeviceId};
use ipmi_rs_core::connection::{IpmiCommand, Message, NetFn};
use tokio::task::JoinSet;

use crate::record::{Ledger, SessionRecord};
use crate::{CipherSuite, Error, Pool, PrivilegeLevel, SessionOptions, Sol, SolOptions, Target, sol};
pub(crate) use backoff::{Backoff, spread};
pub(crate) use link::{Link, lock};
pub(crate) use window::{Window, is_ahead};

mod backoff;
mod handshake;
mod link;
mod pending;
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
    /// Opens a session at the target's privilege level, on a socket of its own.
    ///
    /// # Errors
    ///
    /// The step that failed: no answer, no common cipher suite, another password, a privilege the user may
    /// not have, an answer that is not IPMI 2.0.
    pub async fn open(target: &Target, options: SessionOptions) -> Result<Self, Error> {
        target.check()?;
        Self::open_on(&Pool::private(target.address)?, target, options).await
    }

    /// Opens a session on one of the pool's sockets. Where there are many BMCs, this is the way.
    ///
    /// # Errors
    ///
    /// As for [`Self::open`].
    pub async fn open_on(pool: &Pool, target: &Target, options: SessionOptions) -> Result<Self, Error> {
        target.check()?;
        pool.start();
        let socket = pool.pick(target.address)?;
        let record = handshake::run(&socket, target, &options).await?;
        tracing::debug!(address = %target.address, suite = %record.suite, "IPMI session opened");
        let session = Self::begin(pool, socket, record, options, false)?;
        session.raise_privilege(target.privilege).await?;
        Ok(session)
    }

    /// Goes on with a session that another process, or another part of this one, has
    /// [suspended](Self::suspend), or was killed with. The pool must hold the socket that the session was
    /// opened on. Nothing is sent: whether the BMC still knows the session shows with the first request, or
    /// by the keep-alive.
    ///
    /// # Errors
    ///
    /// The socket is not in the pool, or the session is running on it already.
    pub fn resume(pool: &Pool, record: &SessionRecord, options: SessionOptions) -> Result<Self, Error> {
        let socket = pool.find(record.address, record.local_port)?;
        Self::begin(pool, socket, record.clone(), options, true)
    }

    fn begin(
        pool: &Pool,
        socket: Arc<crate::pool::Socket>,
        record: SessionRecord,
        options: SessionOptions,
        resumed: bool,
    ) -> Result<Self, Error> {
        let link = Link::new(pool, socket, record, options)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(upkeep::run(Arc::clone(&link), resumed));
        let tasks = Arc::new(Tasks { set: Mutex::new(tasks), link: Arc::clone(&link) });
        Ok(Self { link, tasks })
    }

    /// What it takes to go on with the session elsewhere, as of now. It is of use only if nothing is sent
    /// from here any more; see [`Self::suspend`] and [`Self::set_ledger`].
    #[must_use]
    pub fn record(&self) -> SessionRecord {
        self.link.record()
    }

    /// Has the record kept from now on, noted before each packet that leaves.
    pub fn set_ledger(&self, ledger: Arc<dyn Ledger>) {
        self.link.set_ledger(ledger);
    }

    /// Ends the session for all its handles without telling the BMC, so that [`Self::resume`] can go on with
    /// it. With a line, use [`Sol::suspend`].
    pub fn suspend(&self) -> SessionRecord {
        let record = self.link.suspend();
        self.end_tasks();
        record
    }

    /// A session starts at user level whatever its handshake asked for (section 22.18).
    async fn raise_privilege(&self, privilege: PrivilegeLevel) -> Result<(), Error> {
        let message = Message::new_request(NetFn::App, SET_PRIVILEGE, vec![privilege.into()]);
        let step = "set session privilege level";
        let address = self.link.address();
        match self.link.ask(step, message, Repeat::WhenSilent).await {
            // Some BMCs grant less without calling it an error.
            Ok(granted) if granted.first().is_some_and(|level| level & 0x0f < privilege.into()) => {
                Err(Error::Auth { step, address, reason: crate::AuthFailure::Privilege })
            }
            Ok(_) => Ok(()),
            Err(error) if matches!(error.completion(), Some(0x80 | 0x81)) => {
                Err(Error::Auth { step, address, reason: crate::AuthFailure::Privilege })
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
        let address = self.link.address();
        C::parse_success_response(&data).map_err(|_| Error::Protocol {
            step,
            address,
            reason: "the command's answer cannot be read",
        })
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
        self.end_tasks();
        closed.map(drop)
    }

    fn end_tasks(&self) {
        let tasks = std::mem::take(&mut *lock(&self.tasks.set));
        drop(tasks);
    }

    /// Goes on with the line of a [resumed](Self::resume) session.
    ///
    /// # Errors
    ///
    /// The session's record has no line, or somebody has it already.
    pub fn resume_sol(&self, options: SolOptions) -> Result<Sol, Error> {
        sol::resume(self, options)
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

    /// The cipher suite agreed on: to be tried first the next time, see [`Target::first_with`].
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

/// Random bytes of the one kind we use everywhere.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(Error::Invalid { reason: "the system has no random numbers" }),
    }
}
