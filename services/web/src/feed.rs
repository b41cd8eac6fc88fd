//! The serving side of the change feed (INTERFACES 1): rows are recorded in the transaction that changes them, and
//! read back as a snapshot or from a number on.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use domain::feed::{Change, Header, Line, View};
use domain::{Scope, Service};
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::Value;
use sqlx::{PgConnection, PgPool, PgTransaction};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::mirror::{Changes, Lagging, Mirror};
use crate::server::Stopping;
use crate::{Database, Problem, Query, scoped};

/// The version of the rows.
const SCHEMA: u32 = 1;
/// How often a quiet feed says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Lines that wait for a slow consumer; one that is slower is cut off and comes back with its number.
const QUEUE: usize = 1024;

/// Why a write was not answered with success.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The transaction failed; nothing was changed.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// The change is stored, but this process did not see it come back in time.
    #[error("the change is stored but not served yet")]
    Lagging(#[from] Lagging),
}

/// Writes the rows, numbers the transaction, and wakes the followers. The last thing before the commit: the lock on
/// the counter makes the order of commits the order of numbers.
///
/// # Errors
///
/// Whatever the database says.
pub async fn record(tx: &mut PgTransaction<'_>, changes: &[Change]) -> sqlx::Result<i64> {
    let mut last = std::collections::HashMap::new();
    for change in changes {
        last.insert((&change.kind, &change.id), change);
    }
    let (mut kinds, mut ids, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    for change in last.into_values() {
        kinds.push(change.kind.as_str());
        ids.push(change.id.as_str());
        rows.push((!change.row.is_null()).then_some(&change.row));
    }
    let seq: i64 =
        sqlx::query_scalar("update feed set seq = seq + 1 returning seq").fetch_one(&mut **tx).await?;
    sqlx::query(
        "insert into feed_row (kind, id, row, seq)
         select kind, id, row, $4 from unnest($1::text[], $2::text[], $3::jsonb[]) as new (kind, id, row)
         on conflict (kind, id) do update set row = excluded.row, seq = excluded.seq, changed = now()",
    )
    .bind(kinds)
    .bind(ids)
    .bind(rows)
    .bind(seq)
    .execute(&mut **tx)
    .await?;
    sqlx::query("select pg_notify('feed', $1::text)").bind(seq).execute(&mut **tx).await?;
    Ok(seq)
}

/// Records, commits, and waits until the service's own Mirror has applied the change, so that whoever reads after
/// the answer sees it.
///
/// # Errors
///
/// See [`CommitError`].
pub async fn commit<V: View>(
    mut tx: PgTransaction<'_>,
    changes: &[Change],
    mirror: &Mirror<V>,
) -> Result<(), CommitError> {
    if changes.is_empty() {
        return Ok(tx.commit().await?);
    }
    let seq = record(&mut tx, changes).await?;
    tx.commit().await?;
    Ok(mirror.reached(seq).await?)
}

/// Forgets deleted rows that are older than a day, or beyond 100,000 (INTERFACES 1).
///
/// # Errors
///
/// Whatever the database says.
pub async fn prune(db: &PgPool) -> sqlx::Result<u64> {
    let mut tx = db.begin().await?;
    let pruned: Option<i64> = sqlx::query_scalar(
        "with old as (
             delete from feed_row where row is null and (changed < now() - interval '24 hours'
                 or seq < (select seq from feed_row where row is null order by seq desc offset 100000 limit 1))
             returning seq)
         select max(seq) from old",
    )
    .fetch_one(&mut *tx)
    .await?;
    let Some(pruned) = pruned else { return Ok(0) };
    let done =
        sqlx::query("update feed set pruned = greatest(pruned, $1)").bind(pruned).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(done.rows_affected())
}

/// A snapshot in one consistent read.
pub(crate) async fn read_snapshot(db: &PgPool) -> sqlx::Result<(Header, Vec<Change>)> {
    let mut tx = db.begin_with("begin isolation level repeatable read read only").await?;
    let (epoch, seq): (Uuid, i64) = sqlx::query_as("select epoch, seq from feed").fetch_one(&mut *tx).await?;
    let rows: Vec<(String, String, Value)> =
        sqlx::query_as("select kind, id, row from feed_row where row is not null order by kind, id")
            .fetch_all(&mut *tx)
            .await?;
    let changes = rows.into_iter().map(|(kind, id, row)| Change { kind, id, row }).collect();
    Ok((Header { epoch, seq, schema: SCHEMA }, changes))
}

