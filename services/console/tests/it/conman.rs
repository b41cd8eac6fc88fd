//! Debian's `conman` at its own daemon and at ours: the same steps, the same words.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::pty::openpty;
use regex::Regex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::{Child, Command};

use super::head::{Head, component, limited, until};

/// Where Debian 13's conman is unpacked (image/prepare).
const PEERS: &str = "/usr/local/lib/pilothouse-peers/usr";
/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than conmand takes to let go of somebody, if it does.
const FORGOTTEN: Duration = Duration::from_secs(3);
const NODES: [&str; 3] = ["nid001", "nid002", "nid010"];

/// The nodes' ends of their serial lines, as UNIX sockets.
struct Nodes {
    folder: tempfile::TempDir,
    listeners: Vec<UnixListener>,
    lines: Vec<UnixStream>,
}

impl Nodes {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listeners = NODES.map(|it| UnixListener::bind(folder.path().join(it)).unwrap()).into();
        Self { folder, listeners, lines: Vec::new() }
    }

    fn path(&self, node: &str) -> PathBuf {
        self.folder.path().join(node)
    }

    async fn connected(&mut self) {
        for listener in &self.listeners {
            self.lines.push(limited(listener.accept()).await.unwrap().0);
        }
    }

    async fn write(&mut self, node: usize, text: &str) {
        self.lines[node].write_all(text.as_bytes()).await.unwrap();
    }

    /// What a node was sent, as many bytes.
    async fn read(&mut self, node: usize, count: usize) -> String {
        let mut bytes = vec![0; count];
        limited(self.lines[node].read_exact(&mut bytes)).await.unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// A client at a terminal.
struct Client {
    child: Child,
    keyboard: std::fs::File,
    screen: Arc<Mutex<Vec<u8>>>,
    reading: std::thread::JoinHandle<()>,
    read: usize,
}

impl Client {
    fn start(server: SocketAddr, arguments: &[&str]) -> Self {
        let pty = openpty(None, None).unwrap();
        let end = |fd: &OwnedFd| Stdio::from(fd.try_clone().unwrap());
        let child = Command::new(format!("{PEERS}/bin/conman"))
            .args(["-d", &server.to_string()])
            .args(arguments)
            .env_clear()
            .stdin(end(&pty.slave))
            .stdout(end(&pty.slave))
            .stderr(end(&pty.slave))
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let keyboard = std::fs::File::from(pty.master);
        let mut reads = keyboard.try_clone().unwrap();
        let screen = Arc::new(Mutex::new(Vec::new()));
        let shown = Arc::clone(&screen);
        let reading = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // The terminal fails when its last user is gone.
            while let Ok(count) = reads.read(&mut buffer) {
                shown.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
        });
        drop(pty.slave);
        Self { child, keyboard, screen, reading, read: 0 }
    }

    fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned()
    }

    /// Waits for words behind those waited for before.
    async fn see(&mut self, words: &str) {
        let look = || self.screen().get(self.read..).and_then(|it| it.find(words));
        let seen = until(async || look().is_some());
        if tokio::time::timeout(PATIENCE, seen).await.is_err() {
            panic!("{words:?} is not on the screen:\n{}", self.screen());
        }
        self.read += look().unwrap() + words.len();
    }

    fn type_in(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }

    /// All that was shown, and the status at the end; none: it does not end in time.
    async fn end_within(mut self, patience: Duration) -> Option<String> {
        let status = tokio::time::timeout(patience, self.child.wait()).await.ok()?.unwrap();
        let reading = self.reading;
        limited(tokio::task::spawn_blocking(move || reading.join().unwrap())).await.unwrap();
        let screen = String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned();
        Some(format!("{screen}[{:?}]\n", status.code()))
    }

    async fn end(self) -> String {
        self.end_within(PATIENCE).await.unwrap()
    }
}

