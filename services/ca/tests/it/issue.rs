//! Who is given a certificate, and what is in it.

use std::path::Path;
use std::process::Command;

use axum::http::StatusCode;
use domain::Service;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::json;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use web::{Database, Peer};

use crate::head::{Head, gateway, request_pem};

/// A settled ca.
pub(crate) async fn settled(head: &Head, db: PgPool) -> ca::Ca {
    let context = head.context(&CancellationToken::new());
    let ca = ca::open(&context, &Database::ready(db.clone())).unwrap();
    ca.upkeep(&context, &Database::ready(db)).await;
    ca
}

/// What `openssl verify` says of a chain for a name or address.
fn verify(folder: &Path, root: &Path, option: &str, name: &str) -> bool {
    let chain = folder.join("chain.pem");
    let output = Command::new("/usr/bin/openssl")
        .args(["verify", "-x509_strict", "-purpose", "sslserver", option, name, "-CAfile"])
        .args([root, Path::new("-untrusted"), &chain, &chain])
        .output()
        .unwrap();
    output.status.success()
}

#[sqlx::test(migrator = "ca::MIGRATIONS")]
async fn the_heads_names_are_certified_and_no_other(db: PgPool) {
    let head = Head::new();
    let ca = settled(&head, db).await;
    let (status, answer) = head.call(&ca, gateway(), &[], json!({"csr_pem": request_pem()})).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let folder = head.folder.path();
    std::fs::write(folder.join("chain.pem"), answer["chain_pem"].as_str().unwrap()).unwrap();
    let root = head.root_file();
    for name in ["demo.openchami.cluster", "demo-head", "demo-head.openchami.cluster", "localhost"] {
        assert!(verify(folder, &root, "-verify_hostname", name), "{name}");
    }
    for address in ["172.16.0.254", "127.0.0.1", "::1"] {
        assert!(verify(folder, &root, "-verify_ip", address), "{address}");
    }
    assert!(!verify(folder, &root, "-verify_hostname", "evil.example"));
    assert!(!verify(folder, &root, "-verify_ip", "10.9.9.9"));
    let text = Command::new("/usr/bin/openssl")
        .args(["x509", "-noout", "-text", "-in"])
        .arg(folder.join("chain.pem"))
        .output()
        .unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(!text.contains("CA:TRUE") && !text.contains("evil") && text.contains("TLS Web Server"), "{text}");
}

/// The gateway's uid alone, speaking for itself: not root, not another service, not a request it passes on.
#[sqlx::test(migrator = "ca::MIGRATIONS")]
async fn nobody_but_the_gateway_is_given_one(db: PgPool) {
    let head = Head::new();
    let ca = settled(&head, db).await;
    let body = json!({"csr_pem": request_pem()});
    for peer in [Peer::of_uid(0), Peer::of_uid(Service::Boot.uid()), Peer::of_uid(4711), Peer::default()] {
        assert_eq!(head.call(&ca, peer, &[], body.clone()).await.0, StatusCode::FORBIDDEN);
    }
    for headers in [[("x-forwarded-for", "10.0.0.9")], [("authorization", "Bearer x.y.z")]] {
        assert_eq!(head.call(&ca, gateway(), &headers, body.clone()).await.0, StatusCode::FORBIDDEN);
    }
}

#[sqlx::test(migrator = "ca::MIGRATIONS")]
async fn a_bad_request_is_named(db: PgPool) {
    let head = Head::new();
    let ca = settled(&head, db).await;
    let good = request_pem();
    let mut forged: Vec<String> = good.lines().map(str::to_owned).collect();
    let last = forged.len() - 2;
    let changed = if forged[last].starts_with('A') { "B" } else { "A" };
    forged[last].replace_range(0..1, changed);
    let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let p384 = rcgen::CertificateParams::default().serialize_request(&p384).unwrap().pem().unwrap();
    for csr in [String::new(), "-----BEGIN X-----".to_owned(), forged.join("\n"), p384] {
        let (status, answer) = head.call(&ca, gateway(), &[], json!({"csr_pem": csr})).await;
        assert_eq!(
            (status, answer["errors"][0]["pointer"].as_str()),
            (StatusCode::BAD_REQUEST, Some("/csr_pem"))
        );
    }
}

/// rustls, which our own programs verify with, reads the name constraints too, those of addresses as well.
#[sqlx::test(migrator = "ca::MIGRATIONS")]
async fn rustls_takes_the_chain(db: PgPool) {
    let head = Head::new();
    let ca = settled(&head, db).await;
    let (_, answer) = head.call(&ca, gateway(), &[], json!({"csr_pem": request_pem()})).await;
    let chain = CertificateDer::pem_slice_iter(answer["chain_pem"].as_str().unwrap().as_bytes());
    let chain: Vec<_> = chain.map(Result::unwrap).collect();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(head.root_file()).unwrap()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
    let verify = |name: &str| {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], UnixTime::now())
    };
    for name in ["demo.openchami.cluster", "demo-head", "localhost", "172.16.0.254", "127.0.0.1", "::1"] {
        verify(name).unwrap();
    }
    assert!(verify("evil.example").is_err() && verify("10.9.9.9").is_err());
}