/// The lines after a number, each transaction closed by its mark; None if they are no longer known.
pub(crate) async fn read_changes(
    db: &mut PgConnection,
    epoch: Uuid,
    after: i64,
) -> sqlx::Result<Option<Vec<Line>>> {
    let known: (Uuid, i64, i64) =
        sqlx::query_as("select epoch, seq, pruned from feed").fetch_one(&mut *db).await?;
    if known.0 != epoch || after < known.2 || after > known.1 {
        return Ok(None);
    }
    let rows: Vec<(i64, String, String, Option<Value>)> =
        sqlx::query_as("select seq, kind, id, row from feed_row where seq > $1 order by seq")
            .bind(after)
            .fetch_all(db)
            .await?;
    let mut lines: Vec<Line> = Vec::with_capacity(rows.len() + 8);
    for (seq, kind, id, row) in rows {
        if let Some(last) = lines.last().map(|it| it.seq).filter(|it| *it != seq) {
            lines.push(Line { seq: last, change: None });
        }
        let row = row.unwrap_or(Value::Null);
        lines.push(Line { seq, change: Some(Change { kind, id, row }) });
    }
    if let Some(last) = lines.last().map(|it| it.seq) {
        lines.push(Line { seq: last, change: None });
    }
    Ok(Some(lines))
}

/// `GET /snapshot` and `GET /changes`, for whoever may read this service.
pub fn routes<V: View>(service: Service, database: Database, mirror: &Mirror<V>) -> Router {
    let mirror = mirror.clone();
    // Followers wait for this process' own Mirror, which hears of every change; a connection to the database each
    // would be more than there are.
    let changes: Wake = Arc::new(move || mirror.subscribe());
    Router::new()
        .route("/snapshot", scoped(get(show_snapshot), Scope::Read(service)))
        .route("/changes", scoped(get(follow_changes), Scope::Read(service)))
        .with_state(Feed { database, changes })
}

type Wake = Arc<dyn Fn() -> Changes + Send + Sync>;

#[derive(Clone)]
struct Feed {
    database: Database,
    changes: Wake,
}

async fn show_snapshot(State(Feed { database, .. }): State<Feed>) -> Result<Response, Response> {
    let db = database.pool().map_err(IntoResponse::into_response)?;
    let snapshot = read_snapshot(db).await;
    let (header, changes) = snapshot.map_err(|it| Problem::unavailable(it.to_string()).into_response())?;
    let mut text = to_line(&header);
    for change in &changes {
        text.extend(to_line(change));
    }
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], text).into_response())
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
    let unavailable = |it: sqlx::Error| Problem::unavailable(it.to_string()).into_response();
    let stop = stop.map(|Extension(Stopping(it))| it).unwrap_or_default();
    // Before the first look, so that no change falls between.
    let mut changes = (feed.changes)();
    let mut connection = db.acquire().await.map_err(unavailable)?;
    let first = read_changes(&mut connection, from.epoch, from.after).await.map_err(unavailable)?;
    drop(connection);
    let Some(first) = first else {
        let detail = "those changes are no longer kept; read /snapshot anew";
        return Err(Problem::own(StatusCode::GONE, "feed-truncated", detail).into_response());
    };
    let (sender, receiver) = mpsc::channel::<Bytes>(QUEUE);
    tokio::spawn(async move {
        let mut after = from.after;
        let mut lines = first;
        loop {
            if let Some(last) = lines.last() {
                after = last.seq;
            }
            let mut text = Vec::new();
            lines.iter().for_each(|it| text.extend(to_line(it)));
            if lines.is_empty() {
                text = to_line(&Line { seq: after, change: None });
            }
            if sender.send_timeout(text.into(), HEARTBEAT).await.is_err() {
                return; // The consumer is gone or too slow.
            }
            // A change or a heartbeat, whichever is first; then whatever is new.
            tokio::select! {
                there = changes.changed() => if !there { return },
                () = tokio::time::sleep(HEARTBEAT) => {}
                () = sender.closed() => return,
                () = stop.cancelled() => return,
            }
            let Ok(mut connection) = db.acquire().await else { return };
            match read_changes(&mut connection, from.epoch, after).await {
                Ok(Some(new)) => lines = new,
                _ => return,
            }
        }
    });
    let stream =
        futures_util::stream::unfold(receiver, |mut it| async { it.recv().await.map(|text| (text, it)) });
    let body = Body::from_stream(stream.map(Ok::<_, Infallible>));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

fn to_line(value: &impl serde::Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}
