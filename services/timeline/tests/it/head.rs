//! A head with timeline in this process: its sockets are real, and so is its database.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use axum::http::Method;
use daemon::{Address, Context, Paths};
use domain::{Document, Service};
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, UnixCredentials, sendmsg};
use serde_json::{Value, json};
use sqlx::PgPool;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_util::sync::CancellationToken;
use web::{Client, Database};

/// Far longer than anything here takes: only a hang meets it.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Head {
    folder: tempfile::TempDir,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
    sender: UnixDatagram,
}

/// Nodes nid001 … with MAC 52:54:00:00:00:01 and address 172.16.0.1 …
fn rows(nodes: usize) -> Vec<Value> {
    let row = |number: usize| {
        let id = format!("x0c0s{number}b0n0");
        let (high, low) = (number / 256, number % 256);
        let mac = format!("52540000{high:02x}{low:02x}");
        let interface = json!({"id": mac, "mac": format!("52:54:00:00:{high:02x}:{low:02x}"), "component": id,
            "addresses": [{"address": format!("172.16.{high}.{low}")}]});
        [
            json!({"kind": "component", "id": id, "row": {"id": id, "nid": number}}),
            json!({"kind": "interface", "id": mac, "row": interface}),
        ]
    };
    (1..=nodes).flat_map(row).collect()
}

impl Head {
    pub(crate) async fn start(db: PgPool, nodes: usize, table: &str) -> Self {
        Self::start_with(Database::ready(db), nodes, table).await
    }

    pub(crate) async fn start_with(database: Database, nodes: usize, table: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::start_at(folder, database, None, nodes, table).await
    }

    /// In the folder of an earlier one, and following a journal.
    pub(crate) async fn start_at(
        folder: tempfile::TempDir,
        database: Database,
        journal: Option<timeline::Journal>,
        nodes: usize,
        table: &str,
    ) -> Self {
        let at = |name: &str| folder.path().join(name);
        for name in ["run", "state"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        let header = json!({"epoch": "6c1c5a0e-5a4f-4d9c-8d2c-0f5b8a7f1e11", "seq": 1, "schema": 1});
        let lines = std::iter::once(header).chain(rows(nodes)).chain([json!({"seq": 1})]);
        std::fs::write(at("state/inventory.ndjson"), lines.map(|it| format!("{it}\n")).collect::<String>())
            .unwrap();
        let text = format!(
            "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"openchami.cluster\"\n[timeline]\n{table}"
        );
        let document = Document::parse(&text).unwrap();
        timeline::check(&document).unwrap();
        let paths = Paths { config: at("none"), run: at("run"), state: at("state"), credentials: None };
        let stop = CancellationToken::new();
        let listen = vec![
            ("http".to_owned(), Address::Unix(at("run/timeline.sock"))),
            ("events".to_owned(), Address::Datagram(at("run/timeline-events.sock"))),
        ];
        let context = Context::new(Service::Timeline, paths, document, listen, stop.clone()).unwrap();
        let task = tokio::spawn(async move { timeline::serve_with(context, database, journal).await });
        let head = Self { folder, stop, task, sender: UnixDatagram::unbound().unwrap() };
        until(async || head.get("/readyz").await.is_ok()).await;
        head
    }

    pub(crate) fn events_socket(&self) -> PathBuf {
        self.folder.path().join("run/timeline-events.sock")
    }

    pub(crate) fn client(&self) -> Client {
        Client::unix(self.folder.path().join("run/timeline.sock"))
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, web::ClientError> {
        self.client().call(Method::GET, path, None::<&()>).await
    }

    /// A datagram as of a process of this uid.
    pub(crate) async fn send_as(&self, uid: u32, datagram: &[u8]) {
        let path = self.events_socket();
        let credentials = libc_credentials(uid);
        let control = [ControlMessage::ScmCredentials(&credentials)];
        let parts = [std::io::IoSlice::new(datagram)];
        let to = UnixAddr::new(&path).unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&self.sender);
        // The kernel's queue is short, and the service reads in this thread.
        while sendmsg(fd, &parts, &control, MsgFlags::MSG_DONTWAIT, Some(&to)) == Err(Errno::EAGAIN) {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    }

    /// What a service tells of a node: members beside those that every event has.
    pub(crate) async fn tell(&self, service: Service, node: usize, stage: &str, more: Value) {
        let time = OffsetDateTime::now_utc().format(&Rfc3339).unwrap();
        let mut event = json!({"v": 1, "time": time, "service": service.name(), "stage": stage,
            "node": format!("x0c0s{node}b0n0"), "result": "ok", "detail": format!("{stage} of {node}")});
        for (name, value) in more.as_object().unwrap() {
            event[name] = value.clone();
        }
        self.send_as(service.uid(), event.to_string().as_bytes()).await;
    }

    /// The health issues of this moment.
    pub(crate) fn issues(&self) -> Vec<Value> {
        let text = std::fs::read(self.folder.path().join("run/timeline/issues.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    pub(crate) async fn stop(self) {
        drop(self.leave().await);
    }

    /// Stops it; its folder stays.
    pub(crate) async fn leave(self) -> tempfile::TempDir {
        self.stop.cancel();
        tokio::time::timeout(LIMIT, self.task).await.unwrap().unwrap().unwrap();
        self.folder
    }
}

fn libc_credentials(uid: u32) -> UnixCredentials {
    nix::libc::ucred { pid: nix::unistd::getpid().as_raw(), uid, gid: uid }.into()
}

/// Waits until it is so.
pub(crate) async fn until(so: impl AsyncFn() -> bool) {
    let wait = async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, wait).await.expect("in time");
}
