//! The gateway's own certificate: waited for, kept, renewed, missed.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::http::StatusCode;
use domain::Service;

use crate::head::{Head, get_request, read, telling, until};

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
