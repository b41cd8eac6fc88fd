//! One BMC: what comes in goes to handshake, command or console; what goes out passes its faults.

use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipmi::wire::{Datagram, Frame, PayloadType, PlusPacket, SolPacket, encode_v15};

use super::chassis::Chassis;
use super::dice::Dice;
use super::fault::{Fault, Faults};
use super::line::{Around, Line, Rate};
use super::seen::Seen;
use super::session::Session;
use super::store::Store;
use super::{Options, babble, command};

/// The class ASF of RMCP, and its presence ping (section 13.2).
const ASF: [u8; 4] = [0x06, 0x00, 0xff, 0x06];
const ASF_NUMBER: [u8; 4] = 4542_u32.to_be_bytes();
const PING: u8 = 0x80;
const PONG: u8 = 0x40;
/// IPMI is spoken, ASF 1.0.
const ENTITIES: u8 = 0x81;
/// How often a babbling BMC opens its mouth; what it says at once makes up for the time between.
const BABBLE_PAUSE: Duration = Duration::from_millis(10);
/// Packets that wait in a slow BMC.
const LATE_MAX: usize = 4096;

/// A packet on its way to a console.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    /// The BMC it comes from.
    pub(super) from: usize,
    pub(super) to: SocketAddrV4,
    pub(super) bytes: Vec<u8>,
}

/// An account.
#[derive(Clone, Debug, Default)]
pub(super) struct User {
    pub(super) name: Vec<u8>,
    pub(super) password: Vec<u8>,
    pub(super) enabled: bool,
    pub(super) privilege: u8,
}

/// One BMC.
pub(super) struct Bmc {
    pub(super) settings: Arc<Options>,
    pub(super) index: usize,
    pub(super) address: SocketAddrV4,
    pub(super) guid: [u8; 16],
    pub(super) dice: Dice,
    pub(super) faults: Faults,
    /// By their number less one; the first is without a name.
    pub(super) users: Vec<User>,
    pub(super) sessions: Vec<Session>,
    pub(super) chassis: Chassis,
    pub(super) line: Line,
    pub(super) store: Store,
    pub(super) seen: Seen,
    /// Packets that are late, in this order.
    late: VecDeque<(Instant, Packet)>,
    peer: Option<SocketAddrV4>,
    babble: Option<Instant>,
}

impl Bmc {
    pub(super) fn new(settings: Arc<Options>, index: usize, address: SocketAddrV4, now: Instant) -> Self {
        let number = index as u32 + 1;
        let mut guid = *b"swarm\0\0\0\0\0\0\0\0\0\0\0";
        guid[12..].copy_from_slice(&number.to_be_bytes());
        let name = settings.user.clone().into_bytes();
        let password = settings.password.clone().into_bytes();
        let administrator = User { name, password, enabled: true, privilege: 4 };
        let mut line = Line::new(number, settings.retries, settings.history);
        line.set_rate(settings.rate, phase(index), now);
        Self {
            index,
            address,
            guid,
            dice: Dice::new(settings.seed ^ u64::from(number) << 32),
            faults: Faults::default(),
            users: vec![User::default(), administrator, User::default(), User::default()],
            sessions: Vec::new(),
            chassis: Chassis::new(settings.delays, settings.power_on),
            line,
            store: Store::new(number),
            seen: Seen::default(),
            late: VecDeque::new(),
            peer: None,
            babble: None,
            settings,
        }
    }

    /// Its number, from 1.
    pub(super) fn number(&self) -> u32 {
        self.index as u32 + 1
    }

    pub(super) fn inflict(&mut self, fault: Fault, now: Instant) {
        self.faults.add(fault);
        match fault {
            Fault::SolStolen => self.line.steal(true),
            Fault::SolStolenQuietly => self.line.steal(false),
            Fault::SolDropped => self.line.release(),
            Fault::BabblesPerS(_) => self.babble = Some(now),
            _ => {}
        }
    }

    pub(super) fn heal(&mut self) {
        self.faults = Faults::default();
        self.babble = None;
        // What a slow one has not said yet is lost.
        self.late.clear();
    }

