//! What outlives a restart of the service: the sockets of the IPMI sessions, and one file in memory with a
//! record of each session, in systemd's store of descriptors (`FileDescriptorStoreMax=` of the unit).
//!
//! A record is written before a packet with a new number leaves, so it holds after a crash too. The file's
//! first slot says whether the service ended in order.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use daemon::Context;
use domain::Xname;
use ipmi::{Ledger, Pool, RECORD_BYTES, Session, SessionOptions, SessionRecord, SolOptions};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::line::SolLine;

/// The names in the store.
const SOCKETS: &str = "ipmi";
const SESSIONS: &str = "sessions";
/// A slot never crosses a page, so that the kernel writes it whole.
const SLOT_BYTES: u64 = 512;
const _: () = assert!(4096 % SLOT_BYTES == 0 && RECORD_AT + RECORD_BYTES <= SLOT_BYTES as usize);
/// In a slot: the length of the node's xname, the xname, a sum over what the BMC was, the record.
const NAME_BYTES_MAX: usize = 64;
const SUM_AT: usize = 1 + NAME_BYTES_MAX;
const RECORD_AT: usize = SUM_AT + 8;
/// What the first slot begins with; another layout has another word.
const MAGIC: [u8; 8] = *b"PHsess01";
/// Sessions at most: 16 MiB of memory.
const SLOTS_MAX: u32 = 32 << 10;

/// The sessions of this process, and those of the one before it.
pub(crate) struct Keeper {
    pool: Pool,
    shared: Arc<Shared>,
    /// Of the process before, by node.
    before: Mutex<HashMap<Xname, Before>>,
    /// Whether the process before ended without a word, and left sessions.
    crashed: bool,
}

struct Shared {
    /// None: nothing outlives this process.
    file: Option<File>,
    free: Mutex<Free>,
}

/// Slots that are not in use.
struct Free {
    given_back: Vec<u32>,
    next: u32,
}

struct Before {
    slot: Slot,
    sum: u64,
    record: SessionRecord,
}

/// Where one session's record is. Dropped, it is free for another.
pub(crate) struct Slot {
    shared: Arc<Shared>,
    index: u32,
}

impl Keeper {
    /// Takes over what an earlier process left, or begins anew.
    ///
    /// # Errors
    ///
    /// If there are no sockets.
    pub(crate) fn take(context: &Context) -> anyhow::Result<Self> {
        let store = context.store();
        let sockets: Vec<UdpSocket> =
            context.sockets().stored(SOCKETS).into_iter().map(UdpSocket::from).collect();
        let file = context.sockets().stored(SESSIONS).into_iter().map(File::from).next();
        if let (false, Some(file)) = (sockets.is_empty(), file) {
            match Self::go_on(sockets, file) {
                Ok(keeper) => return Ok(keeper),
                Err(error) => tracing::warn!("the sessions of before cannot be taken over: {error:#}"),
            }
        }
        let pool = Pool::new().context("open the sockets for IPMI")?;
        let file = if store.is_there() {
            // What is there of an earlier one is of no use to anybody.
            store.forget(SOCKETS).and_then(|()| store.forget(SESSIONS)).context("empty the store")?;
            let file = new_file().context("make the file of the sessions")?;
            let sockets = pool.sockets().context("duplicate the sockets")?;
            let kept: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
            store.keep(SOCKETS, &kept).context("keep the sockets")?;
            store.keep(SESSIONS, &[file.as_fd()]).context("keep the file of the sessions")?;
            Some(file)
        } else {
            None
        };
        let shared = Arc::new(Shared { file, free: Mutex::new(Free { given_back: Vec::new(), next: 1 }) });
        Ok(Self { pool, shared, before: Mutex::default(), crashed: false })
    }

