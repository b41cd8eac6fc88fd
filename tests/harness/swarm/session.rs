//! Sessions of a BMC: the table of them, the handshake (IPMI 2.0 sections 13.17 to 13.24), sealed packets.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use ipmi::crypto::{Rakp, SessionKeys, same_code};
use ipmi::wire::{
    OpenSessionRequest, OpenSessionResponse, PayloadType, PlusPacket, Rakp1, Rakp2, Rakp3, Rakp4, encode_plus,
};
use ipmi::{CipherSuite, RakpStatus};

use super::bmc::Bmc;

/// How long a handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Status codes (table 13-15).
const NO_ROOM: RakpStatus = RakpStatus(0x01);
const NO_SUCH_SESSION: RakpStatus = RakpStatus(0x02);
const NO_SUCH_ROLE: RakpStatus = RakpStatus(0x09);
const NO_SUCH_NAME: RakpStatus = RakpStatus(0x0d);
const WRONG_CODE: RakpStatus = RakpStatus(0x0f);
const NO_SUCH_SUITE: RakpStatus = RakpStatus(0x11);
/// Bit 4 of the role: the user is found by name alone.
const NAME_ONLY: u8 = 0x10;
/// The longest user name, which `intel20` wants filled up.
const NAME_BYTES: usize = 16;
/// Privilege levels.
const USER: u8 = 2;
const ADMINISTRATOR: u8 = 4;

/// One session, or the handshake to it.
pub(super) struct Session {
    pub(super) bmc_id: u32,
    pub(super) console_id: u32,
    pub(super) peer: SocketAddrV4,
    /// When it last showed that it lives.
    pub(super) heard: Instant,
    /// What it may do now, and at most.
    pub(super) privilege: u8,
    pub(super) privilege_max: u8,
    suite: CipherSuite,
    stage: Stage,
    /// The code of message 4, for a console that did not hear it.
    fourth: Vec<u8>,
    sequence: u32,
    window: Window,
}

enum Stage {
    /// The algorithms are agreed on; the privilege asked for with them.
    Opened { privilege: u8 },
    /// Message 2 was sent; what message 3 must prove, and the role that was asked for.
    Asked { rakp: Box<Rakp>, third: Vec<u8>, privilege: u8 },
    /// Both sides have proven that they know the password.
    Open(Box<SessionKeys>),
}

/// Which sequence numbers came already (section 6.12.13): the last one, and a bit for each of the 32 before it.
#[derive(Default)]
struct Window {
    last: u32,
    before: u32,
}

impl Window {
    fn accept(&mut self, number: u32) -> bool {
        let ahead = number.wrapping_sub(self.last);
        if number == 0 || (ahead > 32 && ahead < u32::MAX - 31 && self.last != 0) {
            return false;
        }
        if ahead == 0 {
            return false;
        }
        if ahead <= 32 || self.last == 0 {
            self.before = if ahead < 32 { self.before << ahead | 1 << (ahead - 1) } else { 0 };
            self.last = number;
            return true;
        }
        let bit = 1 << (self.last.wrapping_sub(number) - 1);
        let first = self.before & bit == 0;
        self.before |= bit;
        first
    }
}

impl Session {
    pub(super) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open(_))
    }

    /// When it expires unless it shows that it lives.
    pub(super) fn ends(&self, idle: Duration) -> Instant {
        self.heard + if self.is_open() { idle } else { HANDSHAKE_MAX }
    }

    /// What a packet of this session holds; none if it is not what it should be.
    pub(super) fn unseal(&mut self, packet: &PlusPacket<'_>) -> Option<Vec<u8>> {
        let Stage::Open(keys) = &self.stage else { return None };
        keys.verify(packet).ok()?;
        let plain = keys.decrypt(packet.payload).ok()?;
        self.window.accept(packet.sequence).then_some(plain)
    }

    /// A packet of this session; none if it is not open.
    pub(super) fn seal(
        &mut self,
        payload_type: PayloadType,
        payload: &[u8],
        iv: [u8; 16],
    ) -> Option<Vec<u8>> {
        let Stage::Open(keys) = &self.stage else { return None };
        self.sequence = self.sequence.wrapping_add(1).max(1);
        Some(keys.seal(payload_type, self.console_id, self.sequence, payload, iv))
    }
}

