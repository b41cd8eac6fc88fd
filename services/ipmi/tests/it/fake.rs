//! A BMC in the test's own process: one user, one session, one serial line, and faults on demand.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ipmi::crypto::{Rakp, SessionKeys, same_code};
use ipmi::wire::{
    Datagram, Frame, OpenSessionRequest, OpenSessionResponse, PayloadType, Rakp1, Rakp2, Rakp3, Rakp4,
    SolPacket, encode_plus, encode_pong, encode_v15,
};
use ipmi::{CipherSuite, RakpStatus, Target};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use line::Line;

mod line;

pub(crate) const USER: &str = "admin";
pub(crate) const PASSWORD: &str = "secret12";
const BMC_ID: u32 = 0x0b0c_0001;
const GUID: [u8; 16] = *b"a GUID of a fake";
const OK: RakpStatus = RakpStatus::OK;
/// What fits into a packet to the BMC, SOL's header included.
const PAYLOAD_BYTES: u16 = 24;

/// What goes wrong, and what was seen.
pub(crate) struct Script {
    pub(crate) suites: Vec<CipherSuite>,
    pub(crate) password: &'static str,
    pub(crate) kg: Option<&'static [u8]>,
    /// Answers the question for the capabilities.
    pub(crate) capabilities: bool,
    /// Answers it with IPMI 1.5 alone.
    pub(crate) denies_v20: bool,
    /// Overhears so many requests to open a session.
    pub(crate) overhears: AtomicU32,
    /// Answers RMCP pings.
    pub(crate) pongs: bool,
    /// Makes its codes with the privilege level of Open Session.
    pub(crate) open_privilege: bool,
    /// Knows its users by names filled up to 16 bytes, and has its own idea of message 3.
    pub(crate) fills_names: bool,
    /// Adds a byte to its codes.
    pub(crate) long_codes: bool,
    /// Says that packets outside of the session are one byte longer than they are.
    pub(crate) short_packets: bool,
    /// Cannot add.
    pub(crate) wrong_sums: bool,
    /// Names so many bytes as the size of a payload to it, and drops all that has more characters than it
    /// takes.
    pub(crate) names_bytes: Option<u16>,
    /// Refuses to have one more session.
    pub(crate) full: bool,
    /// Agrees to other algorithms than asked for.
    pub(crate) downgrades: bool,
    /// Refuses the privilege level with this code.
    pub(crate) privilege_code: u8,
    /// Loses so many packets of a hundred, of either direction, the same ones at every run.
    pub(crate) loses: u32,
    /// Sends every sealed packet twice.
    pub(crate) stutters: bool,
    /// Takes at most five characters of a packet, and none of every third.
    pub(crate) crowded: bool,
    /// Sends as many sealed packets with a flipped bit.
    pub(crate) tampers: AtomicU32,
    /// Says nothing any more.
    pub(crate) silent: AtomicBool,
    /// Names this session as the line's owner; 0 is ours.
    pub(crate) owner: AtomicU32,
    /// What the node has written.
    pub(crate) output: Mutex<Vec<u8>>,
    /// What the node has read.
    pub(crate) input: Mutex<Vec<u8>>,
    /// How often in a row the line's same packet was sent again.
    pub(crate) repeats: AtomicU32,
    pub(crate) proofs: AtomicU32,
    pub(crate) controls: AtomicU32,
    pub(crate) closes: AtomicU32,
    /// Requests for a sign of life.
    pub(crate) signs: AtomicU32,
    pub(crate) deactivations: AtomicU32,
    /// How often it was asked for its capabilities.
    pub(crate) questions: AtomicU32,
    /// The control flags of all packets to the line, joined.
    pub(crate) controls_seen: AtomicU32,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            suites: vec![CipherSuite::Seventeen, CipherSuite::Three],
            password: PASSWORD,
            kg: None,
            capabilities: true,
            denies_v20: false,
            overhears: AtomicU32::default(),
            pongs: true,
            open_privilege: false,
            fills_names: false,
            long_codes: false,
            short_packets: false,
            wrong_sums: false,
            names_bytes: None,
            full: false,
            downgrades: false,
            privilege_code: 0,
            loses: 0,
            stutters: false,
            crowded: false,
            tampers: AtomicU32::default(),
            silent: AtomicBool::default(),
            owner: AtomicU32::default(),
            output: Mutex::default(),
            input: Mutex::default(),
            repeats: AtomicU32::default(),
            proofs: AtomicU32::default(),
            controls: AtomicU32::default(),
            closes: AtomicU32::default(),
            signs: AtomicU32::default(),
            deactivations: AtomicU32::default(),
            questions: AtomicU32::default(),
            controls_seen: AtomicU32::default(),
        }
    }
}

/// A running one; ends when dropped.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    pub(crate) script: Arc<Script>,
    _task: JoinSet<()>,
}

impl Fake {
    pub(crate) async fn start(script: Script) -> Self {
        Self::start_at("127.0.0.1:0", script).await
    }

