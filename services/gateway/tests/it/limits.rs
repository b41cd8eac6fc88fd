//! What is bounded.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::head::{Gateway, Head, LIMIT, curl, get_request, post_request, read};

/// Sends these bytes and reads until the gateway closes.
async fn raw(gateway: &Gateway, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(gateway.plain).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    rest(&mut stream).await
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    // A reset is an end too.
    let ended = tokio::time::timeout(LIMIT, stream.read_to_end(&mut text)).await.unwrap();
    if let Err(error) = ended {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn a_head_that_trickles_in_is_cut_off() {
    let (_head, gateway) = Head::started("header_timeout = '300ms'\nidle_timeout = '1h'").await;
    let mut stream = TcpStream::connect(gateway.plain).await.unwrap();
    let began = Instant::now();
    // One request that is answered, then one that never ends, a byte at a time.
    stream.write_all(b"GET /cloud-init/meta-data HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut text = [0; 4096];
    assert!(stream.read(&mut text).await.unwrap() > 0);
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    let cut = async {
        loop {
            tick.tick().await;
            if stream.write_all(b"G").await.is_err() || matches!(stream.try_read(&mut text), Ok(0)) {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, cut).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let (_head, gateway) = Head::started("idle_timeout = '200ms'").await;
    assert_eq!(raw(&gateway, b"").await, "");
}

#[tokio::test]
async fn a_handshake_that_never_comes_is_cut_off() {
    let (_head, gateway) = Head::started("header_timeout = '200ms'").await;
    let mut stream = TcpStream::connect(gateway.tls).await.unwrap();
    assert_eq!(rest(&mut stream).await, "");
}

#[tokio::test]
async fn a_long_body_is_refused_however_it_comes() {
    let (head, gateway) = Head::started("body_limit = '64KiB'").await;
    let body = vec![b'x'; (64 << 10) + 1];
    let file = head.folder.path().join("body");
    std::fs::write(&file, &body).unwrap();
    let data = format!("@{}", file.display());
    let (root, url) = (head.root(), format!("https://localhost:{}/hsm/v2/groups", gateway.tls.port()));
    for chunked in [false, true] {
        let mut arguments = vec!["--cacert", root.to_str().unwrap(), "--data-binary", &data, &url];
        if chunked {
            arguments.extend(["--header", "Transfer-Encoding: chunked"]);
        }
        let (_, text) = curl(&arguments).await;
        assert!(text.contains("413 Payload Too Large") && text.contains("gateway.body_limit"), "{text}");
    }
    let fits = post_request("/hsm/v2/groups").body(body[1..].to_vec().into()).unwrap();
    let (response, text) = gateway.ask(&head, fits).await;
    assert!(response.status() == StatusCode::OK && text.contains("\"bytes\":65536"), "{text}");
}

#[tokio::test]
async fn a_body_that_stands_still_is_refused() {
    let (_head, gateway) = Head::started("idle_timeout = '300ms'").await;
    let head = b"POST /phone-home HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf";
    let text = raw(&gateway, head).await;
    assert!(text.starts_with("HTTP/1.1 408"), "{text}");
}

#[tokio::test]
async fn a_long_head_is_refused() {
    let (_head, gateway) = Head::started("").await;
    let head =
        format!("GET /cloud-init/meta-data HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "x".repeat(70_000));
    let text = raw(&gateway, head.as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 431"), "{text}");
}

#[tokio::test]
async fn what_two_servers_could_read_differently_is_refused() {
    let (_head, gateway) = Head::started("").await;
    for head in [
        "POST /phone-home HTTP/1.1\r\nhost: x\r\nhost: y\r\nconnection: close\r\n\r\n",
        "GET /cloud-init/meta-data HTTP/1.1\r\nconnection: close\r\n\r\n",
        "POST /phone-home HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nabcd",
        "POST /phone-home HTTP/1.1\r\nhost: x\r\ntransfer-encoding: identity\r\n\r\n",
        "CONNECT demo:8443 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "rubbish\r\n\r\n",
    ] {
        let text = raw(&gateway, head.as_bytes()).await;
        assert!(text.starts_with("HTTP/1.1 400"), "{head}: {text}");
    }
    // hyper reads such a request as chunked (RFC 9112 section 6.1); the length is gone before we see it.
    let both = "POST /phone-home HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\
        connection: close\r\n\r\n1\r\na\r\n0\r\n\r\n";
    let text = raw(&gateway, both.as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 400") || text.contains("\"bytes\":1"), "{text}");
}

#[tokio::test]
async fn one_source_has_so_many_connections() {
    let (_head, gateway) = Head::started("connections_per_source = 3").await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut sender = gateway.plain().await;
        let request = get_request("/cloud-init/meta-data").body(Default::default()).unwrap();
        assert_eq!(read(sender.send_request(request).await.unwrap()).await.0.status(), StatusCode::OK);
        open.push(sender);
    }
    let mut fourth = TcpStream::connect(gateway.plain).await.unwrap();
    assert_eq!(rest(&mut fourth).await, "");
    drop(open);
    crate::head::until(async || {
        let mut stream = TcpStream::connect(gateway.plain).await.unwrap();
        let sent = stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        sent.is_ok() && rest(&mut stream).await.starts_with("HTTP/1.1 403")
    })
    .await;
}

#[tokio::test]
async fn one_source_asks_so_often() {
    let (_head, gateway) = Head::started("requests_per_source = 1\nburst_per_source = 3").await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let request = get_request("/cloud-init/meta-data").body(Default::default()).unwrap();
        let (response, text) = gateway.ask_plain(request).await;
        statuses.push(response.status().as_u16());
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            assert!(
                response.headers()["retry-after"] == "1" && text.contains("requests_per_source"),
                "{text}"
            );
        }
    }
    assert_eq!(statuses, [200, 200, 200, 429]);
}
