//! HTTP over another service's UNIX socket.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode, header};
use bytes::BytesMut;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

/// The longest answer that is read whole; streams are read by line.
const ANSWER_MAX: usize = 64 << 20;
/// The longest line of a stream.
const LINE_MAX: usize = 1 << 20;
/// How long an answer's head may take.
const HEAD_MAX: Duration = Duration::from_secs(30);

/// Where another service is asked. One connection a request: these are control calls, not the data plane.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    token: Option<String>,
}

/// A call that did not end well.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers.
    #[error("no answer on {0}; is the service running? systemctl status pilothouse-*")]
    Unreachable(PathBuf, #[source] Option<std::io::Error>),
    /// The connection broke off.
    #[error("the answer of {0} broke off")]
    Broken(PathBuf, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// An answer that is no success; `detail` is the problem's.
    #[error("{detail}")]
    Status {
        /// The HTTP status.
        status: StatusCode,
        /// What the service says.
        detail: String,
    },
    /// A success whose body is not what was expected.
    #[error("the answer of {0} is not what was expected")]
    Body(PathBuf, #[source] serde_json::Error),
}

impl Client {
    /// A client of the service on this socket.
    #[must_use]
    pub fn unix(socket: impl AsRef<Path>) -> Self {
        Self { socket: socket.as_ref().to_owned(), token: None }
    }

    /// The same with a bearer token.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// GET, and the body as JSON.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::GET, path, None::<&()>).await
    }

    /// A call with a JSON body, and the answer as JSON; an empty answer reads as null.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        let answer = self.text(method, path, body).await?;
        let text: &[u8] = if answer.is_empty() { b"null" } else { &answer };
        serde_json::from_slice(text).map_err(|error| ClientError::Body(self.socket.clone(), error))
    }

    /// A call with a JSON body, and the answer's bytes.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn text(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Vec<u8>, ClientError> {
        let body = self.body_of(body)?;
        self.bytes(method, path, body).await
    }

    /// A call with a body that is no JSON, and the answer's bytes.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn bytes(&self, method: Method, path: &str, body: Body) -> Result<Vec<u8>, ClientError> {
        let response = self.send(method, path, body).await?;
        self.collect(response).await
    }

    /// A call with a JSON body, whose answer is JSON, a line each, read as it comes.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn lines<T>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Lines<T>, ClientError> {
        let response = self.send(method, path, self.body_of(body)?).await?;
        if !response.status().is_success() {
            let status = response.status();
            return Err(self.collect(response).await.err().unwrap_or_else(|| refusal(status, b"")));
        }
        let (socket, body) = (self.socket.clone(), response.into_body());
        Ok(Lines { socket, body, rest: BytesMut::new(), kind: PhantomData })
    }

    fn body_of(&self, body: Option<&impl Serialize>) -> Result<Body, ClientError> {
        let Some(it) = body else { return Ok(Body::empty()) };
        serde_json::to_vec(it).map(Body::from).map_err(|it| ClientError::Body(self.socket.clone(), it))
    }

    /// The whole body of a success; else what it says.
    async fn collect(&self, response: Response<Incoming>) -> Result<Vec<u8>, ClientError> {
        let status = response.status();
        let bytes = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        let bytes = bytes.map_err(|it| ClientError::Broken(self.socket.clone(), it))?.to_bytes();
        if status.is_success() { Ok(bytes.into()) } else { Err(refusal(status, &bytes)) }
    }

    /// A call whose answer is read as it comes; any status.
    ///
    /// # Errors
    ///
    /// If no answer's head comes.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<Response<Incoming>, ClientError> {
        let broken = |error: hyper::Error| ClientError::Broken(self.socket.clone(), error.into());
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.map_err(|it| ClientError::Unreachable(self.socket.clone(), Some(it)))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Ends with the answer's body; an error shows there too.
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
        request = request.header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(body).map_err(|it| ClientError::Broken(self.socket.clone(), it.into()))?;
        let answer = tokio::time::timeout(HEAD_MAX, sender.send_request(request)).await;
        answer.map_err(|_| ClientError::Unreachable(self.socket.clone(), None))?.map_err(broken)
    }
}

/// An answer that is read by line, as it comes.
#[derive(Debug)]
pub struct Lines<T> {
    socket: PathBuf,
    body: Incoming,
    rest: BytesMut,
    kind: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Lines<T> {
    /// The next line; none: the answer has ended. Whoever stops waiting may ask again, nothing is lost.
    ///
    /// # Errors
    ///
    /// If the connection breaks off, within a line or between two, or a line is not what was expected.
    pub async fn next(&mut self) -> Result<Option<T>, ClientError> {
        let broken = |socket: &PathBuf, why: &str| ClientError::Broken(socket.clone(), why.into());
        loop {
            if let Some(end) = self.rest.iter().position(|it| *it == b'\n') {
                let line = serde_json::from_slice(&self.rest.split_to(end + 1));
                return line.map(Some).map_err(|it| ClientError::Body(self.socket.clone(), it));
            }
            if self.rest.len() > LINE_MAX {
                return Err(broken(&self.socket, "a line is too long"));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.rest.extend_from_slice(frame.data_ref().map_or(&[], |it| it)),
                Some(Err(error)) => return Err(ClientError::Broken(self.socket.clone(), error.into())),
                None if self.rest.is_empty() => return Ok(None),
                None => return Err(broken(&self.socket, "it ends within a line")),
            }
        }
    }
}

/// The `detail` of a problem document, else the text itself.
fn refusal(status: StatusCode, body: &[u8]) -> ClientError {
    let problem: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let mut detail = problem.as_ref().and_then(|it| it["detail"].as_str()).map(str::to_owned);
    if let (Some(detail), Some(errors)) =
        (&mut detail, problem.as_ref().and_then(|it| it["errors"].as_array()))
    {
        for error in errors {
            let (pointer, text) = (error["pointer"].as_str(), error["detail"].as_str());
            detail.push_str(&format!("\n  {}: {}", pointer.unwrap_or("?"), text.unwrap_or("?")));
        }
    }
    let text = || String::from_utf8_lossy(body).trim().chars().take(500).collect::<String>();
    ClientError::Status { status, detail: detail.unwrap_or_else(text) }
}
