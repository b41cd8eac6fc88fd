//! Routes and handlers.

mod audit;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use daemon::Context;
use domain::inventory::Inventory;
use domain::{MacAddr, Scope, Service, Span, Xname};
use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::broadcast;
use web::mirror::Mirror;
use web::{Database, Json, Path, Query, scoped};

use crate::client::{Shown, Update};
use crate::config::Config;
use crate::error::Error;
use crate::issue::Raised;
use crate::journal::Journal;
use crate::keep::Queue;
use crate::model::{Board, Boot, Outcome, Report, last_together, report};
use crate::store::{self, Filter};
use crate::stream;

/// Boots of one answer, if it is not said how many.
const LIST: i64 = 1000;
/// Boots of one answer at most.
const LIST_MAX: i64 = 100_000;
/// Steps of one boot that are shown.
const EVENTS_MAX: i64 = 2000;
/// Updates that a reader of the stream may be behind.
const BEHIND_MAX: usize = 8192;

/// What every handler works with. Clones share it.
#[derive(Clone)]
pub struct Timeline(pub(crate) Arc<Inner>);

/// What clones share.
pub struct Inner {
    pub(crate) context: Context,
    pub(crate) config: Config,
    pub(crate) inventory: Mirror<Inventory>,
    pub(crate) database: Database,
    /// None: systemd did not start us.
    pub(crate) journal: Option<Journal>,
    /// Held while the audit's file is changed.
    pub(crate) anchor: tokio::sync::Mutex<()>,
    pub(crate) queue: Queue,
    pub(crate) raised: Raised,
    pub(crate) updates: broadcast::Sender<Arc<Update>>,
    pub(crate) strangers: Mutex<(i64, u32)>,
    board: Mutex<Board>,
    pattern: String,
}

impl Timeline {
    pub(crate) fn new(
        context: Context,
        config: Config,
        inventory: Mirror<Inventory>,
        database: Database,
        journal: Option<Journal>,
    ) -> Self {
        let pattern = context.document.cluster.host_pattern.clone();
        let board = Mutex::new(Board::new(config.limits));
        let (updates, _) = broadcast::channel(BEHIND_MAX);
        let (queue, raised, strangers) = (Queue::default(), Raised::default(), Mutex::default());
        Self(Arc::new(Inner {
            context,
            config,
            inventory,
            database,
            journal,
            anchor: tokio::sync::Mutex::default(),
            queue,
            raised,
            updates,
            strangers,
            board,
            pattern,
        }))
    }

    pub(crate) fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a machine is called.
    pub(crate) fn name_of(&self, node: &str) -> String {
        let named = |id: Xname| {
            self.inventory.read(|it| it.component(&id).map(|found| it.name_of(found, &self.pattern)))
        };
        node.parse().ok().and_then(named).unwrap_or_else(|| node.to_owned())
    }

    fn called(&self, mut boot: Boot) -> Boot {
        boot.name = self.name_of(&boot.node);
        boot
    }

    /// The machine that a word names: a node's name or xname, or a MAC address.
    pub(crate) fn find(&self, word: &str) -> Result<String, Error> {
        let known = self.inventory.read(|it| it.find(word, &self.pattern).map(|it| it.id.to_string()));
        let by_mac = |mac: MacAddr| {
            let node = self.inventory.read(|it| it.interface_of(mac)?.component.clone());
            node.map_or_else(|| mac.to_string(), |it| it.to_string())
        };
        known
            .or_else(|| word.parse().ok().map(by_mac))
            .or_else(|| word.parse().ok().map(|it: Xname| it.to_string()))
            .or_else(|| self.board().get(word).map(|it| it.node.clone()))
            .ok_or_else(|| Error::NoNode(word.chars().take(64).collect()))
    }

    /// The machines of a list of words, a comma between; none: all.
    pub(crate) fn find_all(&self, words: Option<&str>) -> Result<Vec<String>, Error> {
        let words = words.unwrap_or_default().split(',').filter(|it| !it.is_empty());
        words.map(|it| self.find(it)).collect()
    }
}

/// Every path of the service.
pub fn router(timeline: Timeline) -> Router {
    let read = |routes| scoped(routes, Scope::Read(Service::Timeline));
    let write = |routes| scoped(routes, Scope::Write(Service::Timeline));
    Router::new()
        .route("/pilothouse/v1/boots", read(get(list_boots)))
        .route("/pilothouse/v1/boots/{node}", read(get(show_boot)).merge(write(delete(forget_boot))))
        .route("/pilothouse/v1/report", read(get(show_report)))
        .route("/pilothouse/v1/events", read(get(stream::follow)))
        .route("/pilothouse/v1/audit", read(get(audit::list)))
        .route("/pilothouse/v1/audit/verify", read(get(audit::verify)))
        .route("/readyz", get(show_readiness))
        .with_state(timeline)
}

async fn show_readiness(State(timeline): State<Timeline>) -> Response {
    let inventory = timeline.inventory.freshness().to_string();
    let there = timeline.database.pool().is_ok() && !timeline.database.is_lost();
    let database = if there { "live" } else { "empty" };
    let waiting = timeline.queue.len();
    Json(json!({"ready": true, "inventory": inventory, "database": database, "waiting": waiting}))
        .into_response()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// Names, a comma between.
    node: Option<String>,
    /// An instant, or how long ago.
    since: Option<String>,
    /// `good`, `failed`, `stopped`, `running`.
    result: Option<String>,
    limit: Option<i64>,
}

