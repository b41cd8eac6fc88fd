//! All SQL of ca.

use sqlx::PgTransaction;
use sqlx::types::time::OffsetDateTime;

use crate::authority::SealedAuthority;

/// Keeps two heads that start at once from making a root each.
pub(crate) async fn lock_authorities(tx: &mut PgTransaction<'_>) -> sqlx::Result<()> {
    sqlx::query("lock table authority in share row exclusive mode").execute(&mut **tx).await.map(drop)
}

type Row = (String, String, Vec<String>, Vec<u8>, Vec<u8>, OffsetDateTime, OffsetDateTime);

pub(crate) async fn list_authorities(tx: &mut PgTransaction<'_>) -> sqlx::Result<Vec<SealedAuthority>> {
    let rows: Vec<Row> = sqlx::query_as(
        "select id, root, constraints, certificate, sealed, not_before, not_after
         from authority order by not_before, id",
    )
    .fetch_all(&mut **tx)
    .await?;
    let parse = |(id, root, constraints, certificate, sealed, not_before, not_after): Row| SealedAuthority {
        id,
        root,
        constraints,
        certificate,
        sealed,
        not_before,
        not_after,
    };
    Ok(rows.into_iter().map(parse).collect())
}

pub(crate) async fn insert_authority(tx: &mut PgTransaction<'_>, new: &SealedAuthority) -> sqlx::Result<()> {
    sqlx::query(
        "insert into authority (id, kind, root, constraints, certificate, sealed, not_before, not_after)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(&new.id)
    .bind(if new.is_root() { "root" } else { "intermediate" })
    .bind(&new.root)
    .bind(&new.constraints)
    .bind(&new.certificate)
    .bind(&new.sealed)
    .bind(new.not_before)
    .bind(new.not_after)
    .execute(&mut **tx)
    .await
    .map(drop)
}
