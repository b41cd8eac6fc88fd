#![expect(clippy::unwrap_used, reason = "tests")]

use super::{Answer, Bad, Client, read_answer, read_request, slots, write_request};
use crate::wire::Framing;

const ID: &str = "our-id";

/// What the service gets of a request.
fn forward(head: &str, trusted: bool) -> Result<String, Bad> {
    let mut slots = slots();
    let request = read_request(head.as_bytes(), &mut slots)?.unwrap();
    let mut out = Vec::new();
    write_request(&mut out, &request, request.target.path, ("10.0.0.9", "https", trusted), ID);
    Ok(String::from_utf8(out).unwrap())
}

const OURS: &str = "x-forwarded-for: 10.0.0.9\r\nx-forwarded-proto: https\r\nx-request-id: our-id\r\n";

#[test]
fn a_stranger_cannot_pass_for_another() {
    let head = "GET /a?b=%2f HTTP/1.1\r\nX-Forwarded-For: 1.2.3.4\r\nx-forwarded-for: 5.6.7.8\r\n\
        X-Real-IP: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\nX-Forwarded-Proto: http\r\n\
        X-Forwarded-Host: evil\r\nX-Request-Id: theirs\r\nHost: demo\r\n\r\n";
    let expected = format!("GET /a?b=%2f HTTP/1.1\r\nHost: demo\r\n{OURS}\r\n");
    assert_eq!(forward(head, false).unwrap(), expected);
    let trusted = forward(head, true).unwrap();
    for (field, passes) in
        [("X-Forwarded-Host: evil", true), ("Forwarded: for=1.2.3.4", true), ("X-Real-IP", false)]
    {
        assert_eq!(trusted.contains(field), passes, "{trusted}");
    }
}

#[test]
fn fields_of_the_connection_do_not_pass() {
    let head = "POST /a HTTP/1.1\r\nConnection: keep-alive, X-Private\r\nconnection: host, x-forwarded-for\r\n\
        X-Private: 1\r\nTE: trailers\r\nKeep-Alive: timeout=5\r\nProxy-Authorization: Basic x\r\n\
        Upgrade: h2c\r\nTransfer-Encoding: Chunked\r\nExpect: 100-continue\r\nHost: demo\r\n\
        Authorization: Bearer x\r\n\r\n";
    let expected = format!(
        "POST /a HTTP/1.1\r\nHost: demo\r\nAuthorization: Bearer x\r\n{OURS}transfer-encoding: chunked\r\n\r\n"
    );
    assert_eq!(forward(head, false).unwrap(), expected);
}

#[test]
fn the_target_names_the_host_that_counts() {
    let told = forward("GET http://one:8081/a?b HTTP/1.1\r\nHost: two\r\n\r\n", false).unwrap();
    assert!(told.starts_with("GET /a?b HTTP/1.1\r\nhost: one:8081\r\nx-forwarded"), "{told}");
    for (target, path) in [("http://one", "/"), ("*", ""), ("one:443", ""), ("/a://b", "/a://b")] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        let mut slots = slots();
        assert_eq!(read_request(head.as_bytes(), &mut slots).unwrap().unwrap().target.path, path, "{target}");
    }
}

#[test]
fn what_two_servers_could_read_differently_is_refused() {
    for (fields, bad) in [
        ("", Bad::Host),
        ("host: a\r\nhost: b\r\n", Bad::Host),
        ("host: a\r\ncontent-length: 4\r\ncontent-length: 4\r\n", Bad::Length),
        ("host: a\r\ncontent-length: 4, 4\r\n", Bad::Length),
        ("host: a\r\ncontent-length: +4\r\n", Bad::Length),
        ("host: a\r\ncontent-length: \r\n", Bad::Length),
        ("host: a\r\ncontent-length: 99999999999999999999\r\n", Bad::Length),
        ("host: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n", Bad::Length),
        ("host: a\r\ntransfer-encoding: chunked\r\ncontent-length: 4\r\n", Bad::Length),
        ("host: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", Bad::Length),
        ("host: a\r\ntransfer-encoding: identity\r\n", Bad::Encoding),
        ("host: a\r\ntransfer-encoding: gzip, chunked\r\n", Bad::Encoding),
        ("host : a\r\n", Bad::Unreadable),
        ("host: a\r\n folded\r\n", Bad::Unreadable),
        ("host: a\u{1}\r\n", Bad::Unreadable),
    ] {
        let head = format!("POST / HTTP/1.1\r\n{fields}\r\n");
        assert_eq!(forward(&head, false), Err(bad), "{fields:?}");
    }
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(100));
    assert_eq!(forward(&many, false), Err(Bad::TooMany));
    let old = "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(forward(old, false), Err(Bad::Encoding));
}

