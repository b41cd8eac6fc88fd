//! pyghmi's BMC (cipher suite 3 alone), with `ipmitool` and FreeIPMI's `ipmipower` beside.

use std::net::{SocketAddr, UdpSocket};
use std::process::Stdio;
use std::time::Duration;

use ipmi::boot::{BootDevice, BootOverride};
use ipmi::chassis::PowerAction;
use ipmi::{CipherSuite, Session, SolEvent, SolOptions, Target};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::fake::{PASSWORD, USER};
use super::{limited, quick};

struct Pyghmi {
    address: SocketAddr,
    _process: Child,
}

impl Pyghmi {
    async fn start() -> Self {
        // Free now; whoever takes it in between makes the test fail with a clear error.
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut process = Command::new("/usr/bin/python3")
            .args(["-c", include_str!("pyghmi.py"), &port.to_string(), USER, PASSWORD])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap()).lines();
        let first = limited(said.next_line()).await.unwrap();
        assert_eq!(first.as_deref(), Some("ready"), "is python3-pyghmi installed?");
        Self { address: ([127, 0, 0, 1], port).into(), _process: process }
    }

    async fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = Command::new(program).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
        let output = limited(output).await.unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    async fn ipmitool(&self, arguments: &[&str]) -> String {
        let port = self.address.port().to_string();
        let account =
            ["-I", "lanplus", "-C", "3", "-H", "127.0.0.1", "-p", &port, "-U", USER, "-P", PASSWORD];
        self.run("/usr/bin/ipmitool", &[&account, arguments].concat()).await
    }

    async fn ipmipower(&self, argument: &str) -> String {
        let host = self.address.to_string();
        let account = ["-D", "LAN_2_0", "-I", "3", "-h", &host, "-u", USER, "-p", PASSWORD];
        self.run("/usr/sbin/ipmipower", &[&account[..], &["-W", "opensesspriv", argument]].concat()).await
    }
}

#[tokio::test]
async fn power_and_boot_device_are_as_others_see_them() {
    let pyghmi = Pyghmi::start().await;
    let target = Target::new(pyghmi.address, USER, PASSWORD);
    let session = limited(Session::open(&target, quick())).await.unwrap();
    assert_eq!(
        session.cipher_suite(),
        CipherSuite::Three,
        "it names the suite it has, whatever it is asked for"
    );
    assert!(!limited(session.chassis_status()).await.unwrap().power_on);
    limited(session.chassis_control(PowerAction::On)).await.unwrap();
    assert!(limited(session.chassis_status()).await.unwrap().power_on);
    let said = pyghmi.ipmitool(&["chassis", "power", "status"]).await;
    assert_eq!(said.trim(), "Chassis Power is on");
    let said = pyghmi.ipmipower("--stat").await;
    assert!(said.trim().ends_with(": on"), "{said}");
    let boot = BootOverride { device: BootDevice::Pxe, persistent: false, efi: false };
    limited(session.set_boot_device(boot)).await.unwrap();
    pyghmi.ipmipower("--off").await;
    assert!(!limited(session.chassis_status()).await.unwrap().power_on);
    session.close().await.unwrap();
}

#[tokio::test]
async fn a_wrong_password_is_told() {
    let pyghmi = Pyghmi::start().await;
    let target = Target::new(pyghmi.address, USER, "another");
    let error = limited(Session::open(&target, quick())).await.expect_err("the wrong password");
    assert!(matches!(error, ipmi::Error::Auth { .. }), "{error}");
}

#[tokio::test]
async fn its_line_echoes_what_is_written() {
    let pyghmi = Pyghmi::start().await;
    let target = Target::new(pyghmi.address, USER, PASSWORD);
    let session = limited(Session::open(&target, quick())).await.unwrap();
    limited(session.chassis_control(PowerAction::On)).await.unwrap();
    let options = SolOptions { retry_wait: Duration::from_millis(500), ..SolOptions::default() };
    let mut line = limited(session.activate_sol(options)).await.unwrap();
    for number in 0..20 {
        let written = format!("echo {number}\r");
        limited(line.send(written.as_bytes())).await.unwrap();
        let mut read = Vec::new();
        while read.len() < written.len() {
            match limited(line.recv()).await.unwrap() {
                SolEvent::Data(data) => read.extend(data),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(String::from_utf8_lossy(&read), written);
    }
    limited(line.deactivate()).await.unwrap();
    session.close().await.unwrap();
}
