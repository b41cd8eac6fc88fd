//! All SQL of timeline.

mod audit;

use sqlx::types::time::{Date, OffsetDateTime};
use sqlx::{AssertSqlSafe, PgConnection, PgExecutor};
use time::macros::format_description;

use crate::model::Boot;
use crate::wire::Event;

pub(crate) use audit::{
    AuditFilter, Chain, delete_records_to, find_chain, find_first_since, find_mark, freeze, insert_chain,
    insert_records, list_chains, list_records, list_records_after, update_chain, update_pruned,
};

/// A step on its way to the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) event: Event,
    /// The machine's key, if it has one.
    pub(crate) node: Option<String>,
    /// When the boot began that it belongs to.
    pub(crate) boot: Option<OffsetDateTime>,
}

/// Writes steps down, all or none.
pub(crate) async fn insert_events(db: impl PgExecutor<'_>, rows: &[Row]) -> sqlx::Result<()> {
    let text = |of: fn(&Row) -> Option<String>| rows.iter().map(of).collect::<Vec<_>>();
    let number = |of: fn(&Row) -> Option<u64>| {
        rows.iter().map(|it| of(it).map(|it| i64::try_from(it).unwrap_or(i64::MAX))).collect::<Vec<_>>()
    };
    sqlx::query(
        "insert into event (time, node, mac, ip, boot, service, stage, result, bytes, duration_ms, image, facts, detail)
         select time, node, mac, ip, boot, service, stage, result, bytes, duration_ms, image, facts::jsonb, detail
         from unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::text[],
             $7::text[], $8::text[], $9::bigint[], $10::bigint[], $11::text[], $12::text[], $13::text[])
             as row (time, node, mac, ip, boot, service, stage, result, bytes, duration_ms, image, facts, detail)",
    )
    .bind(rows.iter().map(|it| it.event.time).collect::<Vec<_>>())
    .bind(text(|it| it.node.clone()))
    .bind(text(|it| it.event.mac.map(|it| it.to_string())))
    .bind(text(|it| it.event.ip.map(|it| it.to_string())))
    .bind(rows.iter().map(|it| it.boot).collect::<Vec<_>>())
    .bind(text(|it| Some(it.event.service.name().to_owned())))
    .bind(text(|it| Some(it.event.stage.name().to_owned())))
    .bind(text(|it| Some(it.event.result.name().to_owned())))
    .bind(number(|it| it.event.bytes))
    .bind(number(|it| it.event.duration_ms))
    .bind(text(|it| it.event.image.clone()))
    .bind(text(|it| serde_json::to_string(&it.event.facts).ok()))
    .bind(text(|it| Some(it.event.detail.clone())))
    .execute(db)
    .await
    .map(drop)
}

/// Writes boots down as they are now.
pub(crate) async fn replace_boots(db: impl PgExecutor<'_>, boots: &[Boot]) -> sqlx::Result<()> {
    let text = |of: fn(&Boot) -> String| boots.iter().map(of).collect::<Vec<_>>();
    sqlx::query(
        "insert into boot (node, started, updated, stage, result, data)
         select node, started, updated, stage, result, data::jsonb
         from unnest($1::text[], $2::timestamptz[], $3::timestamptz[], $4::text[], $5::text[], $6::text[])
             as row (node, started, updated, stage, result, data)
         on conflict (node, started) do update set updated = excluded.updated, stage = excluded.stage,
             result = excluded.result, data = excluded.data",
    )
    .bind(text(|it| it.node.clone()))
    .bind(boots.iter().map(|it| it.started).collect::<Vec<_>>())
    .bind(boots.iter().map(|it| it.updated).collect::<Vec<_>>())
    .bind(text(|it| it.stage.name().to_owned()))
    .bind(text(|it| it.result.name().to_owned()))
    .bind(text(|it| serde_json::to_string(it).unwrap_or_default()))
    .execute(db)
    .await
    .map(drop)
}

/// Which boots are asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// Of these machines; empty: all.
    pub(crate) nodes: Vec<String>,
    pub(crate) since: Option<OffsetDateTime>,
    pub(crate) result: Option<&'static str>,
    pub(crate) limit: i64,
}

/// Deletes a boot; its steps stay.
pub(crate) async fn delete_boot(
    db: impl PgExecutor<'_>,
    node: &str,
    started: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query("delete from boot where node = $1 and started = $2")
        .bind(node)
        .bind(started)
        .execute(db)
        .await
        .map(drop)
}

