//! The running session: one socket, many requests and one console at once.
//!
//! What arrives is proven, then checked against the window, then decrypted, and handed on by its payload
//! type: IPMI messages to the request with the same number, function and command, SOL to the console.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipmi_rs_core::connection::{CompletionErrorCode, Message, NetFn};
use tokio::net::UdpSocket;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use super::handshake::{Agreed, DATAGRAM_BYTES_MAX, random};
use super::window::{Outgoing, Window};
use super::{CLOSE_SESSION, Repeat};
use crate::wire::{Datagram, Frame, PayloadType, SolPacket};
use crate::{CipherSuite, Error, SessionOptions};

/// Request numbers have six bits.
const NUMBERS: u8 = 64;
/// Errors in a row after which the socket is given up. A refused packet is one; the next answer ends the row.
const SOCKET_ERRORS_MAX: u32 = 1000;

/// What a session's handles and tasks share.
pub(crate) struct Link {
    socket: UdpSocket,
    address: SocketAddr,
    agreed: Agreed,
    options: SessionOptions,
    outgoing: Mutex<Outgoing>,
    pending: Mutex<Pending>,
    console: Mutex<Option<mpsc::Sender<SolPacket>>>,
    /// When the last proven packet arrived.
    heard: Mutex<Instant>,
    end: watch::Sender<Option<End>>,
    permits: Semaphore,
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// We closed it.
    Closed,
    /// The BMC was silent for this long.
    Dead(Duration),
}

/// The requests under way, by their number.
#[derive(Default)]
struct Pending {
    next: u8,
    waiting: HashMap<u8, Waiting>,
}

struct Waiting {
    netfn: NetFn,
    command: u8,
    answer: oneshot::Sender<Vec<u8>>,
}

impl Link {
    pub(super) fn new(
        socket: UdpSocket,
        address: SocketAddr,
        agreed: Agreed,
        options: SessionOptions,
    ) -> Self {
        let permits = options.in_flight.clamp(1, usize::from(NUMBERS) / 2);
        Self {
            socket,
            address,
            agreed,
            options,
            outgoing: Mutex::new(Outgoing::new()),
            pending: Mutex::default(),
            console: Mutex::default(),
            heard: Mutex::new(Instant::now()),
            end: watch::Sender::new(None),
            permits: Semaphore::new(permits),
        }
    }

    /// Sends a request within the session's own deadline; gives the data after the completion code.
    pub(crate) async fn ask(
        &self,
        step: &'static str,
        message: Message,
        repeat: Repeat,
    ) -> Result<Vec<u8>, Error> {
        self.ask_within(step, message, repeat, self.options.deadline).await
    }

    pub(crate) async fn ask_within(
        &self,
        step: &'static str,
        message: Message,
        repeat: Repeat,
        within: Duration,
    ) -> Result<Vec<u8>, Error> {
        let end = Instant::now() + within;
        let silent = || Error::Timeout { step, address: self.address, waited: within };
        let data = tokio::select! {
            biased;
            over = self.wait_for_end() => return Err(over),
            answer = timeout_at(end, self.converse(step, message, repeat)) => answer.map_err(|_| silent())??,
        };
        let (&raw, data) = data
            .split_first()
            .ok_or(Error::Protocol { step, reason: "the answer has no completion code" })?;
        match CompletionErrorCode::try_from(raw) {
            Ok(code) => Err(Error::Completion { step, code, raw }),
            Err(()) => Ok(data.to_vec()),
        }
    }

    /// Asks again and again, with the same request number, until the answer is there.
    async fn converse(&self, step: &'static str, message: Message, repeat: Repeat) -> Result<Vec<u8>, Error> {
        let _permit = self.permits.acquire().await.map_err(|_| Error::Closed)?;
        let (number, mut answer) = self.reserve(message.netfn(), message.cmd())?;
        let _number = Number { link: self, number };
        let frame = Frame::request(number, message).encode();
        let mut wait = self.options.first_wait;
        loop {
            self.send(step, PayloadType::Ipmi, &frame).await?;
            if repeat == Repeat::Never {
                return answer.await.map_err(|_| Error::Closed);
            }
            match timeout_at(Instant::now() + wait, &mut answer).await {
                Ok(answer) => return answer.map_err(|_| Error::Closed),
                Err(_) => wait = (wait * 2).min(self.options.longest_wait),
            }
        }
    }

    /// Finds a free number. There are more numbers than permits, so one is free.
    fn reserve(&self, netfn: NetFn, command: u8) -> Result<(u8, oneshot::Receiver<Vec<u8>>), Error> {
        let mut pending = lock(&self.pending);
        for _ in 0..NUMBERS {
            let number = pending.next;
            pending.next = (number + 1) % NUMBERS;
            if let Entry::Vacant(free) = pending.waiting.entry(number) {
                let (answer, receiver) = oneshot::channel();
                free.insert(Waiting { netfn, command, answer });
                return Ok((number, receiver));
            }
        }
        Err(Error::Invalid { reason: "too many requests at once" })
    }

    /// Seals a payload under the next sequence number and sends it.
    pub(crate) async fn send(
        &self,
        step: &'static str,
        payload_type: PayloadType,
        payload: &[u8],
    ) -> Result<(), Error> {
        let datagram = self.seal(payload_type, payload)?;
        match self.socket.send(&datagram).await {
            Ok(_) => Ok(()),
            // The refusal of an earlier packet; as good as a lost one.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            Err(source) => Err(Error::Io { step, address: self.address, source }),
        }
    }