/// What differs from run to run.
fn normal(text: &str, server: SocketAddr, folder: &Path) -> String {
    let text =
        text.replace(&server.port().to_string(), "PORT").replace(&folder.display().to_string(), "FOLDER");
    let mut text = text;
    for (pattern, word) in [
        (r"on pts/\d+", "on TTY"),
        (r"at \d\d-\d\d \d\d:\d\d", "at TIME"),
        (r"\(idle \w+\)", "(idle TIME)"),
        (r"\(pid \d+\)", "(pid PID)"),
        // conman's log has more lines of its own than ours.
        (r"(?s)(Begin log replay of console \[\w+\]\.\r\n).*?(\r\n<ConMan> End log replay)", "${1}LOG${2}"),
    ] {
        text = Regex::new(pattern).unwrap().replace_all(&text, word).into_owned();
    }
    text
}

/// Queries, and what is refused.
async fn ask(server: SocketAddr) -> String {
    let mut all = String::new();
    for arguments in [
        &["-q"][..],
        &["-q", "nid00*"],
        &["-q", "nid010,nid001"],
        &["-q", "-r", "NID00(1|2)"],
        &["-q", "nid[!0]*"],
        &["-q", "-r", "("],
        &["-q", "-r", "[a"],
        &["-m", "nid*"],
        &["nid00?"],
        &["nobody"],
        &["-f", "nid00[12]"],
        &["-Q", "-j", "it's"],
    ] {
        let output = Command::new(format!("{PEERS}/bin/conman"))
            .args(["-d", &server.to_string()])
            .args(arguments)
            .stdin(Stdio::null())
            .output();
        let output = limited(output).await.unwrap();
        let text =
            [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned()).concat();
        all += &format!("{arguments:?} {:?}\n{text}", output.status.code());
    }
    all
}

/// One who writes, one who reads, and those who join and steal.
async fn share(server: SocketAddr, nodes: &mut Nodes, patience: Duration) -> Option<String> {
    let mut writer = Client::start(server, &["nid001"]);
    writer.see("opened").await;
    nodes.write(0, "nid001 login: ").await;
    writer.see("login: ").await;
    writer.type_in("root\r&&a&xb");
    assert_eq!(nodes.read(0, 10).await, "root\r&a&xb");
    let mut reader = Client::start(server, &["-m", "nid001"]);
    reader.see("opened").await;
    let busy = Client::start(server, &["nid001"]).end().await;
    nodes.write(0, "one\r\n").await;
    reader.see("one").await;
    writer.see("one").await;
    // Reads, joins, reads again.
    reader.type_in("not sent &?");
    reader.see("Suspend the client").await;
    reader.type_in("&I&J");
    reader.see("joined with").await;
    writer.see("joined by").await;
    reader.type_in("two\r");
    assert_eq!(nodes.read(0, 4).await, "two\r");
    reader.type_in("&M");
    reader.see("departed by").await;
    writer.see("departed by").await;
    reader.type_in("&L");
    reader.see("End log replay").await;
    reader.type_in("&Q");
    reader.see("suppressed").await;
    // A thief ends the writer; who wants quiet is not told.
    let mut thief = Client::start(server, &["-f", "nid001"]);
    thief.see("stolen from").await;
    let robbed = writer.end_within(patience).await?;
    thief.type_in("three\r");
    assert_eq!(nodes.read(0, 6).await, "three\r");
    thief.type_in("&D");
    assert_eq!(nodes.read(0, 1).await, "\x7f");
    thief.type_in("&?");
    thief.see("Suspend the client").await;
    reader.type_in("&Q");
    reader.see("displayed").await;
    let mut joined = Client::start(server, &["-j", "nid001"]);
    joined.see("joined with").await;
    thief.see("joined by").await;
    joined.type_in("&.");
    let joined = joined.end().await;
    thief.see("departed by").await;
    reader.see("departed by").await;
    reader.type_in("&F");
    reader.see("stolen from").await;
    let thief = thief.end_within(patience).await?;
    reader.type_in("&.");
    let reader = reader.end().await;
    Some([busy, robbed, thief, joined, reader].join("----\n"))
}

