//! `GET /snapshot` and `GET /changes`.

use std::io;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use domain::feed::View;
use domain::{Scope, Service};
use futures_util::TryStreamExt;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use serde::Deserialize;
use sqlx::{PgPool, PgTransaction};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{put_mark, put_row, rows};
use crate::mirror::{Batch, Mirror};
use crate::server::Stopping;
use crate::{Database, Problem, Query, metrics, scoped};

/// How often a quiet feed says that it lives; also how long a consumer may take no piece before it is cut off. It
/// comes back with its number.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// What is sent at once.
const PIECE: usize = 64 << 10;
/// Pieces that wait for a slow consumer.
const QUEUE: usize = 4;
/// Snapshots read at once: each holds a connection to the database.
const SNAPSHOTS_MAX: usize = 2;

/// `GET /snapshot` and `GET /changes`, for whoever may read this service.
pub fn routes<V: View>(service: Service, database: Database, mirror: &Mirror<V>) -> Router {
    let mirror = mirror.clone();
    // Followers wait for this process' own Mirror, which hears of every change; a connection to the database each
    // would be more than there are.
    let batches: Batches = Arc::new(move || mirror.batches());
    let snapshots = Arc::new(Semaphore::new(SNAPSHOTS_MAX));
    Router::new()
        .route("/snapshot", scoped(get(show_snapshot), Scope::Read(service)))
        .route("/changes", scoped(get(follow_changes), Scope::Read(service)))
        .with_state(Feed { database, batches, snapshots })
}

static FOLLOWERS: LazyLock<Gauge> =
    LazyLock::new(|| metrics::gauge("feed_followers", "Followers of the change feed"));
static CUT_OFF: LazyLock<Counter> =
    LazyLock::new(|| metrics::counter("feed_cut_off", "Readers of the feed that were too slow"));

type Batches = Arc<dyn Fn() -> Receiver<Batch> + Send + Sync>;

#[derive(Clone)]
struct Feed {
    database: Database,
    batches: Batches,
    snapshots: Arc<Semaphore>,
}

/// An answer on its way, piece by piece.
struct Pieces(mpsc::Sender<io::Result<Bytes>>);

/// The consumer is gone, or too slow.
struct CutOff;

impl Pieces {
    fn answer() -> (Self, Response) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let stream = futures_util::stream::unfold(receiver, |mut it| async {
            it.recv().await.map(|piece| (piece, it))
        });
        let body = Body::from_stream(stream);
        (Self(sender), ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
    }

    async fn send(&self, mut text: Bytes) -> Result<(), CutOff> {
        while !text.is_empty() {
            let piece = text.split_to(text.len().min(PIECE));
            self.0.send_timeout(Ok(piece), HEARTBEAT).await.map_err(|error| {
                if matches!(error, SendTimeoutError::Timeout(_)) {
                    CUT_OFF.inc();
                }
                CutOff
            })?;
        }
        Ok(())
    }

    /// Ends the answer so that nobody takes it for whole.
    async fn break_off(&self, error: sqlx::Error) {
        if self.0.send_timeout(Err(io::Error::other(error)), HEARTBEAT).await.is_err() {
            tracing::debug!("a reader of the feed is gone");
        }
    }
}

fn unavailable(error: sqlx::Error) -> Response {
    Problem::unavailable(format!("the feed cannot be read: {error}")).into_response()
}

async fn show_snapshot(State(feed): State<Feed>) -> Result<Response, Response> {
    let db = feed.database.pool().map_err(IntoResponse::into_response)?;
    let turn = feed.snapshots.acquire_owned().await;
    let turn = turn.map_err(|it| Problem::internal(&it).into_response())?;
    let mut tx = rows::begin_snapshot(db).await.map_err(unavailable)?;
    let header = rows::read_header(&mut tx).await.map_err(unavailable)?;
    let mut first = serde_json::to_vec(&header).map_err(|it| Problem::internal(&it).into_response())?;
    first.push(b'\n');
    let (pieces, response) = Pieces::answer();
    tokio::spawn(async move {
        let _turn = turn;
        match send_rows(&pieces, tx, first).await {
            Ok(Ok(()) | Err(CutOff)) => {}
            Err(error) => pieces.break_off(error).await,
        }
    });
    Ok(response)
}

