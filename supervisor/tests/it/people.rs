//! Health, told to people: the unit's program against a mail server and a web server made here.

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

use crate::fake::{LIMIT, Lab, set_state};
use crate::health::{NTP, configure, until};

/// Reads one request of HTTP and answers it; gives its text.
async fn take_request(listener: &TcpListener, status: &str) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut text = String::new();
    let mut part = [0; 4096];
    loop {
        let length = stream.read(&mut part).await.unwrap();
        text += std::str::from_utf8(&part[..length]).unwrap();
        if let Some((header, body)) = text.split_once("\r\n\r\n") {
            let wanted = header.lines().find_map(|it| it.strip_prefix("Content-Length: "));
            if body.len() >= wanted.map_or(0, |it| it.parse().unwrap()) {
                break;
            }
        }
    }
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.unwrap();
    text
}

/// Takes one mail as a server does (RFC 5321); gives what was said to it.
async fn take_mail(listener: TcpListener) -> String {
    let (stream, _) = listener.accept().await.unwrap();
    let (read, mut write) = stream.into_split();
    write.write_all(b"220 mail.example\r\n").await.unwrap();
    let mut lines = BufReader::new(read).lines();
    let (mut text, mut data) = (String::new(), false);
    while let Some(line) = lines.next_line().await.unwrap() {
        text += &format!("{line}\n");
        let answer = match line.split(' ').next().unwrap() {
            "." if data => {
                data = false;
                "250 taken"
            }
            _ if data => continue,
            "DATA" => {
                data = true;
                "354 go on"
            }
            "QUIT" => "221 bye",
            _ => "250 well",
        };
        write.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap();
        if answer.starts_with("221") {
            break;
        }
    }
    text
}

#[tokio::test]
async fn people_are_told_by_mail_and_webhook_what_begins_and_what_ends() {
    let lab = Lab::new().await;
    let (hook, mail) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let (hook_port, mail_port) = (hook.local_addr().unwrap().port(), mail.local_addr().unwrap().port());
    let health = format!(
        "[health]\nwebhooks = [\"http://127.0.0.1:{hook_port}/hook\"]\n\
         mail = {{ server = \"smtp://127.0.0.1:{mail_port}\", from = \"head@a.b\", to = [\"ops@a.b\"] }}\n"
    );
    let document = NTP.replace("ntp = [\"ntp.example\"]\n", "");
    configure(&lab, &format!("{document}{health}"));
    let _supervisor = lab.supervisor("/bin/true").await;
    set_state(&lab.systemd, "pilothouse-boot.service", "failed", "failed", 0).await;
    until(&lab, &["unit-failed/pilothouse-boot.service"]).await;
    let started = async {
        while !lab.calls().contains(&"start pilothouse-notify.service".to_owned()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, started).await.unwrap();
    // systemd's part: the unit is this program with a network.
    let notify = async || {
        let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_pilothouse-supervisor"));
        let at = |name: &str| lab.folder.path().join(name);
        program.arg("--state").arg(at("config")).arg("--run").arg(at("run")).arg("notify");
        let ended = tokio::time::timeout(LIMIT, program.status()).await.unwrap().unwrap();
        assert!(ended.success());
    };
    let mailed = tokio::spawn(take_mail(mail));
    let hooked = async {
        // It is tried again when the other end has a bad moment.
        take_request(&hook, "503 Service Unavailable").await;
        take_request(&hook, "204 No Content").await
    };
    let (text, ()) = tokio::join!(hooked, notify());
    let (header, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(header.starts_with("POST /hook HTTP/1.1"), "{header}");
    let told: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(told["head"], "demo-head.a.b");
    assert_eq!(told["new"][0]["id"], "unit-failed/pilothouse-boot.service");
    let text = tokio::time::timeout(LIMIT, mailed).await.unwrap().unwrap();
    for part in [
        "MAIL FROM:<head@a.b>",
        "RCPT TO:<ops@a.b>",
        "Subject: [demo-head.a.b] error: pilothouse-boot.service has failed\n",
        "journalctl -u pilothouse-boot.service",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let left = std::fs::read_dir(lab.folder.path().join("run/notify")).unwrap().count();
    assert_eq!(left, 0, "what was told waits no more");
}
