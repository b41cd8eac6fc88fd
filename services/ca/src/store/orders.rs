//! ACME orders and their authorizations.

use sqlx::types::time::OffsetDateTime;
use sqlx::{FromRow, PgExecutor};

use crate::model::AuthorizationStatus;

/// An order.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct Order {
    pub(crate) id: String,
    pub(crate) account: String,
    pub(crate) profile: String,
    /// The certificate's id in the table.
    pub(crate) replaces: Option<String>,
    pub(crate) identifiers: Vec<String>,
    pub(crate) expires: OffsetDateTime,
    pub(crate) created: OffsetDateTime,
    pub(crate) certificate: Option<String>,
}

/// The proof that an account answers for an identifier, for one order.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct Authorization {
    pub(crate) id: String,
    #[sqlx(rename = "acme_order")]
    pub(crate) order: String,
    pub(crate) account: String,
    pub(crate) identifier: String,
    pub(crate) token: String,
    #[sqlx(try_from = "String")]
    pub(crate) status: AuthorizationStatus,
    pub(crate) expires: OffsetDateTime,
    pub(crate) challenge: Option<String>,
    pub(crate) tried: Option<OffsetDateTime>,
    pub(crate) problem: Option<String>,
}

pub(crate) async fn insert_order(db: impl PgExecutor<'_>, new: &Order) -> sqlx::Result<()> {
    sqlx::query(
        "insert into acme_order (id, account, profile, replaces, identifiers, expires, created)
         values ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(&new.id)
    .bind(&new.account)
    .bind(&new.profile)
    .bind(&new.replaces)
    .bind(&new.identifiers)
    .bind(new.expires)
    .bind(new.created)
    .execute(db)
    .await
    .map(drop)
}

pub(crate) async fn insert_authorization(db: impl PgExecutor<'_>, new: &Authorization) -> sqlx::Result<()> {
    sqlx::query(
        "insert into acme_authorization (id, acme_order, account, identifier, token, status, expires)
         values ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(&new.id)
    .bind(&new.order)
    .bind(&new.account)
    .bind(&new.identifier)
    .bind(&new.token)
    .bind(new.status.word())
    .bind(new.expires)
    .execute(db)
    .await
    .map(drop)
}

pub(crate) async fn find_order(db: impl PgExecutor<'_>, id: &str) -> sqlx::Result<Option<Order>> {
    sqlx::query_as(
        "select id, account, profile, replaces, identifiers, expires, created, certificate
         from acme_order where id = $1",
    )
    .bind(id)
    .fetch_optional(db)
    .await
}

/// As [`find_order`], held until the transaction ends.
pub(crate) async fn lock_order(db: impl PgExecutor<'_>, id: &str) -> sqlx::Result<Option<Order>> {
    sqlx::query_as(
        "select id, account, profile, replaces, identifiers, expires, created, certificate
         from acme_order where id = $1 for update",
    )
    .bind(id)
    .fetch_optional(db)
    .await
}

/// The ids of an account's orders, the newest first, from a place on.
pub(crate) async fn list_orders(
    db: impl PgExecutor<'_>,
    account: &str,
    from: i64,
    count: i64,
) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "select id from acme_order where account = $1 order by created desc, id offset $2 limit $3",
    )
    .bind(account)
    .bind(from)
    .bind(count)
    .fetch_all(db)
    .await
}

pub(crate) async fn count_orders(
    db: impl PgExecutor<'_>,
    account: &str,
    since: OffsetDateTime,
) -> sqlx::Result<i64> {
    sqlx::query_scalar("select count(*) from acme_order where account = $1 and created > $2")
        .bind(account)
        .bind(since)
        .fetch_one(db)
        .await
}

pub(crate) async fn list_authorizations(
    db: impl PgExecutor<'_>,
    order: &str,
) -> sqlx::Result<Vec<Authorization>> {
    sqlx::query_as(
        "select id, acme_order, account, identifier, token, status, expires, challenge, tried, problem
         from acme_authorization where acme_order = $1 order by identifier",
    )
    .bind(order)
    .fetch_all(db)
    .await
}

pub(crate) async fn find_authorization(
    db: impl PgExecutor<'_>,
    id: &str,
) -> sqlx::Result<Option<Authorization>> {
    sqlx::query_as(
        "select id, acme_order, account, identifier, token, status, expires, challenge, tried, problem
         from acme_authorization where id = $1",
    )
    .bind(id)
    .fetch_optional(db)
    .await
}

/// Whether the challenge is to be looked for now: nobody does it, or who did has been silent since `stale`.
pub(crate) async fn start_authorization(
    db: impl PgExecutor<'_>,
    id: &str,
    challenge: &str,
    now: OffsetDateTime,
    stale: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query(
        "update acme_authorization set status = 'processing', challenge = $2, tried = $3
         where id = $1 and expires > $3
             and (status = 'pending' or (status = 'processing' and (tried < $4 or tried > $3)))",
    )
    .bind(id)
    .bind(challenge)
    .bind(now)
    .bind(stale)
    .execute(db)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// What was found. What was deactivated meanwhile stays so.
pub(crate) async fn finish_authorization(
    db: impl PgExecutor<'_>,
    id: &str,
    problem: Option<&str>,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query(
        "update acme_authorization set tried = $3, problem = $2,
             status = case when $2::text is null then 'valid' else 'invalid' end
         where id = $1 and status = 'processing'",
    )
    .bind(id)
    .bind(problem)
    .bind(now)
    .execute(db)
    .await
    .map(drop)
}

pub(crate) async fn deactivate_authorization(db: impl PgExecutor<'_>, id: &str) -> sqlx::Result<()> {
    sqlx::query(
        "update acme_authorization set status = 'deactivated'
         where id = $1 and status in ('pending', 'processing', 'valid')",
    )
    .bind(id)
    .execute(db)
    .await
    .map(drop)
}

pub(crate) async fn set_order_certificate(
    db: impl PgExecutor<'_>,
    order: &str,
    certificate: &str,
) -> sqlx::Result<()> {
    sqlx::query("update acme_order set certificate = $2 where id = $1")
        .bind(order)
        .bind(certificate)
        .execute(db)
        .await
        .map(drop)
}

/// Removes orders without a certificate that ran out, with their authorizations.
pub(crate) async fn delete_old_orders(db: impl PgExecutor<'_>, before: OffsetDateTime) -> sqlx::Result<u64> {
    let done = sqlx::query("delete from acme_order where expires < $1 and certificate is null")
        .bind(before)
        .execute(db)
        .await?;
    Ok(done.rows_affected())
}
