//! All SQL of join.

use domain::Xname;
use sqlx::types::time::OffsetDateTime;
use sqlx::{PgExecutor, PgTransaction};

use crate::model::{Kind, SshKey};

/// Notes by what a node is known from now on; when that was.
pub(crate) async fn replace_enrolment(
    db: impl PgExecutor<'_>,
    node: &Xname,
    kind: Kind,
    value: &str,
    first_use: bool,
) -> sqlx::Result<OffsetDateTime> {
    sqlx::query_scalar(
        "insert into enrolment (node, kind, value, first_use) values ($1, $2, $3, $4)
         on conflict (node, kind) do update
             set value = excluded.value, first_use = excluded.first_use, created = now()
         returning created",
    )
    .bind(node.as_str())
    .bind(kind.word())
    .bind(value)
    .bind(first_use)
    .fetch_one(db)
    .await
}

/// Forgets by what a node was known; whether it was.
pub(crate) async fn delete_enrolment(
    db: impl PgExecutor<'_>,
    node: &Xname,
    kind: Kind,
) -> sqlx::Result<bool> {
    let done = sqlx::query("delete from enrolment where node = $1 and kind = $2")
        .bind(node.as_str())
        .bind(kind.word())
        .execute(db)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// The SSH key, locked so that two heads which start at once do not make one each.
pub(crate) async fn find_ssh_key(tx: &mut PgTransaction<'_>) -> sqlx::Result<Option<SshKey>> {
    sqlx::query("lock table ssh_key in share row exclusive mode").execute(&mut **tx).await?;
    let row: Option<(String, String)> =
        sqlx::query_as("select public, encode(sealed, 'hex') from ssh_key").fetch_optional(&mut **tx).await?;
    Ok(row.map(|(public, sealed)| SshKey { public, sealed }))
}

/// Keeps the SSH key.
pub(crate) async fn insert_ssh_key(tx: &mut PgTransaction<'_>, key: &SshKey) -> sqlx::Result<()> {
    sqlx::query("insert into ssh_key (public, sealed) values ($1, decode($2, 'hex'))")
        .bind(&key.public)
        .bind(&key.sealed)
        .execute(&mut **tx)
        .await
        .map(drop)
}
