//! Attachments: what readers see, and who may type.

use axum::http::{Method, StatusCode};
use console::client::{AttachError, Attachment, How, attach};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;
use web::{Client, ClientError};

use super::head::{Head, limited};
use super::simulator::Simulator;

pub(crate) fn tail() -> How {
    How { tail: true, ..How::default() }
}

fn force() -> How {
    How { force: true, ..How::default() }
}

/// Reads until these words were seen; gives all that was read.
pub(crate) async fn see(attachment: &mut Attachment, words: &str) -> String {
    let mut seen = String::new();
    while !seen.contains(words) {
        let message = limited(attachment.next()).await.unwrap_or_else(|| panic!("{words:?} not in {seen:?}"));
        match message.unwrap() {
            Message::Close(frame) => panic!("{words:?} not in {seen:?}: {frame:?}"),
            message => seen.push_str(&String::from_utf8(message.into_data().into()).unwrap()),
        }
    }
    seen
}

pub(crate) async fn type_in(attachment: &mut Attachment, text: &str) {
    attachment.send(Message::Binary(text.as_bytes().to_vec().into())).await.unwrap();
}

#[tokio::test]
async fn a_reader_sees_the_past_and_the_present_and_types() {
    let mut bmc = Simulator::start().await;
    let head = Head::with_node(&bmc).await;
    bmc.write("before\r\n").await;
    head.until_logged("before", 1).await;
    let mut reader = attach(&head.socket, "nid001", &How::default()).await.unwrap();
    let seen = see(&mut reader, "before\r\n").await;
    assert!(!seen.contains("someone else"), "{seen}");
    bmc.write("\x1b[1mnow\r\n").await;
    assert_eq!(see(&mut reader, "now\r\n").await, "\x1b[1mnow\r\n", "as it was written, unlike the log");
    type_in(&mut reader, "root\r").await;
    assert_eq!(bmc.read(5).await, "root\r");
    // A break, and after it the keyboard still works.
    type_in(&mut reader, "").await;
    type_in(&mut reader, "date\r").await;
    assert_eq!(bmc.read(5).await, "date\r");
}

#[tokio::test]
async fn one_types_and_the_others_are_told() {
    let mut bmc = Simulator::start().await;
    let head = Head::with_node(&bmc).await;
    let mut first = attach(&head.socket, "nid001", &How::default()).await.unwrap();
    let mut second = attach(&head.socket, "x0c0s1b0n0", &How::default()).await.unwrap();
    see(&mut second, "someone else types here; you only read").await;
    type_in(&mut second, "second").await;
    see(&mut second, "not sent: someone else types here").await;
    let mut tail = attach(&head.socket, "nid001", &tail()).await.unwrap();
    type_in(&mut tail, "tail").await;
    let seen = see(&mut tail, "not sent: you only read").await;
    assert!(!seen.contains("someone else"), "{seen}");
    let mut third = attach(&head.socket, "nid001", &force()).await.unwrap();
    type_in(&mut third, "third").await;
    assert_eq!(bmc.read(5).await, "third", "nothing of the others arrived");
    type_in(&mut first, "first").await;
    see(&mut first, "not sent: someone else types here").await;
    bmc.write("for all\r\n").await;
    for reader in [&mut first, &mut second, &mut tail, &mut third] {
        see(reader, "for all").await;
    }
    // Who leaves frees the keyboard for the next who types.
    third.close(None).await.unwrap();
    while limited(third.next()).await.is_some() {}
    let typed = async {
        loop {
            type_in(&mut second, "next").await;
            bmc.write("echo\r\n").await;
            if !see(&mut second, "echo").await.contains("not sent") {
                return;
            }
        }
    };
    limited(typed).await;
    assert_eq!(bmc.read(4).await, "next");
}

#[tokio::test]
async fn readers_are_told_when_the_line_is_lost_and_when_the_service_stops() {
    let mut bmc = Simulator::start().await;
    let mut head = Head::with_node(&bmc).await;
    let mut reader = attach(&head.socket, "nid001", &How::default()).await.unwrap();
    bmc.kill().await;
    see(&mut reader, "<Pilothouse> console lost: BMC x0c0s1b0").await;
    type_in(&mut reader, "x").await;
    see(&mut reader, "not sent: the console is lost").await;
    bmc.start_again();
    see(&mut reader, "<Pilothouse> console open").await;
    head.stop().await;
    let end = async {
        loop {
            match reader.next().await {
                Some(Ok(Message::Close(frame))) => return frame.unwrap().reason.to_string(),
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    let reason = limited(end).await;
    assert!(reason.contains("the service stops"), "{reason}");
}

#[tokio::test]
async fn what_cannot_be_attached_is_refused() {
    let bmc = Simulator::start().await;
    let head = Head::with_node(&bmc).await;
    for (node, word) in [("nid999", "nid999 has no console"), ("no node at all", "no node is called")] {
        let error = attach(&head.socket, node, &tail()).await.unwrap_err();
        assert!(matches!(error, AttachError::Refused(_)) && error.to_string().contains(word), "{error}");
    }
    let path = "/remote-console/consoles/nid001";
    let plain = Client::unix(&head.socket);
    let nobody = Client::unix(&head.socket).with_token("no token at all");
    let status = async |client: &Client, path: &str| match client
        .call::<Value>(Method::GET, path, None::<&()>)
        .await
    {
        Err(ClientError::Status { status, .. }) => status,
        other => panic!("{other:?}"),
    };
    assert!(status(&plain, path).await.is_client_error());
    assert_eq!(status(&plain, &format!("{path}?mode=loudly")).await, StatusCode::BAD_REQUEST);
    for path in [path, "/remote-console/consoles"] {
        assert_eq!(status(&nobody, path).await, StatusCode::UNAUTHORIZED);
    }
    let mut readers = Vec::new();
    let full = loop {
        match attach(&head.socket, "nid001", &tail()).await {
            Ok(reader) => readers.push(reader),
            Err(error) => break error.to_string(),
        }
    };
    assert!(readers.len() == 64 && full.contains("too many readers"), "{} {full}", readers.len());
}
