//! The programs that are measured beside ours: each in a network namespace of its own, with settings that are printed.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use nix::sys::signal::Signal;
use tests::program::find;
use tests::{Pg, Process, Run, settle};

use super::Place;

/// Where peers listen; ours is at [`super::OURS`].
pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 3);
/// How long a peer may take until it answers.
const START_MAX: Duration = Duration::from_secs(20);
/// The machines' hardware addresses, from this on.
const FIRST_MAC: u32 = 0x0100_0000;

/// A program that serves DHCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dhcp {
    Kea,
    KeaPostgres,
    Dnsmasq,
    Coredhcp,
}

/// A program that serves TFTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tftp {
    Dnsmasq,
    TftpdHpa,
    Atftpd,
}

/// Whom the clients are: known by their hardware address, or served from a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clients {
    Known(u32),
    Pool(u32),
}

/// Client `index`'s hardware address, as perfdhcp counts from its base.
pub(super) fn mac(index: u32) -> String {
    let [_, a, b, c] = (FIRST_MAC + index).to_be_bytes();
    format!("02:0c:01:{a:02x}:{b:02x}:{c:02x}")
}

/// Its address, if it is known.
pub(super) fn address(index: u32) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, 128 + (index / 250) as u8, 1 + (index % 250) as u8)
}

impl Dhcp {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kea => "Kea memfile",
            Self::KeaPostgres => "Kea PostgreSQL",
            Self::Dnsmasq => "dnsmasq",
            Self::Coredhcp => "coredhcp file",
        }
    }

    /// Its settings, in a line.
    pub(super) fn settings(self) -> &'static str {
        match self {
            Self::Kea => {
                "raw sockets, one thread, lease file persist=true (it does not fsync), lfc-interval 3600"
            }
            Self::KeaPostgres => {
                "raw sockets, one thread, leases in PostgreSQL with fsync=on, synchronous_commit=on"
            }
            Self::Dnsmasq => {
                "--no-ping --quiet-dhcp --dhcp-authoritative, its lease file (fsynced at each change)"
            }
            Self::Coredhcp => {
                "plugins server_id, lease_time, netmask, router, file: it keeps no lease at all"
            }
        }
    }

    /// Its program.
    pub(super) fn find(self, place: &Place) -> anyhow::Result<PathBuf> {
        match self {
            Self::Kea | Self::KeaPostgres => find("kea-dhcp4", "kea-dhcp4-server"),
            Self::Dnsmasq => find("dnsmasq", "dnsmasq-base"),
            Self::Coredhcp => match &place.coredhcp {
                Some(path) => Ok(path.clone()),
                None => find("coredhcp", "coredhcp").context(
                    "build it with `go build ./cmds/coredhcp` in a checkout of github.com/coredhcp/coredhcp, \
                     and name it with --coredhcp",
                ),
            },
        }
    }

    /// Starts it with no lease yet, and waits until it listens.
    pub(super) async fn start(
        self,
        place: &Place,
        clients: Clients,
        pg: Option<&Pg>,
    ) -> anyhow::Result<Process> {
        let folder = place.folder.join("dhcp");
        if folder.exists() {
            fs::remove_dir_all(&folder).context("forget the leases")?;
        }
        fs::create_dir_all(&folder)?;
        let program = self.find(place)?;
        let run = match self {
            Self::Kea | Self::KeaPostgres => {
                if let Some(pg) = pg.filter(|_| self == Self::KeaPostgres) {
                    pg.psql("kea", "truncate lease4; delete from lease4_stat; checkpoint;")
                        .context("forget the leases")?;
                }
                let settings = kea(&folder, clients, pg.filter(|_| self == Self::KeaPostgres));
                fs::write(folder.join("kea.json"), settings)?;
                let run = place.inside("kea", &program).arg("-c").arg(folder.join("kea.json"));
                run.env("KEA_LOCKFILE_DIR", &folder).env("KEA_PIDFILE_DIR", &folder)
            }
            Self::Dnsmasq => place.inside("dnsmasq", &program).args(dnsmasq(&folder, clients)?),
            Self::Coredhcp => {
                fs::write(folder.join("core.yml"), coredhcp(&folder, clients)?)?;
                place
                    .inside("coredhcp", &program)
                    .arg("-c")
                    .arg(folder.join("core.yml"))
                    .args(["-L", "error"])
            }
        };
        listening(place, run.spawn()?, 67).await
    }
}

/// What Kea is told.
fn kea(folder: &Path, clients: Clients, pg: Option<&Pg>) -> String {
    let store = match pg {
        Some(pg) => format!(
            r#""type":"postgresql","name":"kea","user":"postgres","password":"","host":"{}""#,
            pg.socket().display()
        ),
        None => format!(
            r#""type":"memfile","persist":true,"lfc-interval":3600,"name":"{}/leases4.csv""#,
            folder.display()
        ),
    };
    let (pool, known) = match clients {
        Clients::Known(count) => ("10.99.64.0-10.99.127.255", count),
        Clients::Pool(_) => (super::POOL, 0),
    };
    let reservation = |it| format!(r#"{{"hw-address":"{}","ip-address":"{}"}}"#, mac(it), address(it));
    let reservations = (0..known).map(reservation).collect::<Vec<_>>().join(",\n");
    format!(
        r#"{{"Dhcp4":{{"interfaces-config":{{"interfaces":["eth0"],"dhcp-socket-type":"raw"}},"lease-database":{{{store}}},
"multi-threading":{{"enable-multi-threading":false}},"valid-lifetime":86400,"host-reservation-identifiers":["hw-address"],
"option-data":[{{"name":"routers","data":"{ADDRESS}"}},{{"name":"domain-name-servers","data":"{ADDRESS}"}}],
"loggers":[{{"name":"kea-dhcp4","severity":"WARN","output_options":[{{"output":"{}/kea.log"}}]}}],
"subnet4":[{{"id":1,"subnet":"10.99.0.0/16","next-server":"{ADDRESS}","boot-file-name":"x.efi",
"pools":[{{"pool":"{pool}"}}],"reservations-out-of-pool":{},"reservations":[{reservations}]}}]}}}}
"#,
        folder.display(),
        known > 0,
    )
}

