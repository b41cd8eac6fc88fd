//! The gateway's own certificate: waited for, kept, renewed, missed.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::http::StatusCode;
use domain::Service;
use rcgen::KeyPair;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};

use crate::head::{Gateway, Head, connector, get_request, post_request, read, sender, telling, until};

const HOUR: Duration = Duration::from_secs(3600);

/// Plain HTTP is served at once, and who comes for TLS meanwhile waits and is served.
#[tokio::test]
async fn tls_begins_when_ca_answers() {
    let head = Head::new("", HOUR);
    head.serve(Service::Boot, telling(Service::Boot));
    let gateway = head.start();
    let ask = || get_request("/boot/v1/bootscript").body(Default::default()).unwrap();
    assert_eq!(gateway.ask_plain(ask()).await.0.status(), StatusCode::OK);
    let early = gateway.ask(&head, ask());
    let ca = async {
        until(async || head.report("certificates.json")[0]["last_error"].is_string()).await;
        head.serve(Service::Ca, head.ca());
    };
    let ((response, _), ()) = tokio::join!(early, ca);
    assert_eq!(response.status(), StatusCode::OK);
    let shown = &head.report("certificates.json")[0];
    assert_eq!(shown["names"][0], "demo.openchami.cluster");
    assert!(shown["last_error"].is_null() && shown["not_after"].is_string(), "{shown}");
    let file = head.folder.path().join("state/head.sealed");
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn the_last_good_certificate_serves_without_ca() {
    let head = Head::new("", HOUR);
    head.serve(Service::Ca, head.ca());
    head.serve(Service::Boot, telling(Service::Boot));
    let mut first = head.start();
    first.ready(&head).await;
    first.stop.cancel();
    (&mut first.ended).await.unwrap().unwrap();
    head.authority.refuses.store(true, Ordering::SeqCst);
    let second = head.start();
    second.ready(&head).await;
    let request = get_request("/boot/v1/bootscript").body(Default::default()).unwrap();
    assert_eq!(second.ask(&head, request).await.0.status(), StatusCode::OK);
    assert_eq!(head.authority.issued.load(Ordering::SeqCst), 1);
}

/// Certificates of 3 s, each replaced after two: no client that is on a kept connection or a new one sees it.
#[tokio::test]
async fn rotation_fails_no_request() {
    let head = Head::new("", Duration::from_secs(3));
    head.serve(Service::Ca, head.ca());
    head.serve(Service::Boot, telling(Service::Boot));
    let gateway = head.start();
    gateway.ready(&head).await;
    let (head, gateway) = (&head, &gateway);
    let done = || head.authority.issued.load(Ordering::SeqCst) >= 5;
    let ask = || get_request("/boot/v1/bootscript").body(Default::default()).unwrap();
    let kept = async {
        let mut sender = gateway.tls(head, "localhost").await.unwrap();
        let mut count = 0;
        while !done() {
            assert_eq!(read(sender.send_request(ask()).await.unwrap()).await.0.status(), StatusCode::OK);
            count += 1;
        }
        count
    };
    let new = async {
        let mut count = 0;
        while !done() {
            assert_eq!(gateway.ask(head, ask()).await.0.status(), StatusCode::OK);
            count += 1;
        }
        count
    };
    let (kept, new) =
        tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(kept, new) }).await.unwrap();
    assert!(kept > 100 && new > 100, "{kept} {new}");
}

#[tokio::test]
async fn a_renewal_that_fails_is_a_health_issue_until_it_does_not() {
    let head = Head::new("", Duration::from_secs(6));
    head.serve(Service::Ca, head.ca());
    let gateway = head.start();
    gateway.ready(&head).await;
    assert!(head.report("issues.json").is_null());
    head.authority.refuses.store(true, Ordering::SeqCst);
    until(async || head.report("issues.json")[0]["id"] == "certificate-expiring/gateway").await;
    let issue = &head.report("issues.json")[0];
    assert_eq!(issue["severity"], "warning");
    // The old one is still shown.
    gateway.tls(&head, "localhost").await.unwrap();
    head.authority.refuses.store(false, Ordering::SeqCst);
    until(async || head.report("issues.json") == serde_json::json!([])).await;
}

/// What is shown to who asks for this name: its names.
async fn shown(head: &Head, gateway: &Gateway, name: &str) -> Vec<u8> {
    let stream = tokio::net::TcpStream::connect(gateway.tls).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let stream = connector(&head.root()).connect(name, stream).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test]
async fn a_site_s_certificate_is_shown_for_its_names_and_read_again_when_it_is_replaced() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let setting = format!(
        "certificate = {{ file = '{}', key = {{ credential = 'gateway.tls-key' }} }}",
        file.path().display()
    );
    let head = Head::new(&setting, HOUR);
    head.serve(Service::Ca, head.ca());
    let key = KeyPair::generate().unwrap();
    std::fs::write(head.credentials().join("gateway.tls-key"), key.serialize_pem()).unwrap();
    // The head's root signs it, so that the one client trusts both.
    let site = head.authority.sign(&key, "demo.openchami.cluster");
    std::fs::write(file.path(), &site).unwrap();
    let gateway = head.start();
    gateway.ready(&head).await;
    until(async || head.report("certificates.json")[1]["names"].is_array()).await;
    until(async || head.report("certificates.json")[0]["names"].is_array()).await;
    let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec();
    assert_eq!(shown(&head, &gateway, "demo.openchami.cluster").await, der(&site));
    // localhost and the address are the head's own certificate's.
    let own = shown(&head, &gateway, "localhost").await;
    assert_ne!(own, der(&site));
    assert_eq!(shown(&head, &gateway, "127.0.0.1").await, own);
    let next = head.authority.sign(&key, "demo.openchami.cluster");
    std::fs::write(file.path(), &next).unwrap();
    assert_eq!(renew(&head).await, StatusCode::OK);
    assert_eq!(shown(&head, &gateway, "demo.openchami.cluster").await, der(&next));
    // What does not belong to the key is not taken, and the last good one stays.
    let stranger = head.authority.sign(&KeyPair::generate().unwrap(), "demo.openchami.cluster");
    std::fs::write(file.path(), stranger).unwrap();
    assert_eq!(renew(&head).await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(shown(&head, &gateway, "demo.openchami.cluster").await, der(&next));
    assert!(head.report("certificates.json")[1]["last_error"].is_string());
}

/// As pilothouse-renew@gateway.service asks.
async fn renew(head: &Head) -> StatusCode {
    let stream = tokio::net::UnixStream::connect(head.socket(Service::Gateway)).await.unwrap();
    let request =
        post_request("/pilothouse/v1/renew").body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
    read(sender(stream).await.send_request(request).await.unwrap()).await.0.status()
}
