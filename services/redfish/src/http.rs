//! Requests over one connection, which is opened anew when the BMC has closed it.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::{Error, Fingerprint, Options, Target, Trust};

/// The longest answer: the largest known collections, expanded, have 2 MiB.
const ANSWER_MAX: usize = 8 << 20;
/// How often a redirect is followed.
const REDIRECTS_MAX: usize = 3;
/// The longest message of a BMC that is passed on.
const SAID_MAX: usize = 200;

/// An answer.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

/// What is asked. `Debug` is left out: bodies hold passwords.
pub(crate) struct Ask<'a> {
    pub(crate) step: &'static str,
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) body: Option<Zeroizing<Vec<u8>>>,
    /// Of what is replaced, so that nobody else's change is lost.
    pub(crate) etag: Option<HeaderValue>,
    /// Whether its answer could repeat a secret.
    pub(crate) is_secret: bool,
}

impl<'a> Ask<'a> {
    pub(crate) fn new(step: &'static str, method: Method, path: &'a str) -> Self {
        Self { step, method, path, body: None, etag: None, is_secret: false }
    }

    pub(crate) fn json(mut self, body: &Value) -> Self {
        self.body = Some(Zeroizing::new(body.to_string().into_bytes()));
        self
    }

    pub(crate) fn secret(mut self) -> Self {
        self.is_secret = true;
        self
    }
}

/// What a request is let in by.
pub(crate) enum Pass {
    None,
    Basic(HeaderValue),
    Token(HeaderValue),
}

impl Pass {
    pub(crate) fn basic(user: &str, password: &str) -> Result<Self, Error> {
        let pair = Zeroizing::new(format!("{user}:{password}"));
        let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
        let mut value =
            HeaderValue::from_str(&text).map_err(|_| Error::Invalid("the account cannot be sent"))?;
        value.set_sensitive(true);
        Ok(Self::Basic(value))
    }
}

/// The connection to a BMC.
pub(crate) struct Http {
    host: String,
    port: u16,
    trust: Trust,
    options: Options,
    shown: std::sync::OnceLock<Fingerprint>,
    sender: Mutex<Option<SendRequest<Full<Bytes>>>>,
    pub(crate) pass: std::sync::Mutex<Pass>,
}

type Sender<'a> = MutexGuard<'a, Option<SendRequest<Full<Bytes>>>>;

impl Http {
    pub(crate) fn new(target: &Target, options: Options) -> Self {
        Self {
            host: target.host.clone(),
            port: target.port,
            trust: target.trust.clone(),
            options,
            shown: std::sync::OnceLock::new(),
            sender: Mutex::default(),
            pass: std::sync::Mutex::new(Pass::None),
        }
    }

    pub(crate) fn fingerprint(&self) -> Option<Fingerprint> {
        self.shown.get().copied()
    }

    pub(crate) fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Any status; a read goes on where the BMC redirects to one of its own paths, and is repeated once where a
    /// connection that was open had ended.
    pub(crate) async fn send(&self, ask: Ask<'_>) -> Result<Reply, Error> {
        let is_read = ask.method == Method::GET;
        let mut path = self.own_path(ask.step, ask.path)?;
        for _ in 0..=REDIRECTS_MAX {
            let reply = match self.exchange(&ask, &path).await {
                Err(Error::Lost { .. }) if is_read => self.exchange(&ask, &path).await?,
                other => other?,
            };
            if !is_read || !reply.status.is_redirection() {
                return Ok(reply);
            }
            let to = reply.headers.get(header::LOCATION).and_then(|it| it.to_str().ok());
            let nowhere = Error::Answer { step: ask.step, reason: "redirects without saying where" };
            path = self.own_path(ask.step, to.ok_or(nowhere)?)?;
        }
        Err(Error::Answer { step: ask.step, reason: "redirects again and again" })
    }