    pub(crate) async fn start_at(address: &str, script: Script) -> Self {
        let socket = UdpSocket::bind(address).await.unwrap();
        let (address, script) = (socket.local_addr().unwrap(), Arc::new(script));
        let bmc = Bmc {
            socket,
            peer: address,
            script: Arc::clone(&script),
            rakp: None,
            keys: None,
            console_id: 0,
            sequence: 0,
            packets: 0,
            line: Line::default(),
        };
        let mut task = JoinSet::new();
        task.spawn(bmc.run());
        Self { address, script, _task: task }
    }

    pub(crate) fn target(&self) -> Target {
        Target::new(self.address, USER, PASSWORD)
    }
}

/// Adds a byte that has no business there.
fn lengthen(mut code: Vec<u8>, long: bool) -> Vec<u8> {
    code.extend(long.then_some(0));
    code
}

struct Bmc {
    socket: UdpSocket,
    peer: SocketAddr,
    script: Arc<Script>,
    rakp: Option<Rakp>,
    keys: Option<SessionKeys>,
    console_id: u32,
    sequence: u32,
    packets: u32,
    line: Line,
}

impl Bmc {
    async fn run(mut self) {
        let mut buffer = [0; 2048];
        let mut clock = tokio::time::interval(Duration::from_millis(20));
        loop {
            tokio::select! {
                received = self.socket.recv_from(&mut buffer) => {
                    let Ok((count, peer)) = received else { continue };
                    self.peer = peer;
                    if !self.loses() {
                        self.take(&buffer[..count]).await;
                    }
                }
                _ = clock.tick() => self.write_line().await,
            }
        }
    }

    fn loses(&mut self) -> bool {
        self.packets += 1;
        // Numbers that follow no pattern a retransmission could fall in with (Knuth's multiplier).
        let dice = self.packets.wrapping_mul(2_654_435_761).rotate_left(13).wrapping_mul(0x9e37_79b9) >> 8;
        dice % 100 < self.script.loses || self.script.silent.load(SeqCst)
    }

    async fn send(&mut self, datagram: &[u8]) {
        if !self.loses() {
            self.socket.send_to(datagram, self.peer).await.unwrap();
        }
    }

    async fn send_open(&mut self, payload_type: PayloadType, payload: Vec<u8>) {
        let mut datagram = encode_plus(payload_type, 0, 0, &payload, None);
        datagram[14] += u8::from(self.script.short_packets); // The length, low byte first.
        self.send(&datagram).await;
    }

    fn frame(&self, request: &Frame, data: Vec<u8>) -> Vec<u8> {
        let mut frame = Frame::response(request, data).encode();
        if self.script.wrong_sums
            && let Some(sum) = frame.last_mut()
        {
            *sum ^= 0x55;
        }
        frame
    }

