//! Requests to auth over TLS, as forms.

use std::path::PathBuf;
use std::time::Duration;

use axum::http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::error::Failure;
use crate::ochami::tls::Trust;

const ANSWER_MAX: usize = 256 << 10;
const TIME_MAX: Duration = Duration::from_secs(30);

/// A head, and whose certificates are believed of it.
pub(super) struct Site {
    trust: Trust,
}

/// A form as it is sent.
pub(super) fn form(pairs: &[(&str, &str)]) -> Zeroizing<String> {
    Zeroizing::new(form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish())
}

/// A member that has to be there.
pub(super) fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str, Failure> {
    value[name].as_str().ok_or_else(|| Failure::failed(format!("the head's answer has no {name}")))
}

/// What a refusal says.
pub(super) fn refusal(url: &str, status: StatusCode, answer: &Value) -> Failure {
    let words = ["error_description", "detail", "error"].iter().find_map(|it| answer[it].as_str());
    let message = format!("{url} answers {status}: {}", words.unwrap_or("without a word"));
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::refused(message),
        _ => Failure::failed(message),
    }
}

impl Site {
    pub(super) fn new(cacert: Option<PathBuf>) -> Self {
        Self { trust: Trust { file: cacert, anyone: false } }
    }

    /// The discovery document, which has to be the head's own (OpenID Connect Discovery section 4.3).
    pub(super) async fn discover(&self, head: &str) -> Result<Value, Failure> {
        let secure = head.parse::<Uri>().is_ok_and(|it| it.scheme_str() == Some("https"));
        if !secure {
            return Err(Failure::usage(format!("{head} is no address of a head; write https://NAME:8443")));
        }
        let url = format!("{head}/.well-known/openid-configuration");
        let (status, document) = self.ask(&url, None).await?;
        if !status.is_success() {
            return Err(refusal(&url, status, &document));
        }
        let issuer = text(&document, "issuer")?;
        if issuer != head {
            return Err(Failure::usage(format!(
                "the head calls itself {issuer}; log in with --head {issuer}"
            )));
        }
        Ok(document)
    }

    /// A form; an answer that is no success is a failure.
    pub(super) async fn post(&self, url: &str, form: &str) -> Result<(StatusCode, Value), Failure> {
        let (status, answer) = self.ask(url, Some(form)).await?;
        if status.is_success() { Ok((status, answer)) } else { Err(refusal(url, status, &answer)) }
    }

    /// A form, or a GET without one; any answer.
    pub(super) async fn ask(&self, url: &str, form: Option<&str>) -> Result<(StatusCode, Value), Failure> {
        let asked = tokio::time::timeout(TIME_MAX, self.exchange(url, form)).await;
        asked.unwrap_or_else(|_| Err(Failure::unreachable(format!("{url} does not answer"))))
    }

    async fn exchange(&self, url: &str, form: Option<&str>) -> Result<(StatusCode, Value), Failure> {
        let uri: Uri = url.parse().map_err(|_| Failure::usage(format!("{url} is no address")))?;
        let stream = self.trust.connect(&uri).await.map_err(|stop| {
            let cause = stop.cause.map(|it| format!(": {it}")).unwrap_or_default();
            Failure::unreachable(format!("{}{cause}", stop.message))
        })?;
        let broken =
            |it: hyper::Error| Failure::unreachable(format!("{url}: the connection broke off: {it}"));
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // It ends with its sender; what breaks it shows in the request.
        tokio::spawn(connection);
        let method = if form.is_some() { Method::POST } else { Method::GET };
        let host = uri.authority().map(|it| it.as_str().to_owned()).unwrap_or_default();
        let path = uri.path_and_query().map_or("/", |it| it.as_str());
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, host)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::from(form.unwrap_or_default().to_owned())))
            .map_err(|it| Failure::failed(it.to_string()))?;
        let (head, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
        let body = Limited::new(body, ANSWER_MAX).collect().await;
        let body = body.map_err(|it| Failure::unreachable(format!("{url}: {it}")))?.to_bytes();
        Ok((head.status, serde_json::from_slice(&body).unwrap_or_default()))
    }
}
