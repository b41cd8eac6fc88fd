//! Errors as RFC 9457 problem documents.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

/// A problem document. Plain ones have the recorded services' form: `about:blank`, title, detail, status, and a
/// line feed at the end (recording `smd-components-002`).
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    kind: Option<&'static str>,
    detail: String,
    retry_after_s: Option<u32>,
    errors: Vec<(String, String)>,
    instance: Option<String>,
}

impl Problem {
    /// A problem of this status; the title is the status' own text.
    #[must_use]
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            kind: None,
            detail: detail.into(),
            retry_after_s: None,
            errors: Vec::new(),
            instance: None,
        }
    }

    /// A problem of an own path: `urn:pilothouse:<kind>`.
    #[must_use]
    pub fn own(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        Self { kind: Some(kind), ..Self::new(status, detail) }
    }

    /// 500: the chain of causes goes to the journal, none of it to the client.
    #[must_use]
    pub fn internal(error: &dyn std::error::Error) -> Self {
        let mut chain = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            chain = format!("{chain}: {cause}");
            source = cause.source();
        }
        tracing::error!("{chain}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the request could not be served; the journal says why")
    }

    /// 503 with `Retry-After`, which every 503 has.
    #[must_use]
    pub fn unavailable(detail: impl Into<String>) -> Self {
        let problem = Self::own(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail);
        Self { retry_after_s: Some(5), ..problem }
    }

    /// Names the request by its id, as the log does.
    #[must_use]
    pub fn instance(mut self, id: impl Into<String>) -> Self {
        self.instance = Some(id.into());
        self
    }

    /// Names one member of the body, by JSON pointer, that is wrong.
    #[must_use]
    pub fn error(mut self, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        self.errors.push((pointer.into(), detail.into()));
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = Map::new();
        let kind = self.kind.map_or("about:blank".to_owned(), |it| format!("urn:pilothouse:{it}"));
        body.insert("type".into(), kind.into());
        body.insert("title".into(), self.status.canonical_reason().unwrap_or("Error").into());
        body.insert("detail".into(), self.detail.into());
        body.insert("status".into(), self.status.as_u16().into());
        if let Some(instance) = self.instance {
            body.insert("instance".into(), instance.into());
        }
        if !self.errors.is_empty() {
            let errors = self
                .errors
                .into_iter()
                .map(|(pointer, detail)| json!({"pointer": pointer, "detail": detail}));
            body.insert("errors".into(), errors.collect());
        }
        let text = Value::Object(body).to_string() + "\n";
        let mut response = (self.status, text).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
