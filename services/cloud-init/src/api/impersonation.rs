//! What a node would fetch by the present API, for whoever may read everything.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use web::{Caller, Path};

use super::data::{base_url, file_of, includes};
use super::{Side, typed};
use crate::error::Error;
use crate::model::{Facts, NOTHING, entry_name, facts_of};
use crate::wire::to_yaml_in_order;

const TEXT: &str = "text/plain; charset=utf-8";

/// The node of an xname or a name.
fn find(side: &Side, id: &str) -> Option<Facts> {
    let pattern = &side.service.config.host_pattern;
    side.service.inventory.read(|it| facts_of(it, &it.find(id, pattern)?.id.clone(), pattern))
}

/// user-data: the same for everybody.
#[utoipa::path(get, path = "/admin/impersonation/{id}/user-data", tag = "admin",
    params(("id" = String, Path)),
    responses((status = 200, description = "user-data", body = String, content_type = "text/plain")))]
pub(super) async fn user_data() -> Response {
    typed(TEXT, NOTHING)
}

/// meta-data of a node.
#[utoipa::path(get, path = "/admin/impersonation/{id}/meta-data", tag = "admin",
    params(("id" = String, Path)),
    responses((status = 200, description = "meta-data", body = serde_json::Value,
            content_type = "application/x-yaml"),
        (status = 404, description = "There is no such node", body = String, content_type = "text/plain")))]
pub(super) async fn meta_data(State(side): State<Side>, Path(id): Path<String>) -> Result<Response, Error> {
    let node = find(&side, &id).ok_or(Error::NoNode(id))?;
    let service = &side.service;
    let data = service.entries.read(|it| it.current.meta_data(&node, service.naming(), None));
    service.kept.note_served(&node.xname);
    Ok(typed("application/x-yaml", to_yaml_in_order(&data)))
}

/// vendor-data of a node: the list of its groups' files; a node that nobody knows is in no group.
#[utoipa::path(get, path = "/admin/impersonation/{id}/vendor-data", tag = "admin",
    params(("id" = String, Path)),
    responses((status = 200, description = "vendor-data", body = String, content_type = "text/plain")))]
pub(super) async fn vendor_data(
    State(side): State<Side>,
    caller: Caller,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    let node = find(&side, &id);
    let name = node.as_ref().map_or_else(|| entry_name(&id), |it| it.xname.to_string());
    let base = side.service.entries.read(|it| it.current.base_url(&name).map(str::to_owned));
    let base = base.unwrap_or_else(|| base_url(&side.service.config, &caller, &headers));
    typed(TEXT, includes(&base, &node.map(|it| it.groups).unwrap_or_default()))
}

/// The file of a group as a node fetches it.
#[utoipa::path(get, path = "/admin/impersonation/{id}/{file}", tag = "admin",
    params(("id" = String, Path), ("file" = String, Path, description = "A group's label and .yaml")),
    responses((status = 200, description = "The file", body = String, content_type = "text/plain"),
        (status = 404, description = "The node is no member", body = String, content_type = "text/plain")))]
pub(super) async fn group_file(
    State(side): State<Side>,
    Path((id, file)): Path<(String, String)>,
) -> Result<Response, Error> {
    let group = file.strip_suffix(".yaml").filter(|it| !it.is_empty()).ok_or(Error::NoPage)?;
    let xname = find(&side, &id).map_or(id, |it| it.xname.to_string());
    file_of(&side, &xname, group)
}
