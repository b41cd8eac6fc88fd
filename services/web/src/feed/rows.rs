//! The feed's tables as they are read.

use domain::feed::{Change, Header};
use futures_util::stream::BoxStream;
use sqlx::{PgConnection, PgPool, PgTransaction};
use uuid::Uuid;

use super::{SCHEMA, put_mark, put_row};

/// So many rows behind, and a snapshot is quicker: the changes would all be in memory at once.
const BEHIND_MAX: i64 = 20_000;

/// A row; its JSON as text, none if it was deleted.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct Row {
    pub(crate) seq: i64,
    pub(crate) kind: String,
    pub(crate) id: String,
    pub(crate) row: Option<String>,
}

/// What has changed since a number.
#[derive(Debug)]
pub(crate) struct News {
    /// The number now.
    pub(crate) last: i64,
    /// The rows, as they are at that number.
    pub(crate) rows: Vec<Row>,
}

impl Row {
    /// As a view takes it; JSON that does not parse was refused by the database.
    pub(crate) fn to_change(&self) -> Change {
        let row = self.row.as_deref().and_then(|it| serde_json::from_str(it).ok()).unwrap_or_default();
        Change { kind: self.kind.clone(), id: self.id.clone(), row }
    }
}

impl News {
    /// The lines, and one mark: only all of them together are a state that there was.
    pub(crate) fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for Row { seq, kind, id, row } in &self.rows {
            put_row(&mut text, Some(*seq), kind, id, row.as_deref());
        }
        put_mark(&mut text, self.last);
        text
    }
}

/// What has changed after a number; None if that is no longer known, or more than a snapshot is worth.
pub(crate) async fn read_changes(db: &PgPool, epoch: Uuid, after: i64) -> sqlx::Result<Option<News>> {
    // In one statement, which sees one moment.
    type Told = (Uuid, i64, i64, Option<i64>, Option<String>, Option<String>, Option<String>);
    let told: Vec<Told> = sqlx::query_as(
        "select feed.epoch, feed.seq, feed.pruned, new.seq, new.kind, new.id, new.row::text
         from feed left join lateral
             (select seq, kind, id, row from feed_row where seq > $1 order by seq limit $2) as new on true",
    )
    .bind(after)
    .bind(BEHIND_MAX + 1)
    .fetch_all(db)
    .await?;
    let Some(&(now, last, pruned, ..)) = told.first() else { return Ok(None) };
    let too_many = i64::try_from(told.len()).is_ok_and(|it| it > BEHIND_MAX);
    if now != epoch || after < pruned || after > last || too_many {
        return Ok(None);
    }
    let rows = told
        .into_iter()
        .filter_map(|(.., seq, kind, id, row)| Some(Row { seq: seq?, kind: kind?, id: id?, row }));
    Ok(Some(News { last, rows: rows.collect() }))
}

/// Begins a read that sees one moment.
pub(crate) async fn begin_snapshot(db: &PgPool) -> sqlx::Result<PgTransaction<'static>> {
    db.begin_with("begin isolation level repeatable read read only").await
}

/// The number of the moment.
pub(crate) async fn read_header(db: &mut PgConnection) -> sqlx::Result<Header> {
    let (epoch, seq) = sqlx::query_as("select epoch, seq from feed").fetch_one(db).await?;
    Ok(Header { epoch, seq, schema: SCHEMA })
}

/// Every row, as it comes.
pub(crate) fn read_rows(db: &mut PgConnection) -> BoxStream<'_, sqlx::Result<Row>> {
    sqlx::query_as(
        "select seq, kind, id, row::text as row from feed_row where row is not null order by kind, id",
    )
    .fetch(db)
}
