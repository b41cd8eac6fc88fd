//! How a Mirror follows: its own database by its notifications, a neighbour's feed over its socket.

use axum::body::Body;
use axum::http::{Method, Response, StatusCode};
use bytes::Bytes;
use daemon::Retry;
use domain::feed::{Change, Header, View};
use futures_util::TryStreamExt;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use sqlx::postgres::PgListener;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Mirror;
use super::file::{Kept, Line};
use crate::feed::{self, rows};
use crate::{Client, Database};

/// How long a followed feed may be silent: three heartbeats.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// The longest transaction, in bytes of its lines, that is taken from a neighbour.
const BATCH_MAX: usize = 64 << 20;
/// The longest line.
const LINE_MAX: usize = 16 << 20;
/// How often old deletions are forgotten.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);

/// What a Mirror follows.
enum Source {
    Database(Database),
    Socket(Client),
}

impl<V: View> Mirror<V> {
    /// Follows the service's own database until `stop`, through every loss of it; forgets old deletions meanwhile.
    pub async fn follow_database(&self, database: Database, stop: CancellationToken) {
        tokio::join!(self.follow(Source::Database(database.clone()), &stop), prune(&database, &stop));
    }

    /// Follows a neighbour's feed over its socket until `stop`, through every loss of it.
    pub async fn follow_socket(&self, client: Client, stop: CancellationToken) {
        self.follow(Source::Socket(client), &stop).await;
    }

    async fn follow(&self, source: Source, stop: &CancellationToken) {
        let mut retry = Retry::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                ended = self.follow_once(&source, &mut retry) => {
                    if let Err(error) = ended {
                        self.note_stale(&error);
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = retry.wait() => {}
            }
        }
    }

    async fn follow_once(&self, source: &Source, retry: &mut Retry) -> Result<(), String> {
        match source {
            Source::Database(database) => {
                let db = database.migrated().await;
                self.follow_database_once(db, retry).await.map_err(|error| {
                    database.note_lost(&error);
                    error.to_string()
                })
            }
            Source::Socket(client) => {
                self.follow_socket_once(client, retry).await.map_err(|it| format!("{it:#}"))
            }
        }
    }

    async fn follow_database_once(&self, db: &sqlx::PgPool, retry: &mut Retry) -> sqlx::Result<()> {
        let mut listener = PgListener::connect_with(db).await?;
        listener.listen("feed").await?;
        loop {
            self.catch_up(db).await?;
            retry.reset();
            // What this process committed itself is applied already.
            loop {
                let heard = tokio::time::timeout(SILENCE_MAX / 3, listener.try_recv()).await;
                match heard {
                    Ok(Ok(Some(heard))) if heard.payload().parse().is_ok_and(|it: i64| it <= self.seq()) => {}
                    // Something new; or the connection was lost, and what was told meanwhile with it; or silence.
                    Ok(Ok(_)) | Err(_) => break,
                    Ok(Err(error)) => return Err(error),
                }
            }
        }
    }

    /// Applies what is new; a snapshot if that is not known any more.
    async fn catch_up(&self, db: &sqlx::PgPool) -> sqlx::Result<()> {
        let mut kept = self.0.kept.lock().await;
        let at = *self.0.position.borrow();
        if let Some(epoch) = at.epoch.filter(|_| !kept.wants_snapshot())
            && let Some(new) = rows::read_changes(db, epoch, at.seq).await?
        {
            let changes = new.rows.iter().map(rows::Row::to_change).collect::<Vec<_>>();
            self.apply(&mut kept, new.last, &changes, new.text().into());
            return Ok(());
        }
        let mut tx = rows::begin_snapshot(db).await?;
        let mut draft = kept.draft(rows::read_header(&mut tx).await?);
        let mut all = rows::read_rows(&mut tx);
        while let Some(row) = all.try_next().await? {
            let text = row.row.as_deref().unwrap_or("null");
            draft.take(&row.to_change(), text);
        }
        drop(all);
        tx.rollback().await?;
        self.replace(&mut kept, draft);
        Ok(())
    }

