//! An ACME client of our own, which can also do everything wrong; and the machines that it answers challenges on.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use aws_lc_rs::{digest, hmac};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::BodyExt;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tower::ServiceExt;

use crate::head::{Head, LIMIT, gateway};

pub(crate) const BASE: &str = "https://demo.openchami.cluster:8443/acme";

pub(crate) fn text(octets: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(octets)
}

/// A key that signs.
pub(crate) struct Key(EcdsaKeyPair);

impl Key {
    pub(crate) fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    /// A certificate's key, PKCS #8.
    pub(crate) fn of(pkcs8: &[u8]) -> Self {
        Self(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).unwrap())
    }

    pub(crate) fn jwk(&self) -> Value {
        let point = self.0.public_key().as_ref();
        json!({"crv": "P-256", "kty": "EC", "x": text(&point[1..33]), "y": text(&point[33..])})
    }

    pub(crate) fn thumbprint(&self) -> String {
        text(digest::digest(&digest::SHA256, self.jwk().to_string().as_bytes()))
    }

    /// A JWS of these parts, whatever they are.
    pub(crate) fn sign(&self, protected: &Value, payload: &str) -> Value {
        let (protected, payload) = (text(protected.to_string()), text(payload));
        let signature = self.0.sign(&SystemRandom::new(), format!("{protected}.{payload}").as_bytes());
        json!({"protected": protected, "payload": payload, "signature": text(signature.unwrap())})
    }
}

/// A binding to an external account.
pub(crate) fn bind(kid: &str, secret: &[u8], jwk: &Value, url: &str) -> Value {
    let (protected, payload) =
        (text(json!({"alg": "HS256", "kid": kid, "url": url}).to_string()), text(jwk.to_string()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let mark = hmac::sign(&key, format!("{protected}.{payload}").as_bytes());
    json!({"protected": protected, "payload": payload, "signature": text(mark)})
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |it| it.to_str().unwrap())
    }

    /// The last word of the problem's type.
    pub(crate) fn problem(&self) -> String {
        let kind = self.json()["type"].as_str().unwrap_or_default().to_owned();
        kind.rsplit(':').next().unwrap_or_default().to_owned()
    }
}

pub(crate) struct Client {
    router: Router,
    pub(crate) key: Key,
    pub(crate) kid: String,
    /// Where the gateway says it is.
    pub(crate) address: &'static str,
}

impl Client {
    /// A client without an account.
    pub(crate) fn new(head: &Head, ca: &ca::Ca) -> Self {
        let router = head.router(ca).layer(axum::Extension(gateway()));
        Self { router, key: Key::new(), kid: String::new(), address: "172.16.0.77" }
    }

    /// A client with one.
    pub(crate) async fn registered(head: &Head, ca: &ca::Ca) -> Self {
        let mut client = Self::new(head, ca);
        let made = client.register(json!({"termsOfServiceAgreed": true})).await;
        assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
        client
    }

    pub(crate) async fn register(&mut self, payload: Value) -> Answer {
        let url = format!("{BASE}/new-account");
        let protected =
            json!({"alg": "ES256", "nonce": self.nonce().await, "url": url, "jwk": self.key.jwk()});
        let made = self.send(&url, &self.key.sign(&protected, &payload.to_string())).await;
        made.header("location").clone_into(&mut self.kid);
        made
    }

