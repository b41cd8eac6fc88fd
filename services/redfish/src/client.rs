//! A client: log-in, reading, changing, log-out.

use std::fmt;
use std::sync::PoisonError;
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::http::{Ask, Http, Pass, Reply};
use crate::resource::{BootSource, Resource};
use crate::{Error, Fingerprint, Trust};

/// The port of HTTPS.
const PORT: u16 = 443;
/// Where everything begins (DSP0266, "Protocol version"); with the slash, without which some BMCs redirect.
const ROOT: &str = "/redfish/v1/";
/// The most members of a collection that are read.
const MEMBERS_MAX: usize = 1024;

/// One BMC and the account to use on it.
#[derive(Clone)]
pub struct Target {
    /// Its host name or IP address.
    pub host: String,
    /// The port of its web service.
    pub port: u16,
    /// The user name.
    pub user: String,
    /// The user's password.
    pub password: Zeroizing<String>,
    /// Whose certificate is believed.
    pub trust: Trust,
}

/// How patiently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long a TCP connection may take to be there.
    pub connect: Duration,
    /// How long one request may take, with its connection where there is none.
    pub request: Duration,
}

/// A log-in at a BMC. Who is done says [`Client::close`]: BMCs have room for few.
pub struct Client {
    http: Http,
    /// The session to end; none: each request has the account with it.
    session: Option<String>,
    root: Value,
}

impl Target {
    /// A BMC at the usual port whose first certificate is believed.
    pub fn new(host: impl Into<String>, user: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            port: PORT,
            user: user.into(),
            password: Zeroizing::new(password.into()),
            trust: Trust::Pin(None),
        }
    }
}

/// Shows everything but the password.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, user, trust, .. } = self;
        let mut shown = f.debug_struct("Target");
        shown.field("host", host).field("port", port).field("user", user).field("trust", trust);
        shown.finish_non_exhaustive()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("address", &self.http.address()).finish_non_exhaustive()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), request: Duration::from_secs(20) }
    }
}

impl Client {
    /// Connects and logs in: by a session, else with the account in each request, where the BMC has no sessions or no
    /// room for one more.
    ///
    /// # Errors
    ///
    /// No connection, a certificate that is not believed, an account that is not taken, an answer that is no Redfish.
    pub async fn open(target: &Target, options: Options) -> Result<Self, Error> {
        let http = Http::new(target, options);
        // The service root asks for no account (DSP0266, "Resource and operation authentication requirements").
        let root = http.call(Ask::new("read service root", Method::GET, ROOT)).await?.body;
        if !root.is_object() {
            return Err(Error::Answer { step: "read service root", reason: "is no Redfish service root" });
        }
        let mut client = Self { http, session: None, root };
        client.log_in(target).await?;
        Ok(client)
    }

