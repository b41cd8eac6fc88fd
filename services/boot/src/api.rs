//! Routes.

mod own;
mod parameters;
mod script;
mod state;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use domain::inventory::Inventory;
use domain::{Scope, Service};
use tower::ServiceExt;
use web::mirror::Mirror;
use web::{Database, Problem, scoped};

use crate::config::Config;
use crate::model::Parameters;
use state::{History, Strangers};

/// What every handler works with. Clones share it.
#[derive(Clone)]
pub struct Boot {
    config: Arc<Config>,
    inventory: Mirror<Inventory>,
    parameters: Mirror<Parameters>,
    database: Database,
    history: Arc<Mutex<History>>,
    strangers: Arc<Mutex<Strangers>>,
}

impl Boot {
    /// A service on these.
    #[must_use]
    pub fn new(
        config: Config,
        inventory: Mirror<Inventory>,
        parameters: Mirror<Parameters>,
        database: Database,
    ) -> Self {
        let (history, strangers) = Default::default();
        Self { config: config.into(), inventory, parameters, database, history, strangers }
    }
}

/// Every path of the service.
pub fn router(boot: Boot) -> Router {
    const READ: Scope = Scope::Read(Service::Boot);
    const WRITE: Scope = Scope::Write(Service::Boot);
    let writes = post(parameters::create)
        .put(parameters::replace)
        .patch(parameters::update)
        .delete(parameters::remove);
    let parameters = scoped(get(parameters::list), READ).merge(scoped(writes, WRITE));
    let hosts = get(state::list_hosts).post(state::read_hosts_again);
    let feed = web::feed::routes(Service::Boot, boot.database.clone(), &boot.parameters);
    let routes = Router::new()
        .route("/boot/v1/bootparameters", allow(parameters, "GET,PUT,POST,PATCH,DELETE"))
        .route("/boot/v1/bootscript", allow(get(script::show), "GET"))
        .route("/boot/v1/hosts", allow(hosts, "GET,POST"))
        .route("/boot/v1/dumpstate", allow(get(state::dump), "GET"))
        .route("/boot/v1/endpoint-history", allow(get(state::list_history), "GET"))
        .route("/boot/v1/service/status", allow(get(state::show_status), "GET"))
        .route("/boot/v1/service/status/all", allow(get(state::show_all), "GET"))
        .route("/boot/v1/service/version", allow(get(state::show_version), "GET"))
        .route("/boot/v1/service/hsm", allow(get(state::show_inventory), "GET"))
        .route("/boot/v1/service/storage/status", allow(get(state::show_storage), "GET"))
        .route("/phone-home", allow(post(state::phone_home), "POST"))
        .route("/pilothouse/v1/script/{word}", scoped(get(own::show_script), READ))
        .route("/readyz", get(own::show_readiness))
        .fallback(async || (StatusCode::NOT_FOUND, "404 page not found\n"))
        .with_state(boot)
        .merge(feed);
    // Trailing slashes go before routing, as the recorded services do it.
    Router::new().fallback(async move |request: Request| {
        let answer: Result<Response, std::convert::Infallible> = routes.oneshot(without_slash(request)).await;
        match answer {
            Ok(response) => response,
            Err(never) => match never {},
        }
    })
}

/// 405 with the recorded problem for every other method; HEAD too, which axum would answer as GET.
fn allow(routes: MethodRouter<Boot>, methods: &'static str) -> MethodRouter<Boot> {
    let refuse = move || async move {
        let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("allow {methods}"));
        ([(header::ALLOW, methods)], problem).into_response()
    };
    routes.head(refuse).fallback(refuse)
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
