//! A real TPM in software, with the tools that a node has.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sqlx::PgPool;

use super::head::{Head, IP, LIMIT, NODE};

/// swtpm in a folder of its own; it ends with it.
struct Tpm {
    folder: tempfile::TempDir,
    process: Child,
}

impl Drop for Tpm {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Tpm {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let process = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "startup-clear"])
            .args(["--tpmstate", &format!("dir={}", folder.path().display())])
            .args(["--server", &format!("type=unixio,path={}", at("tpm"))])
            .args(["--ctrl", &format!("type=unixio,path={}", at("tpm.ctrl"))])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the package swtpm is installed");
        let tpm = Self { folder, process };
        let begun = std::time::Instant::now();
        while !tpm.path("tpm").exists() || !tpm.path("tpm.ctrl").exists() {
            assert!(begun.elapsed() < LIMIT, "swtpm does not listen");
            std::thread::yield_now();
        }
        tpm
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Runs one of tpm2-tools in the TPM's folder.
    fn run(&self, words: &str) {
        let mut words = words.split(' ');
        let ran = Command::new(words.next().unwrap())
            .args(words)
            .current_dir(self.folder.path())
            .env("TPM2TOOLS_TCTI", format!("swtpm:path={}", self.path("tpm").display()))
            .output()
            .expect("the package tpm2-tools is installed");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }

    /// The endorsement key of this kind, and an attestation key under it.
    fn make_keys(&self, kind: &str) {
        self.run(&format!("tpm2_createek -Q -c ek.ctx -G {kind} -u ek.pub"));
        self.run("tpm2_createak -Q -C ek.ctx -c ak.ctx -G ecc -g sha256 -s ecdsa -u ak.pub -n ak.name");
        self.run("tpm2_flushcontext -t");
    }

    fn activate(&self, credential: &Value) -> String {
        std::fs::write(self.path("blob"), STANDARD.decode(credential.as_str().unwrap()).unwrap()).unwrap();
        self.run("tpm2_flushcontext -t");
        self.run("tpm2_startauthsession -Q --policy-session -S session.ctx");
        self.run("tpm2_policysecret -Q -S session.ctx -c e");
        self.run("tpm2_activatecredential -Q -c ak.ctx -C ek.ctx -i blob -o secret -P session:session.ctx");
        self.run("tpm2_flushcontext session.ctx");
        // A node has the kernel's resource manager for this.
        self.run("tpm2_flushcontext -t");
        STANDARD.encode(std::fs::read(self.path("secret")).unwrap())
    }

    fn asks(&self) -> Value {
        let read = |name: &str| STANDARD.encode(std::fs::read(self.path(name)).unwrap());
        json!({"xname": NODE, "ek_pub": read("ek.pub"), "ak_pub": read("ak.pub")})
    }
}

async fn enrol(head: &Head, file: &Path) -> (StatusCode, Value) {
    let content = STANDARD.encode(std::fs::read(file).unwrap());
    let body = json!({ "content": content }).to_string();
    head.root("PUT", &format!("/pilothouse/v1/enrolments/{NODE}/ek"), &body).await
}

async fn challenge(head: &Head, tpm: &Tpm) -> (StatusCode, Value) {
    head.machine(IP, "POST", "/join/tpm/challenge", &tpm.asks()).await
}

async fn answer(head: &Head, address: &str, challenge: &Value, secret: &str) -> (StatusCode, Value) {
    let body = json!({"challenge": challenge["challenge"], "secret": secret});
    head.machine(address, "POST", "/join/tpm/answer", &body).await
}

