//! Boot events as the timeline gets them (INTERFACES 2): datagrams on a socket beside the services' own. They are
//! kept here and passed on to the timeline, which sees who sent them all the same.

use std::io::IoSlice;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use domain::{BootStage, Service};
use nix::cmsg_space;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, UnixCredentials, recvmsg, sendmsg, setsockopt,
    sockopt,
};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::{AsyncBufReadExt, BufReader, Interest};
use tokio::net::UnixDatagram;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A stage of a node's boot.
#[derive(Clone, Debug, Deserialize)]
pub struct Event {
    /// Which.
    pub stage: BootStage,
    /// Who says so.
    pub service: String,
    /// The node's xname, if it is known.
    #[serde(default)]
    pub node: Option<String>,
    /// Its NIC.
    #[serde(default)]
    pub mac: Option<String>,
    /// Its address.
    #[serde(default)]
    pub ip: Option<String>,
    /// `ok`, `failed`, `timeout` or `begun`.
    pub result: String,
    /// How much was sent.
    #[serde(default)]
    pub bytes: Option<u64>,
    /// A sentence.
    pub detail: String,
    /// When it came.
    #[serde(skip, default = "Instant::now")]
    pub at: Instant,
}

/// All events so far. Clones share them.
#[derive(Clone, Debug)]
pub struct Events {
    all: Arc<Mutex<Vec<Event>>>,
    count: watch::Receiver<usize>,
    // Aborted when the last clone is dropped.
    _collecting: Arc<JoinSet<()>>,
}

struct Keep {
    all: Arc<Mutex<Vec<Event>>>,
    count: watch::Sender<usize>,
}

impl Keep {
    fn push(&self, event: Event) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(event);
        self.count.send_replace(all.len());
    }
}

impl Event {
    /// The event of a journal entry, if it is one.
    fn of_entry(line: &str) -> Option<Self> {
        let entry: Value = serde_json::from_str(line).ok()?;
        let field = |name: &str| entry[name].as_str().filter(|it| !it.is_empty()).map(str::to_owned);
        let stage = serde_json::from_value(Value::String(field("PILOTHOUSE_STAGE")?)).ok()?;
        let micros = field("__REALTIME_TIMESTAMP")?.parse().ok()?;
        let age =
            SystemTime::now().duration_since(UNIX_EPOCH + Duration::from_micros(micros)).unwrap_or_default();
        Some(Self {
            stage,
            service: field("_SYSTEMD_UNIT").unwrap_or_default(),
            node: field("PILOTHOUSE_NODE"),
            mac: field("PILOTHOUSE_MAC"),
            ip: field("PILOTHOUSE_ADDRESS"),
            result: field("PILOTHOUSE_RESULT").unwrap_or_else(|| "ok".to_owned()),
            bytes: field("PILOTHOUSE_BYTES").and_then(|it| it.parse().ok()),
            detail: field("MESSAGE").unwrap_or_default(),
            at: Instant::now().checked_sub(age)?,
        })
    }
}

/// Where the timeline of a head reads.
pub(super) fn passed_on(folder: &Path) -> PathBuf {
    folder.join("run/timeline-events.passed-on")
}

