//! Bad input on the path that every service shares: what is answered, and that the connection or at least the next
//! one goes on.

use std::io::ErrorKind;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use domain::{Scope, Service};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use web::{BODY_MAX, Bounds, Json, scoped};

use crate::harness::{PATIENCE, context};

struct Served {
    folder: TempDir,
    stop: CancellationToken,
    serving: JoinSet<()>,
}

/// One connection, spoken by hand.
struct Line(BufReader<UnixStream>);

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Served {
    fn start(bounds: Bounds) -> Self {
        let (folder, stop) = (TempDir::new().unwrap(), CancellationToken::new());
        let context = context(folder.path(), &stop);
        let write = Scope::Write(Service::Inventory);
        let router = Router::new()
            .route("/json", post(async |Json(it): Json<Vec<u32>>| Json(it.len())))
            .route("/length", scoped(post(async |body: Bytes| body.len().to_string()), write))
            // As a handler does that makes its own text of a body that fails.
            .route(
                "/own",
                post(async |body: Result<Bytes, axum::extract::rejection::BytesRejection>| match body {
                    Ok(body) => body.len().to_string(),
                    Err(_) => "own words".to_owned(),
                }),
            )
            .route("/long", get(async || "x".repeat(32 << 20)));
        let mut serving = JoinSet::new();
        serving.spawn(async move { web::serve_bounded(&context, router, Vec::new(), bounds).await.unwrap() });
        Self { folder, stop, serving }
    }

    async fn line(&self) -> Line {
        let path = self.folder.path().join("run/inventory.sock");
        Line(BufReader::new(UnixStream::connect(path).await.unwrap()))
    }

    async fn stop(mut self) {
        self.stop.cancel();
        while self.serving.join_next().await.is_some() {}
    }
}

impl Line {
    async fn send(&mut self, text: impl AsRef<[u8]>) {
        self.0.write_all(text.as_ref()).await.unwrap();
    }

    /// The next answer; None when the connection ends instead.
    async fn answer(&mut self) -> Option<Answer> {
        tokio::time::timeout(PATIENCE, async {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                match self.0.read_line(&mut head).await {
                    Ok(0) => return None,
                    Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                    read => read.unwrap(),
                };
            }
            let head = head.to_ascii_lowercase();
            let length =
                head.split_once("content-length: ").map_or("0", |it| it.1.split('\r').next().unwrap());
            let mut body = vec![0; length.parse().unwrap()];
            self.0.read_exact(&mut body).await.unwrap();
            let status = head[9..12].parse().unwrap();
            Some(Answer { status, head, body: String::from_utf8(body).unwrap() })
        })
        .await
        .unwrap()
    }

    async fn ask(&mut self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let length = body.len();
        self.send(format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\n{headers}content-length: {length}\r\n\r\n{body}"
        ))
        .await;
        self.answer().await.unwrap()
    }

    /// The connection goes on.
    async fn is_usable(&mut self) {
        let answer = self.ask("POST", "/json", "content-type: application/json\r\n", "[1,2,3]").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "3\n"));
    }
}

impl Answer {
    fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.head.contains("content-type: application/problem+json"), "{self:?}");
        let problem: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(problem["status"], status);
        problem
    }
}

