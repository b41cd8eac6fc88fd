//! Bodies as they come, and WebSockets.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::routing::{get, post};
use domain::Service;
use futures_util::{SinkExt, StreamExt};
use http_body_util::BodyExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::head::{Gateway, Head, LIMIT, connector, get_request, sender};

/// A body of the pieces that are sent.
fn channel() -> (mpsc::UnboundedSender<&'static str>, Body) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let pieces = futures_util::stream::unfold(receiver, async |mut receiver| {
        let piece: &str = receiver.recv().await?;
        Some((Ok::<_, Infallible>(Bytes::from(piece)), receiver))
    });
    (sender, Body::from_stream(pieces))
}

async fn tls_stream(head: &Head, gateway: &Gateway) -> tokio_rustls::client::TlsStream<TcpStream> {
    let stream = TcpStream::connect(gateway.tls).await.unwrap();
    connector(&head.root()).connect("localhost".try_into().unwrap(), stream).await.unwrap()
}

/// Each piece that goes in comes out before the next goes in, so that nothing is gathered on the way.
#[tokio::test]
async fn bodies_stream_both_ways() {
    let (head, gateway) = Head::started("").await;
    let echo = Router::new().route("/transitions", post(async |request: Request| request.into_body()));
    head.serve(Service::Power, echo);
    let mut sender = sender::<Body>(tls_stream(&head, &gateway).await).await;
    let (pieces, body) = channel();
    let request = axum::http::Request::post("/transitions").header("host", "localhost").body(body).unwrap();
    let response = tokio::time::timeout(LIMIT, sender.send_request(request)).await.unwrap().unwrap();
    let mut answer = response.into_body();
    for piece in ["one", "two", "three"] {
        pieces.send(piece).unwrap();
        let frame = tokio::time::timeout(LIMIT, answer.frame()).await.unwrap().unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), piece);
    }
    drop(pieces);
    assert!(tokio::time::timeout(LIMIT, answer.frame()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_websocket_passes_and_outlives_every_time_limit() {
    let (head, gateway) = Head::started("idle_timeout = '100ms'\nheader_timeout = '100ms'").await;
    let echo = async |upgrade: WebSocketUpgrade| {
        upgrade.on_upgrade(async |mut socket| {
            while let Some(Ok(message)) = socket.recv().await {
                if matches!(message, Message::Text(_)) && socket.send(message).await.is_err() {
                    return;
                }
            }
        })
    };
    head.serve(Service::Console, Router::new().route("/remote-console/consoles/nid001", get(echo)));
    let stream = tls_stream(&head, &gateway).await;
    let url = "wss://localhost/remote-console/consoles/nid001?mode=interactive";
    let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    let mut pause = tokio::time::interval(Duration::from_millis(300));
    for word in ["a", "b"] {
        pause.tick().await;
        socket.send(word.into()).await.unwrap();
        let echoed = tokio::time::timeout(LIMIT, socket.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(echoed.into_text().unwrap().as_str(), word);
    }
    // The stop ends it.
    gateway.stop.cancel();
    assert!(!matches!(tokio::time::timeout(LIMIT, socket.next()).await.unwrap(), Some(Ok(_))));
}

#[tokio::test]
async fn another_upgrade_is_not_passed_on() {
    let (head, gateway) = Head::started("").await;
    let request = get_request("/hsm/v2/x").header("connection", "upgrade").header("upgrade", "h2c");
    let (_, text) = gateway.ask(&head, request.body(Default::default()).unwrap()).await;
    assert!(!text.contains("h2c"), "{text}");
}

/// A client that goes away does not leave its request behind.
#[tokio::test]
async fn a_client_that_leaves_ends_the_request_to_the_service() {
    let (head, gateway) = Head::started("").await;
    let (gone, mut left) = mpsc::unbounded_channel();
    let endless = Router::new().fallback(async move || {
        let (pieces, body) = channel();
        pieces.send("first").unwrap();
        tokio::spawn(async move {
            pieces.closed().await;
            gone.send(()).unwrap();
        });
        body
    });
    head.serve(Service::Power, endless);
    let mut sender = gateway.tls(&head, "localhost").await.unwrap();
    let request = get_request("/power-status").body(Default::default()).unwrap();
    let mut response = sender.send_request(request).await.unwrap();
    assert!(response.body_mut().frame().await.is_some());
    drop((response, sender));
    tokio::time::timeout(LIMIT, left.recv()).await.unwrap();
}
