//! From nothing to keys: Open Session, RAKP 1 to 4 (sections 13.17 to 13.24).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::backoff::Backoff;
use super::random;
use super::window::Window;
use crate::crypto::{Rakp, SessionKeys, proof_bytes, same_code};
use crate::pool::{Inbox, Socket};
use crate::record::SessionRecord;
use crate::wire::{
    Capabilities, Datagram, OpenSessionRequest, OpenSessionResponse, PayloadType, Rakp1, Rakp2, Rakp3, Rakp4,
    encode_plus,
};
use crate::{AuthFailure, CipherSuite, Error, RakpStatus, SessionOptions, Target, Workarounds};

const OPEN: &str = "open session";
const SECOND: &str = "RAKP 2";
const FOURTH: &str = "RAKP 4";
/// Bit 4 of the role: find the user by name alone, not by name and privilege (section 13.20).
const NAME_ONLY: u8 = 0x10;
/// So many handshakes are made if the BMC and we seem to have lost each other by a retransmission.
const ATTEMPTS: usize = 3;
/// So many requests without an answer, from a BMC that has answered others, and the next suite is tried, or the
/// handshake begun anew: some never answer the same message twice.
const SILENT_MAX: u32 = 3;
const ONLY_V15: &str = "it says that it speaks IPMI 1.5 only; enable IPMI 2.0 on it, or, if it speaks it \
                        all the same, set the workaround authcap";
const CODE_LENGTH: &str = "its code has not the length of the cipher suite's; if the password is right, \
                           set the workaround supermicro20";

/// A handshake under way.
struct Handshake<'a> {
    inbox: Inbox,
    target: &'a Target,
    options: &'a SessionOptions,
    /// The number of the next message, by which its answer is known.
    tag: u8,
    /// Whether any message had to be sent again.
    repeated: bool,
    /// What the BMC says of itself, once it was asked: only when it does not answer to better questions.
    says: Option<Capabilities>,
    /// Whether there is another suite to try after this one.
    more: bool,
    /// When the tries with this suite have to end; none for the last one, in which each step has its whole time.
    tries_end: Option<Instant>,
}

/// Runs the handshake; what it leads to is the session's first record.
pub(super) async fn run(
    socket: &Arc<Socket>,
    target: &Target,
    options: &SessionOptions,
) -> Result<SessionRecord, Error> {
    let inbox = socket.listen(target.address);
    let [tag] = random()?;
    let mut handshake =
        Handshake { inbox, target, options, tag, repeated: false, says: None, more: true, tries_end: None };
    let mut tried = Vec::new();
    for &suite in &target.cipher_suites {
        handshake.more = target.cipher_suites.last() != Some(&suite);
        match handshake.agree(suite).await {
            Err(Error::Refused { step: OPEN, status, .. }) if status.refuses_algorithms() => {
                tried.push(suite)
            }
            // A BMC that answers but not to this suite may still know the next one.
            Err(Error::Timeout { step: OPEN, .. }) if handshake.says.is_some() && handshake.more => {
                tried.push(suite);
            }
            agreed_or_failed => return agreed_or_failed,
        }
    }
    Err(Error::NoCipherSuite { address: target.address, tried })
}

