//! Routes.

mod about;
mod answers;
mod cluster;
mod data;
mod entries;
mod groups;
mod impersonation;
mod own;
mod render;
mod template;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{FromRef, FromRequest, Request};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use domain::{Scope, Service, Xname};
use tower::ServiceExt;
use utoipa::openapi::{OpenApi, RefOr};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;
use web::mirror::Mirror;
use web::openapi::{self, secured};
use web::{Caller, Client, Database, Denied, Problem};

use crate::config::{Api, Config};
use crate::error::Error;
use crate::model::{Entries, Naming, Nodes, Store};
use answers::Kept;

const READ: Scope = Scope::Read(Service::CloudInit);
const WRITE: Scope = Scope::Write(Service::CloudInit);

/// What every handler works with. Clones share it.
#[derive(Clone)]
pub struct CloudInit {
    config: Arc<Config>,
    inventory: Mirror<Nodes>,
    entries: Mirror<Entries>,
    database: Database,
    kept: Arc<Kept>,
    join: Option<Client>,
}

/// One of the two stores of the legacy API, as its paths see it. The present API is on the open side.
#[derive(Clone)]
struct Side {
    service: CloudInit,
    store: Store,
}

impl CloudInit {
    /// A service on these.
    #[must_use]
    pub fn new(
        config: Config,
        inventory: Mirror<Nodes>,
        entries: Mirror<Entries>,
        database: Database,
    ) -> Self {
        about::start_clock();
        Self { config: config.into(), inventory, entries, database, kept: Arc::default(), join: None }
    }

    /// The same, which tells join of nodes that are done.
    #[must_use]
    pub fn with_join(self, join: Client) -> Self {
        Self { join: Some(join), ..self }
    }

    /// What stands in for defaults of the present API that nobody set.
    fn naming(&self) -> Naming<'_> {
        match self.config.api {
            Api::Auto => Naming::Own { cluster: &self.config.cluster_name },
            Api::Legacy | Api::Current => Naming::Recorded,
        }
    }
}

impl FromRef<Side> for CloudInit {
    fn from_ref(side: &Side) -> Self {
        side.service.clone()
    }
}

/// Every path of the service.
pub fn router(service: CloudInit) -> Router {
    let (routes, _) = documented(service);
    // Trailing slashes go before routing: NoCloud's seed URL ends with one.
    Router::new().fallback(async move |caller: Caller, request: Request| {
        let request = without_slash(request);
        let asked = data::asked(request.method(), request.uri().path());
        let answer: Result<Response, std::convert::Infallible> = routes.oneshot(request).await;
        match answer {
            Ok(response) => {
                if let Some((stage, file)) = asked {
                    data::note_refusal((stage, file), &caller, response.status());
                }
                response
            }
            Err(never) => match never {},
        }
    })
}

/// The routes and what the document says of them.
fn documented(service: CloudInit) -> (Router, OpenApi) {
    let side = |store| Side { service: service.clone(), store };
    let api = service.config.api;
    let mut open = OpenApiRouter::new().merge(node_files());
    if api != Api::Current {
        open = open.merge(legacy());
    }
    if api != Api::Legacy {
        open = open.merge(current(api));
    }
    let mut secure = node_files().merge(legacy());
    demand_token(secure.get_openapi_mut());
    let (routes, document) = OpenApiRouter::new()
        .routes(secured(routes!(render::show), READ))
        .routes(secured(routes!(own::list_groups), READ))
        .routes(secured(routes!(own::show_group), READ))
        .routes(secured(routes!(own::replace_group, own::remove_group), WRITE))
        .routes(secured(routes!(own::show_defaults), READ))
        .routes(secured(routes!(own::replace_defaults), WRITE))
        .routes(secured(routes!(own::show_instance), READ))
        .routes(secured(routes!(own::replace_instance, own::remove_instance), WRITE))
        .routes(routes!(own::show_readiness))
        .with_state(service.clone())
        .nest("/cloud-init", open.with_state(side(Store::Open)))
        .nest("/cloud-init-secure", secure.with_state(side(Store::Secure)))
        .split_for_parts();
    let description =
        "What a node becomes: user-data, meta-data and vendor-data for cloud-init's NoCloud source";
    let mut document = openapi::finish(document, Service::CloudInit, description);
    note_bad_paths(&mut document);
    let feed = web::feed::routes(Service::CloudInit, service.database.clone(), &service.entries);
    let routes = routes
        .merge(openapi::routes(&document, &["/cloud-init/openapi.json"]))
        .merge(feed)
        .fallback(async || Error::NoPage);
    (routes, document)
}

/// What nodes ask for by their address, in both generations of the API.
fn node_files() -> OpenApiRouter<Side> {
    OpenApiRouter::new()
        .routes(routes!(data::user_by_address))
        .routes(routes!(data::meta_by_address))
        .routes(routes!(data::vendor_by_address))
        .routes(routes!(data::no_network))
        .routes(routes!(about::phone_home))
}

fn legacy() -> OpenApiRouter<Side> {
    OpenApiRouter::new()
        .routes(routes!(entries::list, entries::create))
        .routes(routes!(entries::show, entries::replace, entries::remove))
        .routes(routes!(data::user_by_id))
        .routes(routes!(data::meta_by_id))
        .routes(routes!(data::vendor_by_id))
        .routes(routes!(data::no_network_by_id))
}

