//! Routes and handlers: the SMD API below /hsm/v2, our own below /pilothouse/v1, the change feed.

pub(crate) mod bmcs;
mod boards;
mod components;
mod endpoints;
mod groups;
mod interfaces;
mod nodes;
mod openapi;
mod partitions;
mod service;
mod targets;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::map_request;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, patch, post, put};
use domain::{Scope, Service};
use serde::de::DeserializeOwned;
use serde_json::json;
use tower::Layer;
use web::{Problem, scoped};

use crate::error::Error;
use crate::model::component::PatchKind;
use crate::store::Store;
use crate::vault::Vault;

const READ: Scope = Scope::Read(Service::Inventory);
const WRITE: Scope = Scope::Write(Service::Inventory);

/// What handlers work with.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) store: Store,
    pub(crate) vault: Arc<Vault>,
    /// How a node without a name is called.
    pub(crate) host_pattern: Arc<str>,
}

/// Every route of the service.
pub(crate) fn router(app: App) -> serde_json::Result<Router> {
    let routes = routes(app)?.fallback(async || (StatusCode::NOT_FOUND, "404 page not found\n"));
    // Trailing slashes go before a route is looked for, hence around the router and not inside.
    Ok(Router::new().fallback_service(map_request(strip_slash).layer(routes)))
}

fn routes(app: App) -> serde_json::Result<Router> {
    let document = openapi::document()?;
    let routes = Router::new()
        .merge(service::routes())
        .merge(component_routes())
        .merge(inventory_routes())
        .merge(group_routes())
        .merge(partition_routes())
        .merge(own_routes())
        .merge(web::openapi::routes(&document, &[]));
    let feed = web::feed::routes(Service::Inventory, app.store.database.clone(), &app.store.catalog);
    Ok(routes.with_state(app).merge(feed))
}

fn component_routes() -> Router<App> {
    use components as it;
    let base = "/hsm/v2/State/Components";
    let mut routes = Router::new()
        .route(
            base,
            path(
                "GET,POST,DELETE",
                get(it::list).merge(scoped(post(it::create).delete(it::remove_all), WRITE)),
            ),
        )
        .route(&format!("{base}/Query"), path("POST", scoped(post(it::query), READ)))
        .route(&format!("{base}/Query/{{xname}}"), path("GET", scoped(get(it::query_one), READ)))
        .route(&format!("{base}/ByNID/Query"), path("POST", scoped(post(it::query_nids), READ)))
        .route(&format!("{base}/ByNID/{{nid}}"), path("GET", scoped(get(it::show_by_nid), READ)))
        .route(&format!("{base}/BulkNID"), path("PATCH", scoped(patch(it::patch_nids), WRITE)))
        .route(
            &format!("{base}/{{xname}}"),
            path(
                "GET,PUT,DELETE",
                scoped(get(it::show), READ).merge(scoped(put(it::replace).delete(it::remove), WRITE)),
            ),
        );
    for (word, kind) in PatchKind::ALL {
        let one = patch(move |app, name, body| it::patch_one(kind, app, name, body));
        routes = routes.route(&format!("{base}/{{xname}}/{word}"), path("PATCH", scoped(one, WRITE)));
        if !matches!(kind, PatchKind::Nid) {
            let many = patch(move |app, body| it::patch_many(kind, app, body));
            routes = routes.route(&format!("{base}/Bulk{word}"), path("PATCH", scoped(many, WRITE)));
        }
    }
    routes
}

