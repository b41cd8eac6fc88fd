//! The sealed accounts of controllers.

use domain::Xname;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

use super::Write;
use crate::error::Error;

/// A row of `bmc_credential`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::FromRow)]
pub(crate) struct SealedCredential {
    pub(crate) scope: String,
    pub(crate) username: String,
    pub(crate) sealed: Vec<u8>,
}

/// Every sealed account in order of scope.
pub(crate) async fn list_credentials(db: &PgPool) -> sqlx::Result<Vec<SealedCredential>> {
    sqlx::query_as("select scope, username, sealed from bmc_credential order by scope").fetch_all(db).await
}

impl Write {
    /// Stores an account and counts up the version of every controller that it opens from now on.
    pub(crate) async fn put_credential(&mut self, row: &SealedCredential) -> Result<(), Error> {
        sqlx::query(
            "insert into bmc_credential (scope, username, sealed) values ($1, $2, $3)
             on conflict (scope) do update set username = excluded.username, sealed = excluded.sealed,
                 changed = now()",
        )
        .bind(&row.scope)
        .bind(&row.username)
        .bind(&row.sealed)
        .execute(&mut *self.tx)
        .await?;
        self.bump_credentials(&row.scope).await
    }

    /// Removes an account; false if there is none.
    pub(crate) async fn delete_credential(&mut self, scope: &str) -> Result<bool, Error> {
        let done = sqlx::query("delete from bmc_credential where scope = $1")
            .bind(scope)
            .execute(&mut *self.tx)
            .await?;
        self.bump_credentials(scope).await?;
        Ok(done.rows_affected() > 0)
    }

    async fn bump_credentials(&mut self, scope: &str) -> Result<(), Error> {
        let ids: Vec<(String,)> = sqlx::query_as(
            "update redfish_endpoint it
             set credential_version = credential_version + 1,
                 username = case when it.id = $1 then null else it.username end
             where it.id = $1
                 or ('class:' || it.class = $1 or $1 = 'default')
                     and not exists (select from bmc_credential own where own.scope = it.id)
                     and ($1 <> 'default' or it.class is null or not exists
                         (select from bmc_credential own where own.scope = 'class:' || it.class))
             returning id",
        )
        .bind(scope)
        .fetch_all(&mut *self.tx)
        .await?;
        let ids: Vec<Xname> = ids.into_iter().filter_map(|it| it.0.parse().ok()).collect();
        self.touch_endpoints(&ids);
        Ok(())
    }
}