    async fn send_sealed(&mut self, payload_type: PayloadType, payload: &[u8]) {
        let Some(keys) = &self.keys else { return };
        self.sequence += 1;
        let mut datagram = keys.seal(payload_type, self.console_id, self.sequence, payload, [7; 16]);
        let tampers = &self.script.tampers;
        if tampers.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
            let at = datagram.len() / 2;
            datagram[at] ^= 1;
        }
        self.send(&datagram).await;
        if self.script.stutters {
            self.send(&datagram).await;
        }
    }

    async fn take(&mut self, bytes: &[u8]) {
        if let [6, 0, 0xff, 6, .., tag, _, _] = *bytes {
            if self.script.pongs {
                self.send(&encode_pong(tag)).await;
            }
            return;
        }
        match Datagram::decode(bytes).unwrap() {
            Datagram::V15(message) => {
                let request = Frame::decode(message).unwrap();
                assert_eq!(request.message.cmd(), 0x38);
                self.script.questions.fetch_add(1, SeqCst);
                if self.script.capabilities {
                    let versions = if self.script.denies_v20 { 1 } else { 2 };
                    let data = vec![0, 1, 0x80, 0x04, versions, 0, 0, 0, 0];
                    self.send(&encode_v15(&Frame::response(&request, data).encode())).await;
                }
            }
            Datagram::Plus(packet) if packet.authenticated => {
                let Some(keys) = &self.keys else { return };
                assert_eq!((packet.session_id, keys.verify(&packet)), (BMC_ID, Ok(())));
                let plain = keys.decrypt(packet.payload).unwrap();
                match packet.payload_type {
                    PayloadType::Ipmi => self.answer(&Frame::decode(&plain).unwrap()).await,
                    PayloadType::Sol => self.take_line(&SolPacket::decode(&plain).unwrap()).await,
                    other => panic!("{other:?}"),
                }
            }
            Datagram::Plus(packet) => match packet.payload_type {
                PayloadType::OpenSessionRequest => self.open(packet.payload).await,
                PayloadType::Rakp1 => self.exchange(packet.payload).await,
                PayloadType::Rakp3 => self.prove(packet.payload).await,
                other => panic!("{other:?}"),
            },
        }
    }

    async fn open(&mut self, payload: &[u8]) {
        let request = OpenSessionRequest::decode(payload).unwrap();
        if self.script.overhears.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
            return;
        }
        let found = self.script.suites.iter().find(|suite| suite.algorithms() == request.algorithms);
        let algorithms = if self.script.downgrades { [1, 1, 0] } else { request.algorithms };
        let (status, accepted) = match found {
            Some(_) => (OK, Some((BMC_ID, algorithms))),
            None => (RakpStatus(0x04), None),
        };
        let (status, accepted) = if self.script.full { (RakpStatus(0x01), None) } else { (status, accepted) };
        if let Some(&suite) = found {
            self.console_id = request.console_id;
            let zero = [0; 16];
            self.rakp = Some(Rakp {
                suite,
                console_id: request.console_id,
                bmc_id: BMC_ID,
                console_random: zero,
                bmc_random: zero,
                bmc_guid: GUID,
                role: request.privilege,
                user: Vec::new(),
            });
        }
        let response =
            OpenSessionResponse { tag: request.tag, status, console_id: request.console_id, accepted };
        self.send_open(PayloadType::OpenSessionResponse, response.encode()).await;
    }

    async fn exchange(&mut self, payload: &[u8]) {
        let first = Rakp1::decode(payload).unwrap();
        let Some(rakp) = &mut self.rakp else { return };
        rakp.console_random = first.console_random;
        // A new number at each repetition, as some BMCs have it.
        rakp.bmc_random = std::array::from_fn(|_| u8::try_from(self.packets % 251).unwrap());
        if !self.script.open_privilege {
            rakp.role = first.role;
        }
        rakp.user = first.user.clone();
        let code = rakp.second_code(self.script.password.as_bytes()).to_vec();
        let code = lengthen(code, self.script.long_codes);
        let mut name = USER.as_bytes().to_vec();
        if self.script.fills_names {
            name.resize(16, 0);
        }
        let known = first.user == name;
        let response = Rakp2 {
            tag: first.tag,
            status: if known { OK } else { RakpStatus(0x0d) },
            console_id: self.console_id,
            accepted: known.then_some((rakp.bmc_random, GUID, code)),
        };
        self.send_open(PayloadType::Rakp2, response.encode()).await;
    }

    async fn prove(&mut self, payload: &[u8]) {
        let third = Rakp3::decode(payload).unwrap();
        let (Some(rakp), OK) = (&self.rakp, third.status) else { return };
        self.script.proofs.fetch_add(1, SeqCst);
        let password = self.script.password.as_bytes();
        let expected = match self.script.fills_names {
            // The plain name, and no bit for a look-up by name.
            true => Rakp { role: rakp.role & 0x0f, user: USER.as_bytes().to_vec(), ..rakp.clone() },
            false => rakp.clone(),
        };
        let right = same_code(&expected.third_code(password), &third.code);
        let session_key = rakp.session_key(self.script.kg.unwrap_or(password));
        let response = Rakp4 {
            tag: third.tag,
            status: if right { OK } else { RakpStatus(0x0f) },
            console_id: self.console_id,
            code: if right {
                lengthen(rakp.fourth_code(&session_key).to_vec(), self.script.long_codes)
            } else {
                Vec::new()
            },
        };
        if right {
            self.keys = Some(SessionKeys::derive(rakp.suite, &session_key));
            self.line = Line::default();
        }
        self.send_open(PayloadType::Rakp4, response.encode()).await;
    }

    async fn answer(&mut self, request: &Frame) {
        let data = match (request.message.netfn_raw(), request.message.cmd()) {
            (0x06, 0x01) => {
                self.script.signs.fetch_add(1, SeqCst);
                vec![0, 0x20, 1, 2, 0x15, 2, 0x9f, 0x91, 0x12, 0, 2, 0x0f]
            }
            (0x06, 0x3b) => vec![self.script.privilege_code, 4],
            (0x06, 0x3c) => {
                self.script.closes.fetch_add(1, SeqCst);
                vec![0]
            }
            (0x06, 0x48) => {
                let code = if std::mem::replace(&mut self.line.active, true) { 0x80 } else { 0 };
                let [low, high] = self.script.names_bytes.unwrap_or(PAYLOAD_BYTES).to_le_bytes();
                vec![code, 0, 0, 0, 0, low, high, low, high, 0x6f, 2, 0xff, 0xff]
            }
            (0x06, 0x49) => {
                self.script.deactivations.fetch_add(1, SeqCst);
                self.line = Line::default();
                vec![0]
            }
            (0x06, 0x4b) => {
                let other = self.script.owner.load(SeqCst);
                let owner: u32 = if other == 0 { BMC_ID } else { other };
                [[0].as_slice(), &owner.to_le_bytes(), &[0; 8]].concat()
            }
            (0x00, 0x01) => vec![0, 0x01, 0, 0],
            (0x00, 0x02) => {
                self.script.controls.fetch_add(1, SeqCst);
                vec![0]
            }
            (0x00, 0x04) => vec![0xd4],
            _ => vec![0xc1],
        };
        let frame = self.frame(request, data);
        self.send_sealed(PayloadType::Ipmi, &frame).await;
    }
}
