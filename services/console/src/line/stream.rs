//! Lines that are streams of bytes: serial ports, TCP, telnet, UNIX sockets, SSH.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::connection::Event;
use super::port::{Port, Ssh};
use super::telnet::{SERIAL_BREAK, Telnet, escape};
use super::{Loss, Places, serial};

/// How long a host may take to answer.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long the other end may take nothing of what is typed.
const WRITE_MAX: Duration = Duration::from_secs(10);
/// Read at once.
const READ_BYTES: usize = 4096;
/// What is typed and waits.
const TYPED_MAX: usize = 16;
/// How much of what `ssh` says is kept.
const SAID_MAX: u64 = 2048;
/// OpenSSH's client, of the image's package openssh-client.
const SSH: &str = "/usr/bin/ssh";

/// What is typed, or a serial break; and who waits for it.
#[derive(Debug)]
pub(crate) struct Typed {
    pub(super) data: Option<Vec<u8>>,
    pub(super) done: oneshot::Sender<Result<(), String>>,
}

/// An open line.
pub(super) struct Stream {
    reader: Box<dyn AsyncRead + Send + Unpin>,
    writer: Box<dyn AsyncWrite + Send + Unpin>,
    buffer: Vec<u8>,
    telnet: Option<Telnet>,
    breaker: Option<serial::Breaker>,
    child: Option<Child>,
    typed: mpsc::Receiver<Typed>,
    sender: mpsc::Sender<Typed>,
    /// What is being written, how far it is, and since when the other end takes nothing.
    out: Vec<u8>,
    at: usize,
    since: Instant,
    done: Option<oneshot::Sender<Result<(), String>>>,
}

impl Stream {
    /// Opens the line; never called for serial over LAN.
    pub(super) async fn open(port: &Port, places: &Places) -> Result<Self, Loss> {
        let failed = |error: &dyn std::fmt::Display| Loss::new(format!("{port} cannot be opened: {error}"));
        let late = || Loss::new(format!("{port} does not answer; check its address and cable"));
        let stream = match port {
            Port::Serial(it) => {
                let (open, breaker) = serial::open(it).map_err(|it| failed(&it))?;
                Self { breaker: Some(breaker), ..Self::of(open) }
            }
            Port::Tcp { host, port: number, telnet } => {
                let connected = timeout(CONNECT_MAX, TcpStream::connect((host.as_str(), *number))).await;
                let open = connected.map_err(|_| late())?.map_err(|it| failed(&it))?;
                keep_alive(&open).map_err(|it| failed(&it))?;
                Self { telnet: telnet.then(Telnet::default), ..Self::of(open) }
            }
            Port::Unix(path) => {
                let connected = timeout(CONNECT_MAX, UnixStream::connect(path)).await;
                Self::of(connected.map_err(|_| late())?.map_err(|it| failed(&it))?)
            }
            Port::Ssh(it) => Self::ssh(it, places).map_err(|it| failed(&it))?,
            Port::Sol(_) => return Err(Loss::new("serial over LAN is no stream".to_owned())),
        };
        Ok(stream)
    }

    fn of(open: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        let (reader, writer) = tokio::io::split(open);
        Self::of_halves(Box::new(reader), Box::new(writer))
    }

    fn of_halves(
        reader: Box<dyn AsyncRead + Send + Unpin>,
        writer: Box<dyn AsyncWrite + Send + Unpin>,
    ) -> Self {
        let (sender, typed) = mpsc::channel(TYPED_MAX);
        Self {
            reader,
            writer,
            buffer: Vec::new(),
            telnet: None,
            breaker: None,
            child: None,
            typed,
            sender,
            out: Vec::new(),
            at: 0,
            since: Instant::now(),
            done: None,
        }
    }

