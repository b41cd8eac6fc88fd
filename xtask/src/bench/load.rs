//! The load tool: one thread, connections kept alive, requests made before the clock runs. It shares the machine with
//! what it measures, so it does as little as can be done.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde::{Deserialize, Serialize};

/// How long an answer may take before the run is given up.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Where to ask.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Target {
    Unix(PathBuf),
    Tcp(SocketAddr),
    /// With the file of the authority's certificate.
    Tls(SocketAddr, PathBuf),
}

/// What to ask.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) target: Target,
    /// Whole requests, asked in turn.
    pub(super) requests: Vec<String>,
    pub(super) connections: usize,
    /// How long; none: each request once.
    pub(super) time: Option<Duration>,
    /// What is not counted at the beginning.
    pub(super) warm_up: Duration,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub(super) answers: usize,
    /// Answers that are no success, and the first of them.
    pub(super) refused: usize,
    pub(super) refusal: Option<String>,
    pub(super) seconds: f64,
    /// Microseconds from the request to the last byte of its answer.
    pub(super) p50: u32,
    pub(super) p99: u32,
    pub(super) most: u32,
    /// Bytes of the last answer.
    pub(super) bytes: usize,
}

impl Outcome {
    pub(super) fn per_second(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a count of seconds' answers")]
        let answers = self.answers as f64;
        answers / self.seconds.max(1e-9)
    }
}

trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

/// One connection.
struct Line {
    wire: Box<dyn Wire>,
    fd: OwnedFd,
    received: Vec<u8>,
    asked: Instant,
    /// Whether an answer is awaited.
    waits: bool,
}

/// Reads an order, carries it out, tells what came of it.
pub(super) fn run() -> anyhow::Result<()> {
    let order: Order = serde_json::from_reader(io::stdin().lock()).context("read the order")?;
    println!("{}", serde_json::to_string(&carry_out(&order)?)?);
    Ok(())
}

fn carry_out(order: &Order) -> anyhow::Result<Outcome> {
    ensure!(!order.requests.is_empty(), "nothing to ask");
    let tls = tls(&order.target)?;
    let lines = (0..order.connections).map(|_| Line::open(&order.target, tls.as_ref()));
    let mut lines = lines.collect::<anyhow::Result<Vec<_>>>()?;
    let (mut outcome, mut times) = (Outcome::default(), Vec::with_capacity(1 << 20));
    let mut requests = order.requests.iter().map(String::as_bytes).cycle();
    let mut left = if order.time.is_some() { usize::MAX } else { order.requests.len() };
    for line in &mut lines {
        if left > 0 {
            left -= 1;
            line.ask(requests.next().unwrap_or_default())?;
        }
    }
    let begun = Instant::now();
    let mut counted_from = begun + order.warm_up;
    if order.time.is_none() {
        counted_from = begun;
    }
    let end = order.time.map(|it| counted_from + it);
    let mut ended = begun;
    while lines.iter().any(|it| it.waits) {
        for at in ready(&lines)? {
            let line = &mut lines[at];
            let Some(answer) = line.receive()? else { continue };
            let now = Instant::now();
            if now >= counted_from && end.is_none_or(|it| now <= it) {
                outcome.answers += 1;
                outcome.bytes = answer.length;
                ended = now;
                times.push(u32::try_from((now - line.asked).as_micros()).unwrap_or(u32::MAX));
                if !answer.success {
                    outcome.refused += 1;
                    let text = String::from_utf8_lossy(&line.received).chars().take(400).collect();
                    outcome.refusal.get_or_insert(text);
                }
            }
            line.received.clear();
            if left > 0 && end.is_none_or(|it| now < it) {
                left -= 1;
                line.ask(requests.next().unwrap_or_default())?;
            }
        }
    }
    times.sort_unstable();
    let share = |it: usize| times.get((times.len() * it / 100).min(times.len().saturating_sub(1))).copied();
    outcome.seconds = (ended - counted_from.min(ended)).as_secs_f64();
    outcome.p50 = share(50).unwrap_or(0);
    outcome.p99 = share(99).unwrap_or(0);
    outcome.most = times.last().copied().unwrap_or(0);
    Ok(outcome)
}

/// The connections on which something has come.
fn ready(lines: &[Line]) -> anyhow::Result<Vec<usize>> {
    let waiting: Vec<usize> = (0..lines.len()).filter(|it| lines[*it].waits).collect();
    let mut fds: Vec<PollFd<'_>> =
        waiting.iter().map(|it| PollFd::new(lines[*it].fd.as_fd(), PollFlags::POLLIN)).collect();
    let limit = PollTimeout::try_from(ANSWER_MAX).unwrap_or(PollTimeout::NONE);
    if poll(&mut fds, limit).context("poll")? == 0 {
        bail!("no answer within {} s", ANSWER_MAX.as_secs());
    }
    Ok(waiting.iter().zip(&fds).filter(|it| it.1.any().unwrap_or(false)).map(|it| *it.0).collect())
}

