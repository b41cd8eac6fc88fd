//! From nothing to keys: capabilities, Open Session, RAKP 1 to 4 (sections 13.14 to 13.24).

use std::net::SocketAddr;
use std::time::Duration;

use ipmi_rs_core::app::auth::{ChannelAuthenticationCapabilities, GetChannelAuthenticationCapabilities};
use ipmi_rs_core::connection::{Channel, IpmiCommand, NetFn};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use crate::crypto::{Rakp, SessionKeys, same_code};
use crate::wire::{
    Datagram, Frame, OpenSessionRequest, OpenSessionResponse, PayloadType, Rakp1, Rakp2, Rakp3, Rakp4,
    encode_plus, encode_v15,
};
use crate::{AuthFailure, CipherSuite, Error, RakpStatus, SessionOptions, Target};

/// The longest datagram we take; IPMI's are far below.
pub(super) const DATAGRAM_BYTES_MAX: usize = 2048;
const CAPABILITIES: &str = "get channel authentication capabilities";
const CAPABILITIES_COMMAND: u8 = 0x38;
/// Many BMCs never answer the question about their capabilities, which we can do without.
const CAPABILITIES_WAIT: Duration = Duration::from_millis(1200);
const OPEN: &str = "open session";
const SECOND: &str = "RAKP 2";
const FOURTH: &str = "RAKP 4";
/// Bit 4 of the role: find the user by name alone, not by name and privilege (section 13.20).
const NAME_ONLY: u8 = 0x10;
/// One more handshake is made if the BMC and we seem to have lost each other by a retransmission.
const ATTEMPTS: usize = 2;

/// What the handshake leads to.
pub(super) struct Agreed {
    pub(super) suite: CipherSuite,
    pub(super) keys: SessionKeys,
    pub(super) console_id: u32,
    pub(super) bmc_id: u32,
    pub(super) guid: [u8; 16],
}

/// A handshake under way.
struct Handshake<'a> {
    socket: &'a UdpSocket,
    target: &'a Target,
    options: &'a SessionOptions,
    /// The number of the next message, by which its answer is known.
    tag: u8,
    /// Whether any message had to be sent again.
    repeated: bool,
}

pub(super) async fn run(
    socket: &UdpSocket,
    target: &Target,
    options: &SessionOptions,
) -> Result<Agreed, Error> {
    let mut handshake = Handshake { socket, target, options, tag: 0, repeated: false };
    let capabilities = handshake.ask_capabilities().await;
    let mut tried = Vec::new();
    let last = target.cipher_suites.last().copied();
    for &suite in &target.cipher_suites {
        match handshake.agree(suite).await {
            Err(Error::Refused { step: OPEN, status }) if status.refuses_algorithms() => tried.push(suite),
            Err(Error::Timeout { step, .. }) if capabilities.as_ref().is_some_and(lacks_v20) => {
                let reason = "it says that it speaks IPMI 1.5 only; enable IPMI 2.0 on it";
                return Err(Error::Protocol { step, reason });
            }
            // A BMC that answers but not to this suite may still know the next one.
            Err(Error::Timeout { step: OPEN, .. }) if capabilities.is_some() && last != Some(suite) => {
                tried.push(suite);
            }
            agreed_or_failed => return agreed_or_failed,
        }
    }
    Err(Error::NoCipherSuite { tried })
}

/// Whether the BMC says so itself; those that say nothing of their extended capabilities may speak 2.0.
fn lacks_v20(capabilities: &ChannelAuthenticationCapabilities) -> bool {
    capabilities.ipmi15_connections_supported && !capabilities.ipmi2_connections_supported
}

