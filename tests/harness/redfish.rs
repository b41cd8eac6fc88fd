//! A BMC's Redfish service in this process: resources after DMTF's published schemas, and the ways in which makers
//! differ from them, on demand.

mod identity;
pub mod makers;
pub mod tree;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// The account of every BMC.
pub const USER: &str = "admin";
/// Its password; these BMCs hold nothing.
pub const PASSWORD: &str = "secret12";

/// How the tokens of their sessions begin.
pub const TOKEN: &str = "kanarie-redfish-session-3ac09b";

/// How a BMC differs from what the specification asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quirk {
    /// It has no sessions: each request brings the account.
    NoSessions,
    /// Its table of sessions is full.
    SessionsFull,
    /// It does not say which resets it allows.
    NoAllowableValues,
    /// It says so in an ActionInfo of its own.
    ActionInfo,
    /// Resources are there with a slash at their end alone.
    TrailingSlash,
    /// It has no PowerCycle.
    NoCycle,
    /// What is changed has to be named by its ETag.
    NeedsEtag,
    /// It does what it is told and closes the connection without an answer.
    DropsAnswers,
    /// It redirects to another machine.
    RedirectsElsewhere,
    /// It answers more than anybody wants to read.
    Endless,
    /// It answers what is no JSON.
    Babbles,
    /// It repeats in its messages what it was given.
    RepeatsSecrets,
    /// Power follows this many looks late.
    Slow(u8),
}

/// What a BMC has and was told.
#[derive(Debug, Default)]
struct State {
    quirks: Vec<Quirk>,
    password: String,
    /// Of each system, whether it is on.
    power: Vec<bool>,
    /// Of each system, what its power will be after so many looks.
    coming: HashMap<usize, (u8, bool)>,
    boot: Vec<Value>,
    light: Vec<bool>,
    sessions: Vec<String>,
    told: Vec<String>,
    logins: usize,
}

/// A running BMC; it goes when dropped.
#[derive(Debug)]
pub struct Redfish {
    address: SocketAddr,
    /// The certificate it shows, DER.
    pub certificate: Vec<u8>,
    state: Arc<Mutex<State>>,
    serving: JoinSet<()>,
}

impl Redfish {
    /// A BMC with so many systems, all off, at a free port of the loopback.
    ///
    /// # Errors
    ///
    /// If it cannot listen.
    pub async fn start(systems: usize, quirks: &[Quirk]) -> anyhow::Result<Self> {
        Self::start_at(([127, 0, 0, 1], 0).into(), systems, quirks).await
    }

    /// The same at an address.
    ///
    /// # Errors
    ///
    /// If it cannot listen.
    pub async fn start_at(address: SocketAddr, systems: usize, quirks: &[Quirk]) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await.context("listen as a Redfish service")?;
        let address = listener.local_addr()?;
        let (acceptor, certificate) = identity::make(address)?;
        let state = State {
            quirks: quirks.to_vec(),
            password: PASSWORD.to_owned(),
            power: vec![false; systems],
            boot: vec![Value::Null; systems],
            light: vec![false; systems],
            ..State::default()
        };
        let state = Arc::new(Mutex::new(state));
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, acceptor, Arc::clone(&state)));
        Ok(Self { address, certificate, state, serving })
    }

    /// Ends it; another one may listen there then.
    pub async fn stop(mut self) {
        self.serving.shutdown().await;
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it was told so far: `reset 1 On`, `boot 1 Pxe`, `password`, `light 1 true`.
    #[must_use]
    pub fn told(&self) -> Vec<String> {
        lock(&self.state).told.clone()
    }

    /// How many sessions are open.
    #[must_use]
    pub fn session_count(&self) -> usize {
        lock(&self.state).sessions.len()
    }

    /// How often somebody logged in.
    #[must_use]
    pub fn logins(&self) -> usize {
        lock(&self.state).logins
    }

    /// Its account's password.
    #[must_use]
    pub fn password(&self) -> String {
        lock(&self.state).password.clone()
    }

    /// Gives it another one.
    pub fn set_password(&self, password: &str) {
        password.clone_into(&mut lock(&self.state).password);
    }

    /// Has it differ in other ways from now on.
    pub fn set_quirks(&self, quirks: &[Quirk]) {
        lock(&self.state).quirks = quirks.to_vec();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { return };
                let (acceptor, state) = (acceptor.clone(), Arc::clone(&state));
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(|request| answer(Arc::clone(&state), request));
                    let served = hyper::server::conn::http1::Builder::new();
                    // Clients come and go; how, they say themselves.
                    drop(served.serve_connection(TokioIo::new(stream), service).await);
                });
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

type Answer = Response<Full<Bytes>>;

/// A connection that ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the BMC drops the connection")]
struct Dropped;

