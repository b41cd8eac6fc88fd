//! /groups and /memberships (recording `smd-groups-2.20`).

use std::collections::BTreeSet;

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use domain::Xname;
use domain::inventory::{Component, Inventory};
use serde_json::{Value, json};
use web::{Json, Path};

use super::{App, Raw, created, decode, deleted, no_content};
use crate::error::{Error, GROUP_TAKEN};
use crate::model::filter::{Filter, Params};
use crate::model::group::{
    GroupBody, GroupError, GroupPatch, MemberBody, MembersBody, members, parse_label, parse_tags,
    show as json_of,
};

const BASE: &str = "/hsm/v2/groups";

fn parse_path(text: &str) -> Result<String, Error> {
    parse_label(text).ok_or_else(|| Error::bad("Invalid group label."))
}

fn no_group(label: &str) -> Error {
    Error::missing(format!("No such group: {label}"))
}

fn partition(params: &Params) -> Option<&str> {
    params.all("partition").first().map(String::as_str)
}

pub(super) async fn list(State(app): State<App>, RawQuery(query): RawQuery) -> Result<Response, Error> {
    let params = Params::of_query(query.as_deref());
    let lower = |name| params.all(name).iter().map(|it| it.to_ascii_lowercase()).collect::<Vec<_>>();
    let (labels, tags) = (lower("group"), lower("tag"));
    Ok(app.store.catalog.read(|it| {
        let inventory = &it.inventory;
        let passed = inventory.groups().filter(|it| {
            (labels.is_empty() || labels.contains(&it.label))
                && (tags.is_empty() || it.tags.iter().any(|tag| tags.contains(tag)))
        });
        let shown = passed.map(|it| json_of(it, partition(&params), inventory));
        Json(shown.collect::<Vec<_>>()).into_response()
    }))
}

pub(super) async fn list_labels(State(app): State<App>) -> Response {
    app.store
        .catalog
        .read(|it| Json(it.inventory.groups().map(|it| &it.label).collect::<Vec<_>>()).into_response())
}

pub(super) async fn create(State(app): State<App>, Raw(body): Raw) -> Result<Response, Error> {
    let group = decode::<GroupBody>(&body)?.parse().map_err(|error| match error {
        GroupError::Twice => Error::Conflict(GROUP_TAKEN),
        other => Error::bad(format!("couldn't validate group: {other}")),
    })?;
    let mut write = app.store.write().await?;
    write.insert_groups(std::slice::from_ref(&group)).await?;
    let pairs: Vec<_> = group.members.iter().map(|it| (group.label.clone(), it.clone())).collect();
    write.insert_members(&pairs, false).await?;
    write.commit().await?;
    Ok(created(BASE, &[format!("{BASE}/{}", group.label)]))
}

