//! Entries: what operators write and list.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::feed::Change;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use web::{Caller, Json, Path, Problem};

use super::data::file_by_address;
use super::{Body, Side};
use crate::config::Api;
use crate::error::Error;
use crate::model::{Entry, KIND, entry_name, subject_of};
use crate::store;
use crate::wire::{check_name, parse_entry};

/// An entry as it is shown; its name comes back empty (recording `cloud-init-legacy-013`).
fn shown(entry: &impl serde::Serialize) -> Value {
    json!({"name": "", "cloud-init": entry})
}

/// An entry of the legacy API. A part that is not given stays as it is.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "it describes the body, which is read with the recorded service's own words")]
pub(super) struct EntryBody {
    /// A group's label, an xname or a node's name.
    name: Option<String>,
    /// What it is given.
    #[serde(rename = "cloud-init")]
    cloud_init: Option<EntryParts>,
}

/// The parts of an entry.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "as above")]
pub(super) struct EntryParts {
    userdata: Option<BTreeMap<String, Value>>,
    metadata: Option<BTreeMap<String, Value>>,
    vendordata: Option<BTreeMap<String, Value>>,
}

/// Every entry as it is stored.
#[utoipa::path(get, path = "/", tag = "legacy",
    responses((status = 200, description = "Name and entry", body = BTreeMap<String, EntryBody>)))]
pub(super) async fn list(State(side): State<Side>, caller: Caller) -> Result<Response, Error> {
    side.check_read(&caller, None)?;
    let all: Map<String, Value> = side
        .service
        .entries
        .read(|it| it.of(side.store).iter().map(|(name, entry)| (name.clone(), shown(&**entry))).collect());
    Ok(Json(all).into_response())
}

/// One entry, merged with the groups of the node it means. Where both generations of the API are served, a
/// name that ends in `.yaml` and is no entry is the file of a group of the present one, for a node that is a
/// member.
#[utoipa::path(get, path = "/{id}", tag = "legacy", params(("id" = String, Path)),
    responses((status = 200, description = "The entry",
        content((EntryBody = "application/json"), (String = "text/plain"))),
        (status = 404, description = "There is none", body = String, content_type = "text/plain"),
        (status = 500, description = "Nobody is known at the caller's address",
            body = String, content_type = "text/plain")))]
pub(super) async fn show(
    State(side): State<Side>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Error> {
    let config = &side.service.config;
    let subject = side.service.inventory.read(|it| subject_of(it, &id, &config.host_pattern));
    side.check_read(&caller, subject.node.as_ref().map(|it| &it.xname))?;
    let merged = side.service.entries.read(|it| it.merge(side.store, &subject, config.merge));
    let group = id.strip_suffix(".yaml").filter(|it| !it.is_empty() && side.api() == Api::Auto);
    let merged = match (merged, group) {
        (Some(merged), _) => merged,
        (None, Some(group)) => return file_by_address(&side, &caller, group),
        (None, None) => return Err(Error::NotFound),
    };
    let parts =
        json!({"userdata": merged.userdata, "metadata": merged.metadata, "vendordata": merged.vendordata});
    Ok(Json(shown(&parts)).into_response())
}

/// Makes an entry, or adds parts that it does not have yet.
#[utoipa::path(post, path = "/", tag = "legacy", security(("bearer" = ["cloud-init:write"])),
    request_body = EntryBody,
    responses((status = 200, description = "The name", body = String, content_type = "application/json"),
        (status = 400, description = "No entry", body = String, content_type = "text/plain"),
        (status = 404, description = "One of the parts is set already",
            body = String, content_type = "text/plain")))]
pub(super) async fn create(
    State(side): State<Side>,
    caller: Caller,
    Body(body): Body,
) -> Result<Response, Error> {
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

/// Replaces each part that is given, whole, of an entry that is there. The body's name does not count
/// (recording `cloud-init-legacy-042`).
#[utoipa::path(put, path = "/{id}", tag = "legacy", security(("bearer" = ["cloud-init:write"])),
    request_body = EntryBody,
    params(("id" = String, Path)),
    responses((status = 200, description = "The name", body = String, content_type = "application/json"),
        (status = 400, description = "No entry",
            content((String = "text/plain"), (Problem = "application/problem+json"))),
        (status = 404, description = "There is none", body = String, content_type = "text/plain")))]
pub(super) async fn replace(
    State(side): State<Side>,
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body,
) -> Result<Response, Error> {
    side.check_write(&caller)?;
    let (_, parts) = parse_entry(&body)?;
    let name = entry_name(&id);
    if check_name(&name).is_err() {
        return Err(Error::NotFound);
    }
    let mut tx = side.service.database.begin().await?;
    let mut entry = store::find_for_update(&mut tx, side.store, &name).await?.ok_or(Error::NotFound)?;
    entry.take(parts);
    store::update(&mut tx, side.store, &name, &entry).await?;
    web::feed::commit(tx, &[put(&side, &name, &entry)], &side.service.entries).await?;
    Ok(Json(id).into_response())
}

/// Success whether it was there or not (recording `cloud-init-legacy-060`).
#[utoipa::path(delete, path = "/{id}", tag = "legacy", security(("bearer" = ["cloud-init:write"])),
    params(("id" = String, Path)),
    responses((status = 200, description = "It is gone", body = BTreeMap<String, String>)))]
pub(super) async fn remove(
    State(side): State<Side>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Error> {
    side.check_write(&caller)?;
    let name = entry_name(&id);
    let mut tx = side.service.database.begin().await?;
    if check_name(&name).is_ok() && store::delete(&mut tx, side.store, &name).await? {
        let change = Change::delete(KIND, side.store.id(&name));
        web::feed::commit(tx, &[change], &side.service.entries).await?;
    }
    Ok(Json(json!({"status": "success"})).into_response())
}

fn put(side: &Side, name: &str, entry: &Entry) -> Change {
    Change::put(KIND, side.store.id(name), serde_json::to_value(entry).unwrap_or_default())
}
