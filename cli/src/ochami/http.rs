//! Requests to the services: HTTP or HTTPS, one connection for all of a command's requests to one service.

use std::time::Duration;

use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use zeroize::Zeroizing;

use super::error::Stop;
use super::log;
use super::tls::{Stream, Trust};

/// How long an answer may take; a bulk write of a large cluster takes seconds.
const ANSWER_MAX: Duration = Duration::from_secs(120);
/// The longest answer; the interfaces of a large cluster are some tens of megabytes.
const BODY_MAX: usize = 256 << 20;

/// A token. It is in no log and no message.
#[derive(Clone)]
pub(super) struct Token(Zeroizing<String>);

impl std::fmt::Debug for Token {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("Token(…)")
    }
}

impl From<String> for Token {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl std::str::FromStr for Token {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.to_owned().into())
    }
}

impl Token {
    /// The token itself.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }

    /// The value of the header that presents it.
    pub(super) fn header(&self) -> Result<http::HeaderValue, Stop> {
        let text = Zeroizing::new(format!("Bearer {}", self.reveal()));
        let mut value = http::HeaderValue::from_str(&text)
            .map_err(|_| Stop::failed("the token has characters that no token has"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// A request that did not end well.
#[derive(Debug)]
pub(super) enum Failure {
    /// An answer that is no success.
    Status { asked: String, status: StatusCode, body: String },
    /// No answer.
    NoAnswer { asked: String, cause: String },
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Status { asked, status, body } => {
                let stop = Self::failed(format!("{asked} was answered with {status}"));
                if body.trim().is_empty() { stop } else { stop.because(body.trim()) }
            }
            Failure::NoAnswer { asked, cause } => {
                Self::failed(format!("{asked} was not answered")).because(cause)
            }
        }
    }
}

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Reply {
    /// The body as JSON; an empty one is null.
    pub(super) fn json(&self) -> Result<Value, Stop> {
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&self.body).map_err(|it| Stop::failed("the answer is no JSON").because(it))
    }

    /// The body as text.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A request without its address.
#[derive(Debug)]
pub(super) struct Ask {
    method: Method,
    path: String,
    query: Vec<(String, String)>,
    body: Option<Value>,
    content: String,
}

impl Ask {
    /// A request for a path below the service's address; names in it are put in by [`segment`].
    pub(super) fn new(method: Method, path: impl Into<String>) -> Self {
        let content = "application/json".to_owned();
        Self { method, path: path.into(), query: Vec::new(), body: None, content }
    }

    pub(super) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub(super) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    /// With a query, sorted by name.
    pub(super) fn query(mut self, mut query: Vec<(String, String)>) -> Self {
        query.sort_by(|one, other| one.0.cmp(&other.0));
        self.query = query;
        self
    }

    /// With a body.
    pub(super) fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// With a body of another kind of JSON.
    pub(super) fn content(mut self, content: impl Into<String>) -> Self {
        self.content = content.into();
        self
    }
}

/// A name as one part of a path. Colons stay: MAC addresses are told by them.
pub(super) fn segment(name: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const KEPT: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');
    match name {
        // Both would be taken for a folder.
        "." | ".." => name.replace('.', "%2E"),
        _ => utf8_percent_encode(name, KEPT).to_string(),
    }
}

/// One service.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) base: Uri,
    pub(super) token: Option<Token>,
    trust: Trust,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    pub(super) fn new(base: Uri, trust: Trust, token: Option<Token>) -> Self {
        Self { base, token, trust, sender: None }
    }

    /// The address of a request.
    fn uri(&self, ask: &Ask) -> Result<Uri, Stop> {
        let mut target = format!("{}{}", self.base.path().trim_end_matches('/'), ask.path);
        if target.is_empty() {
            target.push('/');
        }
        if !ask.query.is_empty() {
            let pairs = form_urlencoded::Serializer::new(String::new()).extend_pairs(&ask.query).finish();
            target = format!("{target}?{pairs}");
        }
        let authority = self.base.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        let full = format!("{}://{authority}{target}", self.base.scheme_str().unwrap_or("http"));
        full.parse().map_err(|it| Stop::failed(format!("{full} is no URI")).because(it))
    }

    /// Asks; an answer that is no success is a failure.
    pub(super) async fn ask(&mut self, ask: Ask) -> Result<Reply, Stop> {
        Ok(self.try_ask(ask).await??)
    }

    /// Asks, where the caller tells the failures apart.
    pub(super) async fn try_ask(&mut self, ask: Ask) -> Result<Result<Reply, Failure>, Stop> {
        let uri = self.uri(&ask)?;
        let asked = format!("{} {uri}", ask.method);
        log::debug(&asked);
        let answer = tokio::time::timeout(ANSWER_MAX, self.exchange(&uri, &ask)).await;
        let no_answer = |cause: String| Failure::NoAnswer { asked: asked.clone(), cause };
        let reply = match answer {
            Err(_) => return Ok(Err(no_answer(format!("nothing within {} s", ANSWER_MAX.as_secs())))),
            Ok(Err(stop)) if stop.usage => return Err(stop),
            Ok(Err(stop)) => {
                let cause = stop.cause.map(|it| format!(": {it}")).unwrap_or_default();
                return Ok(Err(no_answer(format!("{}{cause}", stop.message))));
            }
            Ok(Ok(reply)) => reply,
        };
        log::debug(format!("answered with {} and {} bytes", reply.status, reply.body.len()));
        if reply.status.is_success() {
            log::info(format!("{asked}: {}", reply.status));
            return Ok(Ok(reply));
        }
        Ok(Err(Failure::Status { asked, status: reply.status, body: reply.text() }))
    }

    async fn exchange(&mut self, uri: &Uri, ask: &Ask) -> Result<Reply, Stop> {
        let broken = |it: &dyn std::error::Error| Stop::failed("the connection broke off").because(chain(it));
        loop {
            let fresh = self.sender.is_none();
            let mut sender = match self.sender.take() {
                Some(sender) => sender,
                None => self.connect().await?,
            };
            let request = self.request(uri, ask)?;
            if sender.ready().await.is_err() && !fresh {
                continue; // The server has closed it meanwhile.
            }
            let response = match sender.send_request(request).await {
                // Nothing of it has left.
                Err(error) if error.is_canceled() && !fresh => continue,
                response => response.map_err(|it| broken(&it))?,
            };
            let (head, body) = response.into_parts();
            let body = Limited::new(body, BODY_MAX).collect().await;
            let body = body.map_err(|it| broken(it.as_ref()))?.to_bytes();
            self.sender = Some(sender);
            return Ok(Reply { status: head.status, body });
        }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Stop> {
        let stream: Stream = self.trust.connect(&self.base).await?;
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|it| Stop::failed("the connection broke off").because(chain(&it)))?;
        // It ends with its sender; what breaks it shows in the request.
        tokio::spawn(connection);
        Ok(sender)
    }

    fn request(&self, uri: &Uri, ask: &Ask) -> Result<Request<Full<Bytes>>, Stop> {
        let host = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        let host = host.rsplit_once('@').map_or(host, |it| it.1);
        let target = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let mut request = Request::builder()
            .method(ask.method.clone())
            .uri(target)
            .header(header::HOST, host)
            .header(header::USER_AGENT, concat!("ochami/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token.header()?);
            log::debug("with a token");
        }
        let mut bytes = Bytes::new();
        if let Some(body) = &ask.body {
            log::debug(format!("with the body {}", masked(body.clone())));
            request = request.header(header::CONTENT_TYPE, &ask.content);
            bytes = body.to_string().into();
        }
        request.body(Full::new(bytes)).map_err(|it| Stop::usage("the request cannot be made").because(it))
    }
}

/// What is sent, fit for a log.
fn masked(body: Value) -> Value {
    match body {
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .map(|(name, value)| {
                    let secret = ["password", "token", "secret", "passwd", "key"]
                        .iter()
                        .any(|it| name.to_ascii_lowercase().contains(it));
                    let value = if secret && value.is_string() { "…".into() } else { masked(value) };
                    (name, value)
                })
                .collect(),
        ),
        Value::Array(items) => items.into_iter().map(masked).collect(),
        other => other,
    }
}

/// An error with its causes, on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Ask, Client, Token, masked, segment};
    use crate::ochami::tls::Trust;

