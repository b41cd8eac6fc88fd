//! All SQL of boot.

use sqlx::{PgTransaction, Row as _};

use crate::model::{Settings, Target};

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
        "insert into boot_parameters (kind, target, kernel, initrd, params)
         select kind, target, $3, $4, $5 from unnest($1::text[], $2::text[]) as new (kind, target)
         on conflict (kind, target) do nothing
         returning kind, target",
    )
    .bind(kinds)
    .bind(keys)
    .bind(settings.kernel())
    .bind(settings.initrd())
    .bind(settings.params())
    .fetch_all(&mut **tx)
    .await?;
    rows.iter().map(read_target).collect()
}

/// What the targets have, locked until the transaction ends.
pub(crate) async fn find_for_update(
    tx: &mut PgTransaction<'_>,
    targets: &[Target],
) -> sqlx::Result<Vec<(Target, Settings)>> {
    let (kinds, keys) = columns(targets.iter());
    let rows = sqlx::query(
        "select kind, target, kernel, initrd, params from boot_parameters
         where (kind, target) in (select * from unnest($1::text[], $2::text[]))
         order by kind, target for update",
    )
    .bind(kinds)
    .bind(keys)
    .fetch_all(&mut **tx)
    .await?;
    let read = |row| {
        let settings =
            Settings::new(row_text(row, "kernel")?, row_text(row, "initrd")?, row_text(row, "params")?);
        Ok((read_target(row)?, settings.map_err(|it| sqlx::Error::Decode(it.into()))?))
    };
    rows.iter().map(read).collect()
}

/// Makes or replaces what the targets have.
pub(crate) async fn upsert(tx: &mut PgTransaction<'_>, rows: &[(Target, Settings)]) -> sqlx::Result<()> {
    let (kinds, keys) = columns(rows.iter().map(|(target, _)| target));
    let column = |pick: fn(&Settings) -> &str| rows.iter().map(|(_, it)| pick(it)).collect::<Vec<_>>();
    sqlx::query(
        "insert into boot_parameters (kind, target, kernel, initrd, params)
         select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
         on conflict (kind, target) do update set kernel = excluded.kernel, initrd = excluded.initrd,
             params = excluded.params, changed = now()",
    )
    .bind(kinds)
    .bind(keys)
    .bind(column(Settings::kernel))
    .bind(column(Settings::initrd))
    .bind(column(Settings::params))
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

fn row_text(row: &sqlx::postgres::PgRow, column: &str) -> sqlx::Result<String> {
    row.try_get(column)
}

fn read_target(row: &sqlx::postgres::PgRow) -> sqlx::Result<Target> {
    let (kind, key): (String, String) = (row.try_get("kind")?, row.try_get("target")?);
    Target::parse(&kind, &key)
        .ok_or_else(|| sqlx::Error::Decode(format!("no boot target: {kind} {key}").into()))
}
