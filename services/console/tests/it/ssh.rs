//! Consoles over SSH, before OpenSSH's own server on the loopback.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command as Plain, Stdio};

use console::client::{How, attach};
use tokio::process::{Child, Command};

use super::attach::{see, type_in};
use super::head::{Head, component, marks};

/// A BMC's shell: it shows a prompt, and with the right word the console, which echoes.
const SHELL: &str = "#!/bin/sh
printf 'bmc> '
read -r word
echo \"entered $word\"
exec cat
";

fn run(program: &str, arguments: &[&str]) {
    let output = Plain::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

fn make_key(path: &Path) {
    run("/usr/bin/ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", path.to_str().unwrap()]);
}

/// A server that lets this key in, and nobody else.
struct Server {
    folder: tempfile::TempDir,
    port: u16,
    process: Child,
}

impl Server {
    fn start(client_key: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        // Free now; whoever takes it in between makes the test fail with a clear error.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        make_key(&at("host"));
        fs::write(at("shell"), SHELL).unwrap();
        fs::set_permissions(at("shell"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::copy(format!("{}.pub", client_key.display()), at("authorized")).unwrap();
        let settings = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {0}/host\nAuthorizedKeysFile {0}/authorized\nPidFile none\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nPrintMotd no\n\
             PrintLastLog no\nForceCommand {0}/shell\n",
            folder.path().display()
        );
        fs::write(at("sshd_config"), settings).unwrap();
        // It insists on this place, which the system makes for its own server alone.
        fs::create_dir_all("/run/sshd").unwrap();
        let process = spawn(folder.path());
        Self { folder, port, process }
    }

    /// Who comes from now on finds a server whose key is another; who is there stays.
    async fn start_as_another(&mut self) {
        self.process.kill().await.unwrap();
        for name in ["host", "host.pub"] {
            fs::remove_file(self.folder.path().join(name)).unwrap();
        }
        make_key(&self.folder.path().join("host"));
        self.process = spawn(self.folder.path());
    }
}

fn spawn(folder: &Path) -> Child {
    let log = fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
    Command::new("/usr/sbin/sshd")
        .args(["-D", "-e", "-f"])
        .arg(folder.join("sshd_config"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn a_console_over_ssh_is_logged_and_typed_to_and_its_host_is_known_again() {
    let folder = tempfile::tempdir().unwrap();
    let credentials = folder.path().join("credentials");
    fs::create_dir(&credentials).unwrap();
    let key = credentials.join("console.ssh-key");
    make_key(&key);
    let mut server = Server::start(&key);
    let table = format!(
        "[console.nodes.nid001]\nline = 'ssh:root@127.0.0.1:{}'\nentry = 'console start'\n",
        server.port
    );
    let head = Head::start_in(folder, vec![component(1, None)], &table, None).await;
    head.until_logged("entered console start", 1).await;
    let mut reader = attach(&head.socket, "nid001", &How::default()).await.unwrap();
    see(&mut reader, "entered console start").await;
    type_in(&mut reader, "uname\r").await;
    // The terminal's echo, and what cat makes of it.
    head.until_logged("uname\n", 2).await;
    type_in(&mut reader, "").await;
    see(&mut reader, "not sent: this line knows no serial break").await;

    // Somebody else has the address now.
    server.start_as_another().await;
    type_in(&mut reader, "\x04").await;
    head.until_lost("Host key verification failed").await;
    assert_eq!(head.log("nid001").matches("entered").count(), 1, "it was not logged in to");
    let marks = marks(&head.log("nid001"));
    assert!(marks.iter().any(|it| it.starts_with("console lost: ssh ended")), "{marks:?}");
}
