//! What reaches a service, and what does not.

use std::sync::atomic::Ordering;

use axum::http::{Request, StatusCode};
use domain::Service;
use serde_json::Value;

use crate::head::{Head, curl, get_request, post_request, read, telling, told};

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("{text}"))
}

#[tokio::test]
async fn a_service_hears_of_the_client_what_the_gateway_knows() {
    let (head, gateway) = Head::started("").await;
    let request = get_request("/hsm/v2/State/Components?type=Node&role=%2F")
        .header("x-forwarded-for", "1.2.3.4")
        .header("x-real-ip", "1.2.3.4")
        .header("connection", "x-secret")
        .header("x-secret", "1")
        .header("authorization", "Bearer abc");
    let (response, text) = gateway.ask(&head, request.body(Default::default()).unwrap()).await;
    let heard = parse(&text);
    assert_eq!((&heard["service"], &heard["method"]), (&"inventory".into(), &"GET".into()));
    assert_eq!(heard["uri"], "/hsm/v2/State/Components?type=Node&role=%2F");
    assert_eq!(told(&heard, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(told(&heard, "x-forwarded-proto"), ["https"]);
    assert_eq!(told(&heard, "host"), ["demo.openchami.cluster"]);
    assert_eq!(told(&heard, "authorization"), ["Bearer abc"]);
    assert!(told(&heard, "x-real-ip").is_empty() && told(&heard, "x-secret").is_empty());
    assert_eq!(told(&heard, "x-request-id"), [response.headers()["x-request-id"].to_str().unwrap()]);
}

#[tokio::test]
async fn prefixes_are_taken_off_and_paths_made_one() {
    let (head, gateway) = Head::started("").await;
    for (path, service, uri) in [
        ("/apis/bss/boot/v1/bootparameters?name=x", "boot", "/boot/v1/bootparameters?name=x"),
        ("/services/cloud-init/readyz", "cloud-init", "/readyz"),
        ("/services/boot?x=1", "boot", "/?x=1"),
        ("//hsm//v2/%67roups", "inventory", "/hsm/v2/groups"),
        ("/oauth2/token", "auth", "/oauth2/token"),
    ] {
        let (_, text) = gateway.ask(&head, get_request(path).body(Default::default()).unwrap()).await;
        let heard = parse(&text);
        assert_eq!((heard["service"].as_str(), heard["uri"].as_str()), (Some(service), Some(uri)), "{path}");
    }
    for (path, status) in [
        ("/", StatusCode::NOT_FOUND),
        ("/services/inventory/snapshot", StatusCode::NOT_FOUND),
        ("/services/inventory/%73napshot/", StatusCode::NOT_FOUND),
        ("/apis/bss/changes?epoch=1", StatusCode::NOT_FOUND),
        ("/hsm/v2/../../snapshot", StatusCode::BAD_REQUEST),
        ("/hsm/v2/%2e%2e/x", StatusCode::BAD_REQUEST),
        ("/hsm/v2/a%2fb", StatusCode::BAD_REQUEST),
        ("/hsm/v2/a%00", StatusCode::BAD_REQUEST),
    ] {
        let (response, text) = gateway.ask(&head, get_request(path).body(Default::default()).unwrap()).await;
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(parse(&text)["instance"], response.headers()["x-request-id"].to_str().unwrap());
    }
}

#[tokio::test]
async fn a_trusted_proxy_speaks_for_its_client() {
    let (head, gateway) = Head::started("trusted_proxies = ['127.0.0.0/8']").await;
    let request =
        get_request("/hsm/v2/x").header("x-forwarded-for", "1.2.3.4").header("x-request-id", "of-proxy");
    let (response, text) = gateway.ask(&head, request.body(Default::default()).unwrap()).await;
    assert_eq!(told(&parse(&text), "x-forwarded-for"), ["1.2.3.4"]);
    assert_eq!(response.headers()["x-request-id"], "of-proxy");
}

#[tokio::test]
async fn over_plain_http_nodes_boot_and_tokens_do_not_travel() {
    let (head, gateway) = Head::started("").await;
    for (path, service) in [
        ("/boot/v1/bootscript?mac=ec:e7:a7:05:a1:fc", "boot"),
        ("/apis/bss/boot/v1/bootscript?mac=ec%3Ae7%3Aa7%3A05%3Aa1%3Afc", "boot"),
        ("/cloud-init/meta-data", "cloud-init"),
        ("/cloud-init/compute.yaml", "cloud-init"),
        ("/cloud-init/compute/user-data", "cloud-init"),
    ] {
        let (_, text) = gateway.ask_plain(get_request(path).body(Default::default()).unwrap()).await;
        let heard = parse(&text);
        assert_eq!((&heard["service"], told(&heard, "x-forwarded-proto")), (&service.into(), vec!["http"]));
        let token = get_request(path).header("authorization", "Bearer x").body(Default::default()).unwrap();
        let (response, text) = gateway.ask_plain(token).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{path}");
        assert!(
            text.contains("gateway.secure_over_http")
                && text.contains("https://demo.openchami.cluster:8443/")
        );
    }
    // What a HEAD says of the length is the service's word, not that of the empty body.
    let head_request =
        Request::head("/boot/v1/bootscript").header("host", "x").body(Default::default()).unwrap();
    let (response, text) = gateway.ask_plain(head_request).await;
    assert!(text.is_empty() && response.headers()["content-length"] != "0", "{response:?}");
    let (_, text) =
        gateway.ask_plain(post_request("/cloud-init/phone-home/i-1").body("a=b".into()).unwrap()).await;
    assert_eq!(parse(&text)["bytes"], 3);
    let (_, text) = gateway.ask_plain(post_request("/phone-home").body("a=b".into()).unwrap()).await;
    assert_eq!(parse(&text)["service"], "boot");
    let (_, root) = gateway.ask_plain(get_request("/root.pem").body(Default::default()).unwrap()).await;
    assert_eq!(root, std::fs::read_to_string(head.root()).unwrap());
    for path in ["/hsm/v2/State/Components", "/cloud-init-secure/user-data", "/", "/services/boot/readyz"] {
        let (response, text) = gateway.ask_plain(get_request(path).body(Default::default()).unwrap()).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{path}");
        assert!(text.contains(&format!("https://demo.openchami.cluster:8443{path}")), "{text}");
    }
    assert!(head.report("issues.json").is_null());
}

#[tokio::test]
async fn tokens_over_http_are_a_setting_and_then_a_health_issue() {
    let (head, gateway) = Head::started("secure_over_http = true").await;
    let token = get_request("/cloud-init-secure/user-data").header("authorization", "Bearer x");
    let (response, _) = gateway.ask_plain(token.body(Default::default()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(head.report("issues.json")[0]["id"], "tokens-over-http/gateway");
}

#[tokio::test]
async fn a_service_that_is_down_is_named_and_served_again_when_it_is_back() {
    let (head, gateway) = Head::started("").await;
    let ask = async || {
        gateway.ask(&head, get_request("/remote-console/consoles").body(Default::default()).unwrap()).await
    };
    let (response, text) = ask().await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key("retry-after"));
    assert!(text.contains("pilothouse-console.service"), "{text}");
    head.serve(Service::Console, telling(Service::Console));
    assert_eq!(ask().await.0.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_service_that_breaks_off_is_a_bad_gateway() {
    let (head, gateway) = Head::started("").await;
    let socket = tokio::net::UnixListener::bind(head.socket(Service::Power)).unwrap();
    tokio::spawn(async move {
        loop {
            drop(socket.accept().await);
        }
    });
    let (response, _) =
        gateway.ask(&head, get_request("/transitions").body(Default::default()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn a_thousand_requests_share_few_connections() {
    let head = Head::new("", std::time::Duration::from_secs(3600));
    head.serve(Service::Ca, head.ca());
    let accepted = head.serve(Service::Boot, telling(Service::Boot));
    let gateway = head.start();
    let clients = (0..8).map(async |client: usize| {
        let mut sender = gateway.plain().await;
        for number in 0..125 {
            let path = format!("/boot/v1/bootscript?mac={client}-{number}");
            let response =
                sender.send_request(get_request(&path).body(Default::default()).unwrap()).await.unwrap();
            let (response, text) = read(response).await;
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(parse(&text)["uri"], path);
        }
    });
    let mut clients: Vec<_> = clients.map(Box::pin).collect();
    futures(&mut clients).await;
    assert!(accepted.load(Ordering::SeqCst) <= 8, "{accepted:?}");
}

/// Runs them all at once.
async fn futures<F: Future<Output = ()> + Unpin>(all: &mut Vec<F>) {
    std::future::poll_fn(|cx| {
        all.retain_mut(|it| std::pin::Pin::new(it).poll(cx).is_pending());
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[tokio::test]
async fn curl_is_served_by_name_and_by_address() {
    let (head, gateway) = Head::started("").await;
    let root = head.root();
    let root = root.to_str().unwrap();
    let port = gateway.tls.port();
    let resolve = format!("demo.openchami.cluster:{port}:127.0.0.1");
    for (url, options) in [
        (format!("https://demo.openchami.cluster:{port}/hsm/v2/x"), vec!["--resolve", &resolve]),
        (
            format!("https://demo.openchami.cluster:{port}/hsm/v2/x"),
            vec!["--resolve", &resolve, "--tls-max", "1.2"],
        ),
        (format!("https://127.0.0.1:{port}/hsm/v2/x"), vec![]),
        (format!("https://localhost:{port}/hsm/v2/x"), vec![]),
    ] {
        let (good, text) = curl(&[&["--cacert", root, &url], &options[..]].concat()).await;
        assert!(good && text.starts_with("HTTP/1.1 200"), "{text}");
    }
    let url = format!("https://127.0.0.1:{port}/hsm/v2/x");
    let (good, text) = curl(&[&url]).await;
    assert!(!good && text.contains("certificate"), "{text}");
}
