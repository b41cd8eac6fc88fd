//! People with a password.

use domain::Role;
use sqlx::PgExecutor;
use sqlx::types::time::OffsetDateTime;

use crate::error::Error;
use crate::model::role_word;

/// Adds someone; the primary key refuses a second one of the same name.
pub(crate) async fn insert_account(
    db: impl PgExecutor<'_>,
    name: &str,
    password: &str,
    role: Role,
) -> Result<OffsetDateTime, Error> {
    let created = sqlx::query_scalar(
        "insert into account (name, password, role) values ($1, $2, $3) returning created",
    )
    .bind(name)
    .bind(password)
    .bind(role_word(role))
    .fetch_one(db)
    .await;
    created.map_err(|error: sqlx::Error| match error.as_database_error().and_then(|it| it.constraint()) {
        Some("account_pkey") => Error::AccountTaken(name.to_owned()),
        _ => Error::Database(error),
    })
}

/// Changes what is given; whether there is someone of this name, and since when.
pub(crate) async fn update_account(
    db: impl PgExecutor<'_>,
    name: &str,
    password: Option<&str>,
    role: Option<Role>,
) -> Result<Option<(String, String, OffsetDateTime)>, Error> {
    let row = sqlx::query_as(
        "update account set password = coalesce($2, password), role = coalesce($3, role) where name = $1
         returning password, role, created",
    )
    .bind(name)
    .bind(password)
    .bind(role.map(role_word))
    .fetch_optional(db)
    .await?;
    Ok(row)
}

/// Whether there was someone; their log-ins go with them.
pub(crate) async fn delete_account(db: impl PgExecutor<'_>, name: &str) -> Result<bool, Error> {
    let done = sqlx::query("delete from account where name = $1").bind(name).execute(db).await?;
    Ok(done.rows_affected() > 0)
}