async fn answer(state: Arc<Mutex<State>>, request: Request<Incoming>) -> Result<Answer, Dropped> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Dropped)?.to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut state = lock(&state);
    let has = |quirk| state.quirks.contains(&quirk);
    if has(Quirk::Babbles) {
        return Ok(raw(StatusCode::OK, b"{\"Members\": [".to_vec()));
    }
    if has(Quirk::Endless) {
        return Ok(raw(StatusCode::OK, vec![b' '; 9 << 20]));
    }
    if has(Quirk::RedirectsElsewhere) {
        let mut elsewhere = raw(StatusCode::FOUND, Vec::new());
        elsewhere
            .headers_mut()
            .insert(header::LOCATION, "https://192.0.2.1/redfish/v1/".parse().map_err(|_| Dropped)?);
        return Ok(elsewhere);
    }
    let drops =
        has(Quirk::DropsAnswers) && parts.method == Method::POST && parts.uri.path().contains("/Actions/");
    let answer = state.obey(&parts.method, parts.uri.path(), &parts.headers, &body);
    if drops { Err(Dropped) } else { Ok(answer) }
}

fn raw(status: StatusCode, body: Vec<u8>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer
}

fn ok(body: &Value) -> Answer {
    raw(StatusCode::OK, body.to_string().into_bytes())
}

fn refuse(status: StatusCode, message: &str) -> Answer {
    let info = json!([{"MessageId": "Base.1.8.GeneralError", "Message": message}]);
    let body = json!({"error": {"code": "Base.1.8.GeneralError", "message": "See @Message.ExtendedInfo",
        "@Message.ExtendedInfo": info}});
    raw(status, body.to_string().into_bytes())
}

impl State {
    fn has(&self, quirk: Quirk) -> bool {
        self.quirks.contains(&quirk)
    }

    fn obey(&mut self, method: &Method, path: &str, headers: &HeaderMap, body: &Value) -> Answer {
        let plain = path.trim_end_matches('/');
        let is_open = matches!(plain, "/redfish" | "/redfish/v1") || plain.ends_with("/Sessions");
        if !is_open && !self.is_let_in(headers) {
            return refuse(StatusCode::UNAUTHORIZED, "There is no valid session established");
        }
        let words: Vec<&str> = plain.split('/').skip(3).collect();
        let system = |word: &str| word.parse::<usize>().ok().and_then(|it| it.checked_sub(1));
        if self.has(Quirk::TrailingSlash)
            && words.first() == Some(&"Systems")
            && words.len() == 2
            && plain == path
        {
            return refuse(StatusCode::NOT_FOUND, "The resource was not found");
        }
        match (method.as_str(), words.as_slice()) {
            ("GET", []) => self.root(),
            ("POST", ["SessionService", "Sessions"]) => self.log_in(body),
            ("DELETE", ["SessionService", "Sessions", id]) => self.log_out(id),
            ("GET", ["Systems"]) => self.systems(),
            ("GET", ["Systems", id]) => match system(id).filter(|it| *it < self.power.len()) {
                Some(place) => self.system(place),
                None => refuse(StatusCode::NOT_FOUND, "The resource was not found"),
            },
            ("GET", ["Systems", _, "ResetActionInfo"]) => {
                ok(&json!({"Parameters": [{"Name": "ResetType", "AllowableValues": self.resets()}]}))
            }
            ("PATCH", ["Systems", id]) => self.change(system(id).unwrap_or(0), headers, body),
            ("POST", ["Systems", id, "Actions", "ComputerSystem.Reset"]) => {
                self.reset(system(id).unwrap_or(0), body)
            }
            ("GET", ["AccountService"]) => {
                ok(&json!({"Accounts": {"@odata.id": "/redfish/v1/AccountService/Accounts"}}))
            }
            ("GET", ["AccountService", "Accounts"]) => {
                let member = |id| json!({"@odata.id": format!("/redfish/v1/AccountService/Accounts/{id}")});
                ok(&json!({"Members": [member(1), member(2)]}))
            }
            ("GET", ["AccountService", "Accounts", id]) => {
                let name = if *id == "2" { USER } else { "operator" };
                ok(&json!({"Id": id, "UserName": name, "Password": null}))
            }
            ("PATCH", ["AccountService", "Accounts", "2"]) => self.change_password(body),
            _ => refuse(StatusCode::NOT_FOUND, "The resource was not found"),
        }
    }

    fn is_let_in(&self, headers: &HeaderMap) -> bool {
        let text = |name: &str| headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default();
        let pair = STANDARD.encode(format!("{USER}:{}", self.password));
        text("authorization") == format!("Basic {pair}")
            || self.sessions.iter().any(|it| text("x-auth-token") == format!("{TOKEN}-{it}"))
    }

    fn root(&self) -> Answer {
        let link = |path: &str| json!({"@odata.id": format!("/redfish/v1/{path}")});
        let mut root = json!({
            "@odata.id": "/redfish/v1/", "Id": "RootService", "RedfishVersion": "1.11.0", "Vendor": "Pilothouse",
            "Systems": link("Systems"), "AccountService": link("AccountService"),
        });
        if !self.has(Quirk::NoSessions) {
            root["SessionService"] = link("SessionService");
            root["Links"] = json!({"Sessions": link("SessionService/Sessions")});
        }
        ok(&root)
    }

