//! Tokens over SSH, to a real server on this machine.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use axum::http::StatusCode;
use domain::Service;
use serde_json::{Value, json};
use sqlx::PgPool;

use super::head::{Head, LIMIT, NODE};

/// sshd for root with a host key of its own, whose every command keeps its input.
struct Server {
    folder: tempfile::TempDir,
    port: u16,
    process: Option<Child>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}

impl Server {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(folder.path().join("host"))
            .status();
        assert!(made.unwrap().success());
        Self { folder, port, process: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn host_key(&self) -> String {
        std::fs::read_to_string(self.path("host.pub")).unwrap()
    }

    /// Takes this key of root's.
    fn start(&mut self, key: &str) {
        std::fs::write(self.path("keys"), key).unwrap();
        std::fs::create_dir_all("/run/sshd").unwrap();
        let sshd = Path::new("/usr/sbin/sshd");
        assert!(sshd.exists(), "the package openssh-server is installed");
        let option = |name: &str, value: &str| format!("-o{name}={value}");
        let keep = format!("cat >{}; echo in-file", self.path("token").display());
        let process = Command::new(sshd)
            .args(["-D", "-e", "-f", "/dev/null", "-p", &self.port.to_string(), "-h"])
            .arg(self.path("host"))
            .arg(option("ListenAddress", "127.0.0.1"))
            .arg(option("AuthorizedKeysFile", &self.path("keys").display().to_string()))
            .arg(option("StrictModes", "no"))
            .arg(option("PermitRootLogin", "yes"))
            .arg(option("PidFile", "none"))
            .arg(option("UsePAM", "no"))
            .arg(option("ForceCommand", &keep))
            .stderr(Stdio::null())
            .spawn();
        self.process = Some(process.unwrap());
    }
}

async fn report(head: &Head, key: &str) -> StatusCode {
    let body = json!({"address": "127.0.0.1", "host_keys": [key]}).to_string();
    head.service(Service::Boot, "PUT", &format!("/pilothouse/v1/reports/{NODE}"), &body).await.0
}

fn table(server: &Server, push_for: &str) -> String {
    format!("policy = {{ compute = 'push' }}\npush_for = '{push_for}'\nssh_port = {}", server.port)
}

async fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let found = tokio::time::timeout(LIMIT, async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::task::yield_now().await;
        }
    });
    found.await.unwrap()
}

async fn public_key(head: &Head) -> String {
    head.root("GET", "/pilothouse/v1/key", "").await.1["public"].as_str().unwrap().to_owned()
}

#[sqlx::test(migrator = "join::MIGRATIONS")]
async fn a_token_is_written_on_the_node_that_shows_the_reported_key(db: PgPool) {
    let mut server = Server::new();
    let head = Head::start(db, &table(&server, "1m")).await;
    assert_eq!(report(&head, "").await, StatusCode::BAD_REQUEST, "no key");
    // It reports before its SSH server runs: tried again.
    assert_eq!(report(&head, &server.host_key()).await, StatusCode::ACCEPTED);
    server.start(&public_key(&head).await);
    let file = server.path("token");
    let token = until(|| std::fs::read_to_string(&file).ok().filter(|it| !it.is_empty())).await;
    assert_eq!(token, format!("token-of-{NODE}"));
    until(|| head.issues().is_empty().then_some(())).await;
    let state = head.folder.path().join("state/state.json");
    until(|| std::fs::read_to_string(&state).unwrap().contains("\"pushes\":{}").then_some(())).await;
}

#[sqlx::test(migrator = "join::MIGRATIONS")]
async fn another_host_key_gets_no_token(db: PgPool) {
    let mut server = Server::new();
    let head = Head::start(db, &table(&server, "1m")).await;
    server.start(&public_key(&head).await);
    let other = Server::new().host_key();
    until(|| std::net::TcpStream::connect(("127.0.0.1", server.port)).ok()).await;
    assert_eq!(report(&head, &other).await, StatusCode::ACCEPTED);
    let issue: Value = until(|| head.issues().pop()).await;
    assert_eq!(
        (issue["kind"].as_str(), issue["context"]["step"].as_str()),
        (Some("join-push-failed"), Some("host key"))
    );
    assert!(!server.path("token").exists());
    // What an administrator enrolled counts more than what was reported.
    use base64::Engine as _;
    let content = base64::engine::general_purpose::STANDARD.encode(server.host_key());
    let body = json!({ "content": content }).to_string();
    let path = format!("/pilothouse/v1/enrolments/{NODE}/host-keys");
    assert_eq!(head.root("PUT", &path, &body).await.0, StatusCode::OK);
    assert_eq!(report(&head, &other).await, StatusCode::ACCEPTED);
    until(|| head.issues().is_empty().then_some(())).await;
    assert!(server.path("token").exists());
}

#[sqlx::test(migrator = "join::MIGRATIONS")]
async fn a_node_that_does_not_know_our_key_is_named_with_the_step(db: PgPool) {
    let mut server = Server::new();
    let mut head = Head::start(db, &table(&server, "1s")).await;
    server.start("");
    assert_eq!(report(&head, &server.host_key()).await, StatusCode::ACCEPTED);
    // Taken up again by the next process.
    head.stop().await;
    head.start_again().await;
    let issue: Value = until(|| head.issues().pop()).await;
    assert_eq!(issue["context"]["node"], NODE);
    assert_eq!(issue["context"]["step"], "log in", "{issue}");
    let report = report(&head, &server.host_key()).await;
    assert_eq!(report, StatusCode::ACCEPTED);
}
