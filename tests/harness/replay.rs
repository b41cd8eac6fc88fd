//! Replays recorded exchanges line by line and says what differs. Each file expects an empty server.

mod compare;
mod mint;
mod secure;

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use http::Request;
use http_body_util::Full;
use hyper::body::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};

pub use mint::{AUDIENCE, ISSUER, Keys};
pub use secure::Secure;

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// One recorded exchange.
#[derive(Clone, Debug, Deserialize)]
pub struct Exchange {
    /// Its name, `smd-components-001`.
    pub id: String,
    /// What was sent.
    pub request: Sent,
    /// What came back.
    pub response: Answered,
    /// JSON pointers whose values are not compared; `*` is every element.
    #[serde(default)]
    volatile: Vec<String>,
    /// JSON pointers of what may be there or not.
    #[serde(default)]
    optional: Vec<String>,
    /// `**`: arrays are multisets; `lines`: the text's lines are.
    #[serde(default)]
    unordered: Vec<String>,
    /// Regular expressions blanked in a text.
    #[serde(default)]
    mask: Vec<String>,
    /// Seconds to wait before sending.
    #[serde(default)]
    wait: f64,
    /// Why the original's answer is no model; the line is sent and not compared.
    #[serde(default)]
    pub quirk: Option<Value>,
}

/// A recorded request.
#[derive(Clone, Debug, Deserialize)]
pub struct Sent {
    /// GET, POST …
    pub method: String,
    /// Path and query, as behind the gateway.
    pub path: String,
    #[serde(default)]
    headers: Option<Map<String, Value>>,
    #[serde(default)]
    body: Value,
}

/// A recorded answer, or the one that came.
#[derive(Clone, Debug, Deserialize)]
pub struct Answered {
    /// The HTTP status.
    pub status: u16,
    #[serde(default)]
    headers: Option<Map<String, Value>>,
    #[serde(default)]
    body: Value,
}

/// What the replay of a file found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Lines that matched.
    pub passed: usize,
    /// Lines sent and not compared.
    pub skipped: usize,
    /// `id METHOD path` and what differs.
    pub failed: Vec<(String, Vec<String>)>,
}

/// How to replay.
#[derive(Debug, Default)]
pub struct Replay {
    /// What stands before the recorded paths: `http://127.0.0.1:8081`.
    pub base: String,
    /// What `{{token}}` is made with.
    pub keys: Option<Keys>,
    /// What `{{token}}` is instead.
    pub token: Option<String>,
    /// How an `https:` base is reached.
    pub secure: Option<Secure>,
    /// Compare lines marked as the original's faults too.
    pub quirks: bool,
    /// The exchanges that are compared, by id; none: all.
    pub only: Vec<String>,
}

/// The exchanges of a file.
///
/// # Errors
///
/// Names the line that is none.
pub fn load(path: &Path) -> anyhow::Result<Vec<Exchange>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let lines = text.lines().enumerate().filter(|(_, it)| !it.trim().is_empty());
    let read = |(index, line)| {
        serde_json::from_str(line).with_context(|| format!("{}:{}: no exchange", path.display(), index + 1))
    };
    lines.map(read).collect()
}

impl Replay {
    /// Replays exchanges in their order.
    ///
    /// # Errors
    ///
    /// If a token is needed and cannot be made; a server that does not answer is a finding.
    pub async fn run(&self, exchanges: &[Exchange]) -> anyhow::Result<Findings> {
        let mut findings = Findings::default();
        for exchange in exchanges {
            tokio::time::sleep(Duration::from_secs_f64(exchange.wait)).await;
            let request = self.request(&exchange.request)?;
            let answer = tokio::time::timeout(ANSWER_MAX, self.send(request)).await;
            let left_out = !self.only.is_empty() && !self.only.contains(&exchange.id);
            if left_out || (exchange.quirk.is_some() && !self.quirks) {
                findings.skipped += 1;
                continue;
            }
            let differences = match answer {
                Ok(Ok(answer)) => compare::differences(exchange, &answered(answer)),
                Ok(Err(error)) => vec![format!("no response: {error:#}")],
                Err(_) => vec![format!("no response within {ANSWER_MAX:?}")],
            };
            if differences.is_empty() {
                findings.passed += 1;
            } else {
                let Sent { method, path, .. } = &exchange.request;
                findings.failed.push((format!("{} {method} {path}", exchange.id), differences));
            }
        }
        Ok(findings)
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> anyhow::Result<http::Response<Bytes>> {
        match &self.secure {
            Some(secure) => secure.send(request).await,
            None => crate::front::send(request).await,
        }
    }

    fn request(&self, sent: &Sent) -> anyhow::Result<Request<Full<Bytes>>> {
        let url = format!("{}{}", self.base.trim_end_matches('/'), sent.path);
        let mut request = Request::builder().method(sent.method.as_str()).uri(url);
        request = request.header("accept-encoding", "identity");
        for (name, value) in sent.headers.iter().flatten() {
            let value = value.as_str().with_context(|| format!("the header {name} is no text"))?;
            request = request.header(name, self.fill(value)?);
        }
        let body = match &sent.body {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            body => body.to_string(),
        };
        request.body(Full::new(body.into())).context("build the request")
    }

    /// Puts tokens where `{{token}}` or `{{token:expired}}` stand.
    fn fill(&self, value: &str) -> anyhow::Result<String> {
        let mut filled = String::new();
        let mut rest = value;
        while let Some((before, after)) = rest.split_once("{{token") {
            let (kind, after) = after.split_once("}}").context("a token's place ends with }}")?;
            filled.push_str(before);
            filled.push_str(&self.token(kind.strip_prefix(':'))?);
            rest = after;
        }
        Ok(filled + rest)
    }

    fn token(&self, kind: Option<&str>) -> anyhow::Result<String> {
        match (kind, &self.token, &self.keys) {
            (None, Some(token), _) => Ok(token.clone()),
            (kind, _, Some(keys)) => keys.mint(kind.unwrap_or("valid")),
            _ => anyhow::bail!("the recording needs a token, and there are no keys to make one"),
        }
    }
}

fn answered(answer: http::Response<Bytes>) -> Answered {
    let headers = answer.headers().iter().map(|(name, value)| {
        (name.as_str().to_owned(), Value::String(String::from_utf8_lossy(value.as_bytes()).into_owned()))
    });
    Answered {
        status: answer.status().as_u16(),
        headers: Some(headers.collect()),
        body: Value::String(String::from_utf8_lossy(answer.body()).into_owned()),
    }
}
