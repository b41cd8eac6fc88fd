//! The running session: many requests and one line at once, over one of the pool's sockets.
//!
//! What arrives is proven, then checked against the window, then decrypted, and handed on by its payload
//! type: IPMI messages to the request with the same number, function and command, SOL to the line.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipmi_rs_core::connection::{CompletionErrorCode, Message, NetFn};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};

use super::backoff::Backoff;
use super::pending::{NUMBERS, Number, Pending};
use super::window::next_number;
use super::{CLOSE_SESSION, Repeat, random};
use crate::crypto::SessionKeys;
use crate::pool::{Pool, Route, Socket};
use crate::record::{Ledger, LineRecord, SessionRecord};
use crate::sol::Line;
use crate::wire::{Datagram, Frame, PayloadType, SolView};
use crate::{CipherSuite, Error, SessionOptions, Workarounds};

/// What a session's handles and tasks share.
pub(crate) struct Link {
    socket: Arc<Socket>,
    /// Kept so that the socket goes on receiving.
    _pool: Pool,
    address: SocketAddr,
    console_id: u32,
    bmc_id: u32,
    guid: [u8; 16],
    suite: CipherSuite,
    workarounds: Workarounds,
    keys: SessionKeys,
    options: SessionOptions,
    state: Mutex<State>,
    pub(super) pending: Mutex<Pending>,
    line: Mutex<Option<Arc<Line>>>,
    end: watch::Sender<Option<End>>,
    permits: Semaphore,
}

/// What changes with each packet.
struct State {
    record: SessionRecord,
    ledger: Option<Arc<dyn Ledger>>,
    /// When the last proven packet arrived.
    heard: Instant,
    /// The packet being sent.
    buffer: Vec<u8>,
    /// Nothing is sent or taken any more: another process goes on.
    suspended: bool,
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// We closed it.
    Closed,
    /// Another process goes on with it.
    Suspended,
    /// The BMC was silent for this long.
    Dead(Duration),
}

