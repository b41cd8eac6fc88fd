//! The serving side of the change feed (INTERFACES 1): rows are recorded in the transaction that changes them, and
//! read back as a snapshot or from a number on.

pub(crate) mod rows;
mod serve;

use bytes::Bytes;
use domain::feed::{Change, View};
use sqlx::{PgPool, PgTransaction};
use uuid::Uuid;

use crate::mirror::{Lagging, Mirror};

pub use serve::routes;

/// The version of the rows.
pub(crate) const SCHEMA: u32 = 1;

/// So many bytes of rows a statement.
const STATEMENT_MAX: usize = 512 << 10;

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
    Ok(note(tx, changes).await?.seq)
}

/// A transaction as the feed tells of it.
struct Noted {
    epoch: Uuid,
    seq: i64,
    text: Bytes,
}

async fn note(tx: &mut PgTransaction<'_>, changes: &[Change]) -> sqlx::Result<Noted> {
    // The last word about each row counts.
    let mut last = std::collections::HashMap::with_capacity(changes.len());
    for (at, change) in changes.iter().enumerate() {
        last.insert((change.kind.as_str(), change.id.as_str()), at);
    }
    let (mut kinds, mut ids, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    for (at, change) in changes.iter().enumerate() {
        if last[&(change.kind.as_str(), change.id.as_str())] == at {
            kinds.push(change.kind.as_str());
            ids.push(change.id.as_str());
            rows.push((!change.row.is_null()).then(|| change.row.to_string()));
        }
    }
    // One round trip for all: the counter first, whose lock the other two need.
    let (epoch, seq): (Uuid, i64) =
        sqlx::query_as("update feed set seq = seq + 1 returning epoch, seq").fetch_one(&mut **tx).await?;
    let mut text = Vec::new();
    for ((kind, id), row) in kinds.iter().zip(&ids).zip(&rows) {
        put_row(&mut text, Some(seq), kind, id, row.as_deref());
    }
    put_mark(&mut text, seq);
    let mut from = 0;
    while from < kinds.len() {
        let to = piece(&rows, from);
        insert_rows(tx, seq, &kinds[from..to], &ids[from..to], &rows[from..to]).await?;
        from = to;
    }
    Ok(Noted { epoch, seq, text: text.into() })
}

/// Where a statement ends that begins with the row `from`: each connection keeps the room that its longest one took.
fn piece(rows: &[Option<String>], from: usize) -> usize {
    let mut room = STATEMENT_MAX;
    let fits = |row: &&Option<String>| {
        let fit = room > 0;
        room = room.saturating_sub(row.as_ref().map_or(0, String::len) + 64);
        fit
    };
    from + rows[from..].iter().take_while(fits).count()
}

/// Stores rows and tells the followers, who hear of it once however often it is said (NOTIFY in the manual of
/// PostgreSQL).
async fn insert_rows(
    tx: &mut PgTransaction<'_>,
    seq: i64,
    kinds: &[&str],
    ids: &[&str],
    rows: &[Option<String>],
) -> sqlx::Result<()> {
    sqlx::query(
        "with told as (select pg_notify('feed', $4::bigint::text))
         insert into feed_row (kind, id, row, seq)
         select kind, id, row::json, $4 from told, unnest($1::text[], $2::text[], $3::text[]) as new (kind, id, row)
         on conflict (kind, id) do update set row = excluded.row, seq = excluded.seq, changed = now()",
    )
    .bind(kinds)
    .bind(ids)
    .bind(rows)
    .bind(seq)
    .execute(&mut **tx)
    .await
    .map(drop)
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
    let Noted { epoch, seq, text } = note(&mut tx, changes).await?;
    tx.commit().await?;
    mirror.offer(epoch, seq, changes, text);
    Ok(mirror.reached(seq).await?)
}

/// Forgets deleted rows that are older than a day, or beyond 100,000 (INTERFACES 1).
///
/// # Errors
///
/// Whatever the database says.
pub async fn prune(db: &PgPool) -> sqlx::Result<u64> {
    let mut tx = db.begin().await?;
    let (pruned, rows): (Option<i64>, i64) = sqlx::query_as(
        "with old as (
             delete from feed_row where row is null and (changed < now() - interval '24 hours'
                 or seq < (select seq from feed_row where row is null order by seq desc offset 100000 limit 1))
             returning seq)
         select max(seq), count(*) from old",
    )
    .fetch_one(&mut *tx)
    .await?;
    let Some(pruned) = pruned else { return Ok(0) };
    sqlx::query("update feed set pruned = greatest(pruned, $1)").bind(pruned).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(u64::try_from(rows).unwrap_or(0))
}

/// Adds a line `{"seq":…,"kind":…,"id":…,"row":…}`; the row is JSON already. Without a number it is a snapshot's.
pub(crate) fn put_row(text: &mut Vec<u8>, seq: Option<i64>, kind: &str, id: &str, row: Option<&str>) {
    match seq {
        Some(seq) => text.extend_from_slice(format!("{{\"seq\":{seq},\"kind\":").as_bytes()),
        None => text.extend_from_slice(b"{\"kind\":"),
    }
    text.extend_from_slice(quoted(kind).as_bytes());
    text.extend_from_slice(b",\"id\":");
    text.extend_from_slice(quoted(id).as_bytes());
    text.extend_from_slice(b",\"row\":");
    text.extend_from_slice(row.unwrap_or("null").as_bytes());
    text.extend_from_slice(b"}\n");
}

/// Adds the line that closes a transaction.
pub(crate) fn put_mark(text: &mut Vec<u8>, seq: i64) {
    text.extend_from_slice(format!("{{\"seq\":{seq}}}\n").as_bytes());
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
