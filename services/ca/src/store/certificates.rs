//! Certificates that ACME clients were given.

use sqlx::types::time::OffsetDateTime;
use sqlx::{FromRow, PgExecutor, PgTransaction};

/// A certificate.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct Certificate {
    pub(crate) id: String,
    /// Hexadecimal.
    pub(crate) serial: String,
    pub(crate) account: String,
    pub(crate) issuer: String,
    pub(crate) identifiers: Vec<String>,
    pub(crate) chain_pem: String,
    pub(crate) alternate_pem: Option<String>,
    pub(crate) not_before: OffsetDateTime,
    pub(crate) not_after: OffsetDateTime,
    pub(crate) replaced: bool,
    pub(crate) revoked: Option<OffsetDateTime>,
}

pub(crate) async fn insert_certificate(db: impl PgExecutor<'_>, new: &Certificate) -> sqlx::Result<()> {
    sqlx::query(
        "insert into acme_certificate
             (id, serial, account, issuer, identifiers, chain_pem, alternate_pem, not_before, not_after)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(&new.id)
    .bind(&new.serial)
    .bind(&new.account)
    .bind(&new.issuer)
    .bind(&new.identifiers)
    .bind(&new.chain_pem)
    .bind(&new.alternate_pem)
    .bind(new.not_before)
    .bind(new.not_after)
    .execute(db)
    .await
    .map(drop)
}

pub(crate) async fn find_certificate(db: impl PgExecutor<'_>, id: &str) -> sqlx::Result<Option<Certificate>> {
    sqlx::query_as(
        "select id, serial, account, issuer, identifiers, chain_pem, alternate_pem, not_before, not_after,
             replaced, revoked
         from acme_certificate where id = $1",
    )
    .bind(id)
    .fetch_optional(db)
    .await
}

pub(crate) async fn find_certificate_by_serial(
    db: impl PgExecutor<'_>,
    serial: &str,
) -> sqlx::Result<Option<Certificate>> {
    sqlx::query_as(
        "select id, serial, account, issuer, identifiers, chain_pem, alternate_pem, not_before, not_after,
             replaced, revoked
         from acme_certificate where serial = $1",
    )
    .bind(serial)
    .fetch_optional(db)
    .await
}

/// Whether it was not revoked before.
pub(crate) async fn revoke_certificate(
    db: impl PgExecutor<'_>,
    id: &str,
    reason: u8,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query(
        "update acme_certificate set revoked = $2, reason = $3 where id = $1 and revoked is null",
    )
    .bind(id)
    .bind(now)
    .bind(i16::from(reason))
    .execute(db)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Whether no other order replaced it before.
pub(crate) async fn replace_certificate(db: impl PgExecutor<'_>, id: &str) -> sqlx::Result<bool> {
    let done = sqlx::query("update acme_certificate set replaced = true where id = $1 and not replaced")
        .bind(id)
        .execute(db)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Serial, time and reason of an issuer's revoked certificates that would still hold.
pub(crate) async fn list_revoked(
    db: impl PgExecutor<'_>,
    issuer: &str,
    now: OffsetDateTime,
) -> sqlx::Result<Vec<(String, OffsetDateTime, Option<i16>)>> {
    sqlx::query_as(
        "select serial, revoked, reason from acme_certificate
         where issuer = $1 and revoked is not null and not_after > $2 order by revoked, serial",
    )
    .bind(issuer)
    .bind(now)
    .fetch_all(db)
    .await
}

/// Removes certificates that ended before, with their orders.
pub(crate) async fn delete_old_certificates(
    tx: &mut PgTransaction<'_>,
    before: OffsetDateTime,
) -> sqlx::Result<u64> {
    sqlx::query(
        "delete from acme_order where certificate in (select id from acme_certificate where not_after < $1)",
    )
    .bind(before)
    .execute(&mut **tx)
    .await?;
    let done = sqlx::query("delete from acme_certificate where not_after < $1")
        .bind(before)
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected())
}