/// An instant, or how long ago: `2026-11-22T20:00:00Z`, `30m`.
fn instant(text: &str, now: OffsetDateTime) -> Result<OffsetDateTime, Error> {
    let ago = |it: Span| now - it.0;
    let parsed = OffsetDateTime::parse(text, &Rfc3339).ok();
    parsed.or_else(|| text.parse().ok().map(ago)).ok_or_else(|| Error::NoInstant(text.to_owned()))
}

async fn list_boots(
    State(timeline): State<Timeline>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Vec<Boot>>, Error> {
    let now = OffsetDateTime::now_utc();
    let since = query.since.as_deref().map(|it| instant(it, now)).transpose()?;
    let parse = |it: &str| Outcome::parse(it).ok_or_else(|| Error::NoResult(it.to_owned()));
    let result = query.result.as_deref().map(parse).transpose()?;
    let nodes = timeline.find_all(query.node.as_deref())?;
    let limit = query.limit.unwrap_or(LIST).clamp(1, LIST_MAX);
    let mut boots: Vec<Boot> = {
        let fits = |it: &&Boot| {
            (nodes.is_empty() || nodes.contains(&it.node)) && since.is_none_or(|since| it.started >= since)
        };
        timeline.board().all().filter(fits).cloned().collect()
    };
    let present: HashSet<_> = boots.iter().map(|it| (it.node.clone(), it.started)).collect();
    // Without PostgreSQL the last boot of each machine is what there is.
    if let Ok(db) = timeline.database.pool().cloned() {
        let filter = Filter { nodes, since, result: result.map(Outcome::name), limit };
        match store::list_boots(&db, &filter).await {
            Ok(kept) => {
                boots.extend(kept.into_iter().filter(|it| !present.contains(&(it.node.clone(), it.started))));
            }
            Err(error) => tracing::warn!(%error, "older boots cannot be read"),
        }
    }
    boots.retain(|it| result.is_none_or(|result| it.result == result));
    boots.sort_by_key(|it| std::cmp::Reverse(it.started));
    boots.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(Json(boots.into_iter().map(|it| timeline.called(it)).collect()))
}

async fn show_boot(State(timeline): State<Timeline>, Path(word): Path<String>) -> Result<Json<Shown>, Error> {
    let node = timeline.find(&word)?;
    let boot = timeline.board().get(&node).cloned();
    let db = timeline.database.pool().cloned();
    let boot = match (boot, &db) {
        (Some(boot), _) => Some(boot),
        (None, Ok(db)) => {
            let filter = Filter { nodes: vec![node.clone()], limit: 1, ..Filter::default() };
            store::list_boots(db, &filter).await?.pop()
        }
        (None, Err(_)) => None,
    };
    let boot = boot.ok_or_else(|| Error::NoBoot(word.clone()))?;
    // Before the table is asked, so that none is missed which gets there meanwhile.
    let waiting = timeline.queue.waiting_of(&node, boot.started);
    let mut events = match &db {
        Ok(db) => store::list_events(db, &node, boot.started, EVENTS_MAX).await.unwrap_or_default(),
        Err(_) => Vec::new(),
    };
    for event in waiting {
        if !events.contains(&event) {
            events.push(event);
        }
    }
    events.sort_by_key(|it| it.time);
    Ok(Json(Shown { boot: timeline.called(boot), events }))
}

/// A machine that is gone, or was seen to: nothing is wrong with its last boot any more. The steps stay in the table.
async fn forget_boot(
    State(timeline): State<Timeline>,
    Path(word): Path<String>,
) -> Result<StatusCode, Error> {
    let node = timeline.find(&word)?;
    let db = timeline.database.pool()?.clone();
    let boot = timeline.board().forget(&node).ok_or(Error::NoBoot(word))?;
    timeline.queue.forget(&node, boot.started);
    store::delete_boot(&db, &node, boot.started).await?;
    timeline.look(OffsetDateTime::now_utc());
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReportQuery {
    since: Option<String>,
    /// Names, a comma between.
    node: Option<String>,
}

async fn show_report(
    State(timeline): State<Timeline>,
    Query(query): Query<ReportQuery>,
) -> Result<Json<Report>, Error> {
    let since = query.since.as_deref().map(|it| instant(it, OffsetDateTime::now_utc())).transpose()?;
    let nodes = timeline.find_all(query.node.as_deref())?;
    let fits = |it: &&Boot| nodes.is_empty() || nodes.contains(&it.node);
    // The last boot of each machine is in memory, and no other counts.
    let mut boots: Vec<Boot> = timeline.board().all().filter(fits).cloned().collect();
    match since {
        Some(since) => boots.retain(|it| it.started >= since),
        None => boots = last_together(boots, timeline.config.together.0),
    }
    let boots: Vec<Boot> = boots.into_iter().map(|it| timeline.called(it)).collect();
    Ok(Json(report(&boots)))
}
