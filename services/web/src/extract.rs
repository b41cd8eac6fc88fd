//! Extractors that refuse bad input with a problem document; axum's own answer in plain text.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Problem;

/// A JSON body, whatever its content type says; as an answer, JSON with a line feed.
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

/// Path parameters.
#[derive(Clone, Copy, Debug)]
pub struct Path<T>(pub T);

/// Query parameters.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|it| Problem::new(it.status(), it.body_text()))?;
        serde_json::from_slice(&body).map(Self).map_err(|error| {
            let detail = format!("the body is not what this path takes: {error}");
            Problem::own(StatusCode::BAD_REQUEST, "bad-body", detail)
        })
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(mut body) => {
                body.push(b'\n');
                ([(axum::http::header::CONTENT_TYPE, "application/json")], body).into_response()
            }
            Err(error) => Problem::internal(&error).into_response(),
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        path.map(|it| Self(it.0)).map_err(|it| Problem::new(StatusCode::BAD_REQUEST, it.body_text()))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::from_request_parts(parts, state).await;
        query.map(|it| Self(it.0)).map_err(|it| Problem::new(StatusCode::BAD_REQUEST, it.body_text()))
    }
}