    #[test]
    fn names_stay_one_part_of_a_path() {
        assert_eq!(segment("02:00:00:00:00:99"), "02:00:00:00:00:99");
        assert_eq!(segment("../a b/c?d"), "..%2Fa%20b%2Fc%3Fd");
        assert_eq!(segment(".."), "%2E%2E");
    }

    #[test]
    fn addresses_are_put_together() {
        let client = |base: &str| Client::new(base.parse().expect("a URI"), Trust::default(), None);
        let ask = Ask::get("/groups")
            .query(vec![("tag".to_owned(), "b c".to_owned()), ("group".to_owned(), "ec:e7".to_owned())]);
        let uri = client("https://demo:8443/hsm/v2/").uri(&ask).expect("a URI");
        assert_eq!(uri, "https://demo:8443/hsm/v2/groups?group=ec%3Ae7&tag=b+c");
        assert_eq!(client("http://h/").uri(&Ask::get("")).expect("a URI"), "http://h/");
    }

    #[test]
    fn secrets_are_in_no_log() {
        let token = Token::from("abc".to_owned());
        assert_eq!(format!("{token:?}"), "Token(…)");
        assert_eq!(format!("{:?}", token.header().expect("a header")), "Sensitive");
        let entry = |password| json!([{"User": "u", "Password": password}]);
        assert_eq!(masked(entry("p")), entry("…"));
    }
}