    /// The reply of a success.
    pub(crate) async fn call(&self, ask: Ask<'_>) -> Result<Reply, Error> {
        let (step, is_secret) = (ask.step, ask.is_secret);
        let reply = self.send(ask).await?;
        if reply.status.is_success() {
            return Ok(reply);
        }
        let status = reply.status.as_u16();
        if matches!(reply.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(Error::Auth { step, status });
        }
        let said = if is_secret { String::new() } else { said(&reply.body) };
        Err(Error::Status { step, status, said })
    }

    /// A path of this BMC; an address of another one is refused.
    fn own_path(&self, step: &'static str, to: &str) -> Result<String, Error> {
        let elsewhere = Error::Answer { step, reason: "points to another machine; it is not followed" };
        let path = match to.split_once("://") {
            None => to,
            Some((_, rest)) => {
                let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                let address = self.address();
                let is_own = authority.eq_ignore_ascii_case(&address)
                    || (self.port == 443 && Some(authority) == address.strip_suffix(":443"));
                if is_own { path } else { return Err(elsewhere) }
            }
        };
        // "//host/path" is another machine's, too.
        if path.starts_with('/') && !path.starts_with("//") { Ok(path.to_owned()) } else { Err(elsewhere) }
    }

    async fn exchange(&self, ask: &Ask<'_>, path: &str) -> Result<Reply, Error> {
        let step = ask.step;
        let within = self.options.request;
        let silent = || Error::Timeout { step, address: self.address(), waited: within };
        let mut sender = self.sender.lock().await;
        let answered = timeout(within, async {
            self.connect(&mut sender).await?;
            let request = self.request(ask, path)?;
            let open = sender.as_mut().ok_or(Error::Answer { step, reason: "never began" })?;
            let lost = |error: hyper::Error| Error::Lost { step, source: error.into() };
            let response = open.send_request(request).await.map_err(lost)?;
            let (parts, body) = response.into_parts();
            let length = parts.headers.get(header::CONTENT_LENGTH).and_then(|it| it.to_str().ok());
            let long = Error::Answer { step, reason: "is longer than 8 MiB" };
            if length.and_then(|it| it.parse().ok()).is_some_and(|it: usize| it > ANSWER_MAX) {
                return Err(long);
            }
            let body = Limited::new(body, ANSWER_MAX).collect().await.map_err(|error| {
                if error.is::<http_body_util::LengthLimitError>() {
                    long
                } else {
                    Error::Lost { step, source: error }
                }
            })?;
            Ok(Reply { status: parts.status, headers: parts.headers, body: read(step, &body.to_bytes())? })
        });
        let answered = answered.await.map_err(|_| silent()).and_then(|it| it);
        if answered.is_err() {
            // What else comes on it would be the answer of this request.
            *sender = None;
        }
        answered
    }

