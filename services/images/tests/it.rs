//! The service from outside: curl against its TCP socket, PostgreSQL down all the while.
#![expect(clippy::unwrap_used, reason = "tests")]

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
    assert_eq!(head.curl("/pilothouse/v1/images", &[]).await.0, 401, "the network may not list");
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
