//! The audit's rows.

use sqlx::types::time::OffsetDateTime;
use sqlx::{PgConnection, PgExecutor};

use crate::model::{Deed, Hash, Mark, Record};

/// A chain as its row has it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chain {
    /// Where the journal was read to.
    pub(crate) cursor: Option<String>,
    pub(crate) last: Mark,
    pub(crate) pruned: Mark,
}

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct AuditFilter {
    pub(crate) since: Option<OffsetDateTime>,
    pub(crate) until: Option<OffsetDateTime>,
    /// A part of the actor's name.
    pub(crate) actor: Option<String>,
    /// A part of what was done.
    pub(crate) what: Option<String>,
    /// The beginning of the result.
    pub(crate) result: Option<String>,
    /// The xname.
    pub(crate) node: Option<String>,
    pub(crate) limit: i64,
}

type Row =
    (String, i64, OffsetDateTime, String, String, String, String, String, Option<String>, Vec<u8>, Vec<u8>);

fn record(row: Row) -> Record {
    let (head, id, time, source, actor, whence, what, result, node, previous, hash) = row;
    let deed = Deed { time, source, actor, whence, what, result, node };
    let [previous, hash] = [previous, hash].map(|it| Hash::from_bytes(&it).unwrap_or_default());
    Record { head, id, deed, previous, hash }
}

fn mark(id: i64, hash: &[u8]) -> Mark {
    Mark { id, hash: Hash::from_bytes(hash).unwrap_or_default() }
}

/// All that a transaction reads is of one moment from here on.
pub(crate) async fn freeze(db: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query("set transaction isolation level repeatable read, read only").execute(db).await.map(drop)
}

/// Begins a chain, if there is none.
pub(crate) async fn insert_chain(db: impl PgExecutor<'_>, head: &str) -> sqlx::Result<()> {
    let none = Mark::default().hash.to_bytes();
    sqlx::query(
        "insert into audit_chain (head, last, last_hash, pruned, pruned_hash) values ($1, 0, $2, 0, $2)
         on conflict (head) do nothing",
    )
    .bind(head)
    .bind(none)
    .execute(db)
    .await
    .map(drop)
}

type ChainRow = (String, Option<String>, i64, Vec<u8>, i64, Vec<u8>);

fn chain((head, cursor, last, last_hash, pruned, pruned_hash): ChainRow) -> (String, Chain) {
    (head, Chain { cursor, last: mark(last, &last_hash), pruned: mark(pruned, &pruned_hash) })
}

/// A head's chain.
pub(crate) async fn find_chain(db: impl PgExecutor<'_>, head: &str) -> sqlx::Result<Option<Chain>> {
    let row: Option<ChainRow> = sqlx::query_as(
        "select head, cursor, last, last_hash, pruned, pruned_hash from audit_chain where head = $1",
    )
    .bind(head)
    .fetch_optional(db)
    .await?;
    Ok(row.map(|it| chain(it).1))
}

