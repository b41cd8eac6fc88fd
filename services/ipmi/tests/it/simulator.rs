//! `ipmi_sim` with a chassis and a serial line, each in a folder of its own that goes with it.
//!
//! The chassis is a shell script with its state in a file. The line is a pseudo-terminal whose far end is
//! `socat`'s standard input and output: what the test writes there, the node has written.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::process::Stdio;

use ipmi::{CipherSuite, Target};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

pub(crate) const USER: &str = "admin";
pub(crate) const PASSWORD: &str = "secret12";
const READER: (&str, &str) = ("reader", "only-reads");

/// Answers the simulator's questions and notes each order in `events`.
const CHASSIS: &str = r#"
cd "$1" || exit 1
verb=$2
shift 2
while [ $# -gt 0 ]; do
  if [ "$verb" = get ]; then
    echo "$1:$(cat "$1")"
    shift
    continue
  fi
  echo "$1 $2" >>events
  case $1 in
    power | boot) echo "$2" >"$1" ;;
    reset) ;;
    shutdown) echo 0 >power ;;
    identify) ;;
    *) echo "unknown order $1"; exit 1 ;;
  esac
  shift 2
done
"#;

/// The controller: its address, its device id (20h), two entries in its log, a temperature sensor of 48 °C
/// (30h) with its record, a unit's inventory (a board), and that it may be asked.
const CONTROLLER: &str = "\
mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02
sel_enable 0x20 1000 0x0a
sel_add 0x20 0x02 0 0 0 0x60 0x20 0 4 1 1 1 0x59 0x92 0x90
sel_add 0x20 0xe0 1 2 3 4 5 6 7 8 9 10 11 12 13
sensor_add 0x20 0 1 0x01 0x01
sensor_set_value 0x20 0 1 0x30 0
sensor_set_threshold 0x20 0 1 settable 111000 0xa0 0x90 0x70 00 00 00
sensor_set_event_support 0x20 0 1 enable scanning per-state 000111111000000 000111111000000 \
  000111111000000 000111111000000
main_sdr_add 0x20 00 00 0x51 0x01 0x33 0x20 0 1 3 1 0x7f 0x68 1 1 0 0x70 0 0x70 0x38 0x38 0 1 0 0 1 0 0 0 0 \
  0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0xc8 0x43 0x50 0x55 0x20 0x54 0x65 0x6d 0x70
mc_add_fru_data 0x20 0 64 data 1 0 0 1 0 0 0 0xfe \
  1 4 25 1 0 0 0xc5 0x4d 0x61 0x6b 0x65 0x72 0xc5 0x42 0x6f 0x61 0x72 0x64 0xc2 0x53 0x32 0xc2 \
  0x50 0x32 0xc0 0xc1 0 0 0 0 0 0x73
mc_enable 0x20
";

/// One BMC; it goes with its processes when dropped.
pub(crate) struct Simulator {
    pub(crate) address: SocketAddr,
    /// The node's end of the serial line.
    pub(crate) node: Child,
    folder: TempDir,
    _bmc: Child,
}

impl Simulator {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let (node, terminal) = serial_line().await;
        // Free now; whoever takes it in between makes the test fail with a clear error.
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let dir = path.display();
        fs::create_dir(path.join("state")).unwrap();
        fs::write(path.join("chassis.sh"), CHASSIS).unwrap();
        fs::write(path.join("power"), "0").unwrap();
        fs::write(path.join("boot"), "default").unwrap();
        fs::write(path.join("lan.conf"), configuration(port, &terminal, path)).unwrap();
        fs::write(path.join("bmc.emu"), CONTROLLER).unwrap();
        let bmc = Command::new("/usr/bin/ipmi_sim")
            .args(["-n", "-c", &format!("{dir}/lan.conf"), "-f", &format!("{dir}/bmc.emu")])
            .args(["-s", &format!("{dir}/state")])
            .current_dir(path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { address: ([127, 0, 0, 1], port).into(), node, folder, _bmc: bmc }
    }

    pub(crate) fn target(&self) -> Target {
        Target::new(self.address, USER, PASSWORD)
    }

    /// An account at user level.
    pub(crate) fn reader(&self) -> Target {
        Target::new(self.address, READER.0, READER.1)
    }

    /// What the chassis was told since the last time this was asked.
    pub(crate) fn events(&self) -> Vec<String> {
        let path = self.folder.path().join("events");
        let events = fs::read_to_string(&path).unwrap_or_default();
        fs::write(&path, "").unwrap();
        events.lines().map(str::to_owned).collect()
    }

    /// Asks `ipmitool` and gives what it prints.
    pub(crate) async fn ipmitool(&self, arguments: &str) -> String {
        let port = self.address.port().to_string();
        let suite = CipherSuite::Three.to_string();
        let output = Command::new("/usr/bin/ipmitool")
            .args(["-I", "lanplus", "-C", &suite, "-H", "127.0.0.1", "-p", &port, "-U", USER, "-P", PASSWORD])
            .args(arguments.split(' '))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ipmitool {arguments}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }
}

fn configuration(port: u16, terminal: &str, folder: &std::path::Path) -> String {
    let folder = folder.display();
    let levels = ["callback", "user", "operator", "admin"];
    let auths: String = levels.map(|level| format!("    allowed_auths_{level} none md5\n")).concat();
    let (reader, secret) = READER;
    format!(
        "name \"test\"\nset_working_mc 0x20\n  startlan 1\n    addr 127.0.0.1 {port}\n    priv_limit admin\n\
         {auths}    guid 00112233445566778899aabbccddeeff\n  endlan\n\
         chassis_control \"/bin/sh {folder}/chassis.sh {folder}\"\n\
         sol \"{terminal}\" 115200\n\
         user 1 true \"\" \"nothing\" user 10 none md5\n\
         user 2 true \"{USER}\" \"{PASSWORD}\" admin 10 none md5\n\
         user 3 true \"{reader}\" \"{secret}\" user 10 none md5\n"
    )
}

/// A pseudo-terminal for the BMC, and the process whose standard input and output are its other end.
async fn serial_line() -> (Child, String) {
    let mut socat = Command::new("/usr/bin/socat")
        .args(["-d", "-d", "PTY,rawer", "STDIO"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut notes = BufReader::new(socat.stderr.take().unwrap()).lines();
    while let Some(note) = notes.next_line().await.unwrap() {
        if let Some((_, terminal)) = note.split_once("PTY is ") {
            let terminal = terminal.trim().to_owned();
            // It goes on taking notes, and would end if nobody read them.
            tokio::spawn(async move { while let Ok(Some(_)) = notes.next_line().await {} });
            return (socat, terminal);
        }
    }
    panic!("socat opened no pseudo-terminal");
}