    fn seal(&self, payload_type: PayloadType, payload: &[u8]) -> Result<Vec<u8>, Error> {
        let iv = random()?;
        let sequence = lock(&self.outgoing).next();
        Ok(self.agreed.keys.seal(payload_type, self.agreed.bmc_id, sequence, payload, iv))
    }

    /// Sends Close Session without waiting for anything.
    pub(super) fn send_close(&self) {
        let id = self.agreed.bmc_id.to_le_bytes().to_vec();
        let frame = Frame::request(0, Message::new_request(NetFn::App, CLOSE_SESSION, id));
        let sent =
            self.seal(PayloadType::Ipmi, &frame.encode()).map(|datagram| self.socket.try_send(&datagram));
        if !matches!(sent, Ok(Ok(_))) {
            tracing::debug!(address = %self.address, "the BMC was not told that the session is over");
        }
    }

    /// Receives for as long as the session lasts.
    pub(super) async fn receive(self: Arc<Self>) {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        let mut window = Window::default();
        let mut errors = 0;
        while errors < SOCKET_ERRORS_MAX {
            match self.socket.recv(&mut buffer).await {
                Ok(count) => {
                    errors = 0;
                    self.take(buffer.get(..count).unwrap_or_default(), &mut window);
                }
                Err(error) => {
                    errors += 1;
                    tracing::trace!(address = %self.address, %error, "cannot receive");
                }
            }
        }
        self.end(End::Dead(Instant::now() - self.heard()));
    }

    /// Takes one datagram; what is not proven to be the BMC's has no effect whatever.
    fn take(&self, datagram: &[u8], window: &mut Window) {
        let Ok(Datagram::Plus(packet)) = Datagram::decode(datagram) else { return };
        if packet.session_id != self.agreed.console_id {
            return;
        }
        if self.agreed.keys.verify(&packet).is_err() {
            tracing::debug!(address = %self.address, "a packet with a wrong integrity code was dropped");
            return;
        }
        if !window.accept(packet.sequence) {
            return;
        }
        *lock(&self.heard) = Instant::now();
        let plain = match self.agreed.keys.decrypt(packet.payload) {
            Ok(plain) => plain,
            Err(error) => {
                tracing::debug!(address = %self.address, %error, "a proven packet cannot be read");
                return;
            }
        };
        match packet.payload_type {
            PayloadType::Ipmi => self.take_message(&plain),
            PayloadType::Sol => self.take_sol(&plain),
            _ => {}
        }
    }

    fn take_message(&self, plain: &[u8]) {
        let Ok(frame) = Frame::decode(plain) else { return };
        let mut pending = lock(&self.pending);
        let answers = pending
            .waiting
            .get(&frame.sequence)
            .is_some_and(|waiting| frame.answers(frame.sequence, waiting.netfn, waiting.command));
        if answers && let Some(waiting) = pending.waiting.remove(&frame.sequence) {
            // Who asked may have stopped waiting in this moment.
            drop(waiting.answer.send(frame.message.data().to_vec()));
        }
    }

    /// A packet that finds the console's queue full is dropped, and the BMC sends it again.
    fn take_sol(&self, plain: &[u8]) {
        let Ok(packet) = SolPacket::decode(plain) else { return };
        if let Some(console) = &*lock(&self.console) {
            drop(console.try_send(packet));
        }
    }

    /// Sends SOL packets to this console from now on.
    ///
    /// # Errors
    ///
    /// There is one already.
    pub(crate) fn attach(&self, console: mpsc::Sender<SolPacket>) -> Result<(), Error> {
        let mut slot = lock(&self.console);
        if slot.as_ref().is_some_and(|other| !other.is_closed()) {
            return Err(Error::Invalid { reason: "the session has a console already" });
        }
        *slot = Some(console);
        Ok(())
    }

    pub(crate) fn end(&self, end: End) {
        self.end.send_if_modified(|slot| {
            let first = slot.is_none();
            slot.get_or_insert(end);
            first
        });
    }

    pub(crate) fn ended(&self) -> Option<Error> {
        self.end.borrow().map(|end| match end {
            End::Closed => Error::Closed,
            End::Dead(waited) => Error::Timeout { step: "keep-alive", address: self.address, waited },
        })
    }

    pub(crate) async fn wait_for_end(&self) -> Error {
        let mut end = self.end.subscribe();
        // The sender is a field of what we hold, so this cannot fail.
        drop(end.wait_for(Option::is_some).await);
        self.ended().unwrap_or(Error::Closed)
    }

    pub(crate) fn heard(&self) -> Instant {
        *lock(&self.heard)
    }

    pub(crate) fn options(&self) -> &SessionOptions {
        &self.options
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn bmc_id(&self) -> u32 {
        self.agreed.bmc_id
    }

    pub(crate) fn suite(&self) -> CipherSuite {
        self.agreed.suite
    }

    pub(crate) fn guid(&self) -> [u8; 16] {
        self.agreed.guid
    }
}

/// Names the session without its keys.
impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("address", &self.address)
            .field("suite", &self.agreed.suite)
            .field("ended", &*self.end.borrow())
            .finish_non_exhaustive()
    }
}

/// A request's number, free again when nobody waits for the answer any more.
struct Number<'a> {
    link: &'a Link,
    number: u8,
}

impl Drop for Number<'_> {
    fn drop(&mut self) {
        lock(&self.link.pending).waiting.remove(&self.number);
    }
}

/// No lock is held over a panic that leaves its value half changed, so a poisoned one is as good.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
