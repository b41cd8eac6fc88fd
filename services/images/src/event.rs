//! What a transfer leaves in the journal and the timeline: a kernel, an initrd or a root that a node has, or has not.

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use axum::http::StatusCode;
use daemon::BootEvent;
use domain::{BootStage, MacAddr, Service, StageResult, Xname};
use web::Problem;

use crate::floor::{Floor, Found, Missing};
use crate::model::{Span, stage};
use crate::send::Broken;

/// A transfer of more than this is told when it begins, too: what is shorter has ended before anybody looks.
const BEGUN_MIN: u64 = 4 << 20;

/// A request of a node for something that it boots.
pub(crate) struct Asked {
    path: String,
    stage: Option<BootStage>,
    node: Option<(Xname, MacAddr)>,
    address: IpAddr,
}

impl Asked {
    /// For a path that may be no file.
    pub(crate) fn of(floor: &Floor, path: &str, address: IpAddr) -> Self {
        let stage = match path.strip_prefix("/images/").and_then(|it| it.rsplit_once('/')) {
            Some((_, "kernel")) => Some(BootStage::Kernel),
            Some((_, "initrd")) => Some(BootStage::Initrd),
            Some((_, "root")) => Some(BootStage::Root),
            _ => stage(path),
        };
        Self { path: path.to_owned(), stage, node: floor.node_at(address), address }
    }

    fn event(&self, stage: BootStage, detail: String) -> BootEvent {
        let (node, mac) = self.node.as_ref().map(|it| (&it.0, it.1)).unzip();
        BootEvent::new(Service::Images, stage, detail)
            .node(node)
            .mac(mac)
            .ip(self.address)
            .image(self.path.trim_start_matches('/'))
    }

    fn file_name(&self) -> String {
        Path::new(&self.path).file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// What is answered when there is no such file, and told of a node.
    pub(crate) fn refused(&self, missing: &Missing) -> Problem {
        let path = &self.path;
        let (status, detail) = match missing {
            Missing::None => (StatusCode::NOT_FOUND, format!("there is no file {path}")),
            Missing::Unreadable => {
                let detail = format!("{path} may not be read; `chmod o+r` on the head opens it to nodes");
                (StatusCode::FORBIDDEN, detail)
            }
            Missing::Failed(error) => {
                tracing::error!(%error, "{path} cannot be read");
                let detail = format!("{path} cannot be read; the journal says why");
                (StatusCode::INTERNAL_SERVER_ERROR, detail)
            }
        };
        if let (Some(stage), Some((node, _))) = (self.stage, &self.node) {
            let event = self.event(stage, format!("{node} is refused {path}: {}", status.as_u16()));
            let why = format!("http-{}", status.as_u16());
            event.result(StageResult::Failed).fact("why", why).send();
        }
        match status {
            StatusCode::FORBIDDEN => Problem::own(status, "unreadable", detail),
            _ => Problem::new(status, detail),
        }
    }
}

/// A transfer under way.
pub(crate) struct Course {
    floor: Arc<Floor>,
    asked: Asked,
    /// Of the whole file, if it is known.
    digest: Option<String>,
    begun: Instant,
    /// Bytes that were asked for, and those of the whole file.
    bytes: (u64, u64),
    sent: u64,
    told: bool,
}

impl Course {
    /// Of these parts of a file.
    pub(crate) fn new(floor: &Arc<Floor>, found: &Found, address: IpAddr, spans: &[Span]) -> Self {
        let node = found.stage.and_then(|_| floor.node_at(address));
        let asked = Asked { path: found.name.clone(), stage: found.stage, node, address };
        let bytes = spans.iter().map(|it| it.length()).sum::<u64>();
        let (floor, bytes) = (Arc::clone(floor), (bytes, found.opened.known.length));
        let digest = found.opened.known.digest().map(|it| format!("sha256:{it}"));
        let course = Self { floor, asked, digest, begun: Instant::now(), bytes, sent: 0, told: false };
        // Of a file that is fetched in parts, the first one.
        if spans.first().is_some_and(|it| it.first == 0) {
            course.tell_begin();
        }
        course
    }

    fn tell_begin(&self) {
        let (Some(stage), Some((node, _))) = (self.asked.stage, &self.asked.node) else { return };
        let whole = self.bytes.1;
        if whole > BEGUN_MIN {
            let name = self.asked.file_name();
            let event = self.asked.event(stage, format!("{name} begins, {whole} bytes to {node}"));
            event.result(StageResult::Begun).send();
        }
    }

    /// What has left so far.
    pub(crate) fn sent(&mut self) -> &mut u64 {
        &mut self.sent
    }

    /// Tells how it ended.
    pub(crate) fn end(mut self, ended: Result<(), Broken>) {
        self.tell(ended);
    }

    fn tell(&mut self, ended: Result<(), Broken>) {
        self.told = true;
        let (Some(stage), Some((node, _))) = (self.asked.stage, &self.asked.node) else { return };
        let name = self.asked.file_name();
        let Err(broken) = ended else {
            // What is fetched in parts counts when it is whole.
            let whom = (self.asked.address, self.asked.path.clone());
            let mut parts = self.floor.parts.lock().unwrap_or_else(PoisonError::into_inner);
            let Some((sent, begun)) = parts.add(whom, (self.sent, self.bytes.1), self.begun) else { return };
            drop(parts);
            let mut event = self.asked.event(stage, format!("{name} sent, {sent} bytes to {node}"));
            if let Some(digest) = self.digest.take() {
                event = event.fact("digest", digest);
            }
            return event.sent(sent, begun.elapsed()).send();
        };
        let (result, why, reason) = match broken {
            Broken::Gone => (StageResult::Failed, "client-gone", "the node closed the connection"),
            Broken::Stalled => (StageResult::Timeout, "stalled", "the node takes nothing any more"),
            Broken::Short => (StageResult::Failed, "cut-short", "the file on the head ends too early"),
        };
        let (sent, asked) = (self.sent, self.bytes.0);
        let detail = format!("{name} broke off after {sent} of {asked} bytes to {node}: {reason}");
        let event = self.asked.event(stage, detail).sent(sent, self.begun.elapsed());
        event.result(result).fact("why", why).send();
    }
}

impl Drop for Course {
    /// The head stops in the middle of it.
    fn drop(&mut self) {
        if !self.told {
            self.tell(Err(Broken::Gone));
        }
    }
}
