//! Routes.

mod data;
mod entries;
mod own;

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRef, Request};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use axum::routing::{get, post};
use domain::inventory::Inventory;
use domain::{Scope, Service};
use tower::ServiceExt;
use web::mirror::Mirror;
use web::{Caller, Database, Denied, scoped};

use crate::config::Config;
use crate::error::Error;
use crate::model::{Entries, Store, Subject};

const READ: Scope = Scope::Read(Service::CloudInit);
const WRITE: Scope = Scope::Write(Service::CloudInit);

/// What every handler works with. Clones share it.
#[derive(Clone)]
pub struct CloudInit {
    config: Arc<Config>,
    inventory: Mirror<Inventory>,
    entries: Mirror<Entries>,
    database: Database,
}

/// One of the two stores, as its paths see it.
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
        inventory: Mirror<Inventory>,
        entries: Mirror<Entries>,
        database: Database,
    ) -> Self {
        Self { config: config.into(), inventory, entries, database }
    }
}

impl FromRef<Side> for CloudInit {
    fn from_ref(side: &Side) -> Self {
        side.service.clone()
    }
}

/// Every path of the service.
pub fn router(service: CloudInit) -> Router {
    let side = |store| sides().with_state(Side { service: service.clone(), store });
    let feed = web::feed::routes(Service::CloudInit, service.database.clone(), &service.entries);
    let routes = Router::new()
        .route("/pilothouse/v1/render/{word}", scoped(get(own::render), READ))
        .route("/readyz", get(own::show_readiness))
        .with_state(service.clone())
        .nest("/cloud-init", side(Store::Open))
        .nest("/cloud-init-secure", side(Store::Secure))
        .merge(feed)
        .fallback(async || (StatusCode::NOT_FOUND, "404 page not found\n"));
    // Trailing slashes go before routing: NoCloud's seed URL ends with one.
    Router::new().fallback(async move |request: Request| {
        let answer: Result<Response, std::convert::Infallible> = routes.oneshot(without_slash(request)).await;
        match answer {
            Ok(response) => response,
            Err(never) => match never {},
        }
    })
}

fn sides() -> Router<Side> {
    Router::new()
        .route("/", get(entries::list).post(entries::create))
        .route("/user-data", get(data::user_by_address))
        .route("/meta-data", get(data::meta_by_address))
        .route("/vendor-data", get(data::vendor_by_address))
        .route("/network-config", get(data::no_network))
        .route("/phone-home/{id}", post(data::phone_home))
        .route("/{id}", get(entries::show).put(entries::replace).delete(entries::remove))
        .route("/{id}/user-data", get(data::user_by_id))
        .route("/{id}/meta-data", get(data::meta_by_id))
        .route("/{id}/vendor-data", get(data::vendor_by_id))
        .route("/{id}/network-config", get(data::no_network))
}

impl Side {
    /// Whether the caller may read what this subject is given; None for what is about nobody in particular.
    fn check_read(&self, caller: &Caller, subject: Option<&Subject>) -> Result<(), Error> {
        if self.store == Store::Open {
            return Ok(());
        }
        let node = subject.and_then(|it| it.node.as_ref()).map(|it| &it.xname);
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