impl Bmc {
    /// Takes a message of the handshake; gives the answer.
    pub(super) fn shake_hands(
        &mut self,
        from: SocketAddrV4,
        packet: &PlusPacket<'_>,
        now: Instant,
    ) -> Option<Vec<u8>> {
        let (payload_type, payload) = match packet.payload_type {
            PayloadType::OpenSessionRequest => {
                let request = OpenSessionRequest::decode(packet.payload).ok()?;
                (PayloadType::OpenSessionResponse, self.open_session(from, &request, now))
            }
            PayloadType::Rakp1 => {
                let first = Rakp1::decode(packet.payload).ok()?;
                (PayloadType::Rakp2, self.exchange_randoms(from, first, now))
            }
            PayloadType::Rakp3 => {
                let third = Rakp3::decode(packet.payload).ok()?;
                (PayloadType::Rakp4, self.prove(&third, now)?)
            }
            _ => return None,
        };
        Some(encode_plus(payload_type, 0, 0, &payload, None))
    }

    fn open_session(&mut self, from: SocketAddrV4, request: &OpenSessionRequest, now: Instant) -> Vec<u8> {
        let refuse = |bmc: &mut Self, status| {
            bmc.seen.refused_sessions += 1;
            let console_id = request.console_id;
            OpenSessionResponse { tag: request.tag, status, console_id, accepted: None }.encode()
        };
        let old = self.faults.intel20 || self.faults.supermicro20;
        let spoken =
            |it: &&CipherSuite| it.algorithms() == request.algorithms && !(old && **it != CipherSuite::Three);
        let Some(suite) = self.settings.suites.iter().find(spoken).copied() else {
            return refuse(self, NO_SUCH_SUITE);
        };
        if self.faults.intel20 && request.privilege & 0x0f == 0 {
            return refuse(self, NO_SUCH_ROLE);
        }
        if self.faults.full {
            return refuse(self, NO_ROOM);
        }
        let same = |it: &Session| it.peer == from && it.console_id == request.console_id;
        let again = self.sessions.iter().position(|it| same(it) && !it.is_open());
        let at = match again {
            Some(at) => at,
            None => {
                if self.sessions.len() >= self.settings.sessions_max && !self.make_room() {
                    return refuse(self, NO_ROOM);
                }
                let bmc_id = self.new_id();
                self.sessions.push(Session {
                    bmc_id,
                    console_id: request.console_id,
                    peer: from,
                    heard: now,
                    privilege: USER,
                    privilege_max: ADMINISTRATOR,
                    suite,
                    stage: Stage::Opened { privilege: request.privilege & 0x0f },
                    fourth: Vec::new(),
                    sequence: 0,
                    window: Window::default(),
                });
                self.sessions.len() - 1
            }
        };
        let session = &self.sessions[at];
        let accepted = Some((session.bmc_id, session.suite.algorithms()));
        let response = OpenSessionResponse {
            tag: request.tag,
            status: RakpStatus::OK,
            console_id: request.console_id,
            accepted,
        };
        let mut bytes = response.encode();
        // The highest privilege that can be had (table 13-10); what was asked for, or "the highest".
        bytes[2] = if request.privilege & 0x0f == 0 { ADMINISTRATOR } else { request.privilege & 0x0f };
        bytes
    }

    /// The oldest handshake that was not finished gives its place up.
    fn make_room(&mut self) -> bool {
        let oldest = (0..self.sessions.len()).filter(|it| !self.sessions[*it].is_open());
        let oldest = oldest.min_by_key(|it| self.sessions[*it].heard);
        oldest.map(|it| self.sessions.remove(it)).is_some()
    }

    fn new_id(&mut self) -> u32 {
        loop {
            let id = self.dice.roll() as u32;
            if id != 0 && self.sessions.iter().all(|it| it.bmc_id != id) {
                return id;
            }
        }
    }

