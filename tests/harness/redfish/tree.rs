//! A BMC that is read: whatever resources it is given, over TLS, for its account alone. It takes no orders.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::{PASSWORD, USER, identity};

/// Resources by their paths, without a slash at the end.
pub type Resources = BTreeMap<String, Value>;

/// A running BMC; it goes when dropped.
#[derive(Debug)]
pub struct Tree {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _serving: JoinSet<()>,
}

#[derive(Debug, Default)]
struct State {
    resources: Resources,
    /// Beginnings of paths for which it never answers.
    silent: BTreeSet<String>,
    /// Beginnings of paths for which it answers more than anybody wants to read.
    endless: BTreeSet<String>,
    asked: Vec<String>,
}

impl Tree {
    /// A BMC with these resources at an address.
    ///
    /// # Errors
    ///
    /// If it cannot listen.
    pub async fn start(address: SocketAddr, resources: Resources) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await.with_context(|| format!("listen at {address}"))?;
        let address = listener.local_addr()?;
        let (acceptor, _) = identity::make(address)?;
        let state = Arc::new(Mutex::new(State { resources, ..State::default() }));
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, acceptor, Arc::clone(&state)));
        Ok(Self { address, state, _serving: serving })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it was asked for so far.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        lock(&self.state).asked.clone()
    }

    /// Has it never answer for what begins so.
    pub fn silence(&self, path: &str) {
        lock(&self.state).silent.insert(path.to_owned());
    }

    /// Has it answer endlessly for what begins so.
    pub fn flood(&self, path: &str) {
        lock(&self.state).endless.insert(path.to_owned());
    }

    /// Puts a resource in another's place.
    pub fn set(&self, path: &str, resource: Value) {
        lock(&self.state).resources.insert(path.to_owned(), resource);
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
                    let service = service_fn(move |request| answer(Arc::clone(&state), request));
                    let served = hyper::server::conn::http1::Builder::new();
                    // Clients come and go; how, they say themselves.
                    drop(served.serve_connection(TokioIo::new(stream), service).await);
                });
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn answer(
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
    let path = request.uri().path().trim_end_matches('/').to_owned();
    let begins = |all: &BTreeSet<String>| all.iter().any(|it| path.starts_with(it.as_str()));
    let (is_silent, is_endless, found) = {
        let mut state = lock(&state);
        state.asked.push(format!("{} {path}", request.method()));
        (begins(&state.silent), begins(&state.endless), state.resources.get(&path).cloned())
    };
    if is_silent {
        std::future::pending::<()>().await;
    }
    let pair = STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let given = request.headers().get("authorization").and_then(|it| it.to_str().ok()).unwrap_or_default();
    let is_let_in = path == "/redfish/v1" || given == format!("Basic {pair}");
    let (status, body) = match found {
        _ if !is_let_in => {
            (StatusCode::UNAUTHORIZED, json!({"error": {"message": "no"}}).to_string().into_bytes())
        }
        _ if is_endless => (StatusCode::OK, vec![b' '; 9 << 20]),
        Some(found) if request.method() == http::Method::GET => {
            (StatusCode::OK, found.to_string().into_bytes())
        }
        _ => (StatusCode::NOT_FOUND, b"{}".to_vec()),
    };
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    Ok(answer)
}
