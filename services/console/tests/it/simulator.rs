//! `ipmi_sim` with a chassis and a serial line, in a folder that goes with it.
//!
//! The line is a pseudo-terminal whose far end is `socat`'s standard input and output: what the test writes
//! there, the node has written.

use std::fs::{self, File};
use std::net::UdpSocket;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Stdio;

use ipmi::{Session, SessionOptions, Target};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::head::limited;

pub(crate) const USER: &str = "admin";
pub(crate) const PASSWORD: &str = "secret12";

/// Answers the simulator's questions.
const CHASSIS: &str = r#"
cd "$1" || exit 1
verb=$2
shift 2
while [ $# -gt 0 ]; do
  case $verb,$1 in
    get,*) echo "$1:$(cat "$1")"; shift ;;
    set,power) echo "$2" >power; shift 2 ;;
    *) shift 2 ;;
  esac
done
"#;

/// One BMC and its node's serial line; it goes with its processes when dropped.
pub(crate) struct Simulator {
    pub(crate) port: u16,
    writes: ChildStdin,
    reads: ChildStdout,
    bmc: Child,
    folder: TempDir,
    _socat: Child,
    /// Holds the line while there is no BMC.
    _terminal: File,
}

impl Simulator {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let (mut socat, terminal) = serial_line().await;
        // Free now; whoever takes it in between makes the test fail with a clear error.
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        fs::create_dir(path.join("state")).unwrap();
        fs::write(path.join("chassis.sh"), CHASSIS).unwrap();
        fs::write(path.join("power"), "1").unwrap();
        fs::write(path.join("lan.conf"), configuration(port, &terminal, path)).unwrap();
        // The controller: its address, its device id (20h), and that it may be asked.
        let controller =
            "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02\nmc_enable 0x20\n";
        fs::write(path.join("bmc.emu"), controller).unwrap();
        let nix_noctty = 0o400;
        let held = File::options().read(true).write(true).custom_flags(nix_noctty).open(&terminal).unwrap();
        let (writes, reads) = (socat.stdin.take().unwrap(), socat.stdout.take().unwrap());
        let bmc = spawn(path);
        Self { port, writes, reads, bmc, folder, _socat: socat, _terminal: held }
    }

    /// The BMC dies, as if its plug was pulled.
    pub(crate) async fn kill(&mut self) {
        self.bmc.kill().await.unwrap();
    }

    pub(crate) fn start_again(&mut self) {
        self.bmc = spawn(self.folder.path());
    }

    /// The node writes.
    pub(crate) async fn write(&mut self, text: &str) {
        self.writes.write_all(text.as_bytes()).await.unwrap();
    }

    /// What the node was sent, as many bytes.
    pub(crate) async fn read(&mut self, count: usize) -> String {
        let mut bytes = vec![0; count];
        limited(self.reads.read_exact(&mut bytes)).await.unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// A session of somebody else.
    pub(crate) async fn session(&self) -> Session {
        let target = Target::new(([127, 0, 0, 1], self.port).into(), USER, PASSWORD);
        limited(Session::open(&target, SessionOptions::default())).await.unwrap()
    }
}

fn spawn(path: &std::path::Path) -> Child {
    let dir = path.display();
    Command::new("/usr/bin/ipmi_sim")
        .args(["-n", "-c", &format!("{dir}/lan.conf"), "-f", &format!("{dir}/bmc.emu")])
        .args(["-s", &format!("{dir}/state")])
        .current_dir(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

fn configuration(port: u16, terminal: &str, folder: &std::path::Path) -> String {
    let folder = folder.display();
    let levels = ["callback", "user", "operator", "admin"];
    let auths: String = levels.map(|level| format!("    allowed_auths_{level} none md5\n")).concat();
    format!(
        "name \"test\"\nset_working_mc 0x20\n  startlan 1\n    addr 127.0.0.1 {port}\n    priv_limit admin\n\
         {auths}    guid 00112233445566778899aabbccddeeff\n  endlan\n\
         chassis_control \"/bin/sh {folder}/chassis.sh {folder}\"\n\
         sol \"{terminal}\" 115200\n\
         user 1 true \"\" \"nothing\" user 10 none md5\n\
         user 2 true \"{USER}\" \"{PASSWORD}\" admin 10 none md5\n"
    )
}

/// A pseudo-terminal for the BMC, and the process whose standard input and output are its other end.
pub(crate) async fn serial_line() -> (Child, String) {
    let mut socat = Command::new("/usr/bin/socat")
        .args(["-d", "-d", "PTY,rawer", "STDIO"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut notes = BufReader::new(socat.stderr.take().unwrap()).lines();
    while let Some(note) = limited(notes.next_line()).await.unwrap() {
        if let Some((_, terminal)) = note.split_once("PTY is ") {
            let terminal = terminal.trim().to_owned();
            // It goes on taking notes, and would end if nobody read them.
            tokio::spawn(async move { while let Ok(Some(_)) = notes.next_line().await {} });
            return (socat, terminal);
        }
    }
    panic!("socat opened no pseudo-terminal");
}
