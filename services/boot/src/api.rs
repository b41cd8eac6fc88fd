//! Routes.

mod image;
mod nonce;
mod once;
mod own;
mod parameters;
mod reply;
mod script;
mod seen;
mod state;
mod telling;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use domain::inventory::Inventory;
use domain::{Scope, Service};
use tower::ServiceExt;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;
use web::mirror::Mirror;
use web::openapi::{self, secured};
use web::{Client, Database, Problem};

use crate::config::Config;
use crate::model::{Known, Parameters};
use seen::Seen;

/// What every handler works with. Clones share it.
#[derive(Clone)]
pub struct Boot {
    config: Arc<Config>,
    inventory: Mirror<Inventory>,
    parameters: Mirror<Parameters>,
    database: Database,
    seen: Arc<Seen>,
    join: Option<Client>,
    images: Option<Client>,
    /// Whether pins of images are to be looked at; so they are at the start.
    pins_changed: Arc<AtomicBool>,
    /// Held from the pin of an image to the row that names it.
    images_turn: Arc<tokio::sync::Mutex<()>>,
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
        Self {
            config: config.into(),
            inventory,
            parameters,
            database,
            seen: Arc::default(),
            join: None,
            images: None,
            pins_changed: Arc::new(true.into()),
            images_turn: Arc::default(),
        }
    }

    /// The same, which asks images for what a reference stands for.
    #[must_use]
    pub fn with_images(self, images: Client) -> Self {
        Self { images: Some(images), ..self }
    }

    /// What a look-up goes by.
    fn known<'a>(&'a self, inventory: &'a Inventory, parameters: &'a Parameters) -> Known<'a> {
        let (defaults, pattern) = (&self.config.defaults, self.config.node_name.as_str());
        Known { inventory, parameters, defaults, pattern }
    }

    /// The same, which asks join for nonces and tells it of nodes that are done.
    #[must_use]
    pub fn with_join(self, join: Client) -> Self {
        Self { join: Some(join), ..self }
    }
}

/// Every path of the service.
pub fn router(boot: Boot) -> Router {
    let (routes, _) = documented(boot);
    let routes = routes.fallback(async || (StatusCode::NOT_FOUND, "404 page not found\n"));
    // Trailing slashes go before routing, as the recorded services do it.
    Router::new().fallback(async move |request: Request| {
        let answer: Result<Response, std::convert::Infallible> = routes.oneshot(without_slash(request)).await;
        match answer {
            Ok(response) => response,
            Err(never) => match never {},
        }
    })
}

/// Every path, and the document that tells of them.
fn documented(boot: Boot) -> (Router, OpenApi) {
    const READ: Scope = Scope::Read(Service::Boot);
    const WRITE: Scope = Scope::Write(Service::Boot);
    let writes = routes!(parameters::create, parameters::replace, parameters::update, parameters::remove);
    let feed = web::feed::routes(Service::Boot, boot.database.clone(), &boot.parameters);
    let (routes, document) = OpenApiRouter::new()
        .routes(secured(routes!(parameters::list), READ))
        .routes(allow(secured(writes, WRITE), "GET,PUT,POST,PATCH,DELETE"))
        .routes(allow(routes!(script::show), "GET"))
        .routes(allow(routes!(state::list_hosts, state::read_hosts_again), "GET,POST"))
        .routes(allow(routes!(state::dump), "GET"))
        .routes(allow(routes!(state::list_history), "GET"))
        .routes(allow(routes!(state::show_status), "GET"))
        .routes(allow(routes!(state::show_all), "GET"))
        .routes(allow(routes!(state::show_version), "GET"))
        .routes(allow(routes!(state::show_inventory), "GET"))
        .routes(allow(routes!(state::show_storage), "GET"))
        .routes(allow(routes!(state::phone_home), "POST"))
        .routes(secured(routes!(own::show_script), READ))
        .routes(secured(routes!(own::list_parameters), READ))
        .routes(secured(routes!(own::replace_image), WRITE))
        .routes(secured(routes!(own::list_seen), READ))
        .routes(secured(routes!(once::list), READ))
        .routes(secured(routes!(once::replace, once::remove), WRITE))
        .routes(routes!(own::show_readiness))
        .split_for_parts();
    let about = "What a node boots: boot parameters and iPXE scripts. Paths below /boot/v1 are those of OpenCHAMI's \
                 Boot Script Service; through the gateway also below /apis/bss/boot/v1.";
    let document = openapi::finish(document, Service::Boot, about);
    let routes = routes.merge(openapi::routes(&document, &[])).with_state(boot).merge(feed);
    (routes, document)
}

/// 405 with the recorded problem for every other method; HEAD too, which axum would answer as GET.
fn allow(routes: UtoipaMethodRouter<Boot>, methods: &'static str) -> UtoipaMethodRouter<Boot> {
    let refuse = move || async move {
        let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("allow {methods}"));
        ([(header::ALLOW, methods)], problem).into_response()
    };
    routes.map(|it: MethodRouter<Boot>| it.head(refuse).fallback(refuse))
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

    use super::{Boot, Config, documented};

    #[tokio::test]
    async fn the_document_tells_every_route_and_its_right() {
        let folder = tempfile::tempdir().unwrap();
        let document = "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"example\"\n";
        let config = Config::parse(&Document::parse(document).unwrap()).unwrap();
        let nowhere = PgConnectOptions::new_without_pgpass().host("/nonexistent");
        let boot = Boot::new(
            config,
            Mirror::load(folder.path(), "inventory").unwrap(),
            Mirror::load(folder.path(), "bootparams").unwrap(),
            Database::ready(PgPoolOptions::new().connect_lazy_with(nowhere)),
        );
        let (routes, document) = documented(boot);
        let untold = openapi::undocumented(&routes, &document);
        assert!(untold.is_empty(), "{untold:?}");
        let wrong = openapi::unguarded(routes, &document).await;
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}