    async fn log_in(&mut self, target: &Target) -> Result<(), Error> {
        let step = "create session";
        let sessions = link(&self.root["Links"]["Sessions"]).map(str::to_owned);
        let service =
            link(&self.root["SessionService"]).map(|it| format!("{}/Sessions", it.trim_end_matches('/')));
        if let Some(path) = sessions.or(service) {
            let body = json!({"UserName": target.user, "Password": *target.password});
            let reply = self.http.send(Ask::new(step, Method::POST, &path).json(&body).secret()).await?;
            match reply.status {
                it if it.is_success() => {
                    if let Some(mut token) = reply.headers.get("x-auth-token").cloned() {
                        token.set_sensitive(true);
                        self.session = session_of(&reply);
                        self.set_pass(Pass::Token(token));
                        return Ok(());
                    }
                }
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    return Err(Error::Auth { step, status: reply.status.as_u16() });
                }
                status => tracing::debug!("{} makes no session: {status}", self.http.address()),
            }
        }
        self.set_pass(Pass::basic(&target.user, &target.password)?);
        // Shows whether the account is taken, by something that needs one.
        let path = link(&self.root["Systems"]).unwrap_or("/redfish/v1/Systems").to_owned();
        self.http.call(Ask::new("log in", Method::GET, &path)).await.map(drop)
    }

    fn set_pass(&self, pass: Pass) {
        *self.http.pass.lock().unwrap_or_else(PoisonError::into_inner) = pass;
    }

    /// The certificate that was shown.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.http.fingerprint()
    }

    /// Host and port.
    #[must_use]
    pub fn address(&self) -> String {
        self.http.address()
    }

    /// The service root, which names the maker and what there is.
    #[must_use]
    pub fn root(&self) -> &Value {
        &self.root
    }

    /// Reads a resource.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn get(&self, path: &str) -> Result<Value, Error> {
        Ok(self.read("read", path).await?.body)
    }

    async fn read(&self, step: &'static str, path: &str) -> Result<Reply, Error> {
        let reply = self.http.send(Ask::new(step, Method::GET, path)).await?;
        if reply.status == StatusCode::NOT_FOUND {
            // Some BMCs know a resource with the slash alone, some without it alone.
            let other = path.strip_suffix('/').map_or_else(|| format!("{path}/"), str::to_owned);
            return self.http.call(Ask::new(step, Method::GET, &other)).await;
        }
        if reply.status.is_success() {
            return Ok(reply);
        }
        self.http.call(Ask::new(step, Method::GET, path)).await
    }

    /// The paths of a collection's members, over all its pages.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn members(&self, path: &str) -> Result<Vec<String>, Error> {
        let (mut members, mut next) = (Vec::new(), Some(path.to_owned()));
        while let Some(path) = next {
            let page = self.read("read collection", &path).await?.body;
            let found = page["Members"].as_array().into_iter().flatten().filter_map(link);
            members.extend(found.map(str::to_owned));
            if members.len() > MEMBERS_MAX {
                return Err(Error::Answer {
                    step: "read collection",
                    reason: "names more than 1024 members",
                });
            }
            next = page["Members@odata.nextLink"].as_str().filter(|it| *it != path).map(str::to_owned);
            // A page of nothing with a next one could go on for ever.
            if page["Members"].as_array().is_none_or(Vec::is_empty) {
                next = None;
            }
        }
        Ok(members)
    }

    /// The paths of the systems.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn systems(&self) -> Result<Vec<String>, Error> {
        self.members(link(&self.root["Systems"]).unwrap_or("/redfish/v1/Systems")).await
    }

    /// The paths of the chassis.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn chassis(&self) -> Result<Vec<String>, Error> {
        self.members(link(&self.root["Chassis"]).unwrap_or("/redfish/v1/Chassis")).await
    }

    /// Reads a system or chassis as far as power goes.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn resource(&self, path: &str) -> Result<Resource, Error> {
        let reply = self.read("read system", path).await?;
        let mut resource = Resource::read(path, &reply.body, reply.headers.get(header::ETAG).cloned());
        if let Some(info) = resource.action_info.take() {
            // Without it the usual resets are tried.
            match self.read("read reset action", &info).await {
                Ok(reply) => resource.allow_by_info(&reply.body),
                Err(error) => tracing::debug!("{} does not say which resets it has: {error}", self.address()),
            }
        }
        Ok(resource)
    }

    /// Tells it once to reset in this way, `On`, `ForceOff` and so on.
    ///
    /// # Errors
    ///
    /// See [`Error`]; where [`Error::is_lost`], it may have been carried out.
    pub async fn reset(&self, resource: &Resource, kind: &str) -> Result<(), Error> {
        let target = resource.reset_target.clone();
        let path = target.ok_or_else(|| Error::Missing(format!("reset action at {}", resource.path)))?;
        let ask = Ask::new("reset", Method::POST, &path).json(&json!({"ResetType": kind}));
        self.http.call(ask).await.map(drop)
    }

    /// Sets where the next boot comes from, for that one alone.
    ///
    /// # Errors
    ///
    /// See [`Error`]; [`Error::Unsupported`] where the BMC names its sources and this is none.
    pub async fn set_boot(&self, resource: &Resource, source: BootSource) -> Result<(), Error> {
        let word = source.among(&resource.boot_sources)?;
        let body = json!({"Boot": {"BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": word}});
        self.patch("set boot source", &resource.path, &body, resource.etag.clone(), false).await
    }

    /// Switches its light.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn set_light(&self, resource: &Resource, on: bool) -> Result<(), Error> {
        let body = match resource.has_location_light {
            true => json!({"LocationIndicatorActive": on}),
            // What it was called before version 1.12 of the schema.
            false => json!({"IndicatorLED": if on { "Blinking" } else { "Off" }}),
        };
        self.patch("set light", &resource.path, &body, resource.etag.clone(), false).await
    }

    /// Changes a part of a resource; where it has changed meanwhile, or wants to know which is meant, once more with
    /// what it is now.
    pub(crate) async fn patch(
        &self,
        step: &'static str,
        path: &str,
        body: &Value,
        etag: Option<HeaderValue>,
        is_secret: bool,
    ) -> Result<(), Error> {
        let ask = |etag| Ask { etag, is_secret, ..Ask::new(step, Method::PATCH, path).json(body) };
        let reply = self.http.send(ask(etag.clone())).await?;
        let is_stale =
            matches!(reply.status, StatusCode::PRECONDITION_FAILED | StatusCode::PRECONDITION_REQUIRED);
        if reply.status.is_success() {
            return Ok(());
        }
        let etag = if is_stale {
            let fresh = self.read(step, path).await?.headers.get(header::ETAG).cloned();
            fresh.or(Some(HeaderValue::from_static("*")))
        } else {
            etag
        };
        self.http.call(ask(etag)).await.map(drop)
    }

    /// Ends the session, so that the BMC has room for another.
    ///
    /// # Errors
    ///
    /// If the BMC does not confirm it.
    pub async fn close(self) -> Result<(), Error> {
        match &self.session {
            Some(session) => self.http.call(Ask::new("end session", Method::DELETE, session)).await.map(drop),
            None => Ok(()),
        }
    }
}

/// The path a link names.
pub(crate) fn link(value: &Value) -> Option<&str> {
    value["@odata.id"].as_str().filter(|it| !it.is_empty())
}

/// The session's path: where the answer is, else what it says it is.
fn session_of(reply: &Reply) -> Option<String> {
    let location = reply.headers.get(header::LOCATION).and_then(|it| it.to_str().ok());
    location.or_else(|| link(&reply.body)).map(str::to_owned)
}