impl Handshake<'_> {
    /// Asks for the capabilities and takes no answer, or a strange one, for an answer too.
    async fn ask_capabilities(&mut self) -> Option<ChannelAuthenticationCapabilities> {
        let command = GetChannelAuthenticationCapabilities::new(Channel::Current, self.target.privilege);
        let datagram = encode_v15(&Frame::request(0, command.into()).encode());
        let wait = CAPABILITIES_WAIT.min(self.options.deadline);
        let answer = self.exchange(CAPABILITIES, &datagram, wait, |datagram| {
            let Datagram::V15(message) = datagram else { return None };
            let frame = Frame::decode(message).ok()?;
            frame.answers(0, NetFn::App, CAPABILITIES_COMMAND).then(|| frame.message.data().to_vec())
        });
        let answer = answer.await.ok()?;
        self.repeated = false; // This question has no part in what the two sides have to agree on.
        let (0, data) = answer.split_first()? else { return None };
        GetChannelAuthenticationCapabilities::parse_success_response(data).ok()
    }

    /// Messages may overtake each other: a retransmitted one can make the BMC forget what it answered to
    /// the first, and then our proof is wrong. Where that is possible, everything is asked once more.
    async fn agree(&mut self, suite: CipherSuite) -> Result<Agreed, Error> {
        for _ in 1..ATTEMPTS {
            self.repeated = false;
            match self.agree_once(suite).await {
                Err(
                    Error::Refused { step: SECOND | FOURTH, .. }
                    | Error::Auth { step: FOURTH, .. }
                    | Error::Timeout { step: FOURTH, .. },
                ) if self.repeated => {}
                agreed_or_failed => return agreed_or_failed,
            }
        }
        self.agree_once(suite).await
    }

    async fn agree_once(&mut self, suite: CipherSuite) -> Result<Agreed, Error> {
        let console_id = u32::from_le_bytes(random()?).max(1);
        let bmc_id = self.open_session(suite, console_id).await?;
        let rakp = self.exchange_randoms(suite, console_id, bmc_id).await?;
        let password = self.target.password.as_bytes();
        let session_key = rakp.session_key(match &self.target.kg {
            Some(kg) => kg,
            None => password,
        });
        let proof = Rakp3 {
            tag: self.next_tag(),
            status: RakpStatus::OK,
            bmc_id,
            code: rakp.third_code(password).to_vec(),
        };
        let datagram = encode_plus(PayloadType::Rakp3, 0, 0, &proof.encode(), None);
        let answer = self.exchange(FOURTH, &datagram, self.options.deadline, |datagram| {
            let payload = payload(datagram, PayloadType::Rakp4)?;
            Rakp4::decode(payload).ok().filter(|answer| answer.tag == proof.tag)
        });
        let answer = answer.await?;
        judge(FOURTH, answer.status)?;
        let right =
            answer.console_id == console_id && same_code(&rakp.fourth_code(&session_key), &answer.code);
        if !right {
            return Err(Error::Auth { step: FOURTH, reason: AuthFailure::WrongKg });
        }
        let keys = SessionKeys::derive(suite, &session_key);
        Ok(Agreed { suite, keys, console_id, bmc_id, guid: rakp.bmc_guid })
    }

    /// Agrees on the algorithms and learns the BMC's id of the session.
    async fn open_session(&mut self, suite: CipherSuite, console_id: u32) -> Result<u32, Error> {
        let request = OpenSessionRequest {
            tag: self.next_tag(),
            privilege: self.target.privilege.into(),
            console_id,
            algorithms: suite.algorithms(),
        };
        let datagram = encode_plus(PayloadType::OpenSessionRequest, 0, 0, &request.encode(), None);
        let answer = self.exchange(OPEN, &datagram, self.options.deadline, |datagram| {
            let payload = payload(datagram, PayloadType::OpenSessionResponse)?;
            OpenSessionResponse::decode(payload).ok().filter(|answer| answer.tag == request.tag)
        });
        let answer = answer.await?;
        judge(OPEN, answer.status)?;
        let bad = |reason| Err(Error::Protocol { step: OPEN, reason });
        match answer.accepted {
            _ if answer.console_id != console_id => bad("it names another session"),
            // A BMC must not talk us into weaker algorithms than we asked for.
            Some((_, algorithms)) if algorithms != suite.algorithms() => bad("it names other algorithms"),
            Some((0, _)) | None => bad("it gives the session no id"),
            Some((bmc_id, _)) => Ok(bmc_id),
        }
    }

    /// RAKP 1 and 2: random numbers both ways, and the BMC's proof that it knows the password. Our own
    /// proof leaves only after this one was found right.
    async fn exchange_randoms(
        &mut self,
        suite: CipherSuite,
        console_id: u32,
        bmc_id: u32,
    ) -> Result<Rakp, Error> {
        let role = u8::from(self.target.privilege) | NAME_ONLY;
        let user = self.target.user.as_bytes().to_vec();
        let first = Rakp1 { tag: self.next_tag(), bmc_id, console_random: random()?, role, user };
        let datagram = encode_plus(PayloadType::Rakp1, 0, 0, &first.encode(), None);
        let answer = self.exchange(SECOND, &datagram, self.options.deadline, |datagram| {
            let payload = payload(datagram, PayloadType::Rakp2)?;
            Rakp2::decode(payload).ok().filter(|answer| answer.tag == first.tag)
        });
        let answer = answer.await?;
        judge(SECOND, answer.status)?;
        let Some((bmc_random, bmc_guid, code)) = answer.accepted else {
            return Err(Error::Protocol { step: SECOND, reason: "it has no random number" });
        };
        let Rakp1 { console_random, role, user, .. } = first;
        let rakp = Rakp { suite, console_id, bmc_id, console_random, bmc_random, bmc_guid, role, user };
        let ours = rakp.second_code(self.target.password.as_bytes());
        if answer.console_id == console_id && same_code(&ours, &code) {
            return Ok(rakp);
        }
        self.give_up(bmc_id).await;
        Err(Error::Auth { step: SECOND, reason: AuthFailure::WrongPassword })
    }

    /// Tells the BMC that its proof was wrong, so that it forgets the session; proves nothing itself.
    async fn give_up(&mut self, bmc_id: u32) {
        let status = RakpStatus::INVALID_INTEGRITY_CHECK;
        let refusal = Rakp3 { tag: self.next_tag(), status, bmc_id, code: Vec::new() };
        let datagram = encode_plus(PayloadType::Rakp3, 0, 0, &refusal.encode(), None);
        if let Err(error) = self.socket.send(&datagram).await {
            tracing::debug!(%error, "the BMC was not told that its proof is wrong");
        }
    }

    fn next_tag(&mut self) -> u8 {
        self.tag = self.tag.wrapping_add(1);
        self.tag
    }

    /// Sends until `pick` finds the answer in what comes back; everything else that comes is ignored.
    async fn exchange<T>(
        &mut self,
        step: &'static str,
        datagram: &[u8],
        within: Duration,
        pick: impl Fn(Datagram<'_>) -> Option<T>,
    ) -> Result<T, Error> {
        let (start, address) = (Instant::now(), self.target.address);
        let end = start + within;
        let mut wait = self.options.first_wait;
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        let mut trouble = self.socket.send(datagram).await.err();
        let mut again = start + wait;
        loop {
            match timeout_at(again.min(end), self.socket.recv(&mut buffer)).await {
                Ok(Ok(count)) => {
                    let found =
                        Datagram::decode(buffer.get(..count).unwrap_or_default()).ok().and_then(&pick);
                    if let Some(answer) = found {
                        return Ok(answer);
                    }
                }
                // "Connection refused" says that nobody listens; a BMC that restarts listens soon.
                Ok(Err(error)) => trouble = Some(error),
                Err(_) if Instant::now() >= end => return Err(silence(step, address, within, trouble)),
                Err(_) => {
                    self.repeated = true;
                    trouble = self.socket.send(datagram).await.err().or(trouble);
                    wait = (wait * 2).min(self.options.longest_wait);
                    again = Instant::now() + wait;
                }
            }
        }
    }
}

fn silence(
    step: &'static str,
    address: SocketAddr,
    waited: Duration,
    trouble: Option<std::io::Error>,
) -> Error {
    match trouble {
        Some(source) => Error::Io { step, address, source },
        None => Error::Timeout { step, address, waited },
    }
}

fn judge(step: &'static str, status: RakpStatus) -> Result<(), Error> {
    match status.auth_failure() {
        _ if status == RakpStatus::OK => Ok(()),
        Some(reason) => Err(Error::Auth { step, reason }),
        None => Err(Error::Refused { step, status }),
    }
}

/// The payload of a packet outside of a session.
fn payload(datagram: Datagram<'_>, wanted: PayloadType) -> Option<&[u8]> {
    match datagram {
        Datagram::Plus(packet) if packet.payload_type == wanted && !packet.encrypted => Some(packet.payload),
        _ => None,
    }
}

/// Random bytes of the one kind we use everywhere.
pub(super) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(Error::Invalid { reason: "the system has no random numbers" }),
    }
}
