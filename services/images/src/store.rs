//! All SQL of this service.

use sqlx::PgExecutor;

/// Pins an image for a purpose of a service; pinning again moves the pin.
pub(crate) async fn insert_pin(
    db: impl PgExecutor<'_>,
    service: &str,
    id: &str,
    image: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into pin (service, id, image) values ($1, $2, $3)
         on conflict on constraint pin_pkey do update set image = excluded.image, pinned = now()",
    )
    .bind(service)
    .bind(id)
    .bind(image)
    .execute(db)
    .await?;
    Ok(())
}

/// Takes a pin away; false if there was none.
pub(crate) async fn delete_pin(
    db: impl PgExecutor<'_>,
    service: &str,
    id: &str,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query("delete from pin where service = $1 and id = $2")
        .bind(service)
        .bind(id)
        .execute(db)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Every pin: service, id, image.
pub(crate) async fn list_pins(db: impl PgExecutor<'_>) -> Result<Vec<(String, String, String)>, sqlx::Error> {
    sqlx::query_as("select service, id, image from pin order by service, id").fetch_all(db).await
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{delete_pin, insert_pin, list_pins};

    #[sqlx::test(migrator = "crate::MIGRATIONS")]
    async fn a_pin_is_moved_and_taken_away(db: sqlx::PgPool) {
        for image in ["demo:old", "demo:new"] {
            insert_pin(&db, "boot", "a", image).await.unwrap();
        }
        let pin = ("boot".to_owned(), "a".to_owned(), "demo:new".to_owned());
        assert_eq!(list_pins(&db).await.unwrap(), [pin]);
        assert!(delete_pin(&db, "boot", "a").await.unwrap());
        assert!(!delete_pin(&db, "boot", "a").await.unwrap());
    }
}
