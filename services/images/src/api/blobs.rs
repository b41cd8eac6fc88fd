//! `/pilothouse/v1/blobs` and `/pilothouse/v1/uploads`: files come in pieces, and are blobs once they are whole.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use uuid::Uuid;
use web::{Json, Path, Query};

use super::Shared;
use crate::blobs::{Blobs, Trouble};
use crate::catalog::{File, parse_digest};
use crate::client::{Blob, Upload};
use crate::error::Error;
use crate::floor::Floor;
use crate::store;

/// A blob that is registered and whose file is there.
pub(super) async fn show(State(floor): Shared, Path(digest): Path<String>) -> Result<Json<Blob>, Error> {
    let digest = parse_digest(&digest).ok_or(Error::BadDigest(digest))?;
    let missing = || Error::NoBlob(format!("sha256:{digest}"));
    let bytes = store::find_blob(floor.database.pool()?, &digest).await?.ok_or_else(missing)?;
    let wanted = digest.clone();
    let there =
        on_disk(&floor, move |it| Ok(it.open(&wanted).is_ok_and(|it| it.known.length == bytes))).await?;
    if there { Ok(Json(File { digest, bytes }.blob())) } else { Err(missing()) }
}

pub(super) async fn begin(State(floor): Shared) -> Result<Json<Upload>, Error> {
    // Without the database it would end badly.
    floor.database.pool()?;
    let _writing = floor.writing.lock().await;
    let id = on_disk(&floor, |it| it.begin(Uuid::new_v4())).await?;
    Ok(Json(Upload { id, received: 0 }))
}

pub(super) async fn progress(State(floor): Shared, Path(id): Path<String>) -> Result<Json<Upload>, Error> {
    let asked = id.clone();
    let received = on_disk(&floor, move |it| it.received(&asked)).await?;
    Ok(Json(Upload { id, received }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Offset {
    offset: u64,
}

/// A piece; what it is a part of is written down when it ends.
pub(super) async fn append(
    State(floor): Shared,
    Path(id): Path<String>,
    Query(query): Query<Offset>,
    piece: Bytes,
) -> Result<Json<Upload>, Error> {
    web::no_deed();
    let _writing = floor.writing.lock().await;
    let asked = id.clone();
    let received = on_disk(&floor, move |it| it.append(&asked, query.offset, &piece)).await?;
    Ok(Json(Upload { id, received }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Digest {
    digest: String,
}

pub(super) async fn finish(
    State(floor): Shared,
    Path(id): Path<String>,
    Query(query): Query<Digest>,
) -> Result<Json<Blob>, Error> {
    let digest = parse_digest(&query.digest).ok_or(Error::BadDigest(query.digest))?;
    let db = floor.database.pool()?;
    let _writing = floor.writing.lock().await;
    let expected = digest.clone();
    let bytes = on_disk(&floor, move |it| it.finish(&id, &expected)).await?;
    // If this fails the file is left behind, and belongs to the next who uploads it.
    store::insert_blob(db, &digest, bytes).await?;
    floor.context.issues().clear(&super::verify::issue_of(&digest));
    Ok(Json(File { digest, bytes }.blob()))
}

pub(super) async fn cancel(State(floor): Shared, Path(id): Path<String>) -> Result<StatusCode, Error> {
    on_disk(&floor, move |it| it.cancel(&id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Runs what waits for the disk on a thread that may.
async fn on_disk<T: Send + 'static>(
    floor: &Arc<Floor>,
    work: impl FnOnce(&Blobs) -> Result<T, Trouble> + Send + 'static,
) -> Result<T, Error> {
    let blobs = floor.blobs.clone();
    let done = tokio::task::spawn_blocking(move || work(&blobs)).await.map_err(std::io::Error::other)?;
    Ok(done?)
}