#[sqlx::test(migrator = "join::MIGRATIONS")]
async fn an_enrolled_tpm_opens_what_is_hidden_for_it(db: PgPool) {
    let head = Head::start(db, "policy = { compute = 'tpm' }").await;
    for kind in ["rsa", "ecc"] {
        let (tpm, other) = (Tpm::start(), Tpm::start());
        tpm.make_keys(kind);
        other.make_keys(kind);
        let (status, _) = challenge(&head, &tpm).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{kind}: not enrolled");
        tpm.run("tpm2_readpublic -Q -c ek.ctx -f pem -o ek.pem");
        let (status, row) = enrol(&head, &tpm.path("ek.pem")).await;
        assert_eq!(status, StatusCode::OK, "{row}");
        let (_, again) = enrol(&head, &tpm.path("ek.pub")).await;
        assert_eq!(row["value"], again["value"], "the same key in two forms");
        assert_eq!(challenge(&head, &other).await.0, StatusCode::FORBIDDEN, "{kind}: another TPM");
        // Whoever sends the enrolled key with a key of their own cannot open what comes.
        let (status, asked) = challenge(&head, &tpm).await;
        assert_eq!(status, StatusCode::OK, "{asked}");
        let wrong = STANDARD.encode([0; 32]);
        assert_eq!(answer(&head, IP, &asked, &wrong).await.0, StatusCode::FORBIDDEN);
        let secret = tpm.activate(&asked["credential"]);
        assert_eq!(answer(&head, IP, &asked, &secret).await.0, StatusCode::FORBIDDEN, "answered once");
        let (_, asked) = challenge(&head, &tpm).await;
        let secret = tpm.activate(&asked["credential"]);
        assert_eq!(answer(&head, "172.16.0.2", &asked, &secret).await.0, StatusCode::FORBIDDEN, "elsewhere");
        let (status, token) = answer(&head, IP, &asked, &secret).await;
        assert_eq!(
            (status, token["access_token"].as_str()),
            (StatusCode::OK, Some(&*format!("token-of-{NODE}")))
        );
        assert_eq!(answer(&head, IP, &asked, &secret).await.0, StatusCode::FORBIDDEN, "a replay");
        let path = format!("/pilothouse/v1/enrolments/{NODE}/ek");
        assert_eq!(head.root("DELETE", &path, "").await.0, StatusCode::NO_CONTENT);
        assert_eq!(head.root("DELETE", &path, "").await.0, StatusCode::NOT_FOUND);
    }
}

#[sqlx::test(migrator = "join::MIGRATIONS")]
async fn a_tpm_is_taken_on_first_use_inside_a_window_alone(db: PgPool) {
    let mut head = Head::start(db, "policy = { compute = 'tpm' }\ntrust_first_use = true").await;
    let (tpm, other) = (Tpm::start(), Tpm::start());
    tpm.make_keys("ecc");
    other.make_keys("ecc");
    assert_eq!(challenge(&head, &tpm).await.0, StatusCode::FORBIDDEN, "no window");
    let (status, _) = head.root("PUT", &format!("/pilothouse/v1/windows/{NODE}"), "{}").await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (_, asked) = challenge(&head, &tpm).await;
    let secret = tpm.activate(&asked["credential"]);
    let (status, token) = answer(&head, IP, &asked, &secret).await;
    assert_eq!(status, StatusCode::OK, "{token}");
    assert_eq!(challenge(&head, &other).await.0, StatusCode::FORBIDDEN, "the first one counts");
    let (_, list) = head.root("GET", "/pilothouse/v1/nodes", "").await;
    assert_eq!(list[0]["enrolled"], json!(["ek (first use)"]));
    head.stop().await;
    head.start_again().await;
    let (status, asked) = challenge(&head, &tpm).await;
    assert_eq!(status, StatusCode::OK, "and again without a window: {asked}");
}

#[sqlx::test(migrator = "join::MIGRATIONS")]
async fn rubbish_is_no_key(db: PgPool) {
    let head = Head::start(db, "policy = { compute = 'tpm' }").await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n").unwrap();
    assert_eq!(enrol(&head, file.path()).await.0, StatusCode::BAD_REQUEST);
    for body in [
        json!({}),
        json!({"xname": NODE}),
        json!({"xname": NODE, "mac": "52:54:00:10:00:01", "ek_pub": "", "ak_pub": ""}),
        json!({"xname": NODE, "ek_pub": "!", "ak_pub": ""}),
        json!({"xname": NODE, "ek_pub": "AAA=", "ak_pub": "AAA="}),
    ] {
        let (status, _) = head.machine(IP, "POST", "/join/tpm/challenge", &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
    }
}
