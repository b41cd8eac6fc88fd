//! All SQL of auth.

mod people;
mod session;

use sqlx::types::time::OffsetDateTime;
use sqlx::{PgExecutor, PgTransaction};
use web::Revoked;

use crate::error::Error;
use crate::keys::SealedKey;
use crate::model::{Client, RevokedRow};

pub(crate) use people::{delete_account, insert_account, update_account};
pub(crate) use session::{
    Session, allow_device, delete_account_sessions, delete_client_sessions, delete_session, find_device,
    insert_code, insert_device, insert_session, poll_device, refuse_device, renew_session, take_code,
    take_device,
};

/// Keeps two heads that start at once from making a key each.
pub(crate) async fn lock_keys(tx: &mut PgTransaction<'_>) -> sqlx::Result<()> {
    sqlx::query("lock table signing_key in share row exclusive mode").execute(&mut **tx).await.map(drop)
}

pub(crate) async fn list_keys(tx: &mut PgTransaction<'_>) -> sqlx::Result<Vec<SealedKey>> {
    type Row = (String, String, Vec<u8>, OffsetDateTime, Option<OffsetDateTime>);
    let rows: Vec<Row> =
        sqlx::query_as("select kid, algorithm, sealed, created, signs_from from signing_key order by kid")
            .fetch_all(&mut **tx)
            .await?;
    let key = |(kid, algorithm, sealed, created, signs_from): Row| {
        let algorithm = algorithm.parse().map_err(|it: String| sqlx::Error::Decode(it.into()))?;
        Ok(SealedKey { kid, algorithm, sealed, created, signs_from })
    };
    rows.into_iter().map(key).collect()
}

pub(crate) async fn insert_key(tx: &mut PgTransaction<'_>, key: &SealedKey) -> sqlx::Result<()> {
    sqlx::query(
        "insert into signing_key (kid, algorithm, sealed, created, signs_from) values ($1, $2, $3, $4, $5)",
    )
    .bind(&key.kid)
    .bind(key.algorithm.to_string())
    .bind(&key.sealed)
    .bind(key.created)
    .bind(key.signs_from)
    .execute(&mut **tx)
    .await
    .map(drop)
}

pub(crate) async fn delete_key(tx: &mut PgTransaction<'_>, kid: &str) -> sqlx::Result<()> {
    sqlx::query("delete from signing_key where kid = $1").bind(kid).execute(&mut **tx).await.map(drop)
}

/// Registers a client; its primary key refuses a second one of the same name.
pub(crate) async fn insert_client(
    db: impl PgExecutor<'_>,
    client: &Client,
    secret_sha256: Option<&[u8]>,
) -> Result<OffsetDateTime, Error> {
    let created = sqlx::query_scalar(
        "insert into client (id, secret_sha256, role, description, redirect_uris, jwks, algorithm)
         values ($1, $2, $3, $4, $5, $6::json, coalesce($7, 'ES256')) returning created",
    )
    .bind(&client.id)
    .bind(secret_sha256)
    .bind(&client.role)
    .bind(&client.description)
    .bind(&client.redirect_uris)
    .bind(client.jwks.as_ref().map(ToString::to_string))
    .bind(client.algorithm.map(|it| it.to_string()))
    .fetch_one(db)
    .await;
    created.map_err(|error: sqlx::Error| match error.as_database_error().and_then(|it| it.constraint()) {
        Some("client_pkey") => Error::ClientTaken(client.id.clone()),
        _ => Error::Database(error),
    })
}

/// Whether there was one.
pub(crate) async fn delete_client(db: impl PgExecutor<'_>, id: &str) -> Result<bool, Error> {
    let done = sqlx::query("delete from client where id = $1").bind(id).execute(db).await?;
    Ok(done.rows_affected() > 0)
}

/// Whether it comes for the first time.
pub(crate) async fn insert_assertion(
    db: impl PgExecutor<'_>,
    digest: &str,
    expires: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query("insert into assertion (digest, expires) values ($1, $2) on conflict do nothing")
        .bind(digest)
        .bind(expires)
        .execute(db)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// The key of a revocation, in the database and in the feed.
pub(crate) fn revoked_id(revoked: &Revoked) -> String {
    let (kind, value, _) = parts(revoked);
    format!("{kind}:{value}")
}

fn parts(revoked: &Revoked) -> (&'static str, &str, Option<i64>) {
    match revoked {
        Revoked::Token { id } => ("token", id, None),
        Revoked::Session { id } => ("session", id, None),
        Revoked::Subject { id, before } => ("subject", id, Some(*before)),
    }
}

/// Said again it is as good as the later.
pub(crate) async fn insert_revoked(db: impl PgExecutor<'_>, row: &RevokedRow) -> sqlx::Result<()> {
    let (kind, value, before) = parts(&row.revoked);
    sqlx::query(
        "insert into revoked (id, kind, value, before, expires) values ($1, $2, $3, $4, to_timestamp($5::bigint))
         on conflict (id) do update set before = excluded.before, expires = greatest(revoked.expires, excluded.expires)",
    )
    .bind(revoked_id(&row.revoked))
    .bind(kind)
    .bind(value)
    .bind(before)
    .bind(row.expires)
    .execute(db)
    .await
    .map(drop)
}

/// Forgets what has ended; the revocations that were forgotten, whose change the feed is to tell.
pub(crate) async fn delete_ended(
    tx: &mut PgTransaction<'_>,
    now: OffsetDateTime,
) -> sqlx::Result<Vec<String>> {
    for sql in [
        "delete from session where id in (select id from session where expires < $1 limit 1000)",
        "delete from code where digest in (select digest from code where expires < $1 - interval '1 hour' limit 1000)",
        "delete from device where digest in
            (select digest from device where expires < $1 - interval '1 hour' limit 1000)",
        "delete from assertion where digest in (select digest from assertion where expires < $1 limit 1000)",
    ] {
        sqlx::query(sql).bind(now).execute(&mut **tx).await?;
    }
    sqlx::query_scalar(
        "delete from revoked where id in (select id from revoked where expires < $1 limit 1000) returning id",
    )
    .bind(now)
    .fetch_all(&mut **tx)
    .await
}