fn current(api: Api) -> OpenApiRouter<Side> {
    let routes = OpenApiRouter::new()
        .routes(routes!(about::show_version))
        .routes(routes!(about::make_tunnel))
        .routes(secured(routes!(groups::list), READ))
        .routes(secured(routes!(groups::create), WRITE))
        .routes(secured(routes!(groups::show), READ))
        .routes(secured(routes!(groups::replace, groups::remove), WRITE))
        .routes(secured(routes!(cluster::show_defaults), READ))
        .routes(secured(routes!(cluster::add_defaults), WRITE))
        .routes(secured(routes!(cluster::replace_instance), WRITE))
        .routes(secured(routes!(impersonation::user_data), READ))
        .routes(secured(routes!(impersonation::meta_data), READ))
        .routes(secured(routes!(impersonation::vendor_data), READ))
        .routes(secured(routes!(impersonation::group_file), READ));
    match api {
        // Beside the legacy API its entries are at the same place.
        Api::Auto | Api::Legacy => routes,
        Api::Current => routes.routes(routes!(data::group_file).map(|it| it.fallback(data::no_group_file))),
    }
}

/// Over /cloud-init-secure reading takes a token too.
fn demand_token(document: &mut OpenApi) {
    let items = document.paths.paths.iter_mut().filter(|(path, _)| !path.ends_with("/network-config"));
    for operation in items.filter_map(|(_, item)| item.get.as_mut()) {
        operation.security = Some(vec![openapi::security(READ)]);
    }
}

/// A path whose escapes are no UTF-8 is refused wherever a path has a parameter.
fn note_bad_paths(document: &mut OpenApi) {
    for (_, item) in document.paths.paths.iter_mut().filter(|(path, _)| path.contains('{')) {
        let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            let bad = RefOr::T(openapi::problem("The path is no UTF-8"));
            operation.responses.responses.entry("400".to_owned()).or_insert(bad);
        }
    }
}

/// A body of any kind, refused with a problem document where it is too long.
struct Body(Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Problem;
    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let body = Bytes::from_request(request, state).await;
        body.map(Self).map_err(|it| Problem::new(it.status(), it.body_text()))
    }
}

impl Side {
    /// Which generation answers by address here: behind /cloud-init-secure there is the legacy one alone.
    fn api(&self) -> Api {
        if self.store == Store::Secure { Api::Legacy } else { self.service.config.api }
    }

    /// Whether the caller may read what this node is given; None for what is about nobody in particular.
    fn check_read(&self, caller: &Caller, node: Option<&Xname>) -> Result<(), Error> {
        if self.store == Store::Open {
            return Ok(());
        }
        let own =
            caller.scopes.contains(&Scope::Node) && caller.node.is_some() && caller.node.as_ref() == node;
        if own { Ok(()) } else { caller.require(READ).map_err(|it| refused(caller, it).into()) }
    }

    /// Whether the caller may write here.
    fn check_write(&self, caller: &Caller) -> Result<(), Error> {
        let Err(denied) = caller.require(WRITE) else { return Ok(()) };
        let tokenless = caller.token == Err(web::TokenError::Missing);
        if self.store == Store::Open && tokenless && self.service.config.is_open_to(caller.address) {
            return Ok(());
        }
        match refused(caller, denied) {
            Denied::Token(error) if self.store == Store::Open => Err(Error::DeniedWrite(error)),
            denied => Err(denied.into()),
        }
    }
}

/// Writes the event of a refusal and passes it on.
fn refused(caller: &Caller, denied: Denied) -> Denied {
    daemon::event!(domain::event::ACCESS_DENIED, "cloud-init by {}: {denied}", caller.subject);
    denied
}

/// Text of this type.
fn typed(kind: &'static str, text: impl IntoResponse) -> Response {
    ([(axum::http::header::CONTENT_TYPE, kind)], text).into_response()
}

/// Made, with the place that the recorded service names, and what is wrong with it though it was taken.
fn created(location: Option<&str>, warning: Option<String>) -> Response {
    let header = |text: &str| axum::http::HeaderValue::from_bytes(text.as_bytes()).ok();
    let mut response = StatusCode::CREATED.into_response();
    if let Some(location) = location.and_then(header) {
        response.headers_mut().insert(axum::http::header::LOCATION, location);
    }
    if let Some(warning) = warning.as_deref().and_then(header) {
        response.headers_mut().insert("x-pilothouse-warning", warning);
    }
    response
}

fn without_slash(mut request: Request) -> Request {
    let path = request.uri().path();
    let short = path.trim_end_matches('/');
    if short.len() < path.len() && !short.is_empty() {
        let target = match request.uri().query() {
            Some(query) => format!("{short}?{query}"),
            None => short.to_owned(),
        };
        if let Ok(uri) = target.parse::<Uri>() {
            *request.uri_mut() = uri;
        }
    }
    request
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use domain::Document;
    use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
    use web::mirror::Mirror;
    use web::{Database, openapi};

    use super::{CloudInit, documented, router};
    use crate::config::Config;

    /// In each of the three settings the document names every route, and nothing else, and says which take a
    /// token.
    #[tokio::test]
    async fn the_document_is_true() {
        let folder = tempfile::tempdir().unwrap();
        for api in ["auto", "legacy", "current"] {
            let head = "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"example\"\n[cloud_init]\n";
            let config =
                Config::parse(&Document::parse(&format!("{head}api = \"{api}\"\n")).unwrap()).unwrap();
            let nowhere = PgConnectOptions::new_without_pgpass().host("/nonexistent");
            let database = Database::ready(PgPoolOptions::new().connect_lazy_with(nowhere));
            let (inventory, entries) =
                (Mirror::load(folder.path(), "a").unwrap(), Mirror::load(folder.path(), "b").unwrap());
            let service = CloudInit::new(config, inventory, entries, database);
            let (routes, document) = documented(service.clone());
            let wrong = openapi::undocumented(&routes, &document);
            assert!(wrong.is_empty(), "{api}: {wrong:#?}");
            let wrong = openapi::unguarded(router(service), &document).await;
            assert!(wrong.is_empty(), "{api}: {wrong:#?}");
        }
    }
}
