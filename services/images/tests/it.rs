//! The service from outside: curl against its TCP socket, PostgreSQL down all the while.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "it/corpus.rs"]
mod corpus;

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use daemon::{Address, Context, Paths};
use domain::{Document, Service};
use tokio_util::sync::CancellationToken;

struct Head {
    base: String,
    folder: tempfile::TempDir,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Head {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["root/demo/latest", "loaders", "run", "state", "outside"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        let document = format!(
            "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"cluster.test\"\n\
             [database]\nsocket = \"/nonexistent\"\n[images]\nroot = {:?}\nloaders = {:?}\n",
            at("root"),
            at("loaders")
        );
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let listen = vec![
            ("http".to_owned(), Address::Unix(at("run/images.sock"))),
            ("images".to_owned(), Address::Tcp(port)),
        ];
        let paths = Paths { config: at("none"), run: at("run"), state: at("state"), credentials: None };
        let stop = CancellationToken::new();
        let document = Document::parse(&document).unwrap();
        let context = Context::new(Service::Images, paths, document, listen, stop.clone()).unwrap();
        let served = tokio::spawn(images::serve(context));
        Self { base: format!("http://{port}"), folder, stop, served }
    }

    fn root(&self) -> std::path::PathBuf {
        self.folder.path().join("root")
    }

    /// Status and body of what curl is answered.
    async fn curl(&self, path: &str, arguments: &[&str]) -> (u16, Vec<u8>) {
        let (url, out) = (format!("{}{path}", self.base), self.folder.path().join("out"));
        let arguments: Vec<String> = arguments.iter().map(|it| (*it).to_owned()).collect();
        let run = move || {
            std::fs::remove_file(&out).ok();
            let options =
                ["-s", "--path-as-is", "--retry-connrefused", "--retry", "5", "-w", "%{http_code}", "-o"];
            let done = Command::new("/usr/bin/curl")
                .args(options)
                .arg(&out)
                .args(&arguments)
                .arg(url)
                .output()
                .unwrap();
            let status = String::from_utf8(done.stdout).unwrap().parse().unwrap();
            (status, std::fs::read(&out).unwrap_or_default())
        };
        tokio::task::spawn_blocking(run).await.unwrap()
    }

    async fn stop(self) {
        self.stop.cancel();
        self.served.await.unwrap().unwrap();
    }
}

fn write(path: &Path, content: &[u8]) {
    std::fs::write(path, content).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_just_put_there_is_served_whole_and_in_parts() {
    let head = Head::start();
    let content: Vec<u8> = (0..3_000_000_u32).flat_map(|it| it.to_le_bytes()).collect();
    write(&head.root().join("demo/latest/vmlinuz-6.12"), &content);
    let path = "/demo/latest/vmlinuz-6.12";
    assert_eq!(head.curl(path, &[]).await, (200, content.clone()));
    assert_eq!(
        head.curl(path, &["-r", "1000000-1999999"]).await,
        (206, content[1_000_000..2_000_000].to_vec())
    );
    assert_eq!(head.curl(path, &["-r", "-5"]).await, (206, content[content.len() - 5..].to_vec()));
    assert_eq!(head.curl(path, &["-r", "12000000-"]).await.0, 416);
    assert_eq!(head.curl(path, &["-H", "If-Range: \"other\"", "-r", "0-1"]).await, (200, content.clone()));
    let (_, fields) = head.curl(path, &["-I"]).await;
    let fields = String::from_utf8(fields).unwrap();
    let etag = fields.lines().find_map(|it| it.strip_prefix("etag: ")).unwrap().trim();
    assert!(fields.contains("content-length: 12000000"), "{fields}");
    assert_eq!(head.curl(path, &["-H", &format!("If-None-Match: {etag}")]).await.0, 304);
    let resume = ["-H", &format!("If-Range: {etag}"), "-r", "11999999-"];
    assert_eq!(head.curl(path, &resume).await, (206, content[11_999_999..].to_vec()));
    assert_eq!(head.curl(path, &["-X", "POST"]).await.0, 405);
    let (status, parts) = head.curl(path, &["-r", "0-3,8-11"]).await;
    let parts = String::from_utf8_lossy(&parts).into_owned();
    assert_eq!(status, 206);
    assert!(parts.contains("content-range: bytes 0-3/12000000\r\n\r\n\0\0\0\0\r\n--"), "{parts:?}");
    assert!(parts.contains("content-range: bytes 8-11/12000000\r\n\r\n\u{2}\0\0\0\r\n--"), "{parts:?}");
    // In the background the digest is found, and names the file from then on; its first name still holds.
    let began = std::time::Instant::now();
    loop {
        let (_, fields) = head.curl(path, &["-I"]).await;
        if String::from_utf8(fields).unwrap().contains("etag: \"sha256-") {
            break;
        }
        assert!(began.elapsed() < std::time::Duration::from_secs(20), "the digest is never known");
    }
    assert_eq!(head.curl(path, &["-H", &format!("If-None-Match: {etag}")]).await.0, 304);
    head.stop().await;
}

/// Several requests by one connection, the second of them sent before the first is answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_carries_many_requests_and_nonsense_ends_it() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let head = Head::start();
    write(&head.root().join("a"), b"first");
    write(&head.root().join("b"), b"second");
    assert_eq!(head.curl("/a", &[]).await.0, 200);
    let ask = |text: &'static str| {
        let address = head.base.strip_prefix("http://").unwrap().to_owned();
        async move {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        }
    };
    let two = "GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = ask(two).await;
    assert!(answer.contains("\r\n\r\nfirstHTTP/1.1 200 OK\r\n") && answer.ends_with("second"), "{answer}");
    let old = ask("HEAD /a HTTP/1.0\r\n\r\n").await;
    assert!(old.contains("content-length: 5\r\n") && old.ends_with("\r\n\r\n"), "{old}");
    let body = ask("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx").await;
    assert!(body.starts_with("HTTP/1.1 400 ") && body.contains("connection: close"), "{body}");
    assert!(ask("\x16\x03\x01 nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
    let long = Box::leak(format!("GET /{} HTTP/1.1\r\n", "a".repeat(9000)).into_boxed_str());
    assert!(ask(long).await.starts_with("HTTP/1.1 431 "));
    head.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_outside_of_the_root_is_served() {
    let head = Head::start();
    let secret = head.folder.path().join("outside/secret");
    write(&secret, b"canary");
    std::os::unix::fs::symlink(&secret, head.root().join("link")).unwrap();
    std::os::unix::fs::symlink("../outside", head.root().join("up")).unwrap();
    write(&head.root().join("demo/latest/vmlinuz"), b"kernel");
    write(&head.root().join("demo/latest/initrd.img"), b"initrd");
    std::os::unix::fs::symlink("demo/latest/vmlinuz", head.root().join("inside")).unwrap();
    nix::unistd::mkfifo(&head.root().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for path in [
        "/link",
        "/up/secret",
        "/../outside/secret",
        "/demo/../../outside/secret",
        "/%2e%2e/outside/secret",
        "/demo/%2e%2e%2f%2e%2e%2foutside/secret",
        "/..%5coutside/secret",
        "/demo",
        "/demo/",
        "/",
        "//demo/latest/vmlinuz",
        "/fifo",
        "/demo/latest/vmlinuz%00",
        "/ipxe/../root/inside",
        "/images/demo/latest/other",
        "/%ff",
    ] {
        let (status, body) = head.curl(path, &[]).await;
        assert_eq!(status, 404, "{path}");
        assert!(!body.windows(6).any(|it| it == b"canary"), "{path}");
    }
    assert_eq!(head.curl("/inside", &[]).await, (200, b"kernel".to_vec()));
    assert_eq!(head.curl("/images/demo/latest/initrd", &[]).await, (200, b"initrd".to_vec()));
    head.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_listed_newest_first_and_need_no_database() {
    let head = Head::start();
    for tag in ["old", "new"] {
        std::fs::create_dir_all(head.root().join("demo").join(tag)).unwrap();
        write(&head.root().join("demo").join(tag).join("vmlinuz"), b"k");
        write(&head.root().join("demo").join(tag).join("initrd"), b"i");
    }
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    for name in ["vmlinuz", "initrd"] {
        let file =
            std::fs::File::options().write(true).open(head.root().join("demo/old").join(name)).unwrap();
        file.set_modified(old).unwrap();
    }
    assert_eq!(head.curl("/demo/new/vmlinuz", &[]).await.0, 200);
    assert_eq!(head.curl("/pilothouse/v1/images", &[]).await.0, 404, "nodes are served files alone");
    let client = web::Client::unix(head.folder.path().join("run/images.sock"));
    let tags: Vec<String> =
        images::client::list(&client).await.unwrap().into_iter().map(|it| it.tag).collect();
    assert_eq!(tags, ["new", "old"]);
    let refused = images::client::pin(&client, "boot", "a", "demo:new").await.unwrap_err();
    assert!(
        matches!(refused, web::ClientError::Status { status, .. } if status.as_u16() == 503),
        "{refused}"
    );
    head.stop().await;
}
