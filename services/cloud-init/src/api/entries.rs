//! Entries: what operators write and list.

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::feed::Change;
use serde_json::{Map, Value, json};
use web::{Caller, Json, Path};

use super::Side;
use crate::error::Error;
use crate::model::{Entry, KIND, entry_name, subject_of};
use crate::store;
use crate::wire::{check_name, parse_entry};

/// An entry as it is shown; its name comes back empty (recording `cloud-init-legacy-013`).
fn shown(entry: &impl serde::Serialize) -> Value {
    json!({"name": "", "cloud-init": entry})
}

/// Every entry as it is stored.
pub(super) async fn list(State(side): State<Side>, caller: Caller) -> Result<Response, Error> {
    side.check_read(&caller, None)?;
    let all: Map<String, Value> = side
        .service
        .entries
        .read(|it| it.of(side.store).iter().map(|(name, entry)| (name.clone(), shown(&**entry))).collect());
    Ok(Json(all).into_response())
}

/// One entry, merged with the groups of the node it means.
pub(super) async fn show(
    State(side): State<Side>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Error> {
    let pattern = &side.service.config.host_pattern;
    let subject = side.service.inventory.read(|it| subject_of(it, &id, pattern));
    side.check_read(&caller, Some(&subject))?;
    let merged = side.service.entries.read(|it| it.merge(side.store, &subject)).ok_or(Error::NotFound)?;
    let parts =
        json!({"userdata": merged.userdata, "metadata": merged.metadata, "vendordata": merged.vendordata});
    Ok(Json(shown(&parts)).into_response())
}

/// POST: makes an entry, or adds parts that it does not have yet.
pub(super) async fn create(State(side): State<Side>, caller: Caller, body: Bytes) -> Result<Response, Error> {
    side.check_write(&caller)?;
    let (given, parts) = parse_entry(&body)?;
    check_name(&given)?;
    let name = entry_name(&given);
    let mut tx = side.service.database.begin().await?;
    store::insert_empty(&mut tx, side.store, &name).await?;
    let mut entry = store::find_for_update(&mut tx, side.store, &name).await?.unwrap_or_default();
    if entry.overlaps(&parts) {
        return Err(Error::Exists);
    }
    entry.take(parts);
    store::update(&mut tx, side.store, &name, &entry).await?;
    web::feed::commit(tx, &[put(&side, &name, &entry)], &side.service.entries).await?;
    Ok(Json(given).into_response())
}

/// PUT: replaces each part that is given, whole, of an entry that is there. The body's name does not count
/// (recording `cloud-init-legacy-042`).
pub(super) async fn replace(
    State(side): State<Side>,
    caller: Caller,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, Error> {
    side.check_write(&caller)?;
    let (_, parts) = parse_entry(&body)?;
    let name = entry_name(&id);
    let mut tx = side.service.database.begin().await?;
    let mut entry = store::find_for_update(&mut tx, side.store, &name).await?.ok_or(Error::NotFound)?;
    entry.take(parts);
    store::update(&mut tx, side.store, &name, &entry).await?;
    web::feed::commit(tx, &[put(&side, &name, &entry)], &side.service.entries).await?;
    Ok(Json(id).into_response())
}

/// DELETE: success whether it was there or not (recording `cloud-init-legacy-060`).
pub(super) async fn remove(
    State(side): State<Side>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Error> {
    side.check_write(&caller)?;
    let name = entry_name(&id);
    let mut tx = side.service.database.begin().await?;
    if store::delete(&mut tx, side.store, &name).await? {
        let change = Change::delete(KIND, side.store.id(&name));
        web::feed::commit(tx, &[change], &side.service.entries).await?;
    }
    Ok(Json(json!({"status": "success"})).into_response())
}

fn put(side: &Side, name: &str, entry: &Entry) -> Change {
    Change::put(KIND, side.store.id(name), serde_json::to_value(entry).unwrap_or_default())
}