    fn exchange_randoms(&mut self, from: SocketAddrV4, first: Rakp1, now: Instant) -> Vec<u8> {
        let bmc_random = self.dice.bytes();
        let refuse = |bmc: &mut Self, status, console_id| {
            bmc.seen.refused_sessions += 1;
            Rakp2 { tag: first.tag, status, console_id, accepted: None }.encode()
        };
        let Some(at) = self.sessions.iter().position(|it| it.bmc_id == first.bmc_id && !it.is_open()) else {
            return refuse(self, NO_SUCH_SESSION, 0);
        };
        let console_id = self.sessions[at].console_id;
        let filled_up = !self.faults.intel20 || first.user.len() == NAME_BYTES;
        let name = first.user.split(|it| *it == 0).next().unwrap_or_default();
        let Some(user) = self.users.iter().find(|it| it.enabled && it.name == name).filter(|_| filled_up)
        else {
            self.sessions.remove(at);
            return refuse(self, NO_SUCH_NAME, console_id);
        };
        let password =
            if self.faults.wrong_password { b"another one".to_vec() } else { user.password.clone() };
        let session = &mut self.sessions[at];
        let (asked_open, known_random) = match &session.stage {
            Stage::Opened { privilege } => (*privilege, None),
            Stage::Asked { privilege, rakp, .. } => {
                (*privilege, (rakp.console_random == first.console_random).then_some(rakp.bmc_random))
            }
            Stage::Open(_) => (0, None),
        };
        let role = if self.faults.opensesspriv { first.role & NAME_ONLY | asked_open } else { first.role };
        let rakp = Rakp {
            suite: session.suite,
            console_id,
            bmc_id: session.bmc_id,
            console_random: first.console_random,
            bmc_random: known_random.unwrap_or(bmc_random),
            bmc_guid: self.guid,
            role,
            user: first.user.clone(),
        };
        let mut code = rakp.second_code(&password).to_vec();
        if self.faults.supermicro20 {
            code.push(0);
        }
        // FreeIPMI's `intel20`: message 3 is made with the plain name and without the bit for a look-up by name.
        let third = if self.faults.intel20 {
            Rakp { role: role & 0x0f, user: name.to_vec(), ..rakp.clone() }.third_code(&password).to_vec()
        } else {
            rakp.third_code(&password).to_vec()
        };
        let accepted = Some((rakp.bmc_random, self.guid, code));
        (session.peer, session.heard) = (from, now);
        session.privilege_max = match first.role & 0x0f {
            0 => ADMINISTRATOR,
            asked => asked.min(user.privilege),
        };
        session.stage = Stage::Asked { rakp: Box::new(rakp), third, privilege: asked_open };
        Rakp2 { tag: first.tag, status: RakpStatus::OK, console_id, accepted }.encode()
    }

    fn prove(&mut self, third: &Rakp3, now: Instant) -> Option<Vec<u8>> {
        let at = self.sessions.iter().position(|it| it.bmc_id == third.bmc_id)?;
        let console_id = self.sessions[at].console_id;
        let answer = |status, code| Some(Rakp4 { tag: third.tag, status, console_id, code }.encode());
        let (rakp, expected) = match &self.sessions[at].stage {
            Stage::Asked { rakp, third, .. } => (rakp, third),
            Stage::Open(_) => return answer(RakpStatus::OK, self.sessions[at].fourth.clone()),
            Stage::Opened { .. } => return None,
        };
        if third.status != RakpStatus::OK || !same_code(expected, &third.code) {
            self.sessions.remove(at);
            self.seen.refused_sessions += 1;
            // Who gives up expects no answer.
            return if third.status == RakpStatus::OK { answer(WRONG_CODE, Vec::new()) } else { None };
        }
        let name = rakp.user.split(|it| *it == 0).next().unwrap_or_default();
        let password = self.users.iter().find(|it| it.name == name).map(|it| it.password.clone())?;
        let session_key = rakp.session_key(self.settings.kg.as_deref().unwrap_or(&password));
        let fourth = rakp.fourth_code(&session_key).to_vec();
        let keys = SessionKeys::derive(rakp.suite, &session_key);
        let session = &mut self.sessions[at];
        session.stage = Stage::Open(Box::new(keys));
        session.fourth.clone_from(&fourth);
        session.heard = now;
        self.seen.sessions += 1;
        answer(RakpStatus::OK, fourth)
    }
}

#[cfg(test)]
mod tests {
    use super::Window;

    #[test]
    fn a_number_counts_once_and_not_from_too_far() {
        let mut window = Window::default();
        let taken = [1, 2, 2, 5, 4, 4, 3, 36, 5, 38, 200, 70, 0].map(|it| window.accept(it));
        let expected = [true, true, false, true, true, false, true, true, false, true, false, true, false];
        assert_eq!(taken, expected);
    }
}
