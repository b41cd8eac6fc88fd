//! All SQL of this service.

use domain::feed::Change;
use sqlx::{PgExecutor, PgTransaction};
use time::OffsetDateTime;

use crate::catalog::{File, MANIFEST, Manifest, TAG, Tag};

/// Pins an image for a purpose of a service; pinning again moves the pin. `manifests` is what it stands for now.
pub(crate) async fn insert_pin(
    db: impl PgExecutor<'_>,
    (service, id): (&str, &str),
    image: &str,
    manifests: &[String],
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into pin (service, id, image, manifests) values ($1, $2, $3, $4)
         on conflict on constraint pin_pkey
         do update set image = excluded.image, manifests = excluded.manifests, pinned = now()",
    )
    .bind(service)
    .bind(id)
    .bind(image)
    .bind(manifests)
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

/// Registers a blob whose file is there.
pub(crate) async fn insert_blob(
    db: impl PgExecutor<'_>,
    digest: &str,
    bytes: u64,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into blob (digest, bytes) values ($1, $2)
         on conflict on constraint blob_pkey do update set touched = now()",
    )
    .bind(digest)
    .bind(i64::try_from(bytes).unwrap_or(i64::MAX))
    .execute(db)
    .await?;
    Ok(())
}

/// A blob's length.
pub(crate) async fn find_blob(db: impl PgExecutor<'_>, digest: &str) -> Result<Option<u64>, sqlx::Error> {
    let found: Option<(i64,)> =
        sqlx::query_as("select bytes from blob where digest = $1").bind(digest).fetch_optional(db).await?;
    Ok(found.map(|it| it.0.unsigned_abs()))
}

/// Of these blobs, those that are there, with their lengths; they stay until the transaction ends.
pub(crate) async fn keep_blobs(
    tx: &mut PgTransaction<'_>,
    digests: &[String],
) -> Result<Vec<File>, sqlx::Error> {
    let rows: Vec<(String, i64)> =
        sqlx::query_as("select digest, bytes from blob where digest = any($1) for share")
            .bind(digests)
            .fetch_all(&mut **tx)
            .await?;
    Ok(rows.into_iter().map(|(digest, bytes)| File { digest, bytes: bytes.unsigned_abs() }).collect())
}

/// Makes a tag stand for a manifest; the changes for the feed.
pub(crate) async fn publish(
    tx: &mut PgTransaction<'_>,
    manifest: &Manifest,
    (name, tag): (&str, &str),
) -> Result<Vec<Change>, sqlx::Error> {
    let digest = manifest.digest();
    sqlx::query(
        "insert into manifest (digest, architecture, kernel, initrd, root) values ($1, $2, $3, $4, $5)
         on conflict on constraint manifest_pkey do update set touched = now()",
    )
    .bind(&digest)
    .bind(&manifest.architecture)
    .bind(&manifest.kernel.digest)
    .bind(&manifest.initrd.digest)
    .bind(manifest.root.as_ref().map(|it| &it.digest))
    .execute(&mut **tx)
    .await?;
    // Nodes may still fetch what the tag stood for.
    sqlx::query(
        "update manifest set touched = now() from tag
         where tag.name = $1 and tag.tag = $2 and tag.architecture = $3 and manifest.digest = tag.manifest",
    )
    .bind(name)
    .bind(tag)
    .bind(&manifest.architecture)
    .execute(&mut **tx)
    .await?;
    let (published,): (OffsetDateTime,) = sqlx::query_as(
        "insert into tag (name, tag, architecture, manifest) values ($1, $2, $3, $4)
         on conflict on constraint tag_pkey do update set manifest = excluded.manifest, published = now()
         returning published",
    )
    .bind(name)
    .bind(tag)
    .bind(&manifest.architecture)
    .bind(&digest)
    .fetch_one(&mut **tx)
    .await?;
    let published = published.format(&time::format_description::well_known::Rfc3339).unwrap_or_default();
    let tag = Tag {
        name: name.to_owned(),
        tag: tag.to_owned(),
        architecture: manifest.architecture.clone(),
        manifest: digest.clone(),
        published,
    };
    let row = |it: serde_json::Result<serde_json::Value>| it.map_err(|it| sqlx::Error::Encode(it.into()));
    Ok(vec![
        Change::put(MANIFEST, digest, row(serde_json::to_value(manifest))?),
        Change::put(TAG, tag.key(), row(serde_json::to_value(&tag))?),
    ])
}

/// The pins that name a tag: `boot/compute`.
pub(crate) async fn pins_of(db: impl PgExecutor<'_>, image: &str) -> Result<Vec<String>, sqlx::Error> {
    let rows: Vec<(String,)> =
        sqlx::query_as("select service || '/' || id from pin where image = $1 order by 1")
            .bind(image)
            .fetch_all(db)
            .await?;
    Ok(rows.into_iter().map(|it| it.0).collect())
}

