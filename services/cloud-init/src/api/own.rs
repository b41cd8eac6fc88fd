//! Paths of our own: the present API's data whatever generation answers, checked before they are taken; and
//! from what is answered.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::feed::Change;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use web::mirror::Freshness;
use web::{Json, Path, Problem, Query};

use super::cluster::{change_defaults, put_instance};
use super::groups::{put, take_away};
use super::{Body, CloudInit};
use crate::error::Error;
use crate::model::{ClusterDefaults, Group, INSTANCE, InstanceInfo, NID_LENGTH_MAX, entry_name};
use crate::store;
use crate::wire::{check_label, parse_defaults, parse_group, parse_instance};

/// Whether what looks wrong is taken all the same.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
pub(super) struct Force {
    /// Take a template though a variable has no value for some node.
    force: bool,
}

fn no_group(name: &str) -> Problem {
    let detail = format!("group {name:?} has no data; pilotctl cloud-init group list shows those that have");
    Problem::own(StatusCode::NOT_FOUND, "no-group", detail)
}

/// Every group that has data of the present API.
#[utoipa::path(get, path = "/pilothouse/v1/groups", tag = "own",
    responses((status = 200, description = "Name and group", body = BTreeMap<String, Group>)))]
pub(super) async fn list_groups(State(service): State<CloudInit>) -> Response {
    let all: BTreeMap<String, Group> = service.entries.read(|it| {
        it.current.groups().iter().map(|(name, kept)| (name.clone(), kept.group.clone())).collect()
    });
    Json(all).into_response()
}

/// One group.
#[utoipa::path(get, path = "/pilothouse/v1/groups/{name}", tag = "own", params(("name" = String, Path)),
    responses((status = 200, description = "The group", body = Group),
        (status = 404, description = "It has no data",
            body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show_group(
    State(service): State<CloudInit>,
    Path(name): Path<String>,
) -> Result<Json<Group>, Problem> {
    let found = service.entries.read(|it| it.current.groups().get(&name).map(|it| it.group.clone()));
    found.map(Json).ok_or_else(|| no_group(&name))
}

fn bad_body(detail: impl Into<String>) -> Problem {
    Problem::own(StatusCode::BAD_REQUEST, "bad-body", detail)
}

/// Gives a group data in place of those it had. A template that cannot be filled in for a member is refused.
#[utoipa::path(put, path = "/pilothouse/v1/groups/{name}", tag = "own",
    params(("name" = String, Path), Force), request_body = Group,
    responses((status = 204, description = "It has them"),
        (status = 400, description = "No group", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A template that cannot be filled in",
            body = Problem, content_type = "application/problem+json")))]
pub(super) async fn replace_group(
    State(service): State<CloudInit>,
    Path(name): Path<String>,
    Query(Force { force }): Query<Force>,
    Body(body): Body,
) -> Result<StatusCode, Response> {
    let group = parse_group(&body, Some(&name)).map_err(|it| bad_body(it.to_string()).into_response())?;
    if let Some(finding) = service.check_template(&name, &group).filter(|it| it.fault.is_syntax || !force) {
        let told = finding.told(&name);
        let problem = Problem::own(StatusCode::UNPROCESSABLE_ENTITY, "bad-template", told);
        return Err(problem.error("/file/content", finding.fault.to_string()).into_response());
    }
    put(&service, &name, &group).await.map_err(IntoResponse::into_response)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes a group's data away.
#[utoipa::path(delete, path = "/pilothouse/v1/groups/{name}", tag = "own", params(("name" = String, Path)),
    responses((status = 204, description = "It has none"),
        (status = 404, description = "It had none",
            body = Problem, content_type = "application/problem+json")))]
pub(super) async fn remove_group(
    State(service): State<CloudInit>,
    Path(name): Path<String>,
) -> Result<StatusCode, Response> {
    match take_away(&service, &name).await {
        Ok(true) => Ok(StatusCode::NO_CONTENT),
        Ok(false) => Err(no_group(&name).into_response()),
        Err(error) => Err(error.into_response()),
    }
}

/// What holds for every node.
#[utoipa::path(get, path = "/pilothouse/v1/defaults", tag = "own",
    responses((status = 200, description = "The defaults", body = ClusterDefaults)))]
pub(super) async fn show_defaults(State(service): State<CloudInit>) -> Json<ClusterDefaults> {
    Json(service.entries.read(|it| it.current.defaults.clone()))
}

/// Sets the defaults in place of those that were; what is left out is unset.
#[utoipa::path(put, path = "/pilothouse/v1/defaults", tag = "own", request_body = ClusterDefaults,
    responses((status = 204, description = "They are set"),
        (status = 400, description = "No defaults",
            body = Problem, content_type = "application/problem+json")))]
