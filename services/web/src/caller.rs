//! Who asks, and whether they may: peer credentials on a socket, tokens through the gateway (INTERFACES 5).

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, OriginalUri, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use domain::{Role, Scope, Scopes, Service, Xname, service_scopes};

use crate::{Problem, TokenError, Verifier, audit};

/// The other end of a connection.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// The uid, on a UNIX socket.
    pub uid: Option<u32>,
    /// The role the uid has by itself or by its groups.
    pub role: Option<Role>,
    /// The address, on TCP.
    pub address: Option<IpAddr>,
}

/// What a service verifies callers with; put into every request by [`serve`](crate::serve).
#[derive(Clone)]
pub struct Guard {
    /// Which service this is.
    pub service: Service,
    /// Where tokens are verified.
    pub verifier: Arc<Verifier>,
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Caller {
    /// `alice` by a token, `uid:0` on a socket, `anonymous`.
    pub subject: String,
    /// What they may.
    pub scopes: Scopes,
    /// Where they are: the forwarded address if the gateway or root says it, else the connection's.
    pub address: Option<IpAddr>,
    /// The uid of the connection, on a socket; through the gateway it is the gateway's.
    pub uid: Option<u32>,
    /// The node of a node token.
    pub node: Option<Xname>,
    /// Whether a token was given and good, or why not.
    pub token: Result<(), TokenError>,
}

/// A request that is refused for want of rights.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No token, or a bad one: 401 with the recorded text.
    #[error("{0}")]
    Token(TokenError),
    /// A good token without the right: 403.
    #[error("{subject} lacks the right {scope}; ask an administrator for a token that has it")]
    Scope {
        /// Who asked.
        subject: String,
        /// What is missing.
        scope: Scope,
    },
}

impl Peer {
    /// A process of this uid, with the role its groups give it.
    #[must_use]
    pub fn of_uid(uid: u32) -> Self {
        Self { uid: Some(uid), role: role_of(uid), address: None }
    }

    /// A machine on a network.
    #[must_use]
    pub fn of_address(address: IpAddr) -> Self {
        Self { address: Some(address), ..Self::default() }
    }
}

/// uid 0 and the group pilothouse-admin are admin, the group pilothouse-operator is operator.
fn role_of(uid: u32) -> Option<Role> {
    use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
    if uid == 0 {
        return Some(Role::Admin);
    }
    if Service::of_uid(uid).is_some() {
        return None;
    }
    let user = User::from_uid(Uid::from_raw(uid)).ok()??;
    let name = std::ffi::CString::new(user.name).ok()?;
    let groups = getgrouplist(&name, user.gid).ok()?;
    let holds = |group: &str| {
        let gid: Option<Gid> = Group::from_name(group).ok().flatten().map(|it| it.gid);
        gid.is_some_and(|it| groups.contains(&it))
    };
    if holds("pilothouse-admin") {
        Some(Role::Admin)
    } else {
        holds("pilothouse-operator").then_some(Role::Operator)
    }
}

impl Caller {
    /// Whether they may.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn require(&self, scope: Scope) -> Result<(), Denied> {
        if self.scopes.contains(&scope) {
            return Ok(());
        }
        self.token.map_err(Denied::Token)?;
        Err(Denied::Scope { subject: self.subject.clone(), scope })
    }

    fn identify(parts: &Parts) -> Self {
        let peer = parts.extensions.get::<Peer>().cloned().unwrap_or_default();
        let guard = parts.extensions.get::<Guard>();
        let gateway = peer.uid == Some(Service::Gateway.uid());
        let root = peer.uid == Some(0);
        let forwarded = (gateway || root).then(|| forwarded_for(&parts.headers, root)).flatten();
        let mut caller = Self {
            subject: "anonymous".to_owned(),
            scopes: Scopes::new(),
            address: forwarded.or(peer.address),
            uid: peer.uid,
            node: None,
            token: Err(TokenError::Missing),
        };
        if let Some(bearer) = bearer(&parts.headers) {
            match guard.map(|it| it.verifier.verify(bearer)) {
                Some(Ok(claims)) => {
                    caller.scopes = claims.scopes();
                    caller.subject.clone_from(&claims.sub);
                    caller.node.clone_from(&claims.xname);
                    caller.token = Ok(());
                }
                Some(Err(error)) => caller.token = Err(error),
                None => {}
            }
            return caller;
        }
        if let (Some(uid), Some(guard)) = (peer.uid, guard) {
            caller.subject = format!("uid:{uid}");
            match (peer.role, Service::of_uid(uid)) {
                (Some(role), _) => caller.scopes = role.scopes(),
                // The gateway's own requests carry no forwarded address; those it passes on have its rights never.
                (None, Some(service)) if !gateway || forwarded.is_none() => {
                    caller.scopes = service_scopes(service, guard.service);
                }
                _ => caller.subject = "anonymous".to_owned(),
            }
        }
        caller
    }
}

/// The token of `Authorization: Bearer`, the scheme in any case (recording `smd-auth`).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// The client's address by `X-Forwarded-For` or `X-Real-IP`. The gateway wrote the last one of the list and cannot
/// answer for those before; root answers for the whole list, whose first one is the client (recording
/// `cloud-init-legacy-029`).
fn forwarded_for(headers: &HeaderMap, whole: bool) -> Option<IpAddr> {
    let list = headers.get("x-forwarded-for").and_then(|it| it.to_str().ok());
    let one =
        list.and_then(|it| if whole { it.split(',').next() } else { it.rsplit(',').next() }).map(str::trim);
    let text = one.or_else(|| headers.get("x-real-ip").and_then(|it| it.to_str().ok()))?;
    text.parse().ok().or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|it| it.ip()))
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = std::convert::Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        if let Some(known) = parts.extensions.get::<Self>() {
            return Ok(known.clone());
        }
        let caller = Self::identify(parts);
        parts.extensions.insert(caller.clone());
        Ok(caller)
    }
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        match &self {
            Self::Token(error) => (StatusCode::UNAUTHORIZED, format!("{error}\n")).into_response(),
            Self::Scope { .. } => {
                Problem::own(StatusCode::FORBIDDEN, "forbidden", self.to_string()).into_response()
            }
        }
    }
}

/// The routes of one path, open to callers with this right alone.
pub fn scoped<S: Clone + Send + Sync + 'static>(routes: MethodRouter<S>, scope: Scope) -> MethodRouter<S> {
    routes.route_layer(middleware::from_fn(move |caller: Caller, request: Request, next: Next| async move {
        if audit::changes(scope, request.method()) {
            // A nested router's routes see the rest of the path alone.
            let whole = request.extensions().get::<OriginalUri>().map_or(request.uri(), |it| &it.0);
            audit::begin(&caller, request.method(), whole.path());
        }
        match caller.require(scope) {
            Ok(()) => next.run(request).await,
            Err(denied) => {
                daemon::event!(
                    domain::event::ACCESS_DENIED,
                    "{} {} by {}: {denied}",
                    request.method(),
                    request.uri().path(),
                    caller.subject
                );
                denied.into_response()
            }
        }
    }))
}
