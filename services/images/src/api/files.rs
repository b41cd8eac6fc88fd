//! Files over the UNIX socket and the gateway: rarely asked for, and so by way of memory.

use std::io::SeekFrom;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;
use web::Problem;

use super::Shared;
use crate::floor::{Found, Missing};
use crate::model::{Plan, Span, http_date, plan};
use crate::wire::Fields;

/// What is read at once.
const CHUNK_BYTES: usize = 128 << 10;

pub(super) async fn show(
    State(floor): Shared,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let path = uri.path();
    let found = floor.find(path, uri.query()).await.map_err(|missing| match missing {
        Missing::None => Problem::new(StatusCode::NOT_FOUND, format!("there is no file {path}")),
        Missing::Unreadable => {
            let detail = format!("{path} may not be read; `chmod o+r` on the head opens it to nodes");
            Problem::own(StatusCode::FORBIDDEN, "unreadable", detail)
        }
        Missing::Failed(error) => Problem::internal(&error),
    })?;
    let mut fields = Fields::default();
    for (name, value) in &headers {
        if let (Some(place), Ok(text)) = (fields.place(name.as_str()), value.to_str()) {
            *place = Some(text.to_owned());
        }
    }
    let known = &found.opened.known;
    let end = known.length.saturating_sub(1);
    let whole = Span { first: 0, last: end };
    let (status, span) = match plan(&fields, method == Method::HEAD, known) {
        Plan::Failed => {
            return Err(Problem::new(StatusCode::PRECONDITION_FAILED, "the file is another one now"));
        }
        Plan::Unchanged => return Ok(describe(StatusCode::NOT_MODIFIED, &found).into_response()),
        Plan::Nothing => {
            let range = [(header::CONTENT_RANGE, format!("bytes */{}", known.length))];
            return Ok((range, describe(StatusCode::RANGE_NOT_SATISFIABLE, &found)).into_response());
        }
        Plan::Parts(spans) if spans.len() == 1 => (StatusCode::PARTIAL_CONTENT, spans[0]),
        // Several ranges may be ignored (RFC 9110 section 14.2); nodes get theirs on port 8080.
        Plan::Whole | Plan::Parts(_) => (StatusCode::OK, whole),
    };
    let length = if known.length == 0 { 0 } else { span.length() };
    let about = describe(status, &found);
    let body =
        if method == Method::HEAD { Body::empty() } else { stream(&found, span.first, length).await? };
    let range = (status == StatusCode::PARTIAL_CONTENT)
        .then(|| [(header::CONTENT_RANGE, format!("bytes {}-{}/{}", span.first, span.last, known.length))]);
    let length = [(header::CONTENT_LENGTH, length.to_string())];
    let response = (about.0, about.1, length, body).into_response();
    Ok(match range {
        Some(range) => (range, response).into_response(),
        None => response,
    })
}

type About = (StatusCode, [(header::HeaderName, String); 4]);

fn describe(status: StatusCode, found: &Found) -> About {
    let known = &found.opened.known;
    let about = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::ETAG, known.tags.first().cloned().unwrap_or_default()),
        (header::LAST_MODIFIED, http_date(known.modified)),
    ];
    (status, about)
}

async fn stream(found: &Found, first: u64, length: u64) -> Result<Body, Problem> {
    let failed = |it: std::io::Error| Problem::internal(&it);
    let mut file = File::from_std(found.opened.file.try_clone().map_err(failed)?);
    file.set_max_buf_size(CHUNK_BYTES);
    file.seek(SeekFrom::Start(first)).await.map_err(failed)?;
    Ok(Body::from_stream(ReaderStream::with_capacity(file.take(length), CHUNK_BYTES)))
}
