//! `ipmi_sim` with a chassis in a shell script, in a folder that goes with it.

use std::fs;
use std::net::UdpSocket;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::{Child, Command};

pub(crate) const USER: &str = "admin";
pub(crate) const PASSWORD: &str = "secret12";

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
  esac
  shift 2
done
"#;

/// One BMC; it goes with its process when dropped.
pub(crate) struct Simulator {
    pub(crate) port: u16,
    folder: TempDir,
    _bmc: Child,
}

impl Simulator {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        // Free now; whoever takes it in between makes the test fail with a clear error.
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let dir = path.display();
        fs::create_dir(path.join("state")).unwrap();
        fs::write(path.join("chassis.sh"), CHASSIS).unwrap();
        fs::write(path.join("power"), "0").unwrap();
        fs::write(path.join("boot"), "default").unwrap();
        fs::write(path.join("events"), "").unwrap();
        fs::write(path.join("lan.conf"), configuration(port, path)).unwrap();
        // The controller: its address, its device id (20h), and that it may be asked.
        let controller =
            "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02\nmc_enable 0x20\n";
        fs::write(path.join("bmc.emu"), controller).unwrap();
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
        Self { port, folder, _bmc: bmc }
    }

    /// What the chassis was told so far.
    pub(crate) fn events(&self) -> Vec<String> {
        let events = fs::read_to_string(self.folder.path().join("events")).unwrap();
        events.lines().map(str::to_owned).collect()
    }
}

fn configuration(port: u16, folder: &std::path::Path) -> String {
    let folder = folder.display();
    let levels = ["callback", "user", "operator", "admin"];
    let auths: String = levels.map(|level| format!("    allowed_auths_{level} none md5\n")).concat();
    format!(
        "name \"test\"\nset_working_mc 0x20\n  startlan 1\n    addr 127.0.0.1 {port}\n    priv_limit admin\n\
         {auths}    guid 00112233445566778899aabbccddeeff\n  endlan\n\
         chassis_control \"/bin/sh {folder}/chassis.sh {folder}\"\n\
         user 1 true \"\" \"nothing\" user 10 none md5\n\
         user 2 true \"{USER}\" \"{PASSWORD}\" admin 10 none md5\n"
    )
}