/// Takes a tag away; the change for the feed. What it stood for stays for another hour at least.
pub(crate) async fn delete_tag(tx: &mut PgTransaction<'_>, tag: &Tag) -> Result<Change, sqlx::Error> {
    sqlx::query("delete from tag where name = $1 and tag = $2 and architecture = $3")
        .bind(&tag.name)
        .bind(&tag.tag)
        .bind(&tag.architecture)
        .execute(&mut **tx)
        .await?;
    sqlx::query("update manifest set touched = now() where digest = $1")
        .bind(&tag.manifest)
        .execute(&mut **tx)
        .await?;
    Ok(Change::delete(TAG, tag.key()))
}

/// Takes away manifests that no tag and no pin names and that were let go before `before`.
pub(crate) async fn delete_manifests(
    tx: &mut PgTransaction<'_>,
    before: OffsetDateTime,
) -> Result<Vec<String>, sqlx::Error> {
    let rows: Vec<(String,)> = sqlx::query_as(
        "delete from manifest where touched < $1
             and not exists (select from tag where tag.manifest = manifest.digest)
             and not exists (select from pin where manifest.digest = any(pin.manifests))
         returning digest",
    )
    .bind(before)
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows.into_iter().map(|it| it.0).collect())
}

/// Takes away blobs that no manifest names and that were uploaded before `before`.
pub(crate) async fn delete_blobs(
    tx: &mut PgTransaction<'_>,
    before: OffsetDateTime,
) -> Result<Vec<File>, sqlx::Error> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "delete from blob where touched < $1 and not exists
             (select from manifest where blob.digest in (manifest.kernel, manifest.initrd, manifest.root))
         returning digest, bytes",
    )
    .bind(before)
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows.into_iter().map(|(digest, bytes)| File { digest, bytes: bytes.unsigned_abs() }).collect())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use sqlx::PgPool;
    use time::{Duration, OffsetDateTime};

    use super::{
        delete_blobs, delete_manifests, delete_pin, delete_tag, find_blob, insert_blob, insert_pin,
        keep_blobs, list_pins, pins_of, publish,
    };
    use crate::catalog::{Manifest, Tag};

    #[sqlx::test(migrator = "crate::MIGRATIONS")]
    async fn a_pin_is_moved_and_taken_away(db: PgPool) {
        for image in ["demo:old", "demo:new"] {
            insert_pin(&db, ("boot", "a"), image, &[]).await.unwrap();
        }
        let pin = ("boot".to_owned(), "a".to_owned(), "demo:new".to_owned());
        assert_eq!(list_pins(&db).await.unwrap(), [pin]);
        assert_eq!(pins_of(&db, "demo:new").await.unwrap(), ["boot/a"]);
        assert!(delete_pin(&db, "boot", "a").await.unwrap());
        assert!(!delete_pin(&db, "boot", "a").await.unwrap());
    }

    async fn image(db: &PgPool, kernel: &str, tag: &str) -> Manifest {
        let digests = [kernel.repeat(64), "b".repeat(64)];
        for digest in &digests {
            insert_blob(db, digest, 5).await.unwrap();
        }
        let mut tx = db.begin().await.unwrap();
        let kept = keep_blobs(&mut tx, &digests).await.unwrap();
        let file = |digest: &String| kept.iter().find(|it| it.digest == *digest).cloned().unwrap();
        let (kernel, initrd) = (file(&digests[0]), file(&digests[1]));
        let manifest = Manifest { architecture: "x86_64".into(), kernel, initrd, root: None };
        assert_eq!(publish(&mut tx, &manifest, ("demo", tag)).await.unwrap().len(), 2);
        tx.commit().await.unwrap();
        manifest
    }

    /// What a clean-up at this time would take: manifests, blobs.
    async fn taken(db: &PgPool, before: OffsetDateTime) -> (usize, usize) {
        let mut tx = db.begin().await.unwrap();
        let manifests = delete_manifests(&mut tx, before).await.unwrap().len();
        let blobs = delete_blobs(&mut tx, before).await.unwrap().len();
        tx.rollback().await.unwrap();
        (manifests, blobs)
    }

    #[sqlx::test(migrator = "crate::MIGRATIONS")]
    async fn clean_up_takes_what_nothing_names_and_nothing_young(db: PgPool) {
        let later = OffsetDateTime::now_utc() + Duration::minutes(1);
        let first = image(&db, "a", "latest").await;
        assert_eq!(taken(&db, later).await, (0, 0));
        insert_pin(&db, ("boot", "x"), "demo:latest", &[first.digest()]).await.unwrap();
        let second = image(&db, "c", "latest").await;
        assert_eq!(taken(&db, later).await, (0, 0), "the pin holds what the tag stood for");
        assert!(delete_pin(&db, "boot", "x").await.unwrap());
        assert_eq!(taken(&db, later).await, (1, 1), "the initrd is in use");
        assert_eq!(taken(&db, later - Duration::hours(1)).await, (0, 0), "it is young");
        let mut tx = db.begin().await.unwrap();
        let (name, published) = ("demo".to_owned(), String::new());
        let (tag, architecture) = ("latest".to_owned(), "x86_64".to_owned());
        let tag = Tag { name, tag, architecture, manifest: second.digest(), published };
        delete_tag(&mut tx, &tag).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(taken(&db, later).await, (2, 3));
        assert_eq!(find_blob(&db, &"a".repeat(64)).await.unwrap(), Some(5));
        assert_eq!(find_blob(&db, "none").await.unwrap(), None);
    }
}
