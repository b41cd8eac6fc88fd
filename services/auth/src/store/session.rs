//! Log-ins, and the codes that lead to them.

use sqlx::types::time::OffsetDateTime;
use sqlx::{FromRow, PgExecutor, PgTransaction};
use uuid::Uuid;

/// So many log-ins of one person are kept; the oldest goes.
const SESSIONS_MAX: i64 = 100;
/// So many devices may wait for someone's word.
const DEVICES_MAX: i64 = 1000;

/// A log-in of someone at a client.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct Session {
    pub(crate) id: Uuid,
    pub(crate) account: String,
    pub(crate) client: String,
    pub(crate) scope: String,
    pub(crate) nonce: Option<String>,
    pub(crate) authenticated: OffsetDateTime,
    pub(crate) expires: OffsetDateTime,
    pub(crate) generation: i32,
}

/// A code of the authorization endpoint.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct Code {
    pub(crate) redirect_uri: String,
    pub(crate) challenge: String,
    pub(crate) until: OffsetDateTime,
    /// Whether it was used before.
    pub(crate) used: bool,
    #[sqlx(flatten)]
    pub(crate) session: Session,
}

/// A device that waits.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct Device {
    pub(crate) client: String,
    pub(crate) session: Option<Uuid>,
    pub(crate) refused: bool,
    pub(crate) expires: OffsetDateTime,
    /// Whether it asks sooner than it was told to.
    pub(crate) hasty: bool,
}

pub(crate) async fn insert_session(tx: &mut PgTransaction<'_>, session: &Session) -> sqlx::Result<()> {
    sqlx::query(
        "insert into session (id, account, client, scope, nonce, authenticated, expires)
         values ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(session.id)
    .bind(&session.account)
    .bind(&session.client)
    .bind(&session.scope)
    .bind(&session.nonce)
    .bind(session.authenticated)
    .bind(session.expires)
    .execute(&mut **tx)
    .await?;
    sqlx::query(
        "delete from session where id in
            (select id from session where account = $1 order by authenticated desc, id offset $2)",
    )
    .bind(&session.account)
    .bind(SESSIONS_MAX)
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// The next renewal, if this is the one before it.
pub(crate) async fn renew_session(
    db: impl PgExecutor<'_>,
    id: Uuid,
    generation: i32,
    now: OffsetDateTime,
) -> sqlx::Result<Option<Session>> {
    sqlx::query_as(
        "update session set generation = generation + 1 where id = $1 and generation = $2 and expires > $3
         returning id, account, client, scope, nonce, authenticated, expires, generation",
    )
    .bind(id)
    .bind(generation)
    .bind(now)
    .fetch_optional(db)
    .await
}

/// Whether there was one.
pub(crate) async fn delete_session(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<bool> {
    let done = sqlx::query("delete from session where id = $1").bind(id).execute(db).await?;
    Ok(done.rows_affected() > 0)
}

pub(crate) async fn delete_account_sessions(db: impl PgExecutor<'_>, account: &str) -> sqlx::Result<()> {
    sqlx::query("delete from session where account = $1").bind(account).execute(db).await.map(drop)
}

/// The log-ins at a client; their names, for what was given for them.
pub(crate) async fn delete_client_sessions(db: impl PgExecutor<'_>, client: &str) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar("delete from session where client = $1 returning id").bind(client).fetch_all(db).await
}

pub(crate) async fn insert_code(
    db: impl PgExecutor<'_>,
    digest: &str,
    session: Uuid,
    (redirect_uri, challenge): (&str, &str),
    expires: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query(
        "insert into code (digest, session, redirect_uri, challenge, expires) values ($1, $2, $3, $4, $5)",
    )
    .bind(digest)
    .bind(session)
    .bind(redirect_uri)
    .bind(challenge)
    .bind(expires)
    .execute(db)
    .await
    .map(drop)
}

/// Marks a code as used; as it was before.
pub(crate) async fn take_code(db: impl PgExecutor<'_>, digest: &str) -> sqlx::Result<Option<Code>> {
    sqlx::query_as(
        "with old as (select digest, used from code where digest = $1 for update),
              taken as (update code set used = true from old where code.digest = old.digest
                        returning code.session, code.redirect_uri, code.challenge, code.expires as until, old.used)
         select taken.redirect_uri, taken.challenge, taken.until, taken.used,
                session.id, session.account, session.client, session.scope, session.nonce,
                session.authenticated, session.expires, session.generation
         from taken join session on session.id = taken.session",
    )
    .bind(digest)
    .fetch_optional(db)
    .await
}

/// Whether there was room for one more, with a code that no other has.
pub(crate) async fn insert_device(
    db: impl PgExecutor<'_>,
    (digest, user_code): (&str, &str),
    (client, scope): (&str, &str),
    interval_s: i32,
    expires: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query(
        "insert into device (digest, user_code, client, scope, interval_s, expires)
         select $1, $2, $3, $4, $5, $6 where (select count(*) from device) < $7 on conflict do nothing",
    )
    .bind(digest)
    .bind(user_code)
    .bind(client)
    .bind(scope)
    .bind(interval_s)
    .bind(expires)
    .bind(DEVICES_MAX)
    .execute(db)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// The device that waits under this code: its client and what it asks for.
pub(crate) async fn find_device(
    db: impl PgExecutor<'_>,
    user_code: &str,
    now: OffsetDateTime,
) -> sqlx::Result<Option<(String, String)>> {
    sqlx::query_as(
        "select client, scope from device
         where user_code = $1 and expires > $2 and session is null and not refused for update",
    )
    .bind(user_code)
    .bind(now)
    .fetch_optional(db)
    .await
}

pub(crate) async fn allow_device(
    db: impl PgExecutor<'_>,
    user_code: &str,
    session: Uuid,
) -> sqlx::Result<()> {
    sqlx::query("update device set session = $2 where user_code = $1")
        .bind(user_code)
        .bind(session)
        .execute(db)
        .await
        .map(drop)
}

pub(crate) async fn refuse_device(db: impl PgExecutor<'_>, user_code: &str) -> sqlx::Result<()> {
    sqlx::query("update device set refused = true where user_code = $1")
        .bind(user_code)
        .execute(db)
        .await
        .map(drop)
}

/// What became of a device's question; one that asks too soon is to wait longer (RFC 8628 section 3.5).
pub(crate) async fn poll_device(
    db: impl PgExecutor<'_>,
    digest: &str,
    now: OffsetDateTime,
) -> sqlx::Result<Option<Device>> {
    sqlx::query_as(
        "with old as (select digest, polled + make_interval(secs => interval_s) > $2 as hasty
                      from device where digest = $1 for update)
         update device set polled = $2,
             interval_s = least(interval_s + case when coalesce(old.hasty, false) then 5 else 0 end, 60)
         from old where device.digest = old.digest
         returning device.client, device.session, device.refused, device.expires,
             coalesce(old.hasty, false) as hasty",
    )
    .bind(digest)
    .bind(now)
    .fetch_optional(db)
    .await
}

/// The log-in that a device was allowed; its code is good for that once.
pub(crate) async fn take_device(db: impl PgExecutor<'_>, digest: &str) -> sqlx::Result<Option<Session>> {
    sqlx::query_as(
        "with taken as (delete from device where digest = $1 returning session)
         select session.id, session.account, session.client, session.scope, session.nonce,
                session.authenticated, session.expires, session.generation
         from taken join session on session.id = taken.session",
    )
    .bind(digest)
    .fetch_optional(db)
    .await
}