fn dnsmasq(folder: &Path, clients: Clients) -> anyhow::Result<Vec<String>> {
    let words = "-k -C /dev/null --port=0 --interface=eth0 --bind-interfaces --except-interface=lo --no-ping \
        --dhcp-authoritative --quiet-dhcp --user=root --pid-file= --dhcp-lease-max=70000 --dhcp-boot=x.efi";
    let mut words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    words.push(format!("--log-facility={}/dnsmasq.log", folder.display()));
    words.push(format!("--dhcp-leasefile={}/leases", folder.display()));
    let range = match clients {
        Clients::Known(count) => {
            let line = |it| format!("{},{}\n", mac(it), address(it));
            let hosts = folder.join("hosts");
            fs::write(&hosts, (0..count).map(line).collect::<String>())?;
            words.push(format!("--dhcp-hostsfile={}", hosts.display()));
            "10.99.64.0,10.99.127.255".to_owned()
        }
        Clients::Pool(_) => super::POOL.replace('-', ","),
    };
    words.push(format!("--dhcp-range={range},255.255.0.0,24h"));
    Ok(words)
}

fn coredhcp(folder: &Path, clients: Clients) -> anyhow::Result<String> {
    let Clients::Known(count) = clients else { anyhow::bail!("coredhcp's file plugin has no pool") };
    let line = |it| format!("{} {}\n", mac(it), address(it));
    let hosts = folder.join("hosts");
    fs::write(&hosts, (0..count).map(line).collect::<String>())?;
    let mut text = format!(
        "server4:\n  listen:\n    - \"%eth0\"\n  plugins:\n    - server_id: {ADDRESS}\n    - lease_time: 86400s\n"
    );
    write!(text, "    - netmask: 255.255.0.0\n    - router: {ADDRESS}\n    - file: {}\n", hosts.display())?;
    Ok(text)
}

impl Tftp {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Dnsmasq => "dnsmasq",
            Self::TftpdHpa => "tftpd-hpa",
            Self::Atftpd => "atftpd",
        }
    }

    /// Serves a folder until it is dropped.
    pub(super) async fn start(self, place: &Place, root: &Path) -> anyhow::Result<Process> {
        let folder = root.display().to_string();
        let run = match self {
            Self::Dnsmasq => place.inside("dnsmasq", &find("dnsmasq", "dnsmasq-base")?).args([
                "-k",
                "-C",
                "/dev/null",
                "--port=0",
                "--interface=eth0",
                "--bind-interfaces",
                "--except-interface=lo",
                "--user=root",
                "--pid-file=",
                "--enable-tftp",
                &format!("--tftp-root={folder}"),
                "--tftp-max=1000",
                "--quiet-tftp",
            ]),
            Self::TftpdHpa => place.inside("in.tftpd", &find("in.tftpd", "tftpd-hpa")?).args([
                "-L",
                "-4",
                "-s",
                "-u",
                "root",
                "-a",
                &format!("{ADDRESS}:69"),
                &folder,
            ]),
            Self::Atftpd => {
                let program = match &place.atftpd {
                    Some(path) => path.clone(),
                    None => find("atftpd", "atftpd")
                        .context("it conflicts with tftpd-hpa: unpack it, --atftpd PATH")?,
                };
                place.inside("atftpd", &program).args([
                    "--daemon",
                    "--no-fork",
                    "--logfile",
                    "-",
                    "--verbose=0",
                    "--maxthread",
                    "1000",
                    "--user",
                    "root",
                    "--group",
                    "root",
                    "--bind-address",
                    &ADDRESS.to_string(),
                    &folder,
                ])
            }
        };
        listening(place, run.spawn()?, 69).await
    }
}

/// Waits until a port of the peers' namespace is bound.
async fn listening(place: &Place, process: Process, port: u16) -> anyhow::Result<Process> {
    let (name, word) = (process.name().to_owned(), format!(":{port:04X} "));
    settle::until(START_MAX, &format!("{name} listens"), async || {
        ensure!(process.is_running(), "{name} ended\n{}", process.tail(10));
        let pid = place.peer_pid();
        let bound = fs::read_to_string(format!("/proc/{pid}/net/udp"))?
            + &fs::read_to_string(format!("/proc/{pid}/net/packet"))?;
        Ok(bound.contains(&word).then_some(()))
    })
    .await?;
    Ok(process)
}

/// Ends a peer.
pub(super) async fn stop(process: Process) -> anyhow::Result<()> {
    process.stop(Signal::SIGTERM, Duration::from_secs(10)).await.map(drop)
}

impl Place {
    /// A program in the peers' namespace.
    pub(super) fn inside(&self, name: &str, program: &Path) -> Run {
        let run = Run::new(name, "/usr/bin/nsenter", self.folder.join(format!("{name}.log")));
        run.arg(format!("--net={}", self.peer.namespace().display())).arg("--").arg(program)
    }
}