/// Boots, the newest first.
pub(crate) async fn list_boots(db: impl PgExecutor<'_>, filter: &Filter) -> sqlx::Result<Vec<Boot>> {
    let rows: Vec<String> = sqlx::query_scalar(
        "select data::text from boot
         where (cardinality($1::text[]) = 0 or node = any ($1))
             and started >= coalesce($2, '-infinity'::timestamptz) and ($3::text is null or result = $3)
         order by started desc limit $4",
    )
    .bind(&filter.nodes)
    .bind(filter.since)
    .bind(filter.result)
    .bind(filter.limit)
    .fetch_all(db)
    .await?;
    Ok(parse(&rows))
}

/// The last boot of each machine since then.
pub(crate) async fn list_last_boots(
    db: impl PgExecutor<'_>,
    since: OffsetDateTime,
    limit: i64,
) -> sqlx::Result<Vec<Boot>> {
    let rows: Vec<String> = sqlx::query_scalar(
        "select data::text from (
             select distinct on (node) data, started from boot where started >= $1 order by node, started desc
         ) as last order by started desc limit $2",
    )
    .bind(since)
    .bind(limit)
    .fetch_all(db)
    .await?;
    Ok(parse(&rows))
}

/// A boot that a newer release wrote in another form is left out.
fn parse(rows: &[String]) -> Vec<Boot> {
    rows.iter().filter_map(|it| serde_json::from_str(it).ok()).collect()
}

/// The steps of a boot, the first one first.
pub(crate) async fn list_events(
    db: impl PgExecutor<'_>,
    node: &str,
    started: OffsetDateTime,
    limit: i64,
) -> sqlx::Result<Vec<Event>> {
    let rows: Vec<serde_json::Value> = sqlx::query_scalar(
        "select jsonb_build_object('time', to_char(time at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),
             'service', service, 'stage', stage, 'result', result, 'mac', mac, 'ip', ip, 'bytes', bytes,
             'duration_ms', duration_ms, 'image', image, 'facts', facts, 'detail', detail)
         from event where node = $1 and boot = $2 order by time limit $3",
    )
    .bind(node)
    .bind(started)
    .bind(limit)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().filter_map(|it| serde_json::from_value(it).ok()).collect())
}

/// The partitioned tables.
const TABLES: [&str; 2] = ["event", "boot"];

/// Makes the partitions of a day where there are none.
pub(crate) async fn create_partitions(db: &mut PgConnection, day: Date) -> sqlx::Result<()> {
    let next = day.next_day().unwrap_or(day);
    for table in TABLES {
        let name = partition(table, day);
        let text = format!(
            "create table if not exists {name} partition of {table} for values from ('{day} 00:00+00') to ('{next} 00:00+00')"
        );
        // Of a date and two constants.
        sqlx::query(AssertSqlSafe(text)).execute(&mut *db).await?;
    }
    Ok(())
}

/// Drops the partitions of days before this one; how many.
pub(crate) async fn drop_partitions(db: &mut PgConnection, before: Date) -> sqlx::Result<usize> {
    let mut dropped = 0;
    for table in TABLES {
        let names: Vec<String> = sqlx::query_scalar(
            "select child.relname::text from pg_inherits
                 join pg_class child on child.oid = inhrelid join pg_class parent on parent.oid = inhparent
             where parent.relname = $1 and pg_table_is_visible(parent.oid) and child.relname < $2
             order by 1",
        )
        .bind(table)
        .bind(partition(table, before))
        .fetch_all(&mut *db)
        .await?;
        for name in names.iter().filter(|it| is_partition(table, it)) {
            sqlx::query(AssertSqlSafe(format!("drop table if exists {name}"))).execute(&mut *db).await?;
            dropped += 1;
        }
    }
    Ok(dropped)
}

/// `event_20261122`
fn partition(table: &str, day: Date) -> String {
    let day = day.format(format_description!("[year][month][day]")).unwrap_or_default();
    format!("{table}_{day}")
}

/// Whether it is named as partitions are: what else hangs there is not ours to drop.
fn is_partition(table: &str, name: &str) -> bool {
    let day = name.strip_prefix(table).and_then(|it| it.strip_prefix('_'));
    day.is_some_and(|it| it.len() == 8 && it.bytes().all(|it| it.is_ascii_digit()))
}
