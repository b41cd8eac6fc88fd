//! Groups of the present API: what operators write and list.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use domain::feed::Change;
use serde_json::{Value, json};
use web::Path;

use super::{Body, CloudInit, created, typed};
use crate::error::Error;
use crate::model::{GROUP, Group};
use crate::store;
use crate::wire::{check_label, parse_group};

/// The recorded service leaves its answers to be guessed at.
const TEXT: &str = "text/plain; charset=utf-8";

/// Every group that has data.
#[utoipa::path(get, path = "/admin/groups", tag = "admin",
    responses((status = 200, description = "Name and group as JSON",
        body = BTreeMap<String, Group>, content_type = "text/plain")))]
pub(super) async fn list(State(service): State<CloudInit>) -> Response {
    let text = service.entries.read(|it| {
        let all: BTreeMap<&str, &Group> =
            it.current.groups().iter().map(|(name, kept)| (name.as_str(), &kept.group)).collect();
        json!(all).to_string()
    });
    typed(TEXT, text)
}

/// One group.
#[utoipa::path(get, path = "/admin/groups/{name}", tag = "admin", params(("name" = String, Path)),
    responses((status = 200, description = "The group as JSON", body = Group, content_type = "text/plain"),
        (status = 404, description = "It has no data", body = String, content_type = "text/plain")))]
pub(super) async fn show(
    State(service): State<CloudInit>,
    Path(name): Path<String>,
) -> Result<Response, Error> {
    let found =
        service.entries.read(|it| it.current.groups().get(&name).map(|it| json!(it.group).to_string()));
    found.map(|it| typed(TEXT, it)).ok_or(Error::NoGroup(name))
}

/// Gives a group data that has none.
#[utoipa::path(post, path = "/admin/groups", tag = "admin", request_body = Group,
    responses((status = 201, description = "It has them", headers(("Location" = String))),
        (status = 409, description = "It has some already", body = String, content_type = "text/plain"),
        (status = 422, description = "No group, or a template that cannot be read",
            body = String, content_type = "text/plain")))]
pub(super) async fn create(State(service): State<CloudInit>, Body(body): Body) -> Result<Response, Error> {
    let (group, warning) = parse(&service, None, &body)?;
    let mut tx = service.database.begin().await?;
    let row = json!(group);
    if !store::insert_group(&mut tx, &group.name, &row).await? {
        return Err(Error::GroupExists(group.name));
    }
    web::feed::commit(tx, &[Change::put(GROUP, &group.name, row)], &service.entries).await?;
    Ok(created(Some(&format!("/groups/{}", group.name)), warning))
}

/// Gives a group data in place of those it had. The name in the body is kept and names nothing (recording
/// `cloud-init-029`).
#[utoipa::path(put, path = "/admin/groups/{name}", tag = "admin", params(("name" = String, Path)),
    request_body = Group,
    responses((status = 201, description = "It has them", headers(("Location" = String))),
        (status = 422, description = "No group, or a template that cannot be read",
            body = String, content_type = "text/plain")))]
pub(super) async fn replace(
    State(service): State<CloudInit>,
    Path(name): Path<String>,
    Body(body): Body,
) -> Result<Response, Error> {
    let (group, warning) = parse(&service, Some(&name), &body)?;
    put(&service, &name, &group).await?;
    Ok(created(Some(&format!("/groups/{}", group.name)), warning))
}

/// Takes a group's data away; success whether there were any or not.
#[utoipa::path(delete, path = "/admin/groups/{name}", tag = "admin", params(("name" = String, Path)),
    responses((status = 200, description = "It has none")))]
pub(super) async fn remove(State(service): State<CloudInit>, Path(name): Path<String>) -> Result<(), Error> {
    take_away(&service, &name).await.map(drop)
}

/// A group as it is to be stored under this name or its own, and what is wrong with its file though it is
/// taken: a variable without a value may be one that the node itself knows.
fn parse(service: &CloudInit, name: Option<&str>, body: &[u8]) -> Result<(Group, Option<String>), Error> {
    let group = parse_group(body, None).map_err(Error::BadGroup)?;
    let name = name.unwrap_or(&group.name);
    check_label(name).map_err(Error::BadGroup)?;
    let finding = service.check_template(name, &group);
    if let Some(finding) = finding.as_ref().filter(|it| it.fault.is_syntax) {
        return Err(Error::BadTemplate { group: name.to_owned(), fault: finding.fault.clone() });
    }
    let warning = finding.map(|it| it.told(name));
    if let Some(warning) = &warning {
        tracing::warn!("a template was taken that cannot be filled in: {warning}");
    }
    Ok((group, warning))
}

/// Writes a group under a name.
pub(super) async fn put(service: &CloudInit, name: &str, group: &Group) -> Result<(), Error> {
    let mut tx = service.database.begin().await?;
    let row: Value = json!(group);
    store::put_group(&mut tx, name, &row).await?;
    web::feed::commit(tx, &[Change::put(GROUP, name, row)], &service.entries).await?;
    Ok(())
}

/// Takes a group away; whether there was one.
pub(super) async fn take_away(service: &CloudInit, name: &str) -> Result<bool, Error> {
    if check_label(name).is_err() {
        return Ok(false);
    }
    let mut tx = service.database.begin().await?;
    let there = store::delete_group(&mut tx, name).await?;
    if there {
        web::feed::commit(tx, &[Change::delete(GROUP, name)], &service.entries).await?;
    }
    Ok(there)
}