pub(super) async fn show(
    State(app): State<App>,
    Path(label): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Error> {
    let (label, params) = (parse_path(&label)?, Params::of_query(query.as_deref()));
    app.store.catalog.read(|it| {
        let group = it.inventory.group(&label).ok_or_else(|| no_group(&label))?;
        Ok(Json(json_of(group, partition(&params), &it.inventory)).into_response())
    })
}

pub(super) async fn update(
    State(app): State<App>,
    Path(label): Path<String>,
    Raw(body): Raw,
) -> Result<Response, Error> {
    let patch: GroupPatch = decode(&body)?;
    if patch.description.is_none() && patch.tags.is_none() {
        return Err(Error::bad("Request must have at least one patch field."));
    }
    let label = parse_path(&label)?;
    let tags = patch.tags.map(|it| parse_tags(it).ok_or_else(|| Error::bad("Invalid tag."))).transpose()?;
    let mut write = app.store.write().await?;
    if !write.update_group(&label, patch.description.as_deref(), tags.as_deref()).await? {
        return Err(Error::missing("no such group."));
    }
    write.commit().await?;
    Ok(no_content())
}

pub(super) async fn remove(State(app): State<App>, Path(label): Path<String>) -> Result<Response, Error> {
    let label = parse_path(&label)?;
    let mut write = app.store.write().await?;
    if !write.delete_group(&label).await? {
        return Err(Error::missing("no such group."));
    }
    write.commit().await?;
    Ok(deleted(1))
}

pub(super) async fn list_members(
    State(app): State<App>,
    Path(label): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Error> {
    let (label, params) = (parse_path(&label)?, Params::of_query(query.as_deref()));
    app.store.catalog.read(|it| {
        let group = it.inventory.group(&label).ok_or_else(|| no_group(&label))?;
        Ok(Json(members(group, partition(&params), &it.inventory)).into_response())
    })
}

pub(super) async fn create_member(
    State(app): State<App>,
    Path(label): Path<String>,
    Raw(body): Raw,
) -> Result<Response, Error> {
    let label = parse_path(&label)?;
    let id: Xname = decode::<MemberBody>(&body)?.id.parse().map_err(|_| Error::bad("invalid xname ID"))?;
    let mut write = app.store.write().await?;
    if write.read(|it| it.inventory.group(&label).is_none()) {
        return Err(no_group(&label));
    }
    write.insert_members(&[(label.clone(), id.clone())], false).await?;
    write.commit().await?;
    Ok(created(&format!("{BASE}/{label}/members"), &[format!("{BASE}/{label}/members/{id}")]))
}

pub(super) async fn replace_members(
    State(app): State<App>,
    Path(label): Path<String>,
    Raw(body): Raw,
) -> Result<Response, Error> {
    let label = parse_path(&label)?;
    let ids = decode::<MembersBody>(&body)?.ids.unwrap_or_default();
    let wrong: Vec<&str> = ids.iter().filter(|it| it.parse::<Xname>().is_err()).map(String::as_str).collect();
    if !wrong.is_empty() {
        return Err(Error::bad(format!("invalid xname IDs: [{}]", wrong.join(" "))));
    }
    let wanted: BTreeSet<Xname> = ids.iter().filter_map(|it| it.parse().ok()).collect();
    let mut write = app.store.write().await?;
    let old = write.read(|it| it.inventory.group(&label).map(|it| it.members.clone()));
    let old = old.ok_or_else(|| no_group(&label))?;
    let pair = |it: &Xname| (label.clone(), it.clone());
    write.delete_members(&old.difference(&wanted).map(pair).collect::<Vec<_>>()).await?;
    write.insert_members(&wanted.difference(&old).map(pair).collect::<Vec<_>>(), false).await?;
    write.commit().await?;
    let uris: Vec<String> = wanted.iter().map(|it| format!("{BASE}/{label}/members/{it}")).collect();
    Ok(created(BASE, &uris))
}

pub(super) async fn remove_member(
    State(app): State<App>,
    Path((label, name)): Path<(String, String)>,
) -> Result<Response, Error> {
    let label = parse_path(&label)?;
    let id: Xname = name.parse().map_err(|_| Error::bad("invalid xname ID"))?;
    let mut write = app.store.write().await?;
    if write.read(|it| it.inventory.group(&label).is_none()) {
        return Err(no_group(&label));
    }
    if write.delete_members(&[(label, id)]).await? == 0 {
        return Err(Error::missing("group has no such member."));
    }
    write.commit().await?;
    Ok(deleted(1))
}

fn membership(it: &Component, inventory: &Inventory) -> Value {
    let labels: Vec<&str> = inventory.groups_of(&it.id).collect();
    let partition = inventory.partition_of(&it.id).unwrap_or_default();
    json!({"id": it.id, "groupLabels": labels, "partitionName": partition})
}

/// Every component, those without a group too; labels in order.
pub(super) async fn list_memberships(
    State(app): State<App>,
    RawQuery(query): RawQuery,
) -> Result<Response, Error> {
    let filter = Filter::parse(&Params::of_query(query.as_deref()));
    let filter = filter.map_err(|it| Error::bad(format!("bad query param: {it}")))?;
    Ok(app.store.catalog.read(|it| {
        let passed = it.inventory.components().filter(|one| filter.admits(one, &it.inventory));
        Json(passed.map(|one| membership(one, &it.inventory)).collect::<Vec<_>>()).into_response()
    }))
}

pub(super) async fn show_membership(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Response, Error> {
    let id: Xname = name.parse().map_err(|_| Error::bad("invalid xname"))?;
    app.store.catalog.read(|it| {
        let found = it.inventory.component(&id);
        let found = found.ok_or_else(|| Error::missing(format!("No such xname: {id}")))?;
        Ok(Json(membership(found, &it.inventory)).into_response())
    })
}
