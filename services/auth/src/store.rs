//! All SQL of auth.

use domain::Role;
use sqlx::types::time::OffsetDateTime;
use sqlx::{PgExecutor, PgTransaction};

use crate::error::Error;
use crate::keys::SealedKey;
use crate::model::role_word;

/// Keeps two heads that start at once from making a key each.
pub(crate) async fn lock_keys(tx: &mut PgTransaction<'_>) -> sqlx::Result<()> {
    sqlx::query("lock table signing_key in share row exclusive mode").execute(&mut **tx).await.map(drop)
}

pub(crate) async fn list_keys(tx: &mut PgTransaction<'_>) -> sqlx::Result<Vec<SealedKey>> {
    let rows: Vec<(String, Vec<u8>, OffsetDateTime)> =
        sqlx::query_as("select kid, sealed, created from signing_key order by created desc")
            .fetch_all(&mut **tx)
            .await?;
    Ok(rows.into_iter().map(|(kid, sealed, created)| SealedKey { kid, sealed, created }).collect())
}

pub(crate) async fn insert_key(tx: &mut PgTransaction<'_>, key: &SealedKey) -> sqlx::Result<()> {
    sqlx::query("insert into signing_key (kid, sealed, created) values ($1, $2, $3)")
        .bind(&key.kid)
        .bind(&key.sealed)
        .bind(key.created)
        .execute(&mut **tx)
        .await
        .map(drop)
}

/// Registers a client; its primary key refuses a second one of the same name.
pub(crate) async fn insert_client(
    db: impl PgExecutor<'_>,
    id: &str,
    secret_sha256: &[u8],
    role: Role,
    description: &str,
) -> Result<OffsetDateTime, Error> {
    let created = sqlx::query_scalar(
        "insert into client (id, secret_sha256, role, description) values ($1, $2, $3, $4) returning created",
    )
    .bind(id)
    .bind(secret_sha256)
    .bind(role_word(role))
    .bind(description)
    .fetch_one(db)
    .await;
    created.map_err(|error: sqlx::Error| match error.as_database_error().and_then(|it| it.constraint()) {
        Some("client_pkey") => Error::ClientTaken(id.to_owned()),
        _ => Error::Database(error),
    })
}

/// Whether there was one.
pub(crate) async fn delete_client(db: impl PgExecutor<'_>, id: &str) -> Result<bool, Error> {
    let done = sqlx::query("delete from client where id = $1").bind(id).execute(db).await?;
    Ok(done.rows_affected() > 0)
}