    fn go_on(sockets: Vec<UdpSocket>, file: File) -> anyhow::Result<Self> {
        let mut head = [0; MAGIC.len() + 1];
        file.read_exact_at(&mut head, 0).context("read the file of the sessions")?;
        let (magic, ended) = head.split_at(MAGIC.len());
        anyhow::ensure!(magic == MAGIC, "another version wrote the file of the sessions");
        let slots = u32::try_from(file.metadata()?.len() / SLOT_BYTES)?.min(SLOTS_MAX);
        let pool = Pool::from_sockets(sockets).context("take over the sockets")?;
        let free = Mutex::new(Free { given_back: Vec::new(), next: slots.max(1) });
        let shared = Arc::new(Shared { file: Some(file), free });
        let mut before = HashMap::new();
        for index in 1..slots {
            let slot = Slot { shared: Arc::clone(&shared), index };
            if let Some((node, sum, record)) = slot.read()? {
                before.insert(node, Before { slot, sum, record });
            }
        }
        let crashed = ended != [1] && !before.is_empty();
        let keeper = Self { pool, shared, before: Mutex::new(before), crashed };
        keeper.set_ended(false)?;
        Ok(keeper)
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Whether sessions outlive this process.
    pub(crate) fn keeps(&self) -> bool {
        self.shared.file.is_some()
    }

    /// Whether what was on its way when the process before ended may be lost.
    pub(crate) fn crashed(&self) -> bool {
        self.crashed
    }

    /// Goes on with the line that the process before had to this node by a BMC like this.
    pub(crate) fn resume(
        &self,
        node: &Xname,
        bmc: &str,
        place: &str,
        options: (SessionOptions, SolOptions),
    ) -> Option<SolLine> {
        let Before { slot, sum, record } = self.before().remove(node)?;
        if sum != sum_of(place) || !record.has_line() {
            self.end(&record, options.0);
            return None;
        }
        let resumed = Session::resume(&self.pool, &record, options.0)
            .and_then(|session| session.resume_sol(options.1).map(|sol| (session, sol)));
        match resumed {
            Ok((session, sol)) => {
                session.set_ledger(Arc::new(slot.ledger()));
                Some(SolLine { session, sol, slot: Some(slot), bmc: bmc.to_owned() })
            }
            Err(error) => {
                tracing::info!(%error, "the session with BMC {bmc} is opened anew");
                None
            }
        }
    }

    /// Ends the sessions that nobody goes on with, and begins to receive.
    pub(crate) fn end_rest(&self, options: &SessionOptions) {
        let rest: Vec<Before> = self.before().drain().map(|it| it.1).collect();
        for Before { record, slot, .. } in rest {
            self.end(&record, options.clone());
            drop(slot);
        }
        self.pool.start();
    }

    /// Dropped, a session is closed without waiting for an answer.
    fn end(&self, record: &SessionRecord, options: SessionOptions) {
        if let Err(error) = Session::resume(&self.pool, record, options).map(drop) {
            tracing::debug!(%error, "a session of before is left to its BMC");
        }
    }

    /// A slot for a new session; none: nothing outlives this process, or all slots are in use.
    pub(crate) fn slot(&self, node: &Xname, place: &str) -> Option<Slot> {
        let file = self.shared.file.as_ref()?;
        let name = node.as_str().as_bytes();
        let length = u8::try_from(name.len()).ok().filter(|_| name.len() <= NAME_BYTES_MAX)?;
        let index = {
            let mut free = self.shared.free.lock().unwrap_or_else(PoisonError::into_inner);
            match free.given_back.pop() {
                Some(index) => index,
                None if free.next < SLOTS_MAX => {
                    free.next += 1;
                    free.next - 1
                }
                None => return None,
            }
        };
        let slot = Slot { shared: Arc::clone(&self.shared), index };
        let mut bytes = [0; SLOT_BYTES as usize];
        bytes[0] = length;
        bytes.iter_mut().skip(1).zip(name).for_each(|(to, from)| *to = *from);
        bytes.iter_mut().skip(SUM_AT).zip(sum_of(place).to_le_bytes()).for_each(|(to, from)| *to = from);
        match file.write_all_at(&bytes, slot.offset()) {
            Ok(()) => Some(slot),
            Err(error) => {
                tracing::warn!(%error, "the session of {node} will not outlive a restart");
                None
            }
        }
    }

    /// The service ends in order, and all that was received is in the logs.
    pub(crate) fn close(&self) {
        if let Err(error) = self.set_ended(true) {
            tracing::warn!(%error, "the next start will take this end for a crash");
        }
    }

    fn set_ended(&self, ended: bool) -> io::Result<()> {
        match &self.shared.file {
            Some(file) => file.write_all_at(&[u8::from(ended)], MAGIC.len() as u64),
            None => Ok(()),
        }
    }

    fn before(&self) -> std::sync::MutexGuard<'_, HashMap<Xname, Before>> {
        self.before.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn new_file() -> io::Result<File> {
    let file = File::from(memfd_create("pilothouse-console-sessions", MFdFlags::MFD_CLOEXEC)?);
    let mut head = [0; SLOT_BYTES as usize];
    head.iter_mut().zip(MAGIC).for_each(|(to, from)| *to = from);
    file.write_all_at(&head, 0)?;
    Ok(file)
}

impl Slot {
    fn offset(&self) -> u64 {
        u64::from(self.index) * SLOT_BYTES
    }

    fn read(&self) -> io::Result<Option<(Xname, u64, SessionRecord)>> {
        let mut bytes = [0; SLOT_BYTES as usize];
        let Some(file) = &self.shared.file else { return Ok(None) };
        file.read_exact_at(&mut bytes, self.offset())?;
        let name = bytes.get(1..=usize::from(bytes[0])).unwrap_or_default();
        let name = std::str::from_utf8(name).ok().and_then(|it| it.parse().ok());
        let sum = bytes.get(SUM_AT..RECORD_AT).and_then(|it| it.try_into().ok()).map(u64::from_le_bytes);
        let record = SessionRecord::from_bytes(bytes.get(RECORD_AT..).unwrap_or_default()).ok();
        Ok(name.zip(sum).zip(record).map(|((name, sum), record)| (name, sum, record)))
    }

    /// Where the session notes its record.
    pub(crate) fn ledger(&self) -> impl Ledger + use<> {
        Page { shared: Arc::clone(&self.shared), at: self.offset() + RECORD_AT as u64 }
    }

    /// Leaves the record for the next process.
    pub(crate) fn keep(self, record: &SessionRecord) {
        self.ledger().note(record);
        // It stays in use: the next process gives it back.
        std::mem::forget(self);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(file) = &self.shared.file else { return };
        if let Err(error) = file.write_all_at(&[0; SLOT_BYTES as usize], self.offset()) {
            tracing::debug!(%error, "the record of a session that has ended stays");
        }
        self.shared.free.lock().unwrap_or_else(PoisonError::into_inner).given_back.push(self.index);
    }
}

/// The place of a record in the file.
struct Page {
    shared: Arc<Shared>,
    at: u64,
}

impl Ledger for Page {
    fn note(&self, record: &SessionRecord) {
        let Some(file) = &self.shared.file else { return };
        let bytes = zeroize::Zeroizing::new(record.to_bytes());
        if let Err(error) = file.write_all_at(&*bytes, self.at) {
            tracing::debug!(%error, "a session's record is not up to date");
        }
    }
}

/// FNV-1a of what tells one BMC from another: a session is not one with the BMC that has its place now.
fn sum_of(place: &str) -> u64 {
    let step = |sum: u64, byte: u8| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    place.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}
