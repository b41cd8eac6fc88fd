//! Simulated BMCs: thousands in one process and one thread, each with its own address, that speak IPMI 2.0 as real ones
//! do: sessions (suites 3 and 17), the power of a simulated node, boot device, event log, sensors, inventory data,
//! accounts, and serial over LAN, on which each node counts. Faults come and go on demand.
//!
//! ```no_run
//! use tests::swarm::{Fault, Options, Rate, Swarm};
//! # fn main() -> anyhow::Result<()> {
//! let swarm = Swarm::start(Options { count: 200, rate: Rate::PerSecond(1.0), ..Options::default() })?;
//! println!("the first one is at {}", swarm.address(1));
//! swarm.inflict([20, 40], Fault::Silent);
//! assert_eq!(swarm.seen(1).on, 0);
//! # Ok(()) }
//! ```
//!
//! BMCs are numbered from 1. Each is at a free port of 127.0.0.1, or at an address of its own ([`Place`]).

mod babble;
mod bmc;
mod chassis;
mod command;
pub mod control;
mod dice;
mod fault;
mod line;
mod lines;
mod seen;
mod session;
mod sockets;
mod store;
mod wheel;

use std::net::{SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use ipmi::CipherSuite;
use nix::sys::eventfd::{EfdFlags, EventFd};

use bmc::Bmc;
use sockets::Sockets;
use wheel::Wheel;

pub use chassis::Delays;
pub use fault::Fault;
pub use line::{Rate, Retries};
pub use lines::{Counted, LINE_BYTES, count};
pub use seen::Seen;
pub use sockets::Place;

/// The account of every BMC, unless it is set.
pub const USER: &str = crate::bmc::USER;
/// Its password; these BMCs hold nothing.
pub const PASSWORD: &str = crate::bmc::PASSWORD;
/// So many there can be.
pub const COUNT_MAX: u32 = 10_000;

/// What kind of BMCs are wanted.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many.
    pub count: u32,
    /// Where.
    pub place: Place,
    /// The user of the administrator's account.
    pub user: String,
    /// Its password.
    pub password: String,
    /// The key Kg, if there is one.
    pub kg: Option<Vec<u8>>,
    /// The cipher suites.
    pub suites: Vec<CipherSuite>,
    /// How many sessions there can be at once.
    pub sessions_max: usize,
    /// A session that is silent for so long expires (IPMI 2.0 section 6.12.15: a minute).
    pub idle: Duration,
    /// Whether the nodes are on.
    pub power_on: bool,
    /// How long they take to be switched.
    pub delays: Delays,
    /// How quickly the nodes write.
    pub rate: Rate,
    /// How often a console's packet is sent again.
    pub retries: Retries,
    /// How much is kept of what a node writes while nobody has its console, bytes.
    pub history: usize,
    /// Makes the random numbers.
    pub seed: u64,
}

impl Default for Options {
    /// One BMC at a free port, its node off and quiet.
    fn default() -> Self {
        Self {
            count: 1,
            place: Place::Ports,
            user: USER.to_owned(),
            password: PASSWORD.to_owned(),
            kg: None,
            suites: vec![CipherSuite::Three, CipherSuite::Seventeen],
            sessions_max: 8,
            idle: Duration::from_secs(60),
            power_on: false,
            delays: Delays::default(),
            rate: Rate::Off,
            retries: Retries::default(),
            history: 0,
            seed: 1,
        }
    }
}

/// Running BMCs; they end when it is dropped.
#[derive(Debug)]
pub struct Swarm {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddrV4>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    waker: EventFd,
    stop: AtomicBool,
    /// Its thread, as the kernel numbers it.
    thread: AtomicI32,
}

struct State {
    bmcs: Vec<Bmc>,
    wheel: Wheel,
}

impl Swarm {
    /// Starts BMCs, in the network namespace of who calls.
    ///
    /// # Errors
    ///
    /// If an address is taken, or there are too many.
    pub fn start(options: Options) -> anyhow::Result<Self> {
        ensure!((1..=COUNT_MAX).contains(&options.count), "a swarm has 1 to {COUNT_MAX} BMCs");
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let waker = EventFd::from_flags(flags).context("make an event descriptor")?;
        let (sockets, addresses) = Sockets::open(options.place, options.count, &waker)?;
        let (settings, now) = (Arc::new(options), Instant::now());
        let bmc =
            |(index, address): (usize, &SocketAddrV4)| Bmc::new(Arc::clone(&settings), index, *address, now);
        let bmcs: Vec<Bmc> = addresses.iter().enumerate().map(bmc).collect();
        let mut wheel = Wheel::new(bmcs.len());
        for bmc in &bmcs {
            wheel.set(bmc.index, bmc.due(now));
        }
        let state = Mutex::new(State { bmcs, wheel });
        let shared =
            Arc::new(Shared { state, waker, stop: AtomicBool::new(false), thread: AtomicI32::new(0) });
        let (inner, known) = (Arc::clone(&shared), addresses.clone());
        let run = move || inner.run(sockets, &known);
        let thread = std::thread::Builder::new().name("swarm".into()).spawn(run).context("start a thread")?;
        Ok(Self { shared, addresses, thread: Some(thread) })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.addresses.len() as u32
    }