/// One who writes to two nodes.
async fn broadcast(server: SocketAddr, nodes: &mut Nodes) -> String {
    let mut reader = Client::start(server, &["-m", "nid002"]);
    reader.see("opened").await;
    let mut all = Client::start(server, &["-b", "nid002", "nid010"]);
    all.see("opened").await;
    reader.see("for B/C").await;
    let busy = Client::start(server, &["nid010"]).end().await;
    let both = Client::start(server, &["-b", "nid0*"]).end().await;
    all.type_in("ls\r&?");
    all.see("Suspend the client").await;
    assert_eq!((nodes.read(1, 3).await, nodes.read(2, 3).await), ("ls\r".to_owned(), "ls\r".to_owned()));
    nodes.write(1, "not for those who broadcast\r\n").await;
    reader.see("those who broadcast").await;
    all.type_in("&I&.");
    let all = all.end().await;
    reader.see("departed by").await;
    reader.type_in("&.");
    let reader = reader.end().await;
    let mut single = Client::start(server, &["-b", "nid01?"]);
    single.see("opened").await;
    single.type_in("&I&.");
    [busy, both, all, reader, single.end().await].join("----\n")
}

/// None: somebody who was robbed was not let go within this time.
async fn run(server: SocketAddr, nodes: &mut Nodes, patience: Duration) -> Option<String> {
    let shared = share(server, nodes, patience).await?;
    let all = [ask(server).await, shared, broadcast(server, nodes).await].join("====\n");
    Some(normal(&all, server, nodes.folder.path()))
}

/// What Debian's own daemon says. It now and then forgets to let go of who was robbed, if what they were told was sent a
/// moment too early; then it is asked anew.
async fn theirs() -> String {
    for _ in 0..10 {
        let mut nodes = Nodes::new();
        let (mut daemon, server) = real(&mut nodes).await;
        let said = run(server, &mut nodes, FORGOTTEN).await;
        daemon.kill().await.unwrap();
        if let Some(said) = said {
            return said;
        }
    }
    panic!("conmand never lets go of who was robbed");
}

/// conman's own daemon with these nodes.
async fn real(nodes: &mut Nodes) -> (Child, SocketAddr) {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let folder = nodes.folder.path();
    let mut text = format!(
        "SERVER logdir=\"{0}\"\nSERVER pidfile=\"{0}/pid\"\nSERVER loopback=ON\nSERVER port={1}\n\
         SERVER resetcmd=\"true\"\nGLOBAL log=\"{0}/console.%N\"\nGLOBAL logopts=\"sanitize,timestamp\"\n",
        folder.display(),
        server.port()
    );
    for node in NODES {
        text += &format!("CONSOLE name=\"{node}\" dev=\"unix:{}\"\n", nodes.path(node).display());
    }
    std::fs::write(folder.join("conman.conf"), text).unwrap();
    let daemon = Command::new(format!("{PEERS}/sbin/conmand"))
        .args(["-F", "-c"])
        .arg(folder.join("conman.conf"))
        .env("TZ", "UTC")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    nodes.connected().await;
    (daemon, server)
}

#[tokio::test]
async fn debians_client_says_the_same_at_its_own_daemon_and_here() {
    let theirs = theirs().await;
    let mut nodes = Nodes::new();
    let rows = [1, 2, 10].map(|it| component(it, None)).into();
    let tables =
        NODES.map(|it| format!("[console.nodes.{it}]\nline = 'unix:{}'\n", nodes.path(it).display()));
    let head = Head::start(rows, &tables.concat()).await;
    nodes.connected().await;
    until(async || NODES.iter().all(|it| head.log(it).contains("console open"))).await;
    let ours = run(head.conman, &mut nodes, PATIENCE).await.unwrap();
    for (number, (theirs, ours)) in theirs.lines().zip(ours.lines()).enumerate() {
        assert_eq!(theirs, ours, "line {number}");
    }
    assert_eq!(theirs, ours);
}
