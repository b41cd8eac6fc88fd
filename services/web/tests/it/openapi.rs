//! The checks of the services' documents find what is wrong.

use axum::Router;
use axum::routing::{get, post};
use domain::{Scope, Service};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::{openapi, scoped};

const READ: Scope = Scope::Read(Service::Boot);

/// Shows one.
#[utoipa::path(get, path = "/things/{id}", params(("id" = u32, Path)), responses((status = 204)))]
async fn show() {}

/// Makes one.
#[utoipa::path(post, path = "/things", responses((status = 204), (status = 400, body = web::Problem)))]
async fn create() {}

#[derive(OpenApi)]
#[openapi(paths(show, create))]
struct Told;

fn documented() -> (Router, utoipa::openapi::OpenApi) {
    let routes = OpenApiRouter::new()
        .routes(openapi::secured(routes!(show), READ))
        .routes(openapi::secured(routes!(create), Scope::Write(Service::Boot)));
    let (router, document) = routes.split_for_parts();
    (router, openapi::finish(document, Service::Boot, "things"))
}

/// Routes of `web` that are told by `finish`.
fn common() -> Router {
    Router::new().route("/snapshot", scoped(get(show), READ)).route("/changes", scoped(get(show), READ))
}

#[tokio::test]
async fn a_true_document_is_found_true() {
    let (router, document) = documented();
    let router = router.merge(common()).merge(openapi::routes(&document, &["/openapi.json"]));
    assert!(openapi::undocumented(&router, &document).is_empty());
    assert!(openapi::unguarded(router, &document).await.is_empty());
    let text = document.to_json().unwrap();
    for word in ["3.1", "boot:read", "boot:write", "\"401\"", "Retry-After", "urn:pilothouse"] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[tokio::test]
async fn what_is_missing_or_open_is_named() {
    let document = openapi::finish(Told::openapi(), Service::Boot, "things");
    let router = common()
        .nest("/things", Router::new().route("/{id}", get(show).post(create)))
        .route("/things", scoped(post(create), READ))
        .merge(openapi::routes(&document, &[]));
    assert_eq!(openapi::undocumented(&router, &document), ["POST /things/{id} is not in the document"]);
    assert_eq!(
        openapi::unguarded(router, &document).await,
        ["POST /things answers 401 Unauthorized without a token"]
    );
    let less = Router::new().route("/things/{id}", get(show)).merge(common());
    assert_eq!(
        openapi::undocumented(&less, &document),
        [&format!("GET {} is no route", openapi::PATH), "POST /things is no route"]
    );
}