/// A socket that every uid may send to.
pub(super) fn bind(path: &Path) -> anyhow::Result<std::os::unix::net::UnixDatagram> {
    let socket = std::os::unix::net::UnixDatagram::bind(path);
    let socket = socket.with_context(|| format!("listen on {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    Ok(socket)
}

fn receive(socket: &UnixDatagram, buffer: &mut [u8]) -> std::io::Result<(usize, Option<UnixCredentials>)> {
    let mut control = cmsg_space!(UnixCredentials);
    let mut parts = [std::io::IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
    let sender = message.cmsgs()?.find_map(|it| match it {
        ControlMessageOwned::ScmCredentials(it) => Some(it),
        _ => None,
    });
    Ok((message.bytes, sender))
}

/// Sends it on as if from its sender, which root may.
async fn pass_on(socket: &UnixDatagram, datagram: &[u8], sender: UnixCredentials) {
    let sender = libc::ucred { pid: nix::unistd::getpid().as_raw(), uid: sender.uid(), gid: sender.gid() };
    let sender = UnixCredentials::from(sender);
    let sent = socket.async_io(Interest::WRITABLE, || {
        let control = [ControlMessage::ScmCredentials(&sender)];
        let flags = MsgFlags::MSG_DONTWAIT;
        Ok(sendmsg::<UnixAddr>(socket.as_raw_fd(), &[IoSlice::new(datagram)], &control, flags, None)?)
    });
    if let Err(error) = sent.await {
        eprintln!("a boot event is not passed on: {error}");
    }
}

/// Tells the head in this folder of sockets of a step, as if a service did, which root may.
///
/// # Errors
///
/// If nobody listens.
pub async fn tell(sockets: &Path, service: Service, step: &Value) -> anyhow::Result<()> {
    let now = OffsetDateTime::now_utc().format(&Rfc3339).context("write the time")?;
    let mut event = json!({"v": 1, "time": now, "service": service.name()});
    for (name, value) in step.as_object().context("a step is an object")? {
        event[name] = value.clone();
    }
    let socket = UnixDatagram::unbound()?;
    socket.connect(sockets.join("timeline-events.sock")).context("find where steps are told")?;
    let sender = libc::ucred { pid: 0, uid: service.uid(), gid: service.uid() };
    pass_on(&socket, event.to_string().as_bytes(), sender.into()).await;
    Ok(())
}

impl Events {
    /// All of one node so far, for the message of a test that fails.
    #[must_use]
    pub fn all_of(&self, node: &str) -> String {
        let own = self.all().into_iter().filter(|it| it.node.as_deref() == Some(node));
        own.map(|it| format!("{} {} {}: {}\n", it.service, it.stage, it.result, it.detail)).collect()
    }

    pub(super) fn collect(socket: &Path) -> anyhow::Result<Self> {
        let receiver = bind(socket)?;
        setsockopt(&receiver, sockopt::PassCred, &true).context("ask for the senders' credentials")?;
        receiver.set_nonblocking(true)?;
        let receiver = UnixDatagram::from_std(receiver)?;
        let onward = UnixDatagram::unbound()?;
        let timeline = socket.ancestors().nth(2).map(passed_on).unwrap_or_default();
        // A head without a timeline has nobody there. Connected, so that a full queue is waited for.
        let onward = timeline.exists().then(|| onward.connect(&timeline).map(|()| onward)).transpose()?;
        Ok(Self::new(async move |keep| {
            let mut datagram = vec![0; 4096];
            loop {
                let read = receiver.async_io(Interest::READABLE, || receive(&receiver, &mut datagram)).await;
                let Ok((length, sender)) = read else { return };
                if let (Some(onward), Some(sender)) = (&onward, sender) {
                    pass_on(onward, &datagram[..length], sender).await;
                }
                match serde_json::from_slice(&datagram[..length]) {
                    Ok(event) => keep.push(event),
                    Err(error) => eprintln!("a boot event that makes no sense: {error}"),
                }
            }
        }))
    }

    /// Follows a command that prints a journal as JSON lines (systemd.journal-fields(7)); it ends with the events.
    pub(crate) fn follow(mut command: Command) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut journal = command.spawn().context("follow the journal")?;
        let output = journal.stdout.take().context("read the journal")?;
        Ok(Self::new(async move |keep| {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(event) = Event::of_entry(&line) {
                    keep.push(event);
                }
            }
            drop(journal);
        }))
    }

    fn new<F: Future<Output = ()> + Send + 'static>(collect: impl FnOnce(Keep) -> F) -> Self {
        let all: Arc<Mutex<Vec<Event>>> = Arc::default();
        let (sender, count) = watch::channel(0);
        let mut collecting = JoinSet::new();
        collecting.spawn(collect(Keep { all: Arc::clone(&all), count: sender }));
        Self { all, count, _collecting: Arc::new(collecting) }
    }

    /// All so far, in the order they came.
    #[must_use]
    pub fn all(&self) -> Vec<Event> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for the first event that fits; those that came before count too.
    ///
    /// # Errors
    ///
    /// When the time is over, with the events that came.
    pub async fn wait_for(
        &self,
        what: &str,
        limit: Duration,
        fits: impl Fn(&Event) -> bool,
    ) -> anyhow::Result<Event> {
        let mut count = self.count.clone();
        let found = async {
            loop {
                count.borrow_and_update();
                if let Some(event) = self.all().into_iter().find(&fits) {
                    return Ok(event);
                }
                count.changed().await.context("no more events come")?;
            }
        };
        match tokio::time::timeout(limit, found).await {
            Ok(found) => found,
            Err(_) => bail!("no event {what} within {limit:?}; there were\n{}", self.shown()),
        }
    }

    fn shown(&self) -> String {
        let line = |it: &Event| {
            let node = it.node.as_deref().or(it.mac.as_deref()).unwrap_or("?");
            format!("    {} {node} {} {}: {}\n", it.service, it.stage, it.result, it.detail)
        };
        self.all().iter().map(line).collect()
    }
}