impl Handshake<'_> {
    /// Messages may overtake each other: a retransmitted one can make the BMC forget what it answered to
    /// the first, and then our proof is wrong. Where that is possible, everything is asked once more.
    async fn agree(&mut self, suite: CipherSuite) -> Result<SessionRecord, Error> {
        self.tries_end = Some(Instant::now() + self.options.deadline);
        for _ in 1..ATTEMPTS {
            self.repeated = false;
            match self.agree_once(suite).await {
                Err(
                    Error::Refused { step: SECOND | FOURTH, .. }
                    | Error::Auth { step: FOURTH, .. }
                    | Error::Timeout { step: SECOND | FOURTH, .. },
                ) if self.repeated => {}
                agreed_or_failed => return agreed_or_failed,
            }
        }
        self.tries_end = None;
        self.agree_once(suite).await
    }

    async fn agree_once(&mut self, suite: CipherSuite) -> Result<SessionRecord, Error> {
        let address = self.target.address;
        let console_id = self.free_id()?;
        let bmc_id = self.open_session(suite, console_id).await?;
        let rakp = self.exchange_randoms(suite, console_id, bmc_id).await?;
        let password = self.target.password.as_bytes();
        let session_key = rakp.session_key(match &self.target.kg {
            Some(kg) => kg,
            None => password,
        });
        let status = RakpStatus::OK;
        let proof = Rakp3 { tag: self.next_tag(), status, bmc_id, code: self.prove(&rakp) };
        let datagram = encode_plus(PayloadType::Rakp3, 0, 0, &proof.encode(), None);
        let answer = self.exchange(FOURTH, &datagram, PayloadType::Rakp4, |payload| {
            let answer = Rakp4::decode(payload).ok()?;
            let ours = answer.console_id == console_id || answer.status != RakpStatus::OK;
            (ours && answer.tag == proof.tag).then_some(answer)
        });
        let mut answer = answer.await?;
        self.judge(FOURTH, answer.status)?;
        let expected = rakp.fourth_code(&session_key);
        if self.has(Workarounds::SUPERMICRO_20) && answer.code.len() == expected.len() + 1 {
            answer.code.pop();
        }
        if !same_code(&expected, &answer.code) {
            return Err(Error::Auth { step: FOURTH, address, reason: AuthFailure::WrongKg });
        }
        let keys = SessionKeys::derive(suite, &session_key);
        let (integrity_key, encryption_key) = keys.parts();
        Ok(SessionRecord {
            address,
            local_port: self.inbox.socket().local().port(),
            suite,
            workarounds: self.target.workarounds,
            console_id,
            bmc_id,
            guid: rakp.bmc_guid,
            integrity_key: *integrity_key,
            encryption_key: *encryption_key,
            outbound: 0,
            window: Window::default(),
            request: 0,
            line: None,
        })
    }

    /// A number for the session that no other session with this BMC has.
    fn free_id(&self) -> Result<u32, Error> {
        loop {
            let id = u32::from_le_bytes(random()?);
            if id != 0 && self.inbox.socket().is_free(self.target.address, id) {
                return Ok(id);
            }
        }
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
        let answer = self.exchange(OPEN, &datagram, PayloadType::OpenSessionResponse, |payload| {
            let answer = OpenSessionResponse::decode(payload).ok()?;
            let ours = answer.console_id == console_id || answer.status != RakpStatus::OK;
            (ours && answer.tag == request.tag).then_some(answer)
        });
        let answer = answer.await?;
        self.judge(OPEN, answer.status)?;
        let address = self.target.address;
        let bad = |reason| Err(Error::Protocol { step: OPEN, address, reason });
        match answer.accepted {
            // Some name the one suite they have whatever they are asked for. It is ours to ask for it.
            Some((_, algorithms)) if self.is_next(suite, algorithms) => {
                Err(Error::Refused { step: OPEN, address, status: RakpStatus::NO_SUITE })
            }
            // A BMC must not talk us into weaker algorithms than we asked for.
            Some((_, algorithms)) if algorithms != suite.algorithms() => bad("it names other algorithms"),
            Some((0, _)) | None => bad("it gives the session no id"),
            Some((bmc_id, _)) => Ok(bmc_id),
        }
    }

    /// The code of message 3. The Intel BMCs that want names filled up want this one made with the name as it is, and
    /// without the bit that says how it is looked up; FreeIPMI's tools found that out.
    fn prove(&self, rakp: &Rakp) -> Vec<u8> {
        let password = self.target.password.as_bytes();
        if !self.has(Workarounds::INTEL_20) {
            return rakp.third_code(password).to_vec();
        }
        let user = self.target.user.as_bytes().to_vec();
        Rakp { role: rakp.role & !NAME_ONLY, user, ..rakp.clone() }.third_code(password).to_vec()
    }

    /// Whether these are the algorithms of a suite that will be tried after this one.
    fn is_next(&self, suite: CipherSuite, algorithms: [u8; 3]) -> bool {
        let after = self.target.cipher_suites.iter().skip_while(|it| **it != suite).skip(1);
        algorithms != suite.algorithms() && after.into_iter().any(|it| it.algorithms() == algorithms)
    }

    /// RAKP 1 and 2: random numbers both ways, and the BMC's proof that it knows the password. Our own
    /// proof leaves only after this one was found right.
    async fn exchange_randoms(
        &mut self,
        suite: CipherSuite,
        console_id: u32,
        bmc_id: u32,
    ) -> Result<Rakp, Error> {
        let first = Rakp1 {
            tag: self.next_tag(),
            bmc_id,
            console_random: random()?,
            role: self.role(),
            user: self.user(),
        };
        let datagram = encode_plus(PayloadType::Rakp1, 0, 0, &first.encode(), None);
        let answer = self.exchange(SECOND, &datagram, PayloadType::Rakp2, |payload| {
            let answer = Rakp2::decode(payload).ok()?;
            let ours = answer.console_id == console_id || answer.status != RakpStatus::OK;
            (ours && answer.tag == first.tag).then_some(answer)
        });
        let answer = answer.await?;
        self.judge(SECOND, answer.status)?;
        let address = self.target.address;
        let Some((bmc_random, bmc_guid, mut code)) = answer.accepted else {
            return Err(Error::Protocol { step: SECOND, address, reason: "it has no random number" });
        };
        let Rakp1 { console_random, role, user, .. } = first;
        let rakp = Rakp { suite, console_id, bmc_id, console_random, bmc_random, bmc_guid, role, user };
        let excess = code.len().checked_sub(proof_bytes(suite));
        if self.has(Workarounds::SUPERMICRO_20) && excess == Some(1) {
            code.pop();
        }
        if same_code(&rakp.second_code(self.target.password.as_bytes()), &code) {
            return Ok(rakp);
        }
        self.give_up(bmc_id).await;
        match excess {
            Some(1) => Err(Error::Protocol { step: SECOND, address, reason: CODE_LENGTH }),
            _ => Err(Error::Auth { step: SECOND, address, reason: AuthFailure::WrongPassword }),
        }
    }

    /// The level asked for, and how the user is looked up. Some BMCs make their codes with the level of Open
    /// Session in this place, so it must be the same byte.
    fn role(&self) -> u8 {
        let same = self.has(Workarounds::OPEN_SESS_PRIV | Workarounds::SUN_20);
        u8::from(self.target.privilege) | if same { 0 } else { NAME_ONLY }
    }

    fn user(&self) -> Vec<u8> {
        let mut user = self.target.user.as_bytes().to_vec();
        if self.has(Workarounds::INTEL_20) {
            user.resize(crate::target::USER_BYTES_MAX, 0);
        }
        user
    }

    fn has(&self, workarounds: Workarounds) -> bool {
        self.target.workarounds.has(workarounds)
    }

    /// Tells the BMC that its proof was wrong, so that it forgets the session; proves nothing itself.
    async fn give_up(&mut self, bmc_id: u32) {
        let status = RakpStatus::INVALID_INTEGRITY_CHECK;
        let refusal = Rakp3 { tag: self.next_tag(), status, bmc_id, code: Vec::new() };
        let datagram = encode_plus(PayloadType::Rakp3, 0, 0, &refusal.encode(), None);
        if let Err(error) = self.inbox.send(&datagram).await {
            tracing::debug!(%error, "the BMC was not told that its proof is wrong");
        }
    }

    fn next_tag(&mut self) -> u8 {
        self.tag = self.tag.wrapping_add(1);
        self.tag
    }

    /// Sends until `pick` finds the answer in what comes back; everything else that comes is ignored. A BMC
    /// that does not answer to Open Session is asked what it speaks, too.
    async fn exchange<T>(
        &mut self,
        step: &'static str,
        datagram: &[u8],
        wanted: PayloadType,
        pick: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<T, Error> {
        let (address, waited) = (self.target.address, self.options.deadline);
        let start = Instant::now();
        let end = self.tries_end.unwrap_or(start + waited).min(start + waited);
        let asks = step == OPEN && !self.has(Workarounds::AUTH_CAP);
        let options = self.options;
        let mut backoff = Backoff::new(options.first_wait, options.longest_wait, options.jitter_percent);
        let (mut sent, mut trouble) = (0, None);
        loop {
            trouble = self.inbox.send(datagram).await.err().or(trouble);
            sent += 1;
            if asks && sent > 1 {
                trouble =
                    self.inbox.send(&Capabilities::question(self.target.privilege)).await.err().or(trouble);
            }
            let wait = backoff.wait(u16::from_le_bytes(random()?));
            if let Some(answer) = self.hear(wanted, (Instant::now() + wait).min(end), &pick).await {
                return Ok(answer);
            }
            match self.says {
                Some(says) if asks && !says.v20 => {
                    return Err(Error::Protocol { step, address, reason: ONLY_V15 });
                }
                Some(_) if asks && self.more && sent >= SILENT_MAX => {
                    return Err(silence(step, address, start.elapsed(), None));
                }
                _ if step != OPEN && self.tries_end.is_some() && sent >= SILENT_MAX => {
                    self.repeated = true;
                    return Err(silence(step, address, start.elapsed(), None));
                }
                _ if Instant::now() >= end => {
                    self.repeated = true;
                    return Err(silence(step, address, waited.min(end - start), trouble));
                }
                _ => self.repeated = true,
            }
        }
    }

    /// Waits for the answer until then.
    async fn hear<T>(
        &mut self,
        wanted: PayloadType,
        until: Instant,
        pick: impl Fn(&[u8]) -> Option<T>,
    ) -> Option<T> {
        loop {
            let received = timeout_at(until, self.inbox.recv()).await.ok()?;
            match Datagram::decode(&received) {
                Ok(Datagram::V15(message)) => self.says = Capabilities::decode(message).ok().or(self.says),
                Ok(Datagram::Plus(packet)) if packet.payload_type == wanted && !packet.encrypted => {
                    let missing_max = usize::from(self.has(Workarounds::SUPERMICRO_20));
                    if packet.missing > missing_max {
                        let address = self.target.address;
                        tracing::debug!(%address, "a packet is shorter than it says; supermicro20 may help");
                    } else if let Some(answer) = pick(packet.payload) {
                        return Some(answer);
                    }
                }
                _ => {}
            }
        }
    }

    fn judge(&self, step: &'static str, status: RakpStatus) -> Result<(), Error> {
        let address = self.target.address;
        match status.auth_failure() {
            _ if status == RakpStatus::OK => Ok(()),
            Some(reason) => Err(Error::Auth { step, address, reason }),
            None => Err(Error::Refused { step, address, status }),
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
