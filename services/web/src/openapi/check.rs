//! Whether a document tells the truth: for the services' own tests.

use std::collections::BTreeSet;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use tower::ServiceExt;
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::HttpMethod;

use super::operations;

/// The methods of a router's `Debug` that count: HEAD comes with GET, OPTIONS and the others are nobody's.
const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

/// Routes that are not in the document, and operations that are no routes, as `GET /path`; empty when it is whole.
/// Takes the router with the routes themselves, before it is wrapped in a fallback.
///
/// # Panics
///
/// If the router has no routes, or axum shows them otherwise than it used to.
#[must_use]
pub fn undocumented<S>(router: &Router<S>, document: &OpenApi) -> Vec<String> {
    let routes = list_routes(&format!("{router:?}"));
    assert!(!routes.is_empty(), "the router shows no routes; pass the one inside the fallback");
    let mut told = BTreeSet::new();
    for (path, item) in &document.paths.paths {
        for (method, _) in operations(item) {
            // The routes that `web::serve` adds are not in the service's own router.
            if !matches!(path.as_str(), "/healthz" | "/metrics") {
                told.insert(format!("{} {path}", word(&method)));
            }
        }
    }
    // Other places of the document itself need no telling.
    let silent = routes
        .difference(&told)
        .filter(|it| !it.ends_with("/openapi.json"))
        .map(|it| format!("{it} is not in the document"));
    let empty = told.difference(&routes).map(|it| format!("{it} is no route"));
    silent.chain(empty).collect()
}

/// Operations whose `security` is not what the router does: asked without a token, those with one answer 401 or 403
/// and those without neither.
pub async fn unguarded(router: Router, document: &OpenApi) -> Vec<String> {
    let mut found = Vec::new();
    for (path, item) in &document.paths.paths {
        for (method, operation) in operations(item) {
            let guarded = operation.security.as_ref().is_some_and(|it| !it.is_empty());
            let uri: Vec<&str> =
                path.split('/').map(|it| if it.starts_with('{') { "x" } else { it }).collect();
            let method = word(&method);
            let request = Request::builder().method(method.as_str()).uri(uri.join("/")).body(Body::empty());
            let request = request.expect("a documented path is a path");
            let Ok(response) = router.clone().oneshot(request).await;
            let refused = matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
            let served_elsewhere = matches!(path.as_str(), "/healthz" | "/metrics");
            if refused != guarded && !served_elsewhere {
                found.push(format!("{method} {path} answers {} without a token", response.status()));
            }
        }
    }
    found
}

fn word(method: &HttpMethod) -> Method {
    match method {
        HttpMethod::Get => Method::GET,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Post => Method::POST,
        HttpMethod::Delete => Method::DELETE,
        HttpMethod::Options => Method::OPTIONS,
        HttpMethod::Head => Method::HEAD,
        HttpMethod::Patch => Method::PATCH,
        HttpMethod::Trace => Method::TRACE,
    }
}

/// `GET /path` of every route. axum tells its routes by `Debug` alone: `RouteId(7): MethodRouter(MethodRouter { get:
/// BoxedHandler(..), head: None, …` and later `paths: {RouteId(7): "/path"`.
pub(crate) fn list_routes(shown: &str) -> BTreeSet<String> {
    // Only the routes; the router of the fallback follows.
    let shown = shown.split("fallback_router:").next().unwrap_or_default();
    let (routes, paths) = shown.rsplit_once("paths:").unwrap_or((shown, ""));
    let mut found = BTreeSet::new();
    for route in routes.split("RouteId(").skip(1) {
        let Some((id, methods)) = route.split_once(')') else { continue };
        let Some(path) =
            paths.split_once(&format!("RouteId({id}): \"")).and_then(|it| it.1.split('"').next())
        else {
            continue;
        };
        for method in METHODS {
            let at = methods.find(&format!(" {method}: "));
            if at.is_some_and(|it| !methods[it + method.len() + 3..].starts_with("None")) {
                found.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
    }
    found
}
