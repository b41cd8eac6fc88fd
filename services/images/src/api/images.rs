//! `/pilothouse/v1/images`: tags and what they stand for.

use axum::extract::State;
use axum::http::StatusCode;
use domain::feed::Change;
use serde::Deserialize;
use time::{Duration, OffsetDateTime};
use web::feed::commit;
use web::{Json, Query};

use super::Shared;
use crate::blobs::UPLOAD_IDLE;
use crate::catalog::{File, MANIFEST, Manifest, Reference, parse_architecture, parse_digest};
use crate::client::{Cleaned, Image, NewImage, Part, Resolved};
use crate::error::Error;
use crate::floor::Floor;
use crate::store;

/// What is younger is left alone by a clean-up: somebody may be about to name it.
const AGE_MIN: Duration = Duration::HOUR;

pub(super) async fn list(State(floor): Shared) -> Result<Json<Vec<Image>>, Error> {
    let mut images = floor.catalog.read(|it| it.images());
    // The images of folders stay to be seen while the store's folder is not there.
    images.extend(floor.scan().await?);
    let pins = match floor.database.pool() {
        Ok(db) => store::list_pins(db).await.unwrap_or_default(),
        Err(_) => Vec::new(),
    };
    for image in &mut images {
        let name = format!("{}:{}", image.name, image.tag);
        let named = pins.iter().filter(|it| it.2 == name || Some(&it.2) == image.digest.as_ref());
        image.pins = named.map(|(service, id, _)| format!("{service}/{id}")).collect();
    }
    images.sort_by(|a, b| b.modified.cmp(&a.modified).then_with(|| a.name.cmp(&b.name)));
    Ok(Json(images))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    reference: String,
    architecture: Option<String>,
}

impl Asked {
    fn parse(&self) -> Result<(Reference, Option<&'static str>), Error> {
        let reference =
            Reference::parse(&self.reference).ok_or_else(|| Error::BadReference(self.reference.clone()))?;
        Ok((reference, self.architecture.as_deref().map(architecture).transpose()?))
    }
}

fn architecture(text: &str) -> Result<&'static str, Error> {
    parse_architecture(text).ok_or_else(|| Error::BadArchitecture(text.to_owned()))
}

pub(super) async fn resolve(
    State(floor): Shared,
    Query(asked): Query<Asked>,
) -> Result<Json<Resolved>, Error> {
    let (reference, architecture) = asked.parse()?;
    let found = floor.catalog.read(|it| {
        it.find(&reference, architecture).map(|(digest, it)| it.resolved(&asked.reference, digest))
    });
    if let Some(found) = found {
        return Ok(Json(found));
    }
    let missing = || {
        let on = architecture.map(|it| format!(" for {it}")).unwrap_or_default();
        Error::NoImage(format!("{}{on}", asked.reference))
    };
    let Reference::Tag { name, tag } = &reference else { return Err(missing()) };
    // A tag of the store that has other architectures is not the folder of its name.
    if !floor.catalog.read(|it| it.tags_of(name, tag).is_empty()) {
        return Err(missing());
    }
    let images = floor.scan().await?;
    let image = images.into_iter().find(|it| it.name == *name && it.tag == *tag).ok_or_else(missing)?;
    Ok(Json(of_folder(&floor, &asked.reference, image)?))
}

fn of_folder(floor: &Floor, reference: &str, image: Image) -> Result<Resolved, Error> {
    let part = |path: String| {
        let bytes = std::fs::metadata(floor.config.root.join(&path))?.len();
        std::io::Result::Ok(Part { digest: None, bytes, path })
    };
    Ok(Resolved {
        reference: reference.to_owned(),
        architecture: None,
        digest: None,
        kernel: part(image.kernel)?,
        initrd: part(image.initrd)?,
        root: image.root.map(part).transpose()?,
    })
}

