//! OpenAPI 3.1 documents: what every service's document has in common, and the checks that one is true.

mod check;

use axum::Router;
use axum::body::Bytes;
use axum::http::header;
use axum::routing::get;
use domain::{Scope, Service};
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, ParameterBuilder, ParameterIn, PathItem,
};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ArrayBuilder, ComponentsBuilder, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, HeaderBuilder, InfoBuilder, KnownFormat, OpenApi, Ref, RefOr, Required, Response, Schema,
    SchemaFormat,
};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::{UtoipaMethodRouter, UtoipaMethodRouterExt};

use crate::{Problem, caller};

pub(crate) use check::list_routes;
pub use check::{undocumented, unguarded};

/// Where every service serves its document.
pub const PATH: &str = "/pilothouse/v1/openapi.json";
/// The name of the security scheme.
const BEARER: &str = "bearer";
/// What a member of a problem's `errors` is.
const PROBLEM_JSON: &str = "application/problem+json";

/// The security of a route that asks for this right: `security(...)` of `#[utoipa::path]`, made from the scope.
#[must_use]
pub fn security(scope: Scope) -> SecurityRequirement {
    SecurityRequirement::new(BEARER, [scope.to_string()])
}

/// Routes that ask for this right, and say so in the document; [`scoped`](crate::scoped) for `routes!`.
pub fn secured<S: Clone + Send + Sync + 'static>(
    (schemas, mut paths, routes): UtoipaMethodRouter<S>,
    scope: Scope,
) -> UtoipaMethodRouter<S> {
    for item in paths.paths.values_mut() {
        for (_, operation) in operations_mut(item) {
            operation.security = Some(vec![security(scope)]);
        }
    }
    (schemas, paths, routes).map(|it| caller::scoped(it, scope))
}

/// The routes of the document itself: [`PATH`] and whatever else a client looks it up by. Anybody may read it.
///
/// # Panics
///
/// If the document cannot be written as JSON, which no document made from code is.
pub fn routes<S: Clone + Send + Sync + 'static>(document: &OpenApi, more: &[&str]) -> Router<S> {
    let text = Bytes::from(serde_json::to_vec(document).expect("a document is JSON"));
    let mut router = Router::new();
    for path in more.iter().chain([&PATH]) {
        let text = text.clone();
        let show = async move || ([(header::CONTENT_TYPE, "application/json")], text);
        router = router.route(path, get(show));
    }
    router
}

/// Completes a service's document: title, the bearer scheme, the Problem, the routes that every service has, and the
/// answers that every operation may give. What an operation documents itself stays as it is.
#[must_use]
pub fn finish(mut document: OpenApi, service: Service, description: &str) -> OpenApi {
    document.info = InfoBuilder::new()
        .title(format!("Pilothouse {service}"))
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(description))
        .build();
    for (path, method, operation) in common(service) {
        document.paths.add_path_operation(path, vec![method], operation);
    }
    for item in document.paths.paths.values_mut() {
        for (method, operation) in operations_mut(item) {
            complete(method, operation);
        }
    }
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some("A token of the head's issuer; the words beside it are the scopes it needs."))
        .build();
    let mut components = document.components.take().unwrap_or_default();
    components.schemas.insert(Problem::name().into_owned(), Problem::schema());
    components.security_schemes.extend(
        ComponentsBuilder::new()
            .security_scheme(BEARER, SecurityScheme::Http(scheme))
            .build()
            .security_schemes,
    );
    document.components = Some(components);
    document
}

/// What each operation may answer by the layers around it.
fn complete(method: HttpMethod, operation: &mut Operation) {
    let mut also = Vec::new();
    if operation.security.as_ref().is_some_and(|it| !it.is_empty()) {
        also.push(("401", text("No token, or a bad one")));
        also.push(("403", problem("The token lacks the right")));
    }
    if !matches!(method, HttpMethod::Get | HttpMethod::Head) {
        also.push(("408", problem("The request took too long")));
        also.push(("503", unavailable()));
    }
    if operation.request_body.is_some() {
        also.push(("413", problem("The body is too long")));
    }
    for (status, response) in also {
        operation.responses.responses.entry(status.to_owned()).or_insert(RefOr::T(response));
    }
}