    pub(super) fn set_rate(&mut self, rate: Rate, now: Instant) {
        self.line.set_rate(rate, phase(self.index), now);
    }

    /// Its administrator's, without the zeros that IPMI fills it up with.
    pub(super) fn password(&self) -> Vec<u8> {
        let user = self.users.iter().find(|it| it.name == self.settings.user.as_bytes());
        user.map(|it| it.password.clone()).unwrap_or_default()
    }

    pub(super) fn seen(&self) -> Seen {
        Seen {
            open: self.sessions.len() as u64,
            boots: self.chassis.boots.into(),
            are_on: self.chassis.is_on().into(),
            consoles: self.line.owner().is_some().into(),
            waiting_bytes: self.line.waiting_bytes() as u64,
            ..self.seen.clone()
        }
    }

    /// When [`Self::tick`] is to be called.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let line = self.line.due(now, self.chassis.is_on(), self.faults.nack_storm);
        let sessions = self.sessions.iter().map(|it| it.ends(self.settings.idle)).min();
        let late = self.late.front().map(|it| it.0);
        [line, sessions, late, self.chassis.due(), self.babble].into_iter().flatten().min()
    }

    /// Carries out what is due.
    pub(super) fn tick(&mut self, now: Instant, out: &mut Vec<Packet>) {
        self.chassis.settle(now);
        self.expire(now);
        self.with_line(now, out, |line, around| line.tick(around));
        if self.babble.is_some_and(|it| it <= now) {
            self.speak_nonsense(now, out);
        }
        while self.late.front().is_some_and(|it| it.0 <= now) {
            out.extend(self.late.pop_front().map(|it| it.1));
        }
    }

    /// Takes a packet.
    pub(super) fn receive(&mut self, from: SocketAddrV4, bytes: &[u8], now: Instant, out: &mut Vec<Packet>) {
        self.seen.packets += 1;
        self.peer = Some(from);
        if self.faults.silent || self.is_dropped() {
            return;
        }
        self.chassis.settle(now);
        self.expire(now);
        if let Some(bytes) = self.answer_ping(bytes) {
            return self.emit(from, bytes, now, out);
        }
        let taken = match Datagram::decode(bytes) {
            Ok(Datagram::V15(message)) => self.answer_outside(from, message, now, out),
            Ok(Datagram::Plus(packet)) if packet.authenticated => self.take_sealed(from, &packet, now, out),
            Ok(Datagram::Plus(packet)) => {
                let answer = self.shake_hands(from, &packet, now);
                answer.map(|it| self.emit(from, it, now, out))
            }
            Err(_) => None,
        };
        if taken.is_none() {
            self.seen.refused_packets += 1;
        }
    }

    fn answer_ping(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let (head, rest) = bytes.split_first_chunk::<4>()?;
        let (number, rest) = rest.split_first_chunk::<4>()?;
        let [PING, tag, ..] = rest else { return None };
        if (head[0], head[3]) != (ASF[0], ASF[3]) || *number != ASF_NUMBER || self.faults.ipmiping {
            return None;
        }
        let pong: &[&[u8]] =
            &[&ASF, &ASF_NUMBER, &[PONG, *tag, 0, 16], &ASF_NUMBER, &[0; 4], &[ENTITIES, 0], &[0; 6]];
        Some(pong.concat())
    }

    /// A message outside of a session may ask for the authentication's capabilities alone.
    fn answer_outside(
        &mut self,
        from: SocketAddrV4,
        message: &[u8],
        now: Instant,
        out: &mut Vec<Packet>,
    ) -> Option<()> {
        let request = Frame::decode(message).ok()?;
        let data = command::answer_outside(self, &request)?;
        let frame = self.frame(&request, data);
        self.emit(from, encode_v15(&frame), now, out);
        Some(())
    }

    fn take_sealed(
        &mut self,
        from: SocketAddrV4,
        packet: &PlusPacket<'_>,
        now: Instant,
        out: &mut Vec<Packet>,
    ) -> Option<()> {
        let at = self.sessions.iter().position(|it| it.bmc_id == packet.session_id)?;
        let session = &mut self.sessions[at];
        let plain = session.unseal(packet)?;
        (session.peer, session.heard) = (from, now);
        let id = session.bmc_id;
        match packet.payload_type {
            PayloadType::Ipmi => {
                let request = Frame::decode(&plain).ok()?;
                let data = command::answer(self, at, &request, now);
                let frame = self.frame(&request, data);
                self.emit_sealed(id, PayloadType::Ipmi, &frame, now, out);
                command::after(self, id, &request);
                // The command may have opened the console.
                self.with_line(now, out, |line, around| line.tick(around));
            }
            PayloadType::Sol if self.line.owner() == Some(id) => {
                let packet = SolPacket::decode(&plain).ok()?;
                self.with_line(now, out, |line, around| line.receive(&packet, around));
            }
            _ => return None,
        }
        Some(())
    }

    fn frame(&self, request: &Frame, data: Vec<u8>) -> Vec<u8> {
        let mut frame = Frame::response(request, data).encode();
        if self.faults.nochecksumcheck {
            frame[2] ^= 0x55;
            if let Some(last) = frame.last_mut() {
                *last ^= 0x55;
            }
        }
        frame
    }

    fn with_line(
        &mut self,
        now: Instant,
        out: &mut Vec<Packet>,
        work: impl FnOnce(&mut Line, &mut Around<'_>),
    ) {
        let (on, storm) = (self.chassis.is_on(), self.faults.nack_storm);
        let mut packets = Vec::new();
        let (seen, dice) = (&mut self.seen, &mut self.dice);
        work(&mut self.line, &mut Around { now, on, storm, seen, dice, out: &mut packets });
        for (session, packet) in packets {
            self.emit_sealed(session, PayloadType::Sol, &packet.encode(), now, out);
        }
    }

    fn emit_sealed(
        &mut self,
        id: u32,
        payload_type: PayloadType,
        payload: &[u8],
        now: Instant,
        out: &mut Vec<Packet>,
    ) {
        let iv = self.dice.bytes();
        let Some(session) = self.sessions.iter_mut().find(|it| it.bmc_id == id) else { return };
        let to = session.peer;
        if let Some(bytes) = session.seal(payload_type, payload, iv) {
            self.emit(to, bytes, now, out);
        }
    }

    fn emit(&mut self, to: SocketAddrV4, bytes: Vec<u8>, now: Instant, out: &mut Vec<Packet>) {
        if self.faults.silent || self.is_dropped() {
            return;
        }
        let packet = Packet { from: self.index, to, bytes };
        if self.faults.slow.is_zero() && self.late.is_empty() {
            out.push(packet);
        } else if self.late.len() < LATE_MAX {
            self.late.push_back((now + self.faults.slow, packet));
        }
    }

    fn is_dropped(&mut self) -> bool {
        let percent = u32::from(self.faults.drops_percent);
        percent > 0 && self.dice.below(100) < percent
    }

    fn expire(&mut self, now: Instant) {
        let idle = self.settings.idle;
        let ended = |it: &Session| it.ends(idle) <= now;
        while let Some(at) = self.sessions.iter().position(ended) {
            let session = self.sessions.remove(at);
            self.seen.expired += u64::from(session.is_open());
            self.forget(session.bmc_id);
        }
    }

    /// Ends what a session had that is over.
    pub(super) fn forget(&mut self, id: u32) {
        if self.line.owner() == Some(id) {
            self.line.release();
            self.seen.deactivations += 1;
        }
    }

    fn speak_nonsense(&mut self, now: Instant, out: &mut Vec<Packet>) {
        self.babble = Some(now + BABBLE_PAUSE);
        let Some(to) = self.peer else { return };
        let mut count = self.faults.babbles_per_s / 100;
        count += u32::from(self.dice.below(100) < self.faults.babbles_per_s % 100);
        for _ in 0..count {
            let open = self.sessions.iter_mut().filter(|it| it.is_open()).last();
            let bytes = babble::nonsense(&mut self.dice, open);
            out.push(Packet { from: self.index, to, bytes });
        }
    }
}

/// Where in the interval a node writes, so that not all of them write at once.
fn phase(index: usize) -> f64 {
    (index % 997) as f64 / 997.0
}
