//! The routes of ca.

pub(crate) mod acme;
pub(crate) mod eab;
mod own;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{delete, get, post};
use domain::{Scope, Service};
use web::scoped;

use crate::authority::Authorities;
use acme::Acme;

/// What the routes work with.
#[derive(Clone)]
pub struct Ca {
    pub(crate) authorities: Arc<Authorities>,
    pub(crate) leaf_life: Duration,
    pub(crate) acme: Arc<Acme>,
}

/// Every route. Root certificates and revocation lists are open to all: whoever verifies us needs them first.
pub fn router(ca: Ca) -> Router {
    let write = Scope::Write(Service::Ca);
    Router::new()
        .route("/pilothouse/v1/head-certificate", post(own::create_head_certificate))
        .route("/pilothouse/v1/root.pem", get(own::show_roots))
        .route("/root.pem", get(own::show_roots))
        .route("/roots.pem", get(own::show_roots))
        .route("/crl/{name}", get(own::show_list))
        .route(
            "/pilothouse/v1/eab",
            scoped(get(eab::list), Scope::Read(Service::Ca)).merge(scoped(post(eab::create), write)),
        )
        .route("/pilothouse/v1/eab/{id}", scoped(delete(eab::remove), write))
        .route("/pilothouse/v1/site/request", scoped(post(own::create_request), write))
        .route("/pilothouse/v1/site/chain", scoped(post(own::install_chain), write))
        .route("/readyz", get(own::show_readiness))
        .merge(acme::router(&ca))
        .with_state(ca)
}
