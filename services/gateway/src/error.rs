//! What is refused, and its only translation to HTTP.

use axum::response::IntoResponse;
use domain::Service;
use http::header::RETRY_AFTER;
use http::{HeaderValue, Response, StatusCode};
use web::Problem;

use crate::model::{OverHttp, PathError};
use crate::talk::HEAD_BYTES_MAX;
use crate::upstream::Failure;
use crate::wire::Bad;

/// A request that is not forwarded, or whose service does not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Path(#[from] PathError),
    #[error("{0}")]
    Head(#[from] Bad),
    #[error("{0}")]
    Malformed(&'static str),
    #[error("the request's head is longer than {} KiB", HEAD_BYTES_MAX >> 10)]
    LongHead,
    #[error("you ask too often; wait a second, or have gateway.requests_per_source raised")]
    TooMany,
    #[error("no service answers {path}; the paths are in the manual")]
    NoRoute { path: String },
    #[error("{path} is answered over TLS: ask {url}")]
    PathOverHttp { path: String, url: String },
    #[error(
        "a token does not travel over plain HTTP, where others read it: ask {url}, or let the administrator \
         set gateway.secure_over_http = true for images that cannot"
    )]
    TokenOverHttp { url: String },
    #[error("the request's body is longer than {0}, see gateway.body_limit")]
    TooLong(domain::Size),
    #[error("the request's body stood still for too long")]
    Stalled,
    #[error("the service {service} does not answer; systemctl status pilothouse-{service}.service says why")]
    Service { service: Service, source: Failure },
}

impl Error {
    /// A request that has to come over TLS, to this URL.
    pub(crate) fn over_http(reason: OverHttp, path: &str, base: &str) -> Self {
        let (path, url) = (path.to_owned(), format!("{base}{path}"));
        match reason {
            OverHttp::Token => Self::TokenOverHttp { url },
            OverHttp::Path => Self::PathOverHttp { path, url },
        }
    }

    /// Whether the client may still be sending what nobody reads.
    pub(crate) fn ends_connection(&self) -> bool {
        matches!(self, Self::Head(_) | Self::Malformed(_) | Self::LongHead | Self::TooLong(_) | Self::Stalled)
    }

    pub(crate) fn into_response(self, id: &str) -> Response<axum::body::Body> {
        let text = self.to_string();
        let problem = match &self {
            Self::Head(Bad::TooMany) | Self::LongHead => {
                Problem::own(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head-too-long", text)
            }
            Self::TooMany => Problem::own(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", text),
            Self::Path(_) | Self::Head(_) | Self::Malformed(_) => {
                Problem::own(StatusCode::BAD_REQUEST, "malformed", text)
            }
            Self::NoRoute { .. } => Problem::own(StatusCode::NOT_FOUND, "no-route", text),
            Self::PathOverHttp { .. } => Problem::own(StatusCode::FORBIDDEN, "https-only", text),
            Self::TokenOverHttp { .. } => Problem::own(StatusCode::FORBIDDEN, "token-over-http", text),
            Self::TooLong(_) => Problem::own(StatusCode::PAYLOAD_TOO_LARGE, "body-too-long", text),
            Self::Stalled => Problem::own(StatusCode::REQUEST_TIMEOUT, "body-stalled", text),
            Self::Service { source: Failure::Broken(_), .. } => {
                Problem::own(StatusCode::BAD_GATEWAY, "service-broken", text)
            }
            Self::Service { .. } => Problem::unavailable(text),
        };
        if let Self::Service { service, source } = &self {
            let cause = std::error::Error::source(source).map(|it| format!(": {it}")).unwrap_or_default();
            tracing::warn!("{service} does not answer: {source}{cause}");
        }
        let slow_down = matches!(self, Self::TooMany);
        let mut response = problem.instance(id).into_response();
        if slow_down {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
