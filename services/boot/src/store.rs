//! All SQL of boot.

use domain::Xname;
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgTransaction, Row as _};
use uuid::Uuid;

use crate::model::{Once, Settings, Target};

/// Targets as the two columns they are stored in.
fn columns<'a>(targets: impl Iterator<Item = &'a Target>) -> (Vec<&'static str>, Vec<String>) {
    targets.map(|it| (it.kind(), it.key())).unzip()
}

/// Puts the same settings on each target that has none; gives back those that took them.
pub(crate) async fn insert_new(
    tx: &mut PgTransaction<'_>,
    targets: &[Target],
    settings: &Settings,
) -> sqlx::Result<Vec<Target>> {
    let (kinds, keys) = columns(targets.iter());
    let rows = sqlx::query(
        "insert into boot_parameters (kind, target, kernel, initrd, params, architectures, image)
         select kind, target, $3, $4, $5, $6, $7 from unnest($1::text[], $2::text[]) as new (kind, target)
         on conflict (kind, target) do nothing
         returning kind, target",
    )
    .bind(kinds)
    .bind(keys)
    .bind(settings.kernel())
    .bind(settings.initrd())
    .bind(settings.params())
    .bind(Json(settings.architectures()))
    .bind(settings.reference())
    .fetch_all(&mut **tx)
    .await?;
    rows.iter().map(read_target).collect()
}

/// What the targets have, locked until the transaction ends; none for what we would not serve.
pub(crate) async fn find_for_update(
    tx: &mut PgTransaction<'_>,
    targets: &[Target],
) -> sqlx::Result<Vec<(Target, Option<Settings>)>> {
    let (kinds, keys) = columns(targets.iter());
    let rows = sqlx::query(
        "select kind, target, jsonb_build_object('kernel', kernel, 'initrd', initrd, 'params', params,
             'architectures', architectures, 'image', image) as settings
         from boot_parameters where (kind, target) in (select * from unnest($1::text[], $2::text[]))
         order by kind, target for update",
    )
    .bind(kinds)
    .bind(keys)
    .fetch_all(&mut **tx)
    .await?;
    let read = |row: &PgRow| {
        let settings: Value = row.try_get("settings")?;
        Ok((read_target(row)?, serde_json::from_value(settings).ok()))
    };
    rows.iter().map(read).collect()
}

/// Makes or replaces what the targets have.
pub(crate) async fn upsert(tx: &mut PgTransaction<'_>, rows: &[(Target, Settings)]) -> sqlx::Result<()> {
    let (kinds, keys) = columns(rows.iter().map(|(target, _)| target));
    let column = |pick: fn(&Settings) -> &str| rows.iter().map(|(_, it)| pick(it)).collect::<Vec<_>>();
    sqlx::query(
        "insert into boot_parameters (kind, target, kernel, initrd, params, architectures, image)
         select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::jsonb[], $7::text[])
         on conflict (kind, target) do update set kernel = excluded.kernel, initrd = excluded.initrd,
             params = excluded.params, architectures = excluded.architectures, image = excluded.image,
             changed = now()",
    )
    .bind(kinds)
    .bind(keys)
    .bind(column(Settings::kernel))
    .bind(column(Settings::initrd))
    .bind(column(Settings::params))
    .bind(rows.iter().map(|(_, it)| Json(it.architectures())).collect::<Vec<_>>())
    .bind(column(Settings::reference))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Takes the targets away; gives back those that were there.
pub(crate) async fn delete_targets(
    tx: &mut PgTransaction<'_>,
    targets: &[Target],
) -> sqlx::Result<Vec<Target>> {
    let (kinds, keys) = columns(targets.iter());
    let rows = sqlx::query(
        "delete from boot_parameters where (kind, target) in (select * from unnest($1::text[], $2::text[]))
         returning kind, target",
    )
    .bind(kinds)
    .bind(keys)
    .fetch_all(&mut **tx)
    .await?;
    rows.iter().map(read_target).collect()
}

/// Takes away every target with exactly these settings; gives back which they were.
pub(crate) async fn delete_entry(
    tx: &mut PgTransaction<'_>,
    (kernel, initrd, params): (&str, &str, &str),
) -> sqlx::Result<Vec<Target>> {
    let rows = sqlx::query(
        "delete from boot_parameters where kernel = $1 and initrd = $2 and params = $3
         returning kind, target",
    )
    .bind(kernel)
    .bind(initrd)
    .bind(params)
    .fetch_all(&mut **tx)
    .await?;
    rows.iter().map(read_target).collect()
}

fn read_target(row: &PgRow) -> sqlx::Result<Target> {
    let (kind, key): (String, String) = (row.try_get("kind")?, row.try_get("target")?);
    Target::parse(&kind, &key)
        .ok_or_else(|| sqlx::Error::Decode(format!("no boot target: {kind} {key}").into()))
}

/// Makes or replaces what nodes boot the next time alone.
pub(crate) async fn upsert_once(tx: &mut PgTransaction<'_>, rows: &[(Xname, Once)]) -> sqlx::Result<()> {
    sqlx::query(
        "insert into boot_once (node, id, settings)
         select * from unnest($1::text[], $2::uuid[], $3::jsonb[])
         on conflict (node) do update set id = excluded.id, settings = excluded.settings, created = now()",
    )
    .bind(rows.iter().map(|it| it.0.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|it| it.1.id).collect::<Vec<_>>())
    .bind(rows.iter().map(|it| Json(&*it.1.settings)).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Takes back what nodes were to boot the next time alone.
pub(crate) async fn delete_once(tx: &mut PgTransaction<'_>, nodes: &[Xname]) -> sqlx::Result<()> {
    let nodes: Vec<&str> = nodes.iter().map(Xname::as_str).collect();
    let delete = "delete from boot_once where node = any($1::text[])";
    sqlx::query(delete).bind(nodes).execute(&mut **tx).await?;
    Ok(())
}

/// Takes away what a node has booted; false if there is something else for it now, or nothing.
pub(crate) async fn delete_taken(tx: &mut PgTransaction<'_>, node: &Xname, id: Uuid) -> sqlx::Result<bool> {
    let delete = "delete from boot_once where node = $1 and id = $2";
    let done = sqlx::query(delete).bind(node.as_str()).bind(id).execute(&mut **tx).await?;
    Ok(done.rows_affected() > 0)
}