#[test]
fn a_connection_is_kept_as_its_client_says() {
    for (version, connection, keeps) in [
        ("1.1", "", true),
        ("1.1", "connection: Close\r\n", false),
        ("1.1", "connection: x, close\r\n", false),
        ("1.0", "", false),
        ("1.0", "connection: Keep-Alive\r\n", true),
        ("1.0", "connection: keep-alive, close\r\n", false),
    ] {
        let head = format!("GET / HTTP/{version}\r\nhost: a\r\n{connection}\r\n");
        let mut slots = slots();
        assert_eq!(read_request(head.as_bytes(), &mut slots).unwrap().unwrap().keeps, keeps, "{head}");
    }
}

#[test]
fn only_a_websocket_is_an_upgrade() {
    for (line, connection, upgrade, is) in [
        ("GET / HTTP/1.1", "keep-alive, Upgrade", "WebSocket", true),
        ("GET / HTTP/1.1", "upgrade", "h2c", false),
        ("GET / HTTP/1.1", "close", "websocket", false),
        ("POST / HTTP/1.1", "upgrade", "websocket", false),
        ("GET / HTTP/1.0", "upgrade", "websocket", false),
    ] {
        let head = format!("{line}\r\nhost: a\r\nconnection: {connection}\r\nupgrade: {upgrade}\r\n\r\n");
        let told = forward(&head, false).unwrap();
        assert_eq!(told.contains("upgrade: websocket\r\n"), is, "{told}");
        assert!(!told.contains("h2c"));
    }
}

const CLIENT: Client<'_> = Client { head_only: false, is_old: false, keeps: true, id: ID };

fn answer(head: &str, client: Client<'_>) -> (Answer, String) {
    let mut out = Vec::new();
    let answer = read_answer(head.as_bytes(), client, &mut out).unwrap().unwrap();
    (answer, String::from_utf8(out).unwrap())
}

#[test]
fn an_answer_passes_without_what_belongs_to_its_connection() {
    let (told, text) = answer(
        "HTTP/1.1 200 OK\r\nConnection: x-gone\r\nX-Gone: 1\r\nKeep-Alive: 5\r\nETag: \"e\"\r\n\
         X-Request-Id: theirs\r\nContent-Length: 3\r\n\r\nabc",
        CLIENT,
    );
    assert_eq!(text, "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nx-request-id: our-id\r\ncontent-length: 3\r\n\r\n");
    assert_eq!((told.framing, told.service_keeps, told.keeps), (Framing::Length(3), true, true));
}

#[test]
fn an_answer_is_framed_as_its_client_can_read_it() {
    let old = Client { is_old: true, ..CLIENT };
    let head_only = Client { head_only: true, ..CLIENT };
    let last = Client { keeps: false, ..CLIENT };
    for (head, client, framing, line, keeps) in [
        (
            "200 OK\r\nTransfer-Encoding: chunked",
            CLIENT,
            Framing::Chunked,
            "transfer-encoding: chunked\r\n\r\n",
            true,
        ),
        ("200 OK\r\nTransfer-Encoding: chunked", old, Framing::Chunked, "connection: close\r\n\r\n", false),
        ("200 OK\r\nServer: x", CLIENT, Framing::UntilClose, "transfer-encoding: chunked\r\n\r\n", true),
        ("200 OK\r\nContent-Length: 7", head_only, Framing::None, "content-length: 7\r\n\r\n", true),
        ("200 OK\r\nContent-Length: 7", old, Framing::Length(7), "connection: keep-alive\r\n\r\n", true),
        ("204 No Content\r\nA: b", CLIENT, Framing::None, "x-request-id: our-id\r\n\r\n", true),
        ("304 Not Modified\r\nContent-Length: 7", CLIENT, Framing::None, "content-length: 7\r\n\r\n", true),
        ("200 OK\r\nContent-Length: 7", last, Framing::Length(7), "connection: close\r\n\r\n", false),
    ] {
        let (told, text) = answer(&format!("HTTP/1.1 {head}\r\n\r\n"), client);
        assert_eq!((told.framing, told.keeps), (framing, keeps), "{head}");
        assert!(text.ends_with(line), "{text}");
    }
}

#[test]
fn interim_answers_do_not_pass_and_a_switch_does() {
    let (told, text) = answer("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", CLIENT);
    assert_eq!((told.status, text.as_str()), (103, ""));
    let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Accept: x\r\n\r\n";
    let (_, text) = answer(head, CLIENT);
    assert!(text.ends_with("connection: upgrade\r\nupgrade: websocket\r\n\r\n"), "{text}");
}
