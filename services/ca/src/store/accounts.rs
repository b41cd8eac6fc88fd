//! ACME accounts, and the keys that admit them.

use sqlx::types::time::OffsetDateTime;
use sqlx::{FromRow, PgExecutor};

/// An account.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct Account {
    pub(crate) id: String,
    pub(crate) thumbprint: String,
    pub(crate) jwk: String,
    pub(crate) contact: Vec<String>,
    pub(crate) status: String,
    pub(crate) eab: Option<String>,
    pub(crate) created: OffsetDateTime,
}

pub(crate) async fn find_account(db: impl PgExecutor<'_>, id: &str) -> sqlx::Result<Option<Account>> {
    sqlx::query_as(
        "select id, thumbprint, jwk, contact, status, eab, created from acme_account where id = $1",
    )
    .bind(id)
    .fetch_optional(db)
    .await
}

pub(crate) async fn find_account_by_key(
    db: impl PgExecutor<'_>,
    thumbprint: &str,
) -> sqlx::Result<Option<Account>> {
    sqlx::query_as(
        "select id, thumbprint, jwk, contact, status, eab, created from acme_account where thumbprint = $1",
    )
    .bind(thumbprint)
    .fetch_optional(db)
    .await
}

/// Whether it is new: a key has one account.
pub(crate) async fn insert_account(db: impl PgExecutor<'_>, new: &Account) -> sqlx::Result<bool> {
    let done = sqlx::query(
        "insert into acme_account (id, thumbprint, jwk, contact, status, eab, created)
         values ($1, $2, $3, $4, $5, $6, $7) on conflict on constraint acme_account_key do nothing",
    )
    .bind(&new.id)
    .bind(&new.thumbprint)
    .bind(&new.jwk)
    .bind(&new.contact)
    .bind(&new.status)
    .bind(&new.eab)
    .bind(new.created)
    .execute(db)
    .await?;
    Ok(done.rows_affected() > 0)
}

pub(crate) async fn update_account(db: impl PgExecutor<'_>, account: &Account) -> sqlx::Result<()> {
    sqlx::query("update acme_account set contact = $2, status = $3 where id = $1")
        .bind(&account.id)
        .bind(&account.contact)
        .bind(&account.status)
        .execute(db)
        .await
        .map(drop)
}

/// Whether the account had the old key; the constraint `acme_account_key` refuses another account's.
pub(crate) async fn update_account_key(
    db: impl PgExecutor<'_>,
    account: &Account,
    thumbprint: &str,
    jwk: &str,
) -> sqlx::Result<bool> {
    let done =
        sqlx::query("update acme_account set thumbprint = $3, jwk = $4 where id = $1 and thumbprint = $2")
            .bind(&account.id)
            .bind(&account.thumbprint)
            .bind(thumbprint)
            .bind(jwk)
            .execute(db)
            .await?;
    Ok(done.rows_affected() > 0)
}

/// A key that admits accounts, without its secret.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct Eab {
    pub(crate) id: String,
    pub(crate) description: String,
    pub(crate) created: OffsetDateTime,
    pub(crate) accounts: i64,
}

pub(crate) async fn list_eabs(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<Eab>> {
    sqlx::query_as(
        "select id, description, created,
             (select count(*) from acme_account where eab = acme_eab.id) as accounts
         from acme_eab order by created, id",
    )
    .fetch_all(db)
    .await
}

pub(crate) async fn count_eabs(db: impl PgExecutor<'_>) -> sqlx::Result<i64> {
    sqlx::query_scalar("select count(*) from acme_eab").fetch_one(db).await
}

pub(crate) async fn find_eab(db: impl PgExecutor<'_>, id: &str) -> sqlx::Result<Option<Vec<u8>>> {
    sqlx::query_scalar("select sealed from acme_eab where id = $1").bind(id).fetch_optional(db).await
}

pub(crate) async fn insert_eab(
    db: impl PgExecutor<'_>,
    id: &str,
    sealed: &[u8],
    description: &str,
    created: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query("insert into acme_eab (id, sealed, description, created) values ($1, $2, $3, $4)")
        .bind(id)
        .bind(sealed)
        .bind(description)
        .bind(created)
        .execute(db)
        .await
        .map(drop)
}

/// Whether there was one. Accounts that it admitted stay.
pub(crate) async fn delete_eab(db: impl PgExecutor<'_>, id: &str) -> sqlx::Result<bool> {
    let done = sqlx::query("delete from acme_eab where id = $1").bind(id).execute(db).await?;
    Ok(done.rows_affected() > 0)
}