pub(super) async fn replace_defaults(
    State(service): State<CloudInit>,
    Body(body): Body,
) -> Result<StatusCode, Response> {
    let given = parse_defaults(&body).ok_or_else(|| {
        let detail = format!(
            "cluster defaults are an object of texts, public-keys a list of them, nid-length a number to {}",
            NID_LENGTH_MAX
        );
        bad_body(detail).into_response()
    })?;
    let change = |defaults: &mut ClusterDefaults| {
        *defaults = ClusterDefaults::default();
        defaults.take(given);
    };
    change_defaults(&service, change).await.map_err(IntoResponse::into_response)?;
    Ok(StatusCode::NO_CONTENT)
}

/// The xname of a node that is called by a name, else the word itself.
fn name_of(service: &CloudInit, word: &str) -> String {
    let pattern = &service.config.host_pattern;
    let found = service.inventory.read(|it| it.find(word, pattern).map(|it| it.id.to_string()));
    found.unwrap_or_else(|| entry_name(word))
}

fn no_instance(node: &str) -> Problem {
    Problem::own(StatusCode::NOT_FOUND, "no-instance", format!("nothing is set for node {node:?}"))
}

/// What is set for a node.
#[utoipa::path(get, path = "/pilothouse/v1/instances/{node}", tag = "own",
    params(("node" = String, Path, description = "An xname or a node's name")),
    responses((status = 200, description = "What is set", body = InstanceInfo),
        (status = 404, description = "Nothing is set",
            body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show_instance(
    State(service): State<CloudInit>,
    Path(node): Path<String>,
) -> Result<Json<InstanceInfo>, Problem> {
    let name = name_of(&service, &node);
    let found = service.entries.read(|it| it.current.instance(&name).map(|it| (**it).clone()));
    found.map(Json).ok_or_else(|| no_instance(&node))
}

/// Sets what is given for a node in place of what was; an instance-id that is given is taken, so that
/// cloud-init begins anew on it.
#[utoipa::path(put, path = "/pilothouse/v1/instances/{node}", tag = "own",
    params(("node" = String, Path, description = "An xname or a node's name")), request_body = InstanceInfo,
    responses((status = 204, description = "It is set"),
        (status = 400, description = "No instance",
            body = Problem, content_type = "application/problem+json")))]
pub(super) async fn replace_instance(
    State(service): State<CloudInit>,
    Path(node): Path<String>,
    Body(body): Body,
) -> Result<StatusCode, Response> {
    let name = name_of(&service, &node);
    let given = parse_instance(&body).filter(|_| check_label(&name).is_ok()).ok_or_else(|| {
        let detail = "what is set for a node is an object of texts, public-keys a list of them; \
            the node is an xname or a name of pilotctl nodes list";
        bad_body(detail).into_response()
    })?;
    put_instance(&service, &name, given, true).await.map_err(IntoResponse::into_response)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes away what is set for a node.
#[utoipa::path(delete, path = "/pilothouse/v1/instances/{node}", tag = "own",
    params(("node" = String, Path, description = "An xname or a node's name")),
    responses((status = 204, description = "Nothing is set"),
        (status = 404, description = "Nothing was set",
            body = Problem, content_type = "application/problem+json")))]
pub(super) async fn remove_instance(
    State(service): State<CloudInit>,
    Path(node): Path<String>,
) -> Result<StatusCode, Response> {
    let name = name_of(&service, &node);
    if check_label(&name).is_err() {
        return Err(no_instance(&node).into_response());
    }
    let removed: Result<bool, Error> = async {
        let mut tx = service.database.begin().await?;
        let there = store::delete_instance(&mut tx, &name).await?;
        if there {
            web::feed::commit(tx, &[Change::delete(INSTANCE, &name)], &service.entries).await?;
        }
        Ok(there)
    }
    .await;
    match removed {
        Ok(true) => Ok(StatusCode::NO_CONTENT),
        Ok(false) => Err(no_instance(&node).into_response()),
        Err(error) => Err(error.into_response()),
    }
}

/// From what is answered.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Readiness {
    ready: bool,
    /// `empty`, `last-good` or `live`
    inventory: &'static str,
    entries: &'static str,
    /// `connected` or `lost`
    database: &'static str,
}

/// 200 if nodes can be answered, from whatever copy; the body says which.
#[utoipa::path(get, path = "/readyz", tag = "own",
    responses((status = 200, description = "Nodes are answered", body = Readiness),
        (status = 503, description = "Nothing was ever read", body = Readiness)))]
pub(super) async fn show_readiness(State(service): State<CloudInit>) -> Response {
    let word = |it| match it {
        Freshness::Empty => "empty",
        Freshness::LastGood => "last-good",
        Freshness::Live => "live",
    };
    let (inventory, entries) = (service.inventory.freshness(), service.entries.freshness());
    let ready = inventory != Freshness::Empty && entries != Freshness::Empty;
    let connected = service.database.pool().is_ok() && !service.database.is_lost();
    let database = if connected { "connected" } else { "lost" };
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, inventory: word(inventory), entries: word(entries), database }))
        .into_response()
}