/// The transaction stays open while pieces are sent, so that nothing has to be held in memory; a consumer that takes
/// none for 10 s ends it.
async fn send_rows(
    pieces: &Pieces,
    mut tx: PgTransaction<'static>,
    first: Vec<u8>,
) -> sqlx::Result<Result<(), CutOff>> {
    let mut text = first;
    {
        let mut all = rows::read_rows(&mut tx);
        while let Some(row) = all.try_next().await? {
            put_row(&mut text, None, &row.kind, &row.id, row.row.as_deref());
            if text.len() >= PIECE
                && pieces
                    .send(std::mem::replace(&mut text, Vec::with_capacity(PIECE + 1024)).into())
                    .await
                    .is_err()
            {
                return Ok(Err(CutOff));
            }
        }
    }
    tx.rollback().await?;
    Ok(pieces.send(text.into()).await)
}

#[derive(Debug, Deserialize)]
struct From {
    epoch: Uuid,
    after: i64,
}

async fn follow_changes(
    State(feed): State<Feed>,
    stop: Option<Extension<Stopping>>,
    Query(from): Query<From>,
) -> Result<Response, Response> {
    let db = feed.database.pool().map_err(IntoResponse::into_response)?.clone();
    let stop = stop.map(|Extension(Stopping(it))| it).unwrap_or_default();
    // Before the first look, so that no change falls between.
    let batches = (feed.batches)();
    let first = rows::read_changes(&db, from.epoch, from.after).await.map_err(unavailable)?;
    let Some(first) = first else {
        let detail = "those changes are no longer kept; read /snapshot anew";
        return Err(Problem::own(StatusCode::GONE, "feed-truncated", detail).into_response());
    };
    let (pieces, response) = Pieces::answer();
    let follower = Follower { db, epoch: from.epoch, at: first.last, pieces };
    tokio::spawn(async move {
        FOLLOWERS.inc();
        if follower.pieces.send(first.text().into()).await.is_ok() {
            drop(first);
            follower.run(batches, stop).await;
        }
        FOLLOWERS.dec();
    });
    Ok(response)
}

struct Follower {
    db: PgPool,
    epoch: Uuid,
    at: i64,
    pieces: Pieces,
}

impl Follower {
    /// Passes on what the Mirror applies, until the consumer is cut off or must read a snapshot.
    async fn run(mut self, mut batches: Receiver<Batch>, stop: CancellationToken) {
        loop {
            let heard = tokio::select! {
                heard = batches.recv() => Some(heard),
                () = tokio::time::sleep(HEARTBEAT) => None,
                () = self.pieces.0.closed() => return,
                () = stop.cancelled() => return,
            };
            let text: Bytes = match heard {
                None => {
                    let mut mark = Vec::new();
                    put_mark(&mut mark, self.at);
                    mark.into()
                }
                Some(Ok(batch)) if batch.epoch == self.epoch && batch.to <= self.at => continue,
                Some(Ok(Batch { epoch, from, to, text: Some(text) }))
                    if epoch == self.epoch && from == self.at =>
                {
                    self.at = to;
                    text
                }
                // A long one, or some were missed.
                Some(Ok(_) | Err(RecvError::Lagged(_))) => {
                    match rows::read_changes(&self.db, self.epoch, self.at).await {
                        Ok(Some(new)) => {
                            self.at = new.last;
                            new.text().into()
                        }
                        _ => return,
                    }
                }
                Some(Err(RecvError::Closed)) => return,
            };
            if self.pieces.send(text).await.is_err() {
                return;
            }
        }
    }
}