fn inventory_routes() -> Router<App> {
    use {endpoints as rf, interfaces as eth};
    let base = "/hsm/v2/Inventory";
    Router::new()
        .route(
            &format!("{base}/RedfishEndpoints"),
            path(
                "GET,POST,DELETE",
                scoped(get(rf::list), READ).merge(scoped(post(rf::create).delete(rf::remove_all), WRITE)),
            ),
        )
        .route(&format!("{base}/RedfishEndpoints/Query/{{xname}}"), path("GET", scoped(get(rf::query), READ)))
        .route(
            &format!("{base}/RedfishEndpoints/{{xname}}"),
            path(
                "GET,PUT,PATCH,DELETE",
                scoped(get(rf::show), READ)
                    .merge(scoped(put(rf::replace).patch(rf::update).delete(rf::remove), WRITE)),
            ),
        )
        .route(
            &format!("{base}/ComponentEndpoints"),
            path(
                "GET,DELETE",
                scoped(get(rf::list_parts), READ).merge(scoped(delete(rf::remove_parts), WRITE)),
            ),
        )
        .route(
            &format!("{base}/ComponentEndpoints/{{xname}}"),
            path(
                "GET,DELETE",
                scoped(get(rf::show_part), READ).merge(scoped(delete(rf::remove_part), WRITE)),
            ),
        )
        .route(
            &format!("{base}/EthernetInterfaces"),
            path(
                "GET,POST,DELETE",
                get(eth::list).merge(scoped(post(eth::create).delete(eth::remove_all), WRITE)),
            ),
        )
        .route(
            &format!("{base}/EthernetInterfaces/{{id}}"),
            path(
                "GET,PATCH,DELETE",
                scoped(get(eth::show), READ).merge(scoped(patch(eth::update).delete(eth::remove), WRITE)),
            ),
        )
        .route(
            &format!("{base}/EthernetInterfaces/{{id}}/IPAddresses"),
            path(
                "GET,POST",
                scoped(get(eth::list_addresses), READ).merge(scoped(post(eth::create_address), WRITE)),
            ),
        )
        .route(
            &format!("{base}/EthernetInterfaces/{{id}}/IPAddresses/{{ip}}"),
            path("PATCH,DELETE", scoped(patch(eth::update_address).delete(eth::remove_address), WRITE)),
        )
}

fn group_routes() -> Router<App> {
    use groups as it;
    Router::new()
        .route(
            "/hsm/v2/groups",
            path("GET,POST", scoped(get(it::list), READ).merge(scoped(post(it::create), WRITE))),
        )
        .route("/hsm/v2/groups/labels", path("GET", scoped(get(it::list_labels), READ)))
        .route(
            "/hsm/v2/groups/{label}",
            path(
                "GET,PATCH,DELETE",
                scoped(get(it::show), READ).merge(scoped(patch(it::update).delete(it::remove), WRITE)),
            ),
        )
        .route(
            "/hsm/v2/groups/{label}/members",
            path(
                "GET,POST,PUT",
                scoped(get(it::list_members), READ)
                    .merge(scoped(post(it::create_member).put(it::replace_members), WRITE)),
            ),
        )
        .route(
            "/hsm/v2/groups/{label}/members/{xname}",
            path("DELETE", scoped(delete(it::remove_member), WRITE)),
        )
        .route("/hsm/v2/memberships", path("GET", scoped(get(it::list_memberships), READ)))
        .route("/hsm/v2/memberships/{xname}", path("GET", scoped(get(it::show_membership), READ)))
}

fn partition_routes() -> Router<App> {
    use partitions as it;
    Router::new()
        .route(
            "/hsm/v2/partitions",
            path("GET,POST", scoped(get(it::list), READ).merge(scoped(post(it::create), WRITE))),
        )
        .route("/hsm/v2/partitions/names", path("GET", scoped(get(it::list_names), READ)))
        .route(
            "/hsm/v2/partitions/{name}",
            path(
                "GET,PATCH,DELETE",
                scoped(get(it::show), READ).merge(scoped(patch(it::update).delete(it::remove), WRITE)),
            ),
        )
        .route(
            "/hsm/v2/partitions/{name}/members",
            path(
                "GET,POST",
                scoped(get(it::list_members), READ).merge(scoped(post(it::create_member), WRITE)),
            ),
        )
        .route(
            "/hsm/v2/partitions/{name}/members/{xname}",
            path("DELETE", scoped(delete(it::remove_member), WRITE)),
        )
}

