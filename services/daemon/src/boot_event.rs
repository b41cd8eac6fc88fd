//! What a node's boot leaves behind: an entry of the journal, and a datagram for the timeline (INTERFACES 2).

use std::net::IpAddr;
use std::os::unix::net::UnixDatagram;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::{BootStage, MacAddr, Service, StageResult, Xname};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A datagram is at most this long (INTERFACES 2).
const DATAGRAM_MAX: usize = 2048;

/// One stage of one boot. Made, filled, sent; nothing is waited for.
#[derive(Debug, Serialize)]
#[must_use = "an event counts once it is sent"]
pub struct BootEvent {
    v: u8,
    time: String,
    service: &'static str,
    stage: BootStage,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<Xname>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mac: Option<MacAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<IpAddr>,
    result: StageResult,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    detail: String,
}

static SENDER: OnceLock<(UnixDatagram, std::path::PathBuf)> = OnceLock::new();
static DROPPED: AtomicU64 = AtomicU64::new(0);

impl BootEvent {
    /// A stage that was reached now. `detail` is a sentence for a person.
    pub fn new(service: Service, stage: BootStage, detail: impl Into<String>) -> Self {
        let time = OffsetDateTime::now_utc();
        let micros = time.replace_nanosecond(time.nanosecond() / 1000 * 1000).unwrap_or(time);
        Self {
            v: 1,
            time: micros.format(&Rfc3339).unwrap_or_default(),
            service: service.name(),
            stage,
            node: None,
            mac: None,
            ip: None,
            result: StageResult::Ok,
            bytes: None,
            duration_ms: None,
            image: None,
            detail: detail.into(),
        }
    }

    /// The node, by its xname.
    pub fn node(mut self, node: Option<&Xname>) -> Self {
        self.node = node.cloned();
        self
    }

    /// The NIC.
    pub fn mac(mut self, mac: Option<MacAddr>) -> Self {
        self.mac = mac;
        self
    }

    /// The node's address.
    pub fn ip(mut self, ip: impl Into<IpAddr>) -> Self {
        self.ip = Some(ip.into());
        self
    }

    /// What did not end well.
    pub fn result(mut self, result: StageResult) -> Self {
        self.result = result;
        self
    }

    /// How much was sent and how long it took.
    pub fn sent(mut self, bytes: u64, duration: Duration) -> Self {
        self.bytes = Some(bytes);
        self.duration_ms = Some(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// The image or file.
    pub fn image(mut self, image: impl Into<String>) -> Self {
        self.image = Some(image.into());
        self
    }

    /// Writes the entry and sends the datagram.
    pub fn send(self) {
        let field = |it: Option<String>| it.unwrap_or_default();
        tracing::info!(
            message_id = self.stage.event().id,
            pilothouse_stage = self.stage.name(),
            pilothouse_node = field(self.node.as_ref().map(ToString::to_string)),
            pilothouse_mac = field(self.mac.map(|it| it.to_string())),
            pilothouse_address = field(self.ip.map(|it| it.to_string())),
            pilothouse_image = self.image.as_deref().unwrap_or_default(),
            pilothouse_bytes = self.bytes.unwrap_or_default(),
            "{}: {}",
            self.stage,
            self.detail
        );
        if let Some((socket, path)) = SENDER.get()
            && let Ok(datagram) = serde_json::to_vec(&self)
            && (datagram.len() > DATAGRAM_MAX || socket.send_to(&datagram, path).is_err())
        {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Datagrams that nobody took since the start.
    #[must_use]
    pub fn dropped() -> u64 {
        DROPPED.load(Ordering::Relaxed)
    }
}

/// Opens the socket that events leave by; before that they are journal entries alone.
pub(crate) fn start(run: &std::path::Path) {
    if let Ok(socket) = UnixDatagram::unbound()
        && socket.set_nonblocking(true).is_ok()
        && SENDER.set((socket, run.join("timeline-events.sock"))).is_err()
    {
        tracing::debug!("boot events were started already");
    }
}