    fn ssh(ssh: &Ssh, places: &Places) -> io::Result<Self> {
        let mut child = Command::new(SSH)
            .args(ssh_arguments(ssh, places))
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("ssh has no standard input or output"));
        };
        let mut stream = Self::of_halves(Box::new(output), Box::new(input));
        stream.child = Some(child);
        if let Some(entry) = &ssh.entry {
            stream.out = format!("{entry}\r").into_bytes();
        }
        Ok(stream)
    }

    pub(super) fn sender(&self) -> mpsc::Sender<Typed> {
        self.sender.clone()
    }

    /// Waits for what comes, and writes what is typed meanwhile. Nothing is lost if the wait is given up.
    pub(super) async fn recv(&mut self) -> Event {
        loop {
            let writing = self.at < self.out.len();
            self.buffer.resize(READ_BYTES, 0);
            tokio::select! {
                read = self.reader.read(&mut self.buffer) => match read {
                    Ok(0) => return Event::Lost(Loss::new(self.why_ended().await)),
                    Ok(count) => {
                        if let Some(data) = self.take(count) {
                            return Event::Data(data);
                        }
                    }
                    Err(error) => return Event::Lost(Loss::new(format!("it broke off: {error}"))),
                },
                wrote = self.writer.write(self.out.get(self.at..).unwrap_or_default()), if writing => {
                    if let Err(error) = self.wrote(wrote) {
                        return Event::Lost(Loss::new(format!("it broke off: {error}")));
                    }
                }
                () = tokio::time::sleep_until(self.since + WRITE_MAX), if writing => self.give_up(),
                Some(typed) = self.typed.recv(), if !writing => self.begin(typed).await,
            }
        }
    }

    /// The data in what was read; none if there is none.
    fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        let read = self.buffer.get(..count).unwrap_or_default();
        let data = match &mut self.telnet {
            None => read.to_vec(),
            Some(telnet) => {
                let mut answer = Vec::new();
                let data = telnet.take(read, &mut answer);
                if !answer.is_empty() {
                    self.out.extend(answer);
                    self.since = Instant::now();
                }
                data
            }
        };
        (!data.is_empty()).then_some(data)
    }

    fn wrote(&mut self, wrote: io::Result<usize>) -> io::Result<()> {
        let count = wrote?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.at += count;
        self.since = Instant::now();
        if self.at >= self.out.len() {
            self.finish(Ok(()));
        }
        Ok(())
    }

    fn give_up(&mut self) {
        self.finish(Err(format!("it takes no character for {} s", WRITE_MAX.as_secs())));
    }

    fn finish(&mut self, result: Result<(), String>) {
        self.out.clear();
        self.at = 0;
        if let Some(done) = self.done.take() {
            drop(done.send(result)); // Whoever typed may be gone.
        }
    }

    async fn begin(&mut self, typed: Typed) {
        let Typed { data, done } = typed;
        self.since = Instant::now();
        match (data, &self.breaker) {
            (Some(data), _) => {
                self.out = if self.telnet.is_some() { escape(&data) } else { data };
                self.done = Some(done);
            }
            (None, Some(breaker)) => {
                let sent = breaker.send().await.map_err(|it| it.to_string());
                drop(done.send(sent)); // Whoever typed may be gone.
            }
            (None, None) if self.telnet.is_some() => {
                self.out = SERIAL_BREAK.to_vec();
                self.done = Some(done);
            }
            (None, None) => drop(done.send(Err("this line knows no serial break".to_owned()))),
        }
    }

    /// What the other end said as it closed.
    async fn why_ended(&mut self) -> String {
        let Some(child) = &mut self.child else { return "the other end closed it".to_owned() };
        let mut said = Vec::new();
        if let Some(pipe) = child.stderr.take()
            && let Ok(Err(error)) = timeout(WRITE_MAX, pipe.take(SAID_MAX).read_to_end(&mut said)).await
        {
            tracing::debug!(%error, "what ssh says cannot be read");
        }
        let said = String::from_utf8_lossy(&said).trim().replace(|it: char| it.is_control(), " ");
        if said.is_empty() { "ssh ended".to_owned() } else { format!("ssh ended: {said}") }
    }
}

/// Nobody says that a console server is gone.
fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    let patience = socket2::TcpKeepalive::new().with_time(Duration::from_secs(30));
    let patience = patience.with_interval(Duration::from_secs(10));
    socket2::SockRef::from(stream).set_tcp_keepalive(&patience)
}

/// The whole command line; nothing of it is secret. A host's key is kept when it is first seen, and holds
/// from then on.
fn ssh_arguments(ssh: &Ssh, places: &Places) -> Vec<String> {
    let mut arguments: Vec<String> =
        ["-F", "none", "-tt", "-x", "-a", "-e", "none", "-p"].map(str::to_owned).into();
    arguments.push(ssh.port.to_string());
    let mut options = vec![
        "BatchMode=yes".to_owned(),
        format!("ConnectTimeout={}", CONNECT_MAX.as_secs()),
        "ServerAliveInterval=15".to_owned(),
        "ServerAliveCountMax=3".to_owned(),
        "StrictHostKeyChecking=accept-new".to_owned(),
        "GlobalKnownHostsFile=none".to_owned(),
        format!("UserKnownHostsFile={}", places.known_hosts.display()),
        "ClearAllForwardings=yes".to_owned(),
        "LogLevel=ERROR".to_owned(),
    ];
    match &places.ssh_key {
        Some(key) => options.push(format!("IdentityFile={}", key.display())),
        None => options.push("IdentityFile=none".to_owned()),
    }
    for option in options {
        arguments.extend(["-o".to_owned(), option]);
    }
    if let Some(user) = &ssh.user {
        arguments.extend(["-l".to_owned(), user.clone()]);
    }
    arguments.extend(["--".to_owned(), ssh.host.clone()]);
    arguments
}