/// All chains, by their heads.
pub(crate) async fn list_chains(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<(String, Chain)>> {
    let rows: Vec<ChainRow> = sqlx::query_as(
        "select head, cursor, last, last_hash, pruned, pruned_hash from audit_chain order by head",
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(chain).collect())
}

/// Moves a chain's end; false: it is not where it was.
pub(crate) async fn update_chain(
    db: impl PgExecutor<'_>,
    head: &str,
    from: Mark,
    to: Mark,
    cursor: Option<&str>,
) -> sqlx::Result<bool> {
    let done = sqlx::query(
        "update audit_chain set last = $4, last_hash = $5, cursor = $6
         where head = $1 and last = $2 and last_hash = $3",
    )
    .bind(head)
    .bind(from.id)
    .bind(from.hash.to_bytes())
    .bind(to.id)
    .bind(to.hash.to_bytes())
    .bind(cursor)
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Says that all records up to one are gone.
pub(crate) async fn update_pruned(db: impl PgExecutor<'_>, head: &str, pruned: Mark) -> sqlx::Result<()> {
    sqlx::query("update audit_chain set pruned = $2, pruned_hash = $3 where head = $1")
        .bind(head)
        .bind(pruned.id)
        .bind(pruned.hash.to_bytes())
        .execute(db)
        .await
        .map(drop)
}

/// Writes records down, all or none.
pub(crate) async fn insert_records(db: impl PgExecutor<'_>, records: &[Record]) -> sqlx::Result<()> {
    let text = |of: fn(&Record) -> &str| records.iter().map(|it| of(it).to_owned()).collect::<Vec<_>>();
    sqlx::query(
        "insert into audit (head, id, time, source, actor, whence, what, result, node, previous, hash)
         select head, id, time, source, actor, whence, what, result, node, previous, hash
         from unnest($1::text[], $2::bigint[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[],
             $8::text[], $9::text[], $10::bytea[], $11::bytea[])
             as row (head, id, time, source, actor, whence, what, result, node, previous, hash)",
    )
    .bind(text(|it| &it.head))
    .bind(records.iter().map(|it| it.id).collect::<Vec<_>>())
    .bind(records.iter().map(|it| it.deed.time).collect::<Vec<_>>())
    .bind(text(|it| &it.deed.source))
    .bind(text(|it| &it.deed.actor))
    .bind(text(|it| &it.deed.whence))
    .bind(text(|it| &it.deed.what))
    .bind(text(|it| &it.deed.result))
    .bind(records.iter().map(|it| it.deed.node.clone()).collect::<Vec<_>>())
    .bind(records.iter().map(|it| it.previous.to_bytes()).collect::<Vec<_>>())
    .bind(records.iter().map(|it| it.hash.to_bytes()).collect::<Vec<_>>())
    .execute(db)
    .await
    .map(drop)
}

/// A chain's records behind one, in order.
pub(crate) async fn list_records_after(
    db: impl PgExecutor<'_>,
    head: &str,
    after: i64,
    limit: i64,
) -> sqlx::Result<Vec<Record>> {
    let rows: Vec<Row> = sqlx::query_as(
        "select head, id, time, source, actor, whence, what, result, node, previous, hash
         from audit where head = $1 and id > $2 order by id limit $3",
    )
    .bind(head)
    .bind(after)
    .bind(limit)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(record).collect())
}

/// Records of all heads, the newest first.
pub(crate) async fn list_records(db: impl PgExecutor<'_>, filter: &AuditFilter) -> sqlx::Result<Vec<Record>> {
    let rows: Vec<Row> = sqlx::query_as(
        "select head, id, time, source, actor, whence, what, result, node, previous, hash from audit
         where time >= coalesce($1, '-infinity'::timestamptz) and time < coalesce($2, 'infinity'::timestamptz)
             and ($3::text is null or position(lower($3) in lower(actor)) > 0)
             and ($4::text is null or position(lower($4) in lower(what)) > 0)
             and ($5::text is null or starts_with(result, $5)) and ($6::text is null or node = $6)
         order by time desc, head, id desc limit $7",
    )
    .bind(filter.since)
    .bind(filter.until)
    .bind(&filter.actor)
    .bind(&filter.what)
    .bind(&filter.result)
    .bind(&filter.node)
    .bind(filter.limit)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(record).collect())
}

/// The first record of a chain that is not older.
pub(crate) async fn find_first_since(
    db: impl PgExecutor<'_>,
    head: &str,
    since: OffsetDateTime,
) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar("select min(id) from audit where head = $1 and time >= $2")
        .bind(head)
        .bind(since)
        .fetch_one(db)
        .await
}

/// A record's number and hash.
pub(crate) async fn find_mark(db: impl PgExecutor<'_>, head: &str, id: i64) -> sqlx::Result<Option<Mark>> {
    let hash: Option<Vec<u8>> = sqlx::query_scalar("select hash from audit where head = $1 and id = $2")
        .bind(head)
        .bind(id)
        .fetch_optional(db)
        .await?;
    Ok(hash.map(|it| mark(id, &it)))
}

/// Deletes a chain's records up to one; how many.
pub(crate) async fn delete_records_to(db: impl PgExecutor<'_>, head: &str, id: i64) -> sqlx::Result<u64> {
    let done = sqlx::query("delete from audit where head = $1 and id <= $2").bind(head).bind(id);
    Ok(done.execute(db).await?.rows_affected())
}