    /// All their numbers.
    #[must_use]
    pub fn all(&self) -> std::ops::RangeInclusive<u32> {
        1..=self.count()
    }

    /// Where one listens.
    ///
    /// # Panics
    ///
    /// If there is no such BMC, as all that takes a number.
    #[must_use]
    pub fn address(&self, number: u32) -> SocketAddr {
        self.addresses[number as usize - 1].into()
    }

    /// Makes something go wrong with these.
    pub fn inflict(&self, numbers: impl IntoIterator<Item = u32>, fault: Fault) {
        self.change(numbers, |bmc, now| bmc.inflict(fault, now));
    }

    /// Nothing is wrong with these any more. A console that was stolen stays so.
    pub fn heal(&self, numbers: impl IntoIterator<Item = u32>) {
        self.change(numbers, |bmc, _| bmc.heal());
    }

    /// The nodes of these write at this rate from now on.
    pub fn set_rate(&self, numbers: impl IntoIterator<Item = u32>, rate: Rate) {
        self.change(numbers, |bmc, now| bmc.set_rate(rate, now));
    }

    /// The nodes of these are on or off from now on, by no command.
    pub fn set_power(&self, numbers: impl IntoIterator<Item = u32>, on: bool) {
        self.change(numbers, |bmc, _| bmc.chassis.set(on));
    }

    /// A node writes a text beside its lines.
    pub fn write(&self, number: u32, text: &[u8]) {
        self.change([number], |bmc, _| bmc.line.write(text, &mut bmc.seen));
    }

    /// Whether a node is on.
    #[must_use]
    pub fn is_on(&self, number: u32) -> bool {
        self.look(number, |bmc| bmc.chassis.is_on())
    }

    /// The number of the device that a node booted from the last time (table 28-14: 0 for none told, 1 for the network).
    #[must_use]
    pub fn booted_from(&self, number: u32) -> u8 {
        self.look(number, |bmc| bmc.chassis.booted_from)
    }

    /// What was typed on a console, the first 64 KiB.
    #[must_use]
    pub fn typed(&self, number: u32) -> Vec<u8> {
        self.look(number, |bmc| bmc.line.typed().to_vec())
    }

    /// The password of its account now.
    #[must_use]
    pub fn password(&self, number: u32) -> Vec<u8> {
        self.look(number, Bmc::password)
    }

    /// What one has seen.
    #[must_use]
    pub fn seen(&self, number: u32) -> Seen {
        self.look(number, Bmc::seen)
    }

    /// What all of them have seen.
    #[must_use]
    pub fn total(&self) -> Seen {
        let mut total = Seen::default();
        self.shared.state().bmcs.iter().for_each(|it| total.add(&it.seen()));
        total
    }

    /// What its thread has cost so far, in processor time.
    #[must_use]
    pub fn processor_time(&self) -> Duration {
        let thread = self.shared.thread.load(Ordering::Acquire);
        // proc(5): nanoseconds on a processor come first.
        let text = std::fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).unwrap_or_default();
        Duration::from_nanos(text.split(' ').next().and_then(|it| it.parse().ok()).unwrap_or_default())
    }

    fn look<T>(&self, number: u32, what: impl FnOnce(&Bmc) -> T) -> T {
        what(&self.shared.state().bmcs[number as usize - 1])
    }

    fn change(&self, numbers: impl IntoIterator<Item = u32>, what: impl Fn(&mut Bmc, Instant)) {
        let now = Instant::now();
        let mut state = self.shared.state();
        let State { bmcs, wheel } = &mut *state;
        for number in numbers {
            let bmc = &mut bmcs[number as usize - 1];
            what(bmc, now);
            wheel.set(bmc.index, bmc.due(now));
        }
        drop(state);
        self.shared.wake();
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.wake();
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            eprintln!("the swarm's thread has panicked; what it said stands above");
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // It fails only when there is a wake-up already that nobody has noticed yet.
        self.waker.write(1).unwrap_or_default();
    }

    fn run(&self, mut sockets: Sockets, addresses: &[SocketAddrV4]) {
        self.thread.store(nix::unistd::gettid().as_raw(), Ordering::Release);
        let mut out = Vec::new();
        loop {
            let next = self.state().wheel.next();
            let limit = next.map(|it| it.saturating_duration_since(Instant::now()));
            let ready = sockets.wait(limit).expect("epoll waits");
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            if ready.woken {
                // Nothing to be read is as good.
                self.waker.read().unwrap_or_default();
            }
            let now = Instant::now();
            let mut state = self.state();
            let State { bmcs, wheel } = &mut *state;
            for socket in ready.sockets {
                sockets.receive(socket, |index, from, bytes| {
                    if let Some(bmc) = bmcs.get_mut(index) {
                        bmc.receive(from, bytes, now, &mut out);
                        wheel.set(index, bmc.due(now));
                    }
                });
            }
            while let Some(index) = wheel.pop(now) {
                bmcs[index].tick(now, &mut out);
                wheel.set(index, bmcs[index].due(now));
            }
            drop(state);
            for packet in out.drain(..) {
                sockets.send(&packet, addresses[packet.from]);
            }
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Swarm").field("stop", &self.stop).finish_non_exhaustive()
    }
}