#[tokio::test]
async fn a_body_that_is_no_json_is_refused_and_the_connection_goes_on() {
    let served = Served::start(Bounds::default());
    let mut line = served.line().await;
    for body in ["", "{", "[1,", "{\"a\":1}", "[\"a\"]", "[-1]", "[1]x", "\u{0}", "null", "\"\\ud800\""] {
        line.ask("POST", "/json", "", body).await.problem(400);
    }
    let deep = "[".repeat(100_000);
    line.ask("POST", "/json", "", &deep).await.problem(400);
    // The type that a client names is nobody's concern: clients of the recorded services name none, or a wrong one.
    for kind in ["", "content-type: text/plain\r\n", "content-type: \u{1}x\r\n", "content-type: a/b; c=d\r\n"]
    {
        if !kind.contains('\u{1}') {
            assert_eq!(line.ask("POST", "/json", kind, "[1]").await.status, 200);
        }
    }
    for (method, path, status) in [("PUT", "/json", 405), ("BREW", "/json", 405), ("POST", "/none", 404)] {
        assert_eq!(line.ask(method, path, "", &"x".repeat(100_000)).await.status, status, "{method} {path}");
    }
    line.is_usable().await;
    served.stop().await;
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_at_once() {
    let served = Served::start(Bounds::default());
    let long = 100 << 20;
    // Announced: refused before any of it is sent, and the connection is good after it was.
    for path in ["/json", "/length", "/own", "/none"] {
        let mut line = served.line().await;
        line.send(format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {long}\r\n\r\n")).await;
        line.answer().await.unwrap().problem(413);
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..long >> 20 {
            line.send(&piece).await;
        }
        line.is_usable().await;
    }
    // One that asks first is told, and need not send it.
    let mut line = served.line().await;
    let head =
        format!("POST /json HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {long}\r\n\r\n");
    line.send(head).await;
    line.answer().await.unwrap().problem(413);
    assert!(line.answer().await.is_none());
    // Not announced: refused when it has become too long.
    for path in ["/json", "/length", "/own"] {
        let mut line = served.line().await;
        line.send(format!("POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")).await;
        let piece = [b"100000\r\n".as_slice(), &vec![b'x'; 1 << 20], b"\r\n"].concat();
        for _ in 0..(BODY_MAX >> 20) + 4 {
            line.send(&piece).await;
        }
        line.send("0\r\n\r\n").await;
        line.answer().await.unwrap().problem(413);
        line.is_usable().await;
    }
    let mut line = served.line().await;
    let most = "x".repeat(BODY_MAX);
    assert_eq!(line.ask("POST", "/length", "", &most).await.body, BODY_MAX.to_string());
    line.is_usable().await;
    served.stop().await;
}

/// The client's own slowness is what is tested; nothing else here waits for time to pass.
#[tokio::test]
async fn who_is_slow_is_given_up() {
    let short = Duration::from_millis(300);
    let served = Served::start(Bounds { head: short, piece: short, unread: short, ..Bounds::default() });
    let mut body = served.line().await;
    body.send("POST /json HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n[1,").await;
    body.answer().await.unwrap().problem(408);
    assert!(body.answer().await.is_none());
    let mut own = served.line().await;
    own.send("POST /own HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab").await;
    own.answer().await.unwrap().problem(408);
    let mut head = served.line().await;
    head.send("POST /json HTTP/1.1\r\nhost:").await;
    assert!(head.answer().await.is_none_or(|it| it.status == 408));
    // One that does not read its answer.
    let mut unread = served.line().await;
    unread.send("GET /long HTTP/1.1\r\nhost: x\r\n\r\n").await;
    tokio::time::sleep(short * 3).await;
    let mut rest = Vec::new();
    let read = tokio::time::timeout(PATIENCE, unread.0.read_to_end(&mut rest)).await.unwrap();
    assert!(read.is_err() || rest.len() < 32 << 20, "{} bytes", rest.len());
    // A slow one that keeps sending is not.
    let mut steady = served.line().await;
    steady.send("POST /json HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n[").await;
    for piece in ["1,", "2,", "3,", "4]"] {
        tokio::time::sleep(short / 3).await;
        steady.send(piece).await;
    }
    assert_eq!(steady.answer().await.unwrap().body, "4\n");
    served.stop().await;
}

#[tokio::test]
async fn a_whole_request_has_a_time_too() {
    let request = Duration::from_millis(400);
    let served = Served::start(Bounds { request, ..Bounds::default() });
    let mut line = served.line().await;
    line.send("POST /json HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n[").await;
    let begun = tokio::time::Instant::now();
    let mut ticks = tokio::time::interval(request / 8);
    let answer = loop {
        tokio::select! {
            answer = line.answer() => break answer.unwrap(),
            _ = ticks.tick() => assert!(begun.elapsed() < PATIENCE),
        }
    };
    answer.problem(408);
    served.stop().await;
}

#[tokio::test]
async fn heads_that_are_too_much_are_refused() {
    let served = Served::start(Bounds::default());
    let many: String = (0..500).map(|it| format!("x-{it}: y\r\n")).collect();
    let long = format!("x: {}\r\n", "y".repeat(200_000));
    for headers in [many, long] {
        let mut line = served.line().await;
        let text = format!("GET /json HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
        // It may be answered and closed before all of it was sent.
        if let Err(error) = line.0.write_all(text.as_bytes()).await {
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        }
        assert!(line.answer().await.is_none_or(|it| it.status == 431));
    }
    for text in [
        "\r\n\r\n\u{0}\u{0}\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "POST /json HTTP/1.1\r\nhost: x\r\ncontent-length: x\r\n\r\n",
    ] {
        let mut line = served.line().await;
        line.send(text).await;
        assert!(line.answer().await.is_none_or(|it| it.status == 400), "{text:?}");
    }
    served.line().await.is_usable().await;
    served.stop().await;
}