    async fn follow_socket_once(&self, client: &Client, retry: &mut Retry) -> anyhow::Result<()> {
        // Nobody else changes this Mirror.
        let mut kept = self.0.kept.lock().await;
        loop {
            let at = *self.0.position.borrow();
            let Some(epoch) = at.epoch.filter(|_| !kept.wants_snapshot()) else {
                self.take_snapshot(client, &mut kept).await?;
                continue;
            };
            let path = format!("/changes?epoch={epoch}&after={}", at.seq);
            let response = client.send(Method::GET, &path, Body::empty()).await?;
            match response.status() {
                StatusCode::OK => {
                    retry.reset();
                    self.take_changes(response, &mut kept, epoch).await?;
                }
                StatusCode::GONE => self.take_snapshot(client, &mut kept).await?,
                status => anyhow::bail!("the feed answers {status}"),
            }
        }
    }

    async fn take_snapshot(&self, client: &Client, kept: &mut Kept) -> anyhow::Result<()> {
        let response = client.send(Method::GET, "/snapshot", Body::empty()).await?;
        anyhow::ensure!(response.status() == StatusCode::OK, "the snapshot answers {}", response.status());
        let mut lines = Lines::of(response);
        let first = lines.next().await?.ok_or_else(|| anyhow::anyhow!("the snapshot is empty"))?;
        let header: Header = serde_json::from_slice(first)?;
        anyhow::ensure!(
            header.schema == feed::SCHEMA,
            "the feed has the schema {}, which is not read here; update this service",
            header.schema
        );
        let mut draft = kept.draft(header);
        while let Some(line) = lines.next().await? {
            let row: RawRow<'_> = serde_json::from_slice(line)?;
            let change = Change { kind: row.kind, id: row.id, row: serde_json::from_str(row.row.get())? };
            draft.take(&change, row.row.get());
        }
        self.replace(kept, draft);
        Ok(())
    }

    /// Applies each transaction when it is whole, until the file wants to be written anew.
    async fn take_changes(
        &self,
        response: Response<Incoming>,
        kept: &mut Kept,
        epoch: Uuid,
    ) -> anyhow::Result<()> {
        let mut lines = Lines::of(response);
        let (mut changes, mut text) = (Vec::new(), Vec::new());
        while !kept.wants_snapshot() {
            let Some(line) = lines.next().await? else { anyhow::bail!("the feed ended") };
            text.extend_from_slice(line);
            text.push(b'\n');
            anyhow::ensure!(text.len() <= BATCH_MAX, "a transaction of the feed is too long");
            let parsed: Line = serde_json::from_slice(line)?;
            let seq = parsed.seq.ok_or_else(|| anyhow::anyhow!("a line of the feed has no number"))?;
            match parsed.change() {
                Some(change) => changes.push(change),
                None => {
                    debug_assert_eq!(self.0.position.borrow().epoch, Some(epoch));
                    self.apply(kept, seq, &changes, std::mem::take(&mut text).into());
                    changes.clear();
                }
            }
        }
        Ok(())
    }
}

/// A row of a snapshot; the row's own text is kept for the file.
#[derive(Deserialize)]
struct RawRow<'a> {
    kind: String,
    id: String,
    #[serde(borrow)]
    row: &'a serde_json::value::RawValue,
}

/// The lines of an answer, as they come.
struct Lines {
    body: Incoming,
    buffer: Vec<u8>,
    /// Where the line that was given last ends.
    taken: usize,
}

impl Lines {
    fn of(response: Response<Incoming>) -> Self {
        Self { body: response.into_body(), buffer: Vec::new(), taken: 0 }
    }

    /// The next line, without its end; None when the answer ends.
    async fn next(&mut self) -> anyhow::Result<Option<&[u8]>> {
        let mut looked = self.taken;
        loop {
            if let Some(end) = self.buffer[looked..].iter().position(|it| *it == b'\n') {
                let line = self.taken..looked + end;
                self.taken = line.end + 1;
                return Ok(Some(&self.buffer[line]));
            }
            self.buffer.drain(..self.taken);
            self.taken = 0;
            looked = self.buffer.len();
            anyhow::ensure!(looked <= LINE_MAX, "a line of the feed is too long");
            match tokio::time::timeout(SILENCE_MAX, self.body.frame()).await? {
                Some(frame) => {
                    self.buffer.extend_from_slice(&frame?.into_data().unwrap_or_else(|_| Bytes::new()))
                }
                None if looked == 0 => return Ok(None),
                None => anyhow::bail!("the feed broke off in a line"),
            }
        }
    }
}

/// Forgets old deletions.
async fn prune(database: &Database, stop: &CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PRUNE_EVERY) => {}
        }
        if let Ok(db) = database.pool()
            && let Err(error) = feed::prune(db).await
        {
            tracing::warn!(%error, "old deletions of the feed cannot be forgotten");
        }
    }
}
