//! Steps as they are taken: into the board and the queue, and to whoever follows them.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, LazyLock, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use domain::{Service, StageResult};
use prometheus_client::metrics::gauge::Gauge;
use serde::Deserialize;
use time::OffsetDateTime;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use web::Query;

use crate::Timeline;
use crate::client::Update;
use crate::error::Error;
use crate::model::{Boot, Finding, Key, Outcome};
use crate::store::Row;
use crate::wire::{Event, micros};

/// How often boots that stand still are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often a quiet stream says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Lines that wait for a slow reader, beside those of the channel.
const LINES: usize = 16;
/// Steps a second of machines that nobody knows: anyone on the wire makes up MAC addresses.
const STRANGERS_MAX: u32 = 200;

static STANDING: LazyLock<[(Outcome, Gauge); 4]> = LazyLock::new(|| {
    [
        (Outcome::Running, web::gauge("boots_running", "Machines whose last boot is under way")),
        (Outcome::Good, web::gauge("boots_good", "Machines whose last boot came to its end")),
        (Outcome::Failed, web::gauge("boots_failed", "Machines whose last boot was refused something")),
        (Outcome::Stopped, web::gauge("boots_stopped", "Machines whose last boot stands still")),
    ]
});

impl Timeline {
    /// Takes a step.
    pub(crate) fn take(&self, event: Event, now: OffsetDateTime) {
        let key = self.key_of(&event);
        if !matches!(key, Key::Node(_)) && !self.has_room_for_strangers(now) {
            return;
        }
        let taken = self.board().take(&key, &event);
        if let Some(before) = taken.before {
            self.queue.note(&before.node.clone(), before.started, Some(before));
        }
        let node = key.name().map(str::to_owned).or_else(|| event.node.as_ref().map(ToString::to_string));
        if let Some(node) = &node {
            taken.found.iter().for_each(|it| self.tell(node, it));
        }
        self.publish(node, taken.boot, event);
    }

    /// Writes a step down, and tells whoever follows.
    fn publish(&self, node: Option<String>, boot: Option<OffsetDateTime>, event: Event) {
        if let (Some(node), Some(started)) = (&node, boot) {
            self.queue.note(node, started, None);
        }
        if self.updates.receiver_count() > 0 {
            let present = node.as_deref().and_then(|it| self.board().get(it).cloned());
            let present = present.filter(|it| Some(it.started) == boot).map(|it| self.with_name(it));
            let update = Update { boot: present, event: Some(event.clone()), ..Update::default() };
            if self.updates.send(Arc::new(update)).is_err() {
                tracing::debug!("nobody follows the boots any more");
            }
        }
        self.queue.push(Row { event, node, boot }, self.config.queue);
    }

    fn with_name(&self, mut boot: Boot) -> Boot {
        boot.name = self.name_of(&boot.node);
        boot
    }

    /// Whose step it is: by the node, the NIC, the address, in this order.
    fn key_of(&self, event: &Event) -> Key {
        let of = |node: &domain::Xname| if node.is_node() { Key::Node(node.to_string()) } else { Key::Other };
        if let Some(node) = &event.node {
            return of(node);
        }
        let known = self.inventory.read(|it| {
            let by_mac = event.mac.and_then(|mac| it.interface_of(mac));
            let found = by_mac.or_else(|| it.interface_by_ip(event.ip?));
            found?.component.as_ref().map(of)
        });
        if let Some(known) = known {
            return known;
        }
        if let Some(mac) = event.mac {
            return Key::Stranger(mac.to_string());
        }
        let board = self.board();
        match event.ip.and_then(|it| board.machine_at(it)) {
            Some(name) if name.parse::<domain::Xname>().is_ok() => Key::Node(name.to_owned()),
            Some(name) => Key::Stranger(name.to_owned()),
            None => Key::Other,
        }
    }

    fn has_room_for_strangers(&self, now: OffsetDateTime) -> bool {
        let mut taken = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        let second = now.unix_timestamp();
        if taken.0 != second {
            *taken = (second, 0);
        }
        taken.1 += 1;
        taken.1 <= STRANGERS_MAX
    }

    /// Names boots that stand still, until the context's stop.
    pub(crate) async fn look_for_silence(&self) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.context.stop.cancelled() => return,
                _ = ticks.tick() => self.look(OffsetDateTime::now_utc()),
            }
        }
    }

    /// Names boots that stand still at this instant.
    pub(crate) fn look(&self, now: OffsetDateTime) {
        let found = self.board().look(now);
        for (node, finding) in found {
            self.tell(&node, &finding);
            let started = self.board().get(&node).map(|it| it.started);
            self.publish(Some(node), started, timeout(&finding));
        }
        self.raise_issues(now);
        let board = self.board();
        for (outcome, gauge) in &*STANDING {
            let count = board.all().filter(|it| it.result == *outcome).count();
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

/// The step that did not come.
fn timeout(finding: &Finding) -> Event {
    Event {
        time: micros(finding.since),
        service: Service::Timeline,
        stage: finding.stage,
        node: None,
        mac: None,
        ip: None,
        result: StageResult::Timeout,
        bytes: None,
        duration_ms: None,
        image: None,
        facts: BTreeMap::from([("cause".to_owned(), finding.cause.name())]),
        detail: finding.detail.clone(),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Follow {
    /// Names, a comma between.
    node: Option<String>,
}

/// The present boot of each machine, then every step as it is taken: a JSON object a line.
pub(crate) async fn follow(
    State(timeline): State<Timeline>,
    Query(query): Query<Follow>,
) -> Result<Response, Error> {
    let nodes = timeline.find_all(query.node.as_deref())?;
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(LINES);
    tokio::spawn(async move { timeline.tell_all(&nodes, &sender).await });
    let lines =
        futures_util::stream::unfold(receiver, |mut it| async { it.recv().await.map(|line| (line, it)) });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

impl Timeline {
    async fn tell_all(&self, nodes: &[String], to: &mpsc::Sender<io::Result<Bytes>>) {
        let stop = &self.context.stop;
        let mut updates = self.updates.subscribe();
        let fits = |boot: &Boot| nodes.is_empty() || nodes.contains(&boot.node);
        let present: Vec<Boot> = self.board().all().filter(|it| fits(it)).cloned().collect();
        for boot in present {
            let update = Update { boot: Some(self.with_name(boot)), ..Update::default() };
            if to.send(Ok(line(&update))).await.is_err() {
                return;
            }
        }
        let mut next = line(&Update { present: true, ..Update::default() });
        loop {
            // Whoever is gone is seen at the next heartbeat at the latest.
            if to.send(Ok(next)).await.is_err() {
                return;
            }
            next = loop {
                let update = tokio::select! {
                    () = stop.cancelled() => return,
                    update = tokio::time::timeout(HEARTBEAT, updates.recv()) => update,
                };
                match update {
                    Ok(Ok(update)) if nodes.is_empty() || update.boot.as_ref().is_some_and(fits) => {
                        break line(&update);
                    }
                    Ok(Ok(_)) => {}
                    Ok(Err(RecvError::Lagged(lost))) => {
                        break line(&Update { lost: Some(lost), ..Update::default() });
                    }
                    Ok(Err(RecvError::Closed)) => return,
                    Err(_) => break line(&Update::default()),
                }
            };
        }
    }
}

fn line(update: &Update) -> Bytes {
    let mut line = serde_json::to_vec(update).unwrap_or_default();
    line.push(b'\n');
    line.into()
}
