//! What goes on beside the requests: migration, rotation of keys, other issuers' keys, forgetting.

use std::time::Duration;

use daemon::{Context, Retry};
use domain::feed::Change;
use time::OffsetDateTime;
use web::feed;

use crate::api::Auth;
use crate::error::Error;
use crate::store;

/// How often it is looked whether a key is due or something has ended. Short against the time that a key is published
/// before it signs, so that two heads agree on it.
const ROUND: Duration = Duration::from_secs(60);

impl Auth {
    /// Migrates the database, keeps the keys in order and follows the directory, until the context's stop.
    pub async fn upkeep(&self, context: &Context) {
        let stop = &context.stop;
        let keep = async {
            self.database.migrate(&crate::MIGRATIONS, stop).await;
            self.settle_first(context).await;
            while !stop.is_cancelled() {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(ROUND) => {}
                }
                let now = OffsetDateTime::now_utc();
                self.keys.settle(context, &self.database, now).await;
                if let Err(error) = self.forget(now).await {
                    tracing::debug!("what has ended is not forgotten yet: {error}");
                }
            }
        };
        let follow = self.directory.follow_database(self.database.clone(), stop.clone());
        tokio::join!(keep, follow, self.outer.follow(context));
    }

    /// Tokens can be given from here on.
    async fn settle_first(&self, context: &Context) {
        let mut retry = Retry::default();
        while !context.stop.is_cancelled() {
            if self.keys.settle(context, &self.database, OffsetDateTime::now_utc()).await {
                return context.status("tokens are issued");
            }
            tokio::select! {
                () = context.stop.cancelled() => {}
                () = retry.wait() => {}
            }
        }
    }

    /// Forgets sessions, codes and revocations that have ended.
    pub(crate) async fn forget(&self, now: OffsetDateTime) -> Result<(), Error> {
        let mut tx = self.database.begin().await?;
        let ended = store::delete_ended(&mut tx, now).await?;
        let changes: Vec<Change> = ended.into_iter().map(|it| Change::delete("revoked", it)).collect();
        feed::commit(tx, &changes, &self.directory).await?;
        Ok(())
    }
}