pub(super) async fn publish(
    State(floor): Shared,
    Json(new): Json<NewImage>,
) -> Result<(StatusCode, Json<Resolved>), Error> {
    let reference = format!("{}:{}", new.name, new.tag);
    let Some(Reference::Tag { name, tag }) = Reference::parse(&reference) else {
        return Err(Error::BadReference(reference));
    };
    let architecture = architecture(&new.architecture)?.to_owned();
    let digest = |text: &String| parse_digest(text).ok_or_else(|| Error::BadDigest(text.clone()));
    let (kernel, initrd) = (digest(&new.kernel)?, digest(&new.initrd)?);
    let root = new.root.as_ref().map(digest).transpose()?;
    let _writing = floor.writing.lock().await;
    let mut tx = floor.database.begin().await?;
    let wanted: Vec<String> =
        [Some(&kernel), Some(&initrd), root.as_ref()].into_iter().flatten().cloned().collect();
    let there = store::keep_blobs(&mut tx, &wanted).await?;
    let file = |digest: &String| -> Result<File, Error> {
        let found = there.iter().find(|it| it.digest == *digest).cloned();
        found.ok_or_else(|| Error::NoBlob(format!("sha256:{digest}")))
    };
    let manifest = Manifest {
        architecture,
        kernel: file(&kernel)?,
        initrd: file(&initrd)?,
        root: root.as_ref().map(file).transpose()?,
    };
    let changes = store::publish(&mut tx, &manifest, (&name, &tag)).await?;
    commit(tx, &changes, &floor.catalog).await?;
    tracing::info!("{name}:{tag} for {} is now sha256:{}", manifest.architecture, manifest.digest());
    Ok((StatusCode::CREATED, Json(manifest.resolved(&reference, &manifest.digest()))))
}

pub(super) async fn remove(State(floor): Shared, Query(asked): Query<Asked>) -> Result<StatusCode, Error> {
    let (reference, architecture) = asked.parse()?;
    let Reference::Tag { name, tag } = &reference else {
        return Err(Error::BadReference(asked.reference));
    };
    let image = format!("{name}:{tag}");
    let _writing = floor.writing.lock().await;
    let mut tx = floor.database.begin().await?;
    let mut tags = floor.catalog.read(|it| it.tags_of(name, tag));
    tags.retain(|it| architecture.is_none_or(|wanted| it.architecture == wanted));
    if tags.is_empty() {
        return Err(Error::NoImage(asked.reference));
    }
    let pins = store::pins_of(&mut *tx, &image).await?;
    if !pins.is_empty() {
        return Err(Error::Pinned { image, pins: pins.join(", ") });
    }
    let mut changes = Vec::new();
    for tag in &tags {
        changes.push(store::delete_tag(&mut tx, tag).await?);
    }
    commit(tx, &changes, &floor.catalog).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct How {
    dry: bool,
}

pub(super) async fn clean_up(State(floor): Shared, Query(how): Query<How>) -> Result<Json<Cleaned>, Error> {
    Ok(Json(clean(&floor, OffsetDateTime::now_utc(), how.dry).await?))
}

/// Takes away what nothing names: first the rows, then the files that no row names any more.
async fn clean(floor: &std::sync::Arc<Floor>, now: OffsetDateTime, dry: bool) -> Result<Cleaned, Error> {
    let _writing = floor.writing.lock().await;
    let mut tx = floor.database.begin().await?;
    let before = now - AGE_MIN;
    let manifests = store::delete_manifests(&mut tx, before).await?;
    let blobs = store::delete_blobs(&mut tx, before).await?;
    if dry {
        tx.rollback().await?;
    } else {
        let changes: Vec<Change> = manifests.iter().map(|it| Change::delete(MANIFEST, it)).collect();
        commit(tx, &changes, &floor.catalog).await?;
    }
    let on_disk = floor.blobs.clone();
    let gone: Vec<String> = blobs.iter().map(|it| it.digest.clone()).collect();
    let forgotten = tokio::task::spawn_blocking(move || {
        for digest in gone.iter().filter(|_| !dry) {
            on_disk.remove(digest)?;
        }
        on_disk.forget(now.into(), UPLOAD_IDLE, dry)
    });
    let (uploads, bytes) = forgotten.await.map_err(std::io::Error::other)??;
    Ok(Cleaned {
        manifests: manifests.into_iter().map(|it| format!("sha256:{it}")).collect(),
        bytes: bytes + blobs.iter().map(|it| it.bytes).sum::<u64>(),
        blobs: blobs.iter().map(File::blob).collect(),
        uploads,
    })
}