impl Link {
    /// # Errors
    ///
    /// The session is on this pool already.
    pub(super) fn new(
        pool: &Pool,
        socket: Arc<Socket>,
        record: SessionRecord,
        options: SessionOptions,
    ) -> Result<Arc<Self>, Error> {
        let permits = options.in_flight.clamp(1, usize::from(NUMBERS) / 2);
        let (address, console_id) = (record.address, record.console_id);
        let link = Arc::new(Self {
            socket,
            _pool: pool.clone(),
            address,
            console_id,
            bmc_id: record.bmc_id,
            guid: record.guid,
            suite: record.suite,
            workarounds: record.workarounds,
            keys: SessionKeys::from_parts(record.suite, &record.integrity_key, &record.encryption_key),
            options,
            pending: Mutex::new(Pending::new(record.request)),
            state: Mutex::new(State {
                record,
                ledger: None,
                heard: Instant::now(),
                buffer: Vec::new(),
                suspended: false,
            }),
            line: Mutex::default(),
            end: watch::Sender::new(None),
            permits: Semaphore::new(permits),
        });
        let route = Arc::downgrade(&link);
        match link.socket.register(address, console_id, route) {
            Ok(()) => Ok(link),
            Err(()) => {
                link.end.send_replace(Some(End::Closed)); // It must not take the other's place with it.
                Err(Error::Invalid { reason: "the session is running on this pool already" })
            }
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
        let address = self.address;
        let silent = || self.silence(step, within);
        let mut answer = tokio::select! {
            biased;
            over = self.wait_for_end() => return Err(over),
            answer = timeout_at(end, self.converse(step, message, repeat)) => answer.map_err(|_| silent())??,
        };
        let none = || Error::Protocol { step, address, reason: "the answer has no completion code" };
        let raw = *answer.first().ok_or_else(none)?;
        match CompletionErrorCode::try_from(raw) {
            Ok(code) => Err(Error::Completion { step, address, code, raw }),
            Err(()) => Ok(answer.split_off(1)),
        }
    }

    /// Asks again and again, with the same request number, until the answer is there.
    async fn converse(&self, step: &'static str, message: Message, repeat: Repeat) -> Result<Vec<u8>, Error> {
        let _permit = self.permits.acquire().await.map_err(|_| Error::Closed)?;
        let (number, mut answer) = Number::reserve(self, message.netfn(), message.cmd())?;
        let frame = Frame::request(number.get(), message).encode();
        let options = &self.options;
        let mut backoff = Backoff::new(options.first_wait, options.longest_wait, options.jitter_percent);
        loop {
            self.send(step, PayloadType::Ipmi, &[&frame]).await?;
            if repeat == Repeat::Never {
                return answer.await.map_err(|_| Error::Closed);
            }
            let wait = backoff.wait(u16::from_le_bytes(random()?));
            if let Ok(answer) = timeout_at(Instant::now() + wait, &mut answer).await {
                return answer.map_err(|_| Error::Closed);
            }
        }
    }

    /// Seals a payload under the next sequence number and sends it.
    async fn send(
        &self,
        step: &'static str,
        payload_type: PayloadType,
        payload: &[&[u8]],
    ) -> Result<(), Error> {
        let failed = |source| Error::Io { step, address: self.address, source };
        loop {
            match self.try_send(payload_type, payload, None) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.socket.writable().await.map_err(failed)?;
                }
                sent => return sent.map_err(failed),
            }
        }
    }

    /// The same at once; what the kernel has no room for is as good as lost on the way. The record is noted
    /// before the packet leaves, with `line` in it where the packet changes it.
    pub(crate) fn try_send(
        &self,
        payload_type: PayloadType,
        payload: &[&[u8]],
        line: Option<LineRecord>,
    ) -> io::Result<()> {
        let iv = random().map_err(io::Error::other)?;
        let mut state = lock(&self.state);
        if state.suspended {
            return Err(io::ErrorKind::NotConnected.into());
        }
        state.record.outbound = next_number(state.record.outbound);
        state.record.line = line.or(state.record.line);
        let State { record, ledger, buffer, .. } = &mut *state;
        if let Some(ledger) = ledger {
            ledger.note(record);
        }
        self.keys.seal_into(buffer, payload_type, [self.bmc_id, record.outbound], payload, iv);
        self.socket.try_send(buffer, self.address)
    }

    /// Sends Close Session without waiting for anything.
    pub(super) fn send_close(&self) {
        let id = self.bmc_id.to_le_bytes().to_vec();
        let frame = Frame::request(0, Message::new_request(NetFn::App, CLOSE_SESSION, id)).encode();
        if let Err(error) = self.try_send(PayloadType::Ipmi, &[&frame], None) {
            tracing::debug!(address = %self.address, %error, "the BMC was not told that the session is over");
        }
    }

    fn take_message(&self, plain: &[u8]) {
        let frame = if self.workarounds.has(Workarounds::NO_CHECKSUM_CHECK) {
            Frame::decode_unchecked(plain)
        } else {
            Frame::decode(plain)
        };
        match frame {
            Ok(frame) => lock(&self.pending).answer(&frame),
            Err(error) => {
                lock(&self.pending).note_damage();
                tracing::debug!(address = %self.address, %error, "a message was dropped");
            }
        }
    }

    fn take_sol(&self, plain: &[u8], number: u32) {
        let Ok(packet) = SolView::decode(plain) else { return };
        let line = lock(&self.line).clone();
        if let Some(line) = line {
            line.receive(self, packet, number);
        }
    }

    /// Hands SOL packets to this line from now on.
    ///
    /// # Errors
    ///
    /// There is one already.
    pub(crate) fn attach(&self, line: &Arc<Line>) -> Result<(), Error> {
        let mut slot = lock(&self.line);
        if slot.as_ref().is_some_and(|other| !other.is_over()) {
            return Err(Error::Invalid { reason: "the session has a console already" });
        }
        *slot = Some(Arc::clone(line));
        Ok(())
    }

    /// Notes what there is of the line, or that there is none any more.
    pub(crate) fn note_line(&self, line: Option<LineRecord>) {
        let mut state = lock(&self.state);
        if !state.suspended {
            state.record.line = line;
            if let Some(ledger) = &state.ledger {
                ledger.note(&state.record);
            }
        }
    }

    pub(super) fn note_request(&self, next: u8) {
        lock(&self.state).record.request = next;
    }

    pub(super) fn set_ledger(&self, ledger: Arc<dyn Ledger>) {
        let mut state = lock(&self.state);
        ledger.note(&state.record);
        state.ledger = Some(ledger);
    }

    pub(crate) fn record(&self) -> SessionRecord {
        lock(&self.state).record.clone()
    }

    /// Ends our part in it and leaves the BMC's as it is.
    pub(crate) fn suspend(&self) -> SessionRecord {
        let record = {
            let mut state = lock(&self.state);
            state.suspended = true;
            state.record.clone()
        };
        self.end(End::Suspended);
        record
    }

    pub(crate) fn end(&self, end: End) {
        let first = self.end.send_if_modified(|slot| {
            let first = slot.is_none();
            slot.get_or_insert(end);
            first
        });
        if first {
            self.socket.forget(self.address, self.console_id);
        }
    }

    pub(crate) fn ended(&self) -> Option<Error> {
        self.end.borrow().map(|end| match end {
            End::Closed | End::Suspended => Error::Closed,
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
        lock(&self.state).heard
    }

    pub(crate) fn options(&self) -> &SessionOptions {
        &self.options
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn bmc_id(&self) -> u32 {
        self.bmc_id
    }

    pub(crate) fn console_id(&self) -> u32 {
        self.console_id
    }

    pub(crate) fn suite(&self) -> CipherSuite {
        self.suite
    }

    pub(crate) fn guid(&self) -> [u8; 16] {
        self.guid
    }

    pub(crate) fn workarounds(&self) -> Workarounds {
        self.workarounds
    }
}

impl Route for Link {
    /// Takes one datagram; what is not proven to be the BMC's has no effect whatever.
    fn take(&self, datagram: &mut [u8]) {
        let Ok(Datagram::Plus(packet)) = Datagram::decode(datagram) else { return };
        if self.keys.verify(&packet).is_err() {
            tracing::debug!(address = %self.address, "a packet with a wrong integrity code was dropped");
            return;
        }
        let (payload_type, range, sequence) = (packet.payload_type, packet.payload_range(), packet.sequence);
        {
            let mut state = lock(&self.state);
            if state.suspended || !state.record.window.accept(sequence) {
                return;
            }
            state.heard = Instant::now();
        }
        let payload = datagram.get_mut(range).unwrap_or_default();
        let plain = match self.keys.decrypt_in_place(payload) {
            Ok(range) => payload.get(range).unwrap_or_default(),
            Err(error) => {
                tracing::debug!(address = %self.address, %error, "a proven packet cannot be read");
                return;
            }
        };
        match payload_type {
            PayloadType::Ipmi => self.take_message(plain),
            PayloadType::Sol => self.take_sol(plain, sequence),
            _ => {}
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.end(End::Closed);
    }
}

/// Names the session without its keys.
impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("address", &self.address)
            .field("suite", &self.suite)
            .field("ended", &*self.end.borrow())
            .finish_non_exhaustive()
    }
}

/// No lock is held over a panic that leaves its value half changed, so a poisoned one is as good.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