fn own_routes() -> Router<App> {
    let base = "/pilothouse/v1";
    Router::new()
        .route(
            &format!("{base}/nodes"),
            path("GET,PUT", scoped(get(nodes::list), READ).merge(scoped(put(nodes::import), WRITE))),
        )
        .route(
            &format!("{base}/nodes/{{word}}"),
            path(
                "GET,PATCH,DELETE",
                scoped(get(nodes::show), READ)
                    .merge(scoped(patch(nodes::update).delete(nodes::remove), WRITE)),
            ),
        )
        .route(
            &format!("{base}/nodes/{{word}}/lock"),
            path("PUT,DELETE", scoped(put(boards::lock).delete(boards::unlock), WRITE)),
        )
        .route(&format!("{base}/nodes/{{word}}/board"), path("PUT", scoped(put(boards::replace), WRITE)))
        .route(&format!("{base}/bmcs"), path("GET", scoped(get(bmcs::list), READ)))
        .route(
            &format!("{base}/bmcs/{{xname}}"),
            path("GET,PATCH", scoped(get(bmcs::show), READ).merge(scoped(patch(bmcs::update), WRITE))),
        )
        // No scope: the handler asks who is at the other end of the socket, which no token can say.
        .route(
            &format!("{base}/bmcs/{{xname}}/credential"),
            path("GET,PUT", get(bmcs::show_credential).put(bmcs::replace_credential)),
        )
        .route(&format!("{base}/bmc-credentials"), path("GET", scoped(get(bmcs::list_credentials), WRITE)))
        .route(
            &format!("{base}/bmc-credentials/{{scope}}"),
            path("PUT,DELETE", scoped(put(bmcs::put_credential).delete(bmcs::remove_credential), WRITE)),
        )
        // Prometheus has this right, and no other.
        .route(&format!("{base}/targets"), path("GET", scoped(get(targets::list), Scope::MetricsRead)))
}

/// A path and the methods it takes; another method is a 405 problem that names them (recording
/// `smd-groups-2.20-065`).
fn path(methods: &'static str, routes: MethodRouter<App>) -> MethodRouter<App> {
    routes.fallback(async move || {
        let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("allow {methods}"));
        ([(header::ALLOW, HeaderValue::from_static(methods))], problem)
    })
}

async fn strip_slash(mut request: Request) -> Request {
    let uri = request.uri();
    let (path, query) = (uri.path(), uri.query());
    let stripped = path.trim_end_matches('/');
    if !stripped.is_empty() && stripped.len() < path.len() {
        let text = query.map_or_else(|| stripped.to_owned(), |it| format!("{stripped}?{it}"));
        if let Ok(uri) = text.parse::<Uri>() {
            *request.uri_mut() = uri;
        }
    }
    request
}

/// A body as it came; one that is too long is refused with a problem.
struct Raw(Bytes);

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = Problem;
    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let body = Bytes::from_request(request, state).await;
        body.map(Self).map_err(|it| Problem::new(it.status(), it.body_text()))
    }
}

/// A JSON body of the SMD API.
fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    Ok(serde_json::from_slice(body)?)
}

/// `deleted 1 entry`, `deleted 2 entries`.
fn deleted(count: usize) -> Response {
    let entries = if count == 1 { "entry" } else { "entries" };
    web::Json(json!({"code": 0, "message": format!("deleted {count} {entries}")})).into_response()
}

fn no_content() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// 201 with a list of what was made; `Location` names it, or the collection if it is not one.
fn created(base: &str, uris: &[String]) -> Response {
    let list: Vec<_> = uris.iter().map(|it| json!({"URI": it})).collect();
    let location = if let [one] = uris { one } else { base };
    (StatusCode::CREATED, located(location), web::Json(list)).into_response()
}

/// 201 with the one thing that was made.
fn created_one(uri: &str) -> Response {
    (StatusCode::CREATED, located(uri), web::Json(json!({"URI": uri}))).into_response()
}

fn located(uri: &str) -> [(header::HeaderName, String); 1] {
    [(header::LOCATION, uri.to_owned())]
}

#[cfg(test)]
mod tests;
