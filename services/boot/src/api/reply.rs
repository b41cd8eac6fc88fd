//! Bodies and answers in the form of BSS.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use web::Problem;

/// BSS' spelling of the media type.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=UTF-8");

/// A body as it came. axum's own extractor refuses one that is too long in plain text.
pub(super) struct Body(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Problem;
    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let body = Bytes::from_request(request, state).await;
        body.map(Self).map_err(|it| Problem::new(it.status(), it.body_text()))
    }
}

/// The answer of a write: a status, the media type, and no body.
pub(super) fn done(status: StatusCode) -> Response {
    (status, [(header::CONTENT_TYPE, JSON)]).into_response()
}

/// JSON as Go writes it: one line with a line feed.
pub(super) fn json(value: &impl Serialize) -> Response {
    line(value, JSON)
}

/// Status answers are JSON that says it is plain text (recording `bss-params-057`).
pub(super) fn status(value: &impl Serialize) -> Response {
    line(value, HeaderValue::from_static("text/plain; charset=utf-8"))
}

fn line(value: &impl Serialize, kind: HeaderValue) -> Response {
    match serde_json::to_vec(value) {
        Ok(mut text) => {
            text.push(b'\n');
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => Problem::internal(&error).into_response(),
    }
}