/// The routes that `web` adds to every service.
fn common(service: Service) -> Vec<(&'static str, HttpMethod, Operation)> {
    let operation = |summary: &str| OperationBuilder::new().summary(Some(summary));
    let read = || Some([security(Scope::Read(service))]);
    let query = |name: &str, kind: Schema| {
        ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Query)
            .required(Required::True)
            .schema(Some(kind))
            .build()
    };
    let uuid = ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::Custom("uuid".to_owned())))
        .build();
    let number = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .build();
    let stream = "application/x-ndjson";
    vec![
        (
            "/healthz",
            HttpMethod::Get,
            operation("Whether the process answers").response("204", Response::new("It does")).build(),
        ),
        (
            "/metrics",
            HttpMethod::Get,
            operation("Metrics for Prometheus")
                .response(
                    "200",
                    typed("OpenMetrics", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
                )
                .securities(Some([security(Scope::MetricsRead)]))
                .build(),
        ),
        (
            PATH,
            HttpMethod::Get,
            operation("This document")
                .response("200", content("OpenAPI 3.1", "application/json", ObjectBuilder::new().into()))
                .build(),
        ),
        (
            "/snapshot",
            HttpMethod::Get,
            operation("Every row, as of now; not through the gateway")
                .response("200", typed("A header line, then one row a line", stream))
                .response("503", unavailable())
                .securities(read())
                .build(),
        ),
        (
            "/changes",
            HttpMethod::Get,
            operation("Changes as they happen; not through the gateway")
                .parameter(query("epoch", uuid.into()))
                .parameter(query("after", number.into()))
                .response("200", typed("One change a line, without end", stream))
                .response("400", problem("No epoch, or no number"))
                .response("410", problem("Those changes are no longer kept: read /snapshot"))
                .response("503", unavailable())
                .securities(read())
                .build(),
        ),
    ]
}

/// An answer that is a problem document.
#[must_use]
pub fn problem(description: &str) -> Response {
    ResponseBuilder::new()
        .description(description)
        .content(
            PROBLEM_JSON,
            ContentBuilder::new().schema(Some(Ref::from_schema_name(Problem::name()))).build(),
        )
        .build()
}

/// An answer in plain text.
#[must_use]
pub fn text(description: &str) -> Response {
    typed(description, "text/plain; charset=utf-8")
}

fn typed(description: &str, kind: &str) -> Response {
    content(description, kind, ObjectBuilder::new().schema_type(Type::String).into())
}

fn content(description: &str, kind: &str, schema: Schema) -> Response {
    let content = ContentBuilder::new().schema(Some(schema)).build();
    ResponseBuilder::new().description(description).content(kind, content).build()
}

fn unavailable() -> Response {
    let mut response = problem("The database cannot be reached; nothing was changed");
    let seconds = ObjectBuilder::new().schema_type(Type::Integer).build();
    let header = HeaderBuilder::new().schema(Some(seconds)).build();
    response.headers.insert("Retry-After".to_owned(), RefOr::T(header));
    response
}

/// The operations of a path.
fn operations(item: &PathItem) -> impl Iterator<Item = (HttpMethod, &Operation)> {
    let all = [
        (HttpMethod::Get, &item.get),
        (HttpMethod::Put, &item.put),
        (HttpMethod::Post, &item.post),
        (HttpMethod::Delete, &item.delete),
        (HttpMethod::Patch, &item.patch),
    ];
    all.into_iter().filter_map(|(method, it)| Some((method, it.as_ref()?)))
}

fn operations_mut(item: &mut PathItem) -> impl Iterator<Item = (HttpMethod, &mut Operation)> {
    let all = [
        (HttpMethod::Get, &mut item.get),
        (HttpMethod::Put, &mut item.put),
        (HttpMethod::Post, &mut item.post),
        (HttpMethod::Delete, &mut item.delete),
        (HttpMethod::Patch, &mut item.patch),
    ];
    all.into_iter().filter_map(|(method, it)| Some((method, it.as_mut()?)))
}

impl PartialSchema for Problem {
    fn schema() -> RefOr<Schema> {
        let string =
            |text: &str| ObjectBuilder::new().schema_type(Type::String).description(Some(text)).build();
        let error = ObjectBuilder::new()
            .property("pointer", string("JSON pointer to the member"))
            .property("detail", string("What is wrong with it"))
            .required("pointer")
            .required("detail");
        let status = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(400)).maximum(Some(599));
        ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::Object))
            .description(Some("A problem document (RFC 9457)"))
            .property("type", string("about:blank, or urn:pilothouse:<kind>"))
            .property("title", string("The status in words"))
            .property("detail", string("What is wrong, and the next step"))
            .property("status", status)
            .property("instance", string("The request's id"))
            .property("errors", ArrayBuilder::new().items(error))
            .required("type")
            .required("title")
            .required("detail")
            .required("status")
            .into()
    }
}

impl ToSchema for Problem {}