    pub(crate) async fn ask(&self, request: Request<Body>) -> Answer {
        let mut request = request;
        let headers = request.headers_mut();
        headers.entry("host").or_insert("demo.openchami.cluster:8443".parse().unwrap());
        headers.insert("x-forwarded-for", self.address.parse().unwrap());
        headers.insert("x-forwarded-proto", "https".parse().unwrap());
        let (head, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Answer { status: head.status, headers: head.headers, body }
    }

    pub(crate) async fn get(&self, url: &str) -> Answer {
        self.ask(Request::get(path(url)).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn nonce(&self) -> String {
        let answer = self.ask(Request::head("/acme/new-nonce").body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::OK);
        answer.header("replay-nonce").to_owned()
    }

    /// A body that was signed already.
    pub(crate) async fn send(&self, url: &str, body: &Value) -> Answer {
        let request = Request::post(path(url)).header("content-type", "application/jose+json");
        self.ask(request.body(Body::from(body.to_string())).unwrap()).await
    }

    /// Signed by the account.
    pub(crate) async fn post(&self, url: &str, payload: &str) -> Answer {
        let protected = json!({"alg": "ES256", "nonce": self.nonce().await, "url": url, "kid": self.kid});
        self.send(url, &self.key.sign(&protected, payload)).await
    }

    /// POST-as-GET.
    pub(crate) async fn read(&self, url: &str) -> Answer {
        self.post(url, "").await
    }

    pub(crate) async fn order(&self, payload: Value) -> Answer {
        self.post(&format!("{BASE}/new-order"), &payload.to_string()).await
    }

    /// An order's authorization and its challenge of a kind.
    pub(crate) async fn challenge(&self, order: &Answer, kind: &str) -> (String, Value) {
        let url = order.json()["authorizations"][0].as_str().unwrap().to_owned();
        let authorization = self.read(&url).await.json();
        let all = authorization["challenges"].as_array().unwrap();
        let challenge = all.iter().find(|it| it["type"] == kind);
        (url, challenge.unwrap_or_else(|| panic!("{authorization}")).clone())
    }

    /// Waits until an authorization is decided.
    pub(crate) async fn decided(&self, url: &str) -> Value {
        let wait = async {
            loop {
                let answer = self.read(url).await;
                if answer.json()["status"] != "pending" {
                    return answer.json();
                }
                assert_eq!(answer.header("retry-after"), "1");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LIMIT, wait).await.unwrap()
    }

    pub(crate) fn proof(&self, challenge: &Value) -> String {
        format!("{}.{}", challenge["token"].as_str().unwrap(), self.key.thumbprint())
    }
}

fn path(url: &str) -> &str {
    url.strip_prefix("https://demo.openchami.cluster:8443").unwrap_or(url)
}

/// A request for these names with a new key.
pub(crate) fn csr(names: &[&str]) -> (KeyPair, Value) {
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|it| (*it).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let der = params.serialize_request(&key).unwrap().der().to_vec();
    (key, json!({"csr": text(der)}))
}

/// A web server that says one thing, at the port where http-01 is looked for.
pub(crate) async fn web_server(address: &str) -> (SocketAddr, Arc<Mutex<String>>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let at = listener.local_addr().unwrap();
    let says = Arc::new(Mutex::new(String::new()));
    let said = Arc::clone(&says);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let text = said.lock().unwrap().clone();
            let mut head = [0; 4096];
            let length = stream.read(&mut head).await.unwrap_or(0);
            let asked = String::from_utf8_lossy(&head[..length]).into_owned();
            // Only what is looked for.
            let known = asked.starts_with("GET /.well-known/acme-challenge/");
            let status = if known { "200 OK" } else { "404 Not Found" };
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
                text.len()
            );
            if let Err(error) = stream.write_all(answer.as_bytes()).await {
                panic!("{error}");
            }
        }
    });
    (at, says)
}

#[derive(Debug, Default)]
pub(crate) struct Shown(Mutex<Option<Arc<CertifiedKey>>>);

impl Shown {
    /// Shows the certificate for a proof.
    pub(crate) fn set(&self, name: &str, proof: &str) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let digest = digest::digest(&digest::SHA256, proof.as_bytes());
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest.as_ref())];
        let certificate = params.self_signed(&key).unwrap().der().clone();
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signer = rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(&der).unwrap();
        *self.0.lock().unwrap() = Some(Arc::new(CertifiedKey::new(vec![certificate], signer)));
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.lock().unwrap().clone()
    }
}

/// A TLS server that shows one certificate to who speaks acme-tls/1.
pub(crate) async fn tls_server(address: &str) -> (SocketAddr, Arc<Shown>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let at = listener.local_addr().unwrap();
    let shown = Arc::new(Shown::default());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let resolver: Arc<dyn ResolvesServerCert> = shown.clone();
    let mut config = builder.unwrap().with_no_client_auth().with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Who looks closes it; what comes of it does not matter here.
            drop(acceptor.accept(stream).await);
        }
    });
    (at, shown)
}
