//! A head with nothing but ca on it.

use std::path::PathBuf;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use ca::Ca;
use daemon::{Address, Context, Paths};
use domain::{Document, Service};
use http_body_util::BodyExt;
use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use web::{Client, Guard, Peer, Verifier};

/// How long anything may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) struct Head {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) document: Document,
}

impl Head {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.seal-key"), [7; 32]).unwrap();
        let document = document(&folder.path().join("no-postgres"), "172.16.0.254/24");
        Self { document, folder }
    }

    /// The same with a table `[ca]`.
    pub(crate) fn with(table: &str) -> Self {
        let mut head = Self::new();
        let text = document_text(&head.folder.path().join("no-postgres"), "172.16.0.254/24");
        head.document = Document::parse(&format!("{text}[ca]\n{table}")).unwrap();
        head
    }

    /// A router as the gateway's requests meet it.
    pub(crate) fn router(&self, ca: &Ca) -> axum::Router {
        let verifier = Verifier::new(&self.document).unwrap().into();
        let guard = Guard { service: Service::Ca, verifier };
        ca::router(ca.clone()).layer(axum::Extension(guard))
    }

    /// The head's address on the nodes' plane becomes another one.
    pub(crate) fn move_to(&mut self, address: &str) {
        self.document = document(&self.folder.path().join("no-postgres"), address);
    }

    pub(crate) fn context(&self, stop: &CancellationToken) -> Context {
        let path = self.folder.path().to_owned();
        let paths = Paths {
            config: path.join("pilothouse.toml"),
            run: path.clone(),
            state: path.join("state"),
            credentials: Some(path.clone()),
        };
        let listen = vec![("http".to_owned(), Address::Unix(path.join("ca.sock")))];
        Context::new(Service::Ca, paths, self.document.clone(), listen, stop.clone()).unwrap()
    }

    pub(crate) fn client(&self) -> Client {
        Client::unix(self.folder.path().join("ca.sock"))
    }

    pub(crate) fn root_file(&self) -> PathBuf {
        self.folder.path().join("ca/root.pem")
    }

    /// One request to the router, from this peer, with these headers.
    pub(crate) async fn call(
        &self,
        ca: &Ca,
        peer: Peer,
        headers: &[(&str, &str)],
        body: Value,
    ) -> (StatusCode, Value) {
        let router = self.router(ca).layer(axum::Extension(peer));
        let mut request = Request::post("/pilothouse/v1/head-certificate");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = router.oneshot(request.body(Body::from(body.to_string())).unwrap()).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }
}

fn document(postgres: &std::path::Path, address: &str) -> Document {
    Document::parse(&document_text(postgres, address)).unwrap()
}

fn document_text(postgres: &std::path::Path, address: &str) -> String {
    format!(
        "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"openchami.cluster\"\n\
         [database]\nsocket = {postgres:?}\n\
         [[network.planes]]\nname = \"nodes\"\nkind = \"nodes\"\naddresses = [{address:?}]\n"
    )
}

pub(crate) fn gateway() -> Peer {
    Peer::of_uid(Service::Gateway.uid())
}

/// A request for a new key that asks for more than it will get.
pub(crate) fn request_pem() -> String {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["evil.example".to_owned(), "10.9.9.9".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.serialize_request(&key).unwrap().pem().unwrap()
}

/// Waits for a condition.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, wait).await.unwrap();
}
