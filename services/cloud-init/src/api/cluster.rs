//! Cluster defaults and what is set for single nodes, by the present API.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::Xname;
use domain::feed::Change;
use serde_json::json;
use web::{Json, Path};

use super::{Body, CloudInit, created};
use crate::error::Error;
use crate::model::{ClusterDefaults, DEFAULTS, INSTANCE, InstanceInfo, entry_name, instance_id};
use crate::store;
use crate::wire::{check_label, parse_defaults, parse_instance};

/// What holds for every node.
#[utoipa::path(get, path = "/admin/cluster-defaults", tag = "admin",
    responses((status = 200, description = "The defaults; what is not set is left out",
        body = ClusterDefaults)))]
pub(super) async fn show_defaults(State(service): State<CloudInit>) -> Response {
    Json(service.entries.read(|it| it.current.defaults.clone())).into_response()
}

/// Sets defaults; what is not given, or empty, stays as it is.
#[utoipa::path(post, path = "/admin/cluster-defaults", tag = "admin", request_body = ClusterDefaults,
    responses((status = 201, description = "They are set"), (status = 400, description = "No defaults")))]
pub(super) async fn add_defaults(
    State(service): State<CloudInit>,
    Body(body): Body,
) -> Result<Response, Error> {
    let given = parse_defaults(&body).ok_or(Error::BadBody)?;
    change_defaults(&service, |defaults| defaults.take(given)).await?;
    Ok(created(None, None))
}

/// Sets what is given for a node, in place of what was; its instance-id stays. A node that nobody knows yet
/// is taken (recording `cloud-init-050`).
#[utoipa::path(put, path = "/admin/instance-info/{id}", tag = "admin",
    params(("id" = String, Path, description = "An xname")), request_body = InstanceInfo,
    responses((status = 201, description = "It is set"),
        (status = 400, description = "No instance, or no id")))]
pub(super) async fn replace_instance(
    State(service): State<CloudInit>,
    Path(id): Path<String>,
    Body(body): Body,
) -> Result<Response, Error> {
    let given = parse_instance(&body).ok_or(Error::BadBody)?;
    let name = entry_name(&id);
    check_label(&name).map_err(|_| Error::BadBody)?;
    put_instance(&service, &name, given, false).await?;
    Ok(created(None, None))
}

/// Changes the defaults.
pub(super) async fn change_defaults(
    service: &CloudInit,
    change: impl FnOnce(&mut ClusterDefaults),
) -> Result<(), Error> {
    let mut tx = service.database.begin().await?;
    let mut defaults = store::lock_defaults(&mut tx).await?;
    change(&mut defaults);
    let row = json!(defaults);
    store::put_defaults(&mut tx, &row).await?;
    web::feed::commit(tx, &[Change::put(DEFAULTS, "", row)], &service.entries).await?;
    Ok(())
}

/// Sets what is given for a node. cloud-init takes a machine with another instance-id for another machine, so
/// that an id that was handed out once stays, unless `anew` says otherwise.
pub(super) async fn put_instance(
    service: &CloudInit,
    name: &str,
    mut given: InstanceInfo,
    anew: bool,
) -> Result<(), Error> {
    let mut tx = service.database.begin().await?;
    let old = store::lock_instance(&mut tx, name).await?;
    let xname: Option<Xname> = name.parse().ok();
    let served = xname.as_ref().is_some_and(|it| service.kept.was_served(it));
    let made = || xname.as_ref().map(instance_id).unwrap_or_default();
    if !anew || given.instance_id.is_empty() {
        if !old.instance_id.is_empty() {
            given.instance_id = old.instance_id;
        } else if served || given.instance_id.is_empty() {
            given.instance_id = made();
        }
    }
    let row = json!(given);
    store::update_instance(&mut tx, name, &row).await?;
    web::feed::commit(tx, &[Change::put(INSTANCE, name, row)], &service.entries).await?;
    Ok(())
}
