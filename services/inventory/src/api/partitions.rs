//! /partitions (recording `smd-groups-2.20-046` to `-059`).

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use domain::Xname;
use web::{Json, Path};

use super::{App, Raw, created, decode, deleted, no_content};
use crate::error::{Error, PARTITION_OTHER, PARTITION_TAKEN, PARTITION_THERE};
use crate::model::filter::Params;
use crate::model::group::{GroupError, GroupPatch, MemberBody, parse_tags};
use crate::model::partition::{PartitionBody, members, parse_name, show as json_of};
use crate::store::Write;

const BASE: &str = "/hsm/v2/partitions";
const NO_PARTITION: &str = "no such partition.";

fn parse_path(text: &str) -> Result<String, Error> {
    parse_name(text).ok_or_else(|| Error::bad("Invalid partition name."))
}

fn unknown(name: &str) -> Error {
    Error::missing(format!("No such partition: {name}"))
}

pub(super) async fn list(State(app): State<App>, RawQuery(query): RawQuery) -> Response {
    let params = Params::of_query(query.as_deref());
    let lower = |name| params.all(name).iter().map(|it| it.to_ascii_lowercase()).collect::<Vec<_>>();
    let (names, tags) = (lower("partition"), lower("tag"));
    app.store.catalog.read(|it| {
        let passed = it.inventory.partitions().filter(|it| {
            (names.is_empty() || names.contains(&it.name))
                && (tags.is_empty() || it.tags.iter().any(|tag| tags.contains(tag)))
        });
        Json(passed.map(json_of).collect::<Vec<_>>()).into_response()
    })
}

pub(super) async fn list_names(State(app): State<App>) -> Response {
    let names = |it: &crate::Catalog| {
        Json(it.inventory.partitions().map(|it| &it.name).collect::<Vec<_>>()).into_response()
    };
    app.store.catalog.read(names)
}

pub(super) async fn show(State(app): State<App>, Path(name): Path<String>) -> Result<Response, Error> {
    let name = parse_path(&name)?;
    app.store.catalog.read(|it| {
        let found = it.inventory.partition(&name).ok_or_else(|| unknown(&name))?;
        Ok(Json(json_of(found)).into_response())
    })
}

pub(super) async fn list_members(
    State(app): State<App>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Error> {
    let (name, params) = (parse_path(&name)?, Params::of_query(query.as_deref()));
    let groups = params.all("group");
    app.store.catalog.read(|it| {
        let found = it.inventory.partition(&name).ok_or_else(|| unknown(&name))?;
        let mut shown = members(found);
        if let Some(label) = groups.first().map(|it| it.to_ascii_lowercase()) {
            let group = it.inventory.group(&label);
            shown.ids.retain(|id| group.is_some_and(|it| it.members.contains(*id)));
        }
        Ok(Json(shown).into_response())
    })
}

/// Components that are there and in no partition; the others are refused with the recorded sentences.
fn check_free(write: &Write, name: &str, ids: &[&Xname]) -> Result<(), Error> {
    write.read(|it| {
        for id in ids {
            match it.inventory.partition_of(id) {
                Some(other) if other == name => return Err(Error::Conflict(PARTITION_THERE)),
                Some(_) => return Err(Error::Conflict(PARTITION_OTHER)),
                None => {}
            }
        }
        Ok(())
    })
}

pub(super) async fn create(State(app): State<App>, Raw(body): Raw) -> Result<Response, Error> {
    let new = decode::<PartitionBody>(&body)?.parse().map_err(|error| match error {
        GroupError::Twice => Error::Conflict(PARTITION_TAKEN),
        other => Error::bad(format!("couldn't validate partition: {other}")),
    })?;
    let mut write = app.store.write().await?;
    if write.read(|it| it.inventory.partition(&new.name).is_some()) {
        return Err(Error::Conflict(PARTITION_TAKEN));
    }
    check_free(&write, &new.name, &new.members.iter().collect::<Vec<_>>())?;
    write.insert_partition(&new).await?;
    write.commit().await?;
    Ok(created(BASE, &[format!("{BASE}/{}", new.name)]))
}

pub(super) async fn update(
    State(app): State<App>,
    Path(name): Path<String>,
    Raw(body): Raw,
) -> Result<Response, Error> {
    let patch: GroupPatch = decode(&body)?;
    if patch.description.is_none() && patch.tags.is_none() {
        return Err(Error::bad("Request must have at least one patch field."));
    }
    let name = parse_path(&name)?;
    let tags = patch.tags.map(|it| parse_tags(it).ok_or_else(|| Error::bad("Invalid tag."))).transpose()?;
    let mut write = app.store.write().await?;
    if !write.update_partition(&name, patch.description.as_deref(), tags.as_deref()).await? {
        return Err(Error::missing(NO_PARTITION));
    }
    write.commit().await?;
    Ok(no_content())
}

pub(super) async fn remove(State(app): State<App>, Path(name): Path<String>) -> Result<Response, Error> {
    let name = parse_path(&name)?;
    let mut write = app.store.write().await?;
    if !write.delete_partition(&name).await? {
        return Err(Error::missing(NO_PARTITION));
    }
    write.commit().await?;
    Ok(deleted(1))
}

pub(super) async fn create_member(
    State(app): State<App>,
    Path(name): Path<String>,
    Raw(body): Raw,
) -> Result<Response, Error> {
    let name = parse_path(&name)?;
    let id: Xname = decode::<MemberBody>(&body)?.id.parse().map_err(|_| Error::bad("invalid xname ID"))?;
    let mut write = app.store.write().await?;
    if write.read(|it| it.inventory.partition(&name).is_none()) {
        return Err(unknown(&name));
    }
    check_free(&write, &name, &[&id])?;
    write.insert_partition_members(&name, std::slice::from_ref(&id)).await?;
    write.commit().await?;
    let base = format!("{BASE}/{name}/members");
    Ok(created(&base, &[format!("{base}/{id}")]))
}

pub(super) async fn remove_member(
    State(app): State<App>,
    Path((name, id)): Path<(String, String)>,
) -> Result<Response, Error> {
    let name = parse_path(&name)?;
    let id: Xname = id.parse().map_err(|_| Error::bad("invalid xname ID"))?;
    let mut write = app.store.write().await?;
    if write.read(|it| it.inventory.partition(&name).is_none()) {
        return Err(unknown(&name));
    }
    if !write.delete_partition_member(&name, &id).await? {
        return Err(Error::missing("partition has no such member."));
    }
    write.commit().await?;
    Ok(deleted(1))
}