    fn request(&self, ask: &Ask<'_>, path: &str) -> Result<Request<Full<Bytes>>, Error> {
        let mut request = Request::builder().method(ask.method.clone()).uri(path);
        request = request.header(header::HOST, self.address()).header(header::ACCEPT, "application/json");
        request = request.header("OData-Version", "4.0");
        match &*self.pass.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
            Pass::None => {}
            Pass::Basic(it) => request = request.header(header::AUTHORIZATION, it.clone()),
            Pass::Token(it) => request = request.header("X-Auth-Token", it.clone()),
        }
        if let Some(etag) = &ask.etag {
            request = request.header(header::IF_MATCH, etag.clone());
        }
        let mut body = Bytes::new();
        if let Some(it) = &ask.body {
            request = request.header(header::CONTENT_TYPE, "application/json");
            body = Bytes::copy_from_slice(it);
        }
        request
            .body(Full::new(body))
            .map_err(|_| Error::Invalid("the BMC names a path that cannot be asked for"))
    }

    async fn connect(&self, sender: &mut Sender<'_>) -> Result<(), Error> {
        if sender.as_mut().is_some_and(|it| !it.is_closed()) {
            return Ok(());
        }
        let stream = self.tcp().await?;
        let failed = |source| Error::Tls { address: self.address(), source };
        let config = self.trust.config().map_err(|it| failed(std::io::Error::other(it)))?;
        let name = ServerName::try_from(self.host.clone())
            .map_err(|_| Error::Invalid("the BMC's address is neither a name nor an IP address"))?;
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(&config));
        let stream = connector.connect(name, stream).await.map_err(failed)?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|it| it.first());
        let shown = shown.map(|it| Fingerprint::of(it)).ok_or_else(|| {
            failed(std::io::Error::new(std::io::ErrorKind::InvalidData, "it shows no certificate"))
        })?;
        // A connection within the same work must not come from somebody else either.
        let known = match &self.trust {
            Trust::Pin(known) => known.or_else(|| self.fingerprint()),
            Trust::Roots(_) | Trust::Anyone => None,
        };
        if let Some(known) = known.filter(|it| *it != shown) {
            let (known, shown) = (Box::new(known), Box::new(shown));
            return Err(Error::Changed { address: self.address(), known, shown });
        }
        self.shown.get_or_init(|| shown);
        let lost = |error: hyper::Error| Error::Lost { step: "connect", source: error.into() };
        let (open, connection) = handshake(TokioIo::new(stream)).await.map_err(lost)?;
        // Ends with the sender; an error shows there too.
        tokio::spawn(connection);
        **sender = Some(open);
        Ok(())
    }

    async fn tcp(&self) -> Result<TcpStream, Error> {
        let within: Duration = self.options.connect;
        let failed = |source| Error::Connect { address: self.address(), source };
        let late = |_| Error::Timeout { step: "connect", address: self.address(), waited: within };
        let stream = timeout(within, TcpStream::connect((self.host.as_str(), self.port))).await;
        let stream = stream.map_err(late)?.map_err(failed)?;
        // Small requests follow each other.
        stream.set_nodelay(true).map_err(failed)?;
        Ok(stream)
    }
}

/// Nothing reads as null; text that is no JSON is none of Redfish's.
fn read(step: &'static str, body: &[u8]) -> Result<Value, Error> {
    let body = body.trim_ascii();
    if body.is_empty() {
        return Ok(Value::Null);
    }
    match serde_json::from_slice(body) {
        Ok(value) => Ok(value),
        // An error page of a web server: its status tells enough.
        Err(_) if body.starts_with(b"<") => Ok(Value::Null),
        Err(_) => Err(Error::Answer { step, reason: "is not JSON" }),
    }
}

/// A BMC's own words about an error (DSP0266, "Error responses").
fn said(body: &Value) -> String {
    let error = &body["error"];
    let info = error["@Message.ExtendedInfo"].get(0).map(|it| &it["Message"]);
    let text = info.and_then(Value::as_str).or_else(|| error["message"].as_str()).unwrap_or_default();
    let text: String = text.chars().filter(|it| !it.is_control()).take(SAID_MAX).collect();
    if text.is_empty() { text } else { format!(": {text}") }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn http() -> Http {
        let target = Target::new("bmc.test", "admin", "secret");
        Http::new(&target, Options::default())
    }

    #[test]
    fn only_paths_of_the_bmc_itself_are_followed() {
        let http = http();
        let path = |to| http.own_path("read", to);
        assert_eq!(path("/redfish/v1/").unwrap(), "/redfish/v1/");
        assert_eq!(path("https://bmc.test/redfish/v1").unwrap(), "/redfish/v1");
        assert_eq!(path("https://BMC.test:443/x").unwrap(), "/x");
        for to in [
            "https://evil.test/redfish",
            "//evil.test/x",
            "redfish/v1",
            "https://bmc.test:8443/x",
            "https://bmc.test",
        ] {
            assert!(path(to).is_err(), "{to}");
        }
    }

    #[test]
    fn an_error_s_words_are_found_and_kept_short() {
        let body = serde_json::json!({"error": {"message": "See more", "@Message.ExtendedInfo": [
            {"Message": format!("The action\n failed {}", "x".repeat(999))}]}});
        let text = said(&body);
        assert!(text.starts_with(": The action failed x") && text.len() <= SAID_MAX + 2, "{text}");
        assert_eq!(said(&Value::Null), "");
        assert!(read("read", b"<html>404</html>").unwrap().is_null());
        assert!(read("read", b"{\"a\":").is_err());
    }
}
