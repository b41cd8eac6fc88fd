//! A head with nothing but auth on it.

use std::sync::Arc;
use std::time::Duration;

use auth::Auth;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use daemon::{Address, Context, Paths};
use domain::{Document, Service};
use http_body_util::BodyExt;
use serde_json::Value;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use web::{Client, Database, Guard, Peer, Trust, Verifier};

/// How long anything may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Everybody's.
pub(crate) const PASSWORD: &str = "correct horse battery";

pub(crate) struct Head {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) document: Document,
}

impl Head {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("auth.seal-key"), [7; 32]).unwrap();
        let text = text_of(folder.path());
        Self { document: Document::parse(&text).unwrap(), folder }
    }

    /// Puts tables at the end of the document.
    pub(crate) fn add(&mut self, tables: &str) {
        let text = format!("{}\n{tables}", text_of(self.folder.path()));
        self.document = Document::parse(&text).unwrap();
    }

    /// What a process of auth is given when it starts.
    pub(crate) fn context(&self, stop: &CancellationToken) -> Context {
        let path = self.folder.path().to_owned();
        let paths = Paths {
            config: path.join("pilothouse.toml"),
            run: path.clone(),
            state: path.join("state"),
            credentials: Some(path.clone()),
        };
        std::fs::create_dir_all(&paths.state).unwrap();
        let listen = vec![("http".to_owned(), Address::Unix(path.join("auth.sock")))];
        Context::new(Service::Auth, paths, self.document.clone(), listen, stop.clone()).unwrap()
    }

    pub(crate) fn client(&self) -> Client {
        Client::unix(self.folder.path().join("auth.sock"))
    }
}

fn text_of(folder: &std::path::Path) -> String {
    let socket = folder.join("no-postgres");
    let cluster = "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"openchami.cluster\"";
    format!("{cluster}\n[database]\nsocket = {socket:?}\n")
}

/// auth in this process, on a real database, until it is dropped.
pub(crate) struct Running {
    pub(crate) head: Head,
    pub(crate) verifier: Arc<Verifier>,
    auth: Auth,
    _stop: tokio_util::sync::DropGuard,
}

impl Running {
    /// Starts it and waits for its key.
    pub(crate) async fn start(db: PgPool) -> Self {
        let head = Head::new();
        let stop = CancellationToken::new();
        let context = head.context(&stop);
        let auth = auth::open(&context, Database::ready(db)).unwrap();
        let upkeep = auth.clone();
        tokio::spawn(async move { upkeep.upkeep(&context).await });
        let verifier = Arc::new(Verifier::new(&head.document).unwrap());
        let running = Self { head, verifier, auth, _stop: stop.drop_guard() };
        let live = async {
            while running.call(root(), "GET", "/readyz", "").await.1["directory"] != "live" {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(LIMIT, live).await.unwrap();
        running.refresh().await;
        running
    }

    /// The verifier learns what the services are told now.
    pub(crate) async fn refresh(&self) -> Trust {
        let (status, trust) = self.call(root(), "GET", "/pilothouse/v1/verifier", "").await;
        assert_eq!(status, StatusCode::OK, "{trust}");
        let trust: Trust = serde_json::from_value(trust).unwrap();
        self.verifier.set(&trust);
        trust
    }

    fn router(&self, peer: Peer) -> Router {
        let guard = Guard { service: Service::Auth, verifier: Arc::clone(&self.verifier) };
        auth::router(self.auth.clone()).layer(axum::Extension(guard)).layer(axum::Extension(peer))
    }

    /// A request as it stands, from this peer; the answer with its headers, and its body as text.
    pub(crate) async fn ask(&self, peer: Peer, request: Request<Body>) -> (StatusCode, HeaderMap, String) {
        let response = self.router(peer).oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, headers, String::from_utf8(body.into()).unwrap())
    }

    /// A new person.
    pub(crate) async fn new_user(&self, name: &str, role: &str) {
        let body = format!(r#"{{"name":"{name}","role":"{role}","password":"{PASSWORD}"}}"#);
        let (status, answer) = self.call(root(), "POST", "/pilothouse/v1/users", &body).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
    }

    /// Opens a page, fills its form with these fields beside its own hidden ones, and sends it: what comes back.
    pub(crate) async fn submit(
        &self,
        page: &str,
        fields: &[(&str, &str)],
    ) -> (StatusCode, HeaderMap, String) {
        let request = Request::get(page).header("x-forwarded-for", "10.0.0.9").body(Body::empty()).unwrap();
        let (status, headers, html) = self.ask(through_gateway(), request).await;
        assert_eq!(status, StatusCode::OK, "{html}");
        let cookie = headers[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
        let mut form = form_urlencoded::Serializer::new(String::new());
        for input in html.split("<input type=\"hidden\" name=\"").skip(1) {
            let (name, rest) = input.split_once("\" value=\"").unwrap();
            let value = rest.split('"').next().unwrap().replace("&amp;", "&");
            form.append_pair(name, &value);
        }
        form.extend_pairs(fields);
        let path = page.split('?').next().unwrap();
        let request = Request::post(path)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::COOKIE, cookie)
            .header("x-forwarded-for", "10.0.0.9")
            .body(Body::from(form.finish()))
            .unwrap();
        self.ask(through_gateway(), request).await
    }

    /// A request as it stands, from this peer.
    pub(crate) async fn send(&self, peer: Peer, request: Request<Body>) -> (StatusCode, Value) {
        let response = self.router(peer).oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// A call with a JSON body from this peer.
    pub(crate) async fn call(&self, peer: Peer, method: &str, path: &str, body: &str) -> (StatusCode, Value) {
        let request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(path);
        self.send(peer, request.body(Body::from(body.to_owned())).unwrap()).await
    }

    /// A form from a machine on the network, as the gateway passes it on.
    pub(crate) async fn form(&self, path: &str, basic: Option<&str>, form: &str) -> (StatusCode, Value) {
        let mut request = Request::post(path)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header("x-forwarded-for", "10.0.0.9");
        if let Some(it) = basic {
            use base64::Engine;
            let text = base64::engine::general_purpose::STANDARD.encode(it);
            request = request.header(header::AUTHORIZATION, format!("Basic {text}"));
        }
        self.send(through_gateway(), request.body(Body::from(form.to_owned())).unwrap()).await
    }

    /// A new client's secret.
    pub(crate) async fn new_client(&self, id: &str, role: &str) -> String {
        let body = format!(r#"{{"id":"{id}","role":"{role}"}}"#);
        let (status, answer) = self.call(root(), "POST", "/pilothouse/v1/clients", &body).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        answer["secret"].as_str().unwrap().to_owned()
    }
}

pub(crate) fn root() -> Peer {
    Peer::of_uid(0)
}

pub(crate) fn through_gateway() -> Peer {
    Peer::of_uid(Service::Gateway.uid())
}
