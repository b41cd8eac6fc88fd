//! Any number of well-behaved sessions at one address, each of a few hundred bytes: the other side of
//! thousands.

use std::collections::HashMap;
use std::net::SocketAddr;

use ipmi::CipherSuite;
use ipmi::crypto::{Rakp, SessionKeys};
use ipmi::wire::{
    Datagram, Frame, OpenSessionRequest, OpenSessionResponse, PayloadType, PlusPacket, Rakp1, Rakp2, Rakp3,
    Rakp4, encode_plus,
};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use super::fake::PASSWORD;

const OK: ipmi::RakpStatus = ipmi::RakpStatus::OK;

pub(crate) struct Crowd {
    pub(crate) address: SocketAddr,
    _task: JoinSet<()>,
}

enum Member {
    Greeting(Box<Rakp>),
    Open { keys: Box<SessionKeys>, console_id: u32, sequence: u32 },
}

struct Bmc {
    members: HashMap<u32, Member>,
}

impl Crowd {
    pub(crate) async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let (mut bmc, mut buffer) = (Bmc { members: HashMap::new() }, [0; 1024]);
            loop {
                let (count, peer) = socket.recv_from(&mut buffer).await.unwrap();
                if let Ok(Datagram::Plus(packet)) = Datagram::decode(&buffer[..count])
                    && let Some(answer) = bmc.answer(&packet)
                {
                    socket.send_to(&answer, peer).await.unwrap();
                }
            }
        });
        Self { address, _task: task }
    }
}

impl Bmc {
    fn answer(&mut self, packet: &PlusPacket<'_>) -> Option<Vec<u8>> {
        let open = |kind, payload: Vec<u8>| Some(encode_plus(kind, 0, 0, &payload, None));
        match packet.payload_type {
            PayloadType::OpenSessionRequest => {
                let request = OpenSessionRequest::decode(packet.payload).unwrap();
                let bmc_id = u32::try_from(self.members.len()).unwrap() + 1;
                let zero = [0; 16];
                let suite = CipherSuite::Seventeen;
                let rakp = Rakp {
                    suite,
                    console_id: request.console_id,
                    bmc_id,
                    console_random: zero,
                    bmc_random: zero,
                    bmc_guid: zero,
                    role: 0,
                    user: Vec::new(),
                };
                self.members.insert(bmc_id, Member::Greeting(Box::new(rakp)));
                let accepted = Some((bmc_id, request.algorithms));
                let (tag, console_id) = (request.tag, request.console_id);
                let answer = OpenSessionResponse { tag, status: OK, console_id, accepted };
                open(PayloadType::OpenSessionResponse, answer.encode())
            }
            PayloadType::Rakp1 => {
                let first = Rakp1::decode(packet.payload).unwrap();
                let Some(Member::Greeting(rakp)) = self.members.get_mut(&first.bmc_id) else { return None };
                (rakp.console_random, rakp.role, rakp.user) = (first.console_random, first.role, first.user);
                let code = rakp.second_code(PASSWORD.as_bytes()).to_vec();
                let accepted = Some((rakp.bmc_random, rakp.bmc_guid, code));
                let answer = Rakp2 { tag: first.tag, status: OK, console_id: rakp.console_id, accepted };
                open(PayloadType::Rakp2, answer.encode())
            }
            PayloadType::Rakp3 => {
                let third = Rakp3::decode(packet.payload).unwrap();
                let Some(Member::Greeting(rakp)) = self.members.get(&third.bmc_id) else { return None };
                let (console_id, key) = (rakp.console_id, rakp.session_key(PASSWORD.as_bytes()));
                let code = rakp.fourth_code(&key).to_vec();
                let keys = Box::new(SessionKeys::derive(rakp.suite, &key));
                self.members.insert(third.bmc_id, Member::Open { keys, console_id, sequence: 0 });
                let answer = Rakp4 { tag: third.tag, status: OK, console_id, code };
                open(PayloadType::Rakp4, answer.encode())
            }
            _ => self.answer_sealed(packet),
        }
    }

    fn answer_sealed(&mut self, packet: &PlusPacket<'_>) -> Option<Vec<u8>> {
        let id = packet.session_id;
        let Some(Member::Open { keys, console_id, sequence }) = self.members.get_mut(&id) else {
            return None;
        };
        keys.verify(packet).unwrap();
        let plain = keys.decrypt(packet.payload).unwrap();
        let request = Frame::decode(&plain).unwrap();
        let data = match (request.message.netfn_raw(), request.message.cmd()) {
            (0x06, 0x48) => vec![0, 0, 0, 0, 0, 64, 0, 64, 0, 0x6f, 2, 0xff, 0xff],
            (0x06, 0x4b) => [[0].as_slice(), &id.to_le_bytes(), &[0; 8]].concat(),
            (0x06, 0x3b) => vec![0, 4],
            _ => vec![0; 12],
        };
        *sequence += 1;
        let frame = Frame::response(&request, data).encode();
        Some(keys.seal(PayloadType::Ipmi, *console_id, *sequence, &frame, [7; 16]))
    }
}