fn tls(target: &Target) -> anyhow::Result<Option<Arc<ClientConfig>>> {
    let Target::Tls(_, ca) = target else { return Ok(None) };
    let mut roots = RootCertStore::empty();
    let file = BufReader::new(File::open(ca).with_context(|| format!("open {}", ca.display()))?);
    for certificate in CertificateDer::pem_reader_iter(file) {
        roots.add(certificate?)?;
    }
    let config = ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into());
    let config = config.with_safe_default_protocol_versions()?.with_root_certificates(roots);
    Ok(Some(Arc::new(config.with_no_client_auth())))
}

impl Line {
    fn open(target: &Target, tls: Option<&Arc<ClientConfig>>) -> anyhow::Result<Self> {
        let tcp = |address: &SocketAddr| -> anyhow::Result<TcpStream> {
            let stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        let (wire, fd): (Box<dyn Wire>, OwnedFd) = match target {
            Target::Unix(path) => {
                let stream =
                    UnixStream::connect(path).with_context(|| format!("connect to {}", path.display()))?;
                stream.set_nonblocking(true)?;
                let fd = stream.try_clone()?.into();
                (Box::new(stream), fd)
            }
            Target::Tcp(address) => {
                let stream = tcp(address)?;
                stream.set_nonblocking(true)?;
                let fd = stream.try_clone()?.into();
                (Box::new(stream), fd)
            }
            Target::Tls(address, _) => {
                let config = tls.context("no TLS set up")?;
                let mut client =
                    ClientConnection::new(Arc::clone(config), ServerName::try_from("localhost")?.to_owned())?;
                let mut stream = tcp(address)?;
                while client.is_handshaking() {
                    client.complete_io(&mut stream).context("shake hands")?;
                }
                stream.set_nonblocking(true)?;
                let fd = stream.try_clone()?.into();
                (Box::new(StreamOwned::new(client, stream)), fd)
            }
        };
        Ok(Self { wire, fd, received: Vec::with_capacity(64 << 10), asked: Instant::now(), waits: false })
    }

    fn ask(&mut self, mut request: &[u8]) -> anyhow::Result<()> {
        self.asked = Instant::now();
        self.waits = true;
        while !request.is_empty() {
            match self.wire.write(request) {
                Ok(written) => request = &request[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLOUT)];
                    poll(&mut fds, PollTimeout::try_from(ANSWER_MAX).unwrap_or(PollTimeout::NONE))?;
                }
                Err(error) => return Err(error).context("send a request"),
            }
        }
        match self.wire.flush() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error).context("send a request"),
            _ => Ok(()),
        }
    }

    /// Reads what is there; the answer, if that is all of it.
    fn receive(&mut self) -> anyhow::Result<Option<Answer>> {
        let mut piece = [0; 64 << 10];
        loop {
            match self.wire.read(&mut piece) {
                Ok(0) => bail!("the connection was closed after {} bytes", self.received.len()),
                Ok(read) => self.received.extend_from_slice(&piece[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error).context("read an answer"),
            }
            let answer = Answer::of(&self.received)?;
            if answer.is_some() {
                self.waits = false;
                return Ok(answer);
            }
        }
    }
}

/// One connection for whoever asks one thing after the other.
pub(super) struct Patcher(Line);

impl Patcher {
    pub(super) fn open(target: &Target) -> anyhow::Result<Self> {
        Ok(Self(Line::open(target, tls(target)?.as_ref())?))
    }

    /// The status of the answer.
    pub(super) fn ask(&mut self, request: &str) -> anyhow::Result<u16> {
        self.0.received.clear();
        self.0.ask(request.as_bytes())?;
        loop {
            if self.0.receive()?.is_some() {
                let status = self.0.received.get(9..12).map(String::from_utf8_lossy);
                return status.and_then(|it| it.parse().ok()).context("no status");
            }
            ready(std::slice::from_ref(&self.0))?;
        }
    }
}

struct Answer {
    success: bool,
    length: usize,
}

impl Answer {
    /// None as long as some of it is missing.
    fn of(text: &[u8]) -> anyhow::Result<Option<Self>> {
        let Some(end) = text.windows(4).position(|it| it == b"\r\n\r\n") else { return Ok(None) };
        let head = std::str::from_utf8(&text[..end]).context("the head is no text")?;
        let body = &text[end + 4..];
        let field = |name: &str| {
            let mut fields = head.split("\r\n").skip(1).filter_map(|it| it.split_once(':'));
            fields.find(|it| it.0.eq_ignore_ascii_case(name)).map(|it| it.1.trim())
        };
        let status = head.get(9..12).unwrap_or_default();
        let whole = match (field("content-length"), field("transfer-encoding")) {
            (Some(length), _) => body.len() >= length.parse().context("the length is no number")?,
            (None, Some(_)) => body.ends_with(b"0\r\n\r\n"),
            (None, None) => ["204", "304"].contains(&status),
        };
        Ok(whole.then(|| Self { success: status.starts_with('2'), length: body.len() }))
    }
}
