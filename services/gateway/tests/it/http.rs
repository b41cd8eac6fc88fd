//! HTTP/1.1 as clients and services speak it, byte by byte.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::StatusCode;
use domain::Service;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener};
use tokio::sync::mpsc;

use crate::head::{Gateway, Head, LIMIT, curl, get_request, read};

/// A service that reads a head and writes this, then closes or waits for the next head.
fn answering(head: &Head, service: Service, answer: &'static str, closes: bool) -> Arc<AtomicUsize> {
    let listener = UnixListener::bind(head.socket(service)).unwrap();
    let heads = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&heads);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                while let Ok(1..) = stream.read_buf(&mut bytes).await {
                    if bytes.ends_with(b"\r\n\r\n") {
                        bytes.clear();
                        counted.fetch_add(1, Ordering::SeqCst);
                        stream.write_all(answer.as_bytes()).await.unwrap();
                        if closes {
                            return;
                        }
                    }
                }
            });
        }
    });
    heads
}

/// Sends these bytes and reads until the gateway closes.
async fn raw(gateway: &Gateway, text: &str) -> String {
    let mut stream = TcpStream::connect(gateway.plain).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(LIMIT, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn requests_that_come_at_once_are_answered_in_their_order() {
    let (_head, gateway) = Head::started("").await;
    let get = |it: &str| format!("GET /cloud-init/{it}/user-data HTTP/1.1\r\nHost: x\r\n{{}}\r\n");
    let text = [
        get("a").replace("{}", ""),
        get("b").replace("{}", ""),
        get("c").replace("{}", "Connection: close\r\n"),
    ];
    let answer = raw(&gateway, &text.concat()).await;
    let places: Vec<_> = ["a", "b", "c"].map(|it| answer.find(&format!("/cloud-init/{it}/user-data"))).into();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3);
    assert_eq!(answer.matches("connection: close").count(), 1);
}

#[tokio::test]
async fn an_old_client_gets_what_it_can_read() {
    let (head, gateway) = Head::started("").await;
    answering(
        &head,
        Service::Power,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        false,
    );
    let url = format!("https://localhost:{}/power-status", gateway.tls.port());
    let root = head.root();
    let ask =
        async |words: &[&str]| curl(&[&["--cacert", root.to_str().unwrap(), &url], words].concat()).await;
    let (good, text) = ask(&["--http1.0"]).await;
    assert!(good && text.ends_with("\r\n\r\nok") && !text.contains("chunked"), "{text}");
    let (good, text) = ask(&["--http1.1"]).await;
    assert!(good && text.ends_with("\r\n\r\nok") && text.contains("transfer-encoding: chunked"), "{text}");
    let kept = raw(&gateway, "GET /boot/v1/bootscript HTTP/1.0\r\n\r\n").await;
    assert!(kept.starts_with("HTTP/1.1 200") && kept.contains("connection: close"), "{kept}");
}

#[tokio::test]
async fn a_body_that_ends_with_its_connection_is_whole_and_one_that_is_cut_off_is_not() {
    let (head, gateway) = Head::started("").await;
    answering(&head, Service::Power, "HTTP/1.1 200 OK\r\n\r\nall of it", true);
    answering(&head, Service::Console, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nnot all", true);
    let (root, port) = (head.root(), gateway.tls.port());
    let ask = async |path: &str| {
        curl(&["--cacert", root.to_str().unwrap(), &format!("https://localhost:{port}{path}")]).await
    };
    let (good, text) = ask("/power-status").await;
    assert!(good && text.ends_with("all of it"), "{text}");
    let (good, text) = ask("/remote-console/consoles").await;
    assert!(!good && text.contains("not all"), "{text}");
}

#[tokio::test]
async fn who_waits_for_a_word_gets_it_and_interim_answers_do_not_pass() {
    let (head, gateway) = Head::started("").await;
    let answer = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
    answering(&head, Service::Power, answer, false);
    let file = head.folder.path().join("body");
    std::fs::write(&file, vec![b'x'; 100_000]).unwrap();
    let (data, root, port) = (format!("@{}", file.display()), head.root(), gateway.tls.port());
    let root = root.to_str().unwrap();
    let url = |path| format!("https://localhost:{port}{path}");
    let words = ["--cacert", root, "--header", "Expect: 100-continue", "--data-binary", &data];
    let (good, text) = curl(&[&words[..], &[&url("/hsm/v2/groups")]].concat()).await;
    assert!(good && text.starts_with("HTTP/1.1 100") && text.contains("\"bytes\":100000"), "{text}");
    assert!(!text.contains("expect"), "{text}");
    let (good, text) = curl(&["--cacert", root, &url("/power-status")]).await;
    assert!(good && text.starts_with("HTTP/1.1 204") && !text.contains("HTTP/1.1 103"), "{text}");
}

/// The service closes a kept connection just when it is used again: a request that only reads is asked once more.
#[tokio::test]
async fn a_kept_connection_that_is_gone_is_nobodys_fault() {
    let (head, gateway) = Head::started("").await;
    let heads = answering(&head, Service::Power, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true);
    let mut sender = gateway.tls(&head, "localhost").await.unwrap();
    for count in 1..=20 {
        let request = get_request("/power-status").body(Default::default()).unwrap();
        let (response, text) = read(sender.send_request(request).await.unwrap()).await;
        assert_eq!((response.status(), text.as_str()), (StatusCode::OK, "ok"), "{count}");
        sender.ready().await.unwrap();
    }
    assert_eq!(heads.load(Ordering::SeqCst), 20);
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_a_bad_gateway() {
    let (head, gateway) = Head::started("").await;
    answering(&head, Service::Power, "rubbish\r\n\r\n", false);
    let request = get_request("/power-status").body(Default::default()).unwrap();
    assert_eq!(gateway.ask(&head, request).await.0.status(), StatusCode::BAD_GATEWAY);
}

/// Each event is there before the next one is made, however long that takes.
#[tokio::test]
async fn server_sent_events_pass_as_they_are_made() {
    let (head, gateway) = Head::started("idle_timeout = '200ms'\nheader_timeout = '200ms'").await;
    let (made, events) = mpsc::unbounded_channel::<String>();
    let events = Arc::new(tokio::sync::Mutex::new(events));
    let stream = axum::Router::new().fallback(async move || {
        let all = futures_util::stream::unfold(events, async |events| {
            let event = events.lock().await.recv().await?;
            Some((Ok::<_, std::convert::Infallible>(event), events))
        });
        ([("content-type", "text/event-stream")], axum::body::Body::from_stream(all))
    });
    head.serve(Service::Console, stream);
    let mut sender = gateway.tls(&head, "localhost").await.unwrap();
    let request = get_request("/remote-console/events").body(Default::default()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    let mut pause = tokio::time::interval(std::time::Duration::from_millis(500));
    for number in 0..3 {
        pause.tick().await;
        made.send(format!("data: {number}\n\n")).unwrap();
        let frame = http_body_util::BodyExt::frame(&mut body);
        let frame = tokio::time::timeout(LIMIT, frame).await.unwrap().unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), format!("data: {number}\n\n"));
    }
}