    fn log_in(&mut self, body: &Value) -> Answer {
        if self.has(Quirk::NoSessions) {
            return refuse(StatusCode::NOT_FOUND, "The resource was not found");
        }
        if body["UserName"] != USER || body["Password"] != self.password.as_str() {
            return refuse(StatusCode::UNAUTHORIZED, "The account is not valid");
        }
        if self.has(Quirk::SessionsFull) {
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "The limit of sessions was reached");
        }
        self.logins += 1;
        let id = self.logins.to_string();
        self.sessions.push(id.clone());
        let mut answer = raw(StatusCode::CREATED, json!({"Id": id}).to_string().into_bytes());
        let place = format!("/redfish/v1/SessionService/Sessions/{id}");
        for (name, value) in [("x-auth-token", format!("{TOKEN}-{id}")), ("location", place)] {
            if let Ok(value) = value.parse() {
                answer.headers_mut().insert(name, value);
            }
        }
        answer
    }

    fn log_out(&mut self, id: &str) -> Answer {
        self.sessions.retain(|it| it != id);
        raw(StatusCode::NO_CONTENT, Vec::new())
    }

    fn systems(&self) -> Answer {
        let slash = if self.has(Quirk::TrailingSlash) { "/" } else { "" };
        let member = |place: usize| json!({"@odata.id": format!("/redfish/v1/Systems/{}{slash}", place + 1)});
        let members: Vec<Value> = (0..self.power.len()).map(member).collect();
        ok(&json!({"Members@odata.count": members.len(), "Members": members}))
    }

    fn resets(&self) -> Vec<&'static str> {
        let mut resets = vec!["On", "ForceOff", "GracefulShutdown", "ForceRestart"];
        if !self.has(Quirk::NoCycle) {
            resets.push("PowerCycle");
        }
        resets
    }

    fn system(&mut self, place: usize) -> Answer {
        let mut word = if self.power[place] { "On" } else { "Off" };
        if let Some((looks, on)) = self.coming.remove(&place) {
            if looks == 0 {
                self.power[place] = on;
                word = if on { "On" } else { "Off" };
            } else {
                self.coming.insert(place, (looks - 1, on));
                word = if on { "PoweringOn" } else { "PoweringOff" };
            }
        }
        let id = place + 1;
        let path = format!("/redfish/v1/Systems/{id}");
        let mut reset = json!({"target": format!("{path}/Actions/ComputerSystem.Reset")});
        if self.has(Quirk::ActionInfo) {
            reset["@Redfish.ActionInfo"] = json!(format!("{path}/ResetActionInfo"));
        } else if !self.has(Quirk::NoAllowableValues) {
            reset["ResetType@Redfish.AllowableValues"] = json!(self.resets());
        }
        let mut answer = ok(&json!({
            "@odata.id": path, "@odata.etag": "W/\"1\"", "Id": id.to_string(), "PowerState": word,
            "Actions": {"#ComputerSystem.Reset": reset}, "Boot": self.boot[place],
            "LocationIndicatorActive": self.light[place],
        }));
        answer.headers_mut().insert(header::ETAG, header::HeaderValue::from_static("W/\"1\""));
        answer
    }

    fn change(&mut self, place: usize, headers: &HeaderMap, body: &Value) -> Answer {
        if self.has(Quirk::NeedsEtag) && !headers.contains_key(header::IF_MATCH) {
            return refuse(StatusCode::PRECONDITION_REQUIRED, "If-Match is missing");
        }
        if let Some(target) = body["Boot"]["BootSourceOverrideTarget"].as_str() {
            self.told.push(format!("boot {} {target}", place + 1));
            self.boot[place] = body["Boot"].clone();
        }
        if let Some(on) = body["LocationIndicatorActive"].as_bool() {
            self.told.push(format!("light {} {on}", place + 1));
            self.light[place] = on;
        }
        raw(StatusCode::NO_CONTENT, Vec::new())
    }

    fn reset(&mut self, place: usize, body: &Value) -> Answer {
        let kind = body["ResetType"].as_str().unwrap_or_default();
        if !self.resets().contains(&kind) {
            return refuse(StatusCode::BAD_REQUEST, "The value for ResetType is not acceptable");
        }
        self.told.push(format!("reset {} {kind}", place + 1));
        let on = !matches!(kind, "ForceOff" | "GracefulShutdown");
        let slow =
            self.quirks.iter().find_map(|it| if let Quirk::Slow(looks) = it { Some(*looks) } else { None });
        match slow {
            Some(looks) => drop(self.coming.insert(place, (looks, on))),
            None => self.power[place] = on,
        }
        raw(StatusCode::NO_CONTENT, Vec::new())
    }

    fn change_password(&mut self, body: &Value) -> Answer {
        let new = body["Password"].as_str().unwrap_or_default().to_owned();
        if self.has(Quirk::RepeatsSecrets) {
            return refuse(
                StatusCode::BAD_REQUEST,
                &format!("The value {new} for Password is not acceptable"),
            );
        }
        self.told.push("password".to_owned());
        self.password = new;
        raw(StatusCode::NO_CONTENT, Vec::new())
    }
}
