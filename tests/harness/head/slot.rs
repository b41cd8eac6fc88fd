//! One service's place: its sockets, which outlive its process, and its process.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use domain::Service;
use nix::sys::signal::Signal;

use crate::head::notify::{Notify, STORE_MAX};
use crate::head::{Ports, events};
use crate::process::{Process, Run, tail_of};

/// How long a service may take until READY; a machine under load needs seconds.
const READY_MAX: Duration = Duration::from_secs(30);

/// A socket that systemd would hold.
#[derive(Debug)]
enum Held {
    Http(UnixListener),
    Tcp(&'static str, TcpListener),
    Udp(&'static str, UdpSocket),
    Datagram(&'static str, UnixDatagram),
}

#[derive(Debug)]
pub(super) struct Slot {
    service: Service,
    program: PathBuf,
    folder: PathBuf,
    held: Vec<Held>,
    notify: Notify,
    process: Option<Process>,
}

impl Held {
    fn handed_over(&self) -> std::io::Result<(String, OwnedFd)> {
        Ok(match self {
            Self::Http(it) => ("http".to_owned(), it.try_clone()?.into()),
            Self::Tcp(name, it) => ((*name).to_owned(), it.try_clone()?.into()),
            Self::Udp(name, it) => ((*name).to_owned(), it.try_clone()?.into()),
            Self::Datagram(name, it) => ((*name).to_owned(), it.try_clone()?.into()),
        })
    }
}

impl Slot {
    pub(super) fn bind(
        service: Service,
        program: PathBuf,
        folder: &Path,
        address: IpAddr,
        ports: Ports,
    ) -> anyhow::Result<Self> {
        let path = folder.join("run").join(format!("{service}.sock"));
        let http = UnixListener::bind(&path).with_context(|| format!("listen on {}", path.display()))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))?;
        let mut held = vec![Held::Http(http)];
        let tcp = |name, port| {
            let listener = TcpListener::bind((address, port));
            listener
                .map(|it| Held::Tcp(name, it))
                .with_context(|| format!("listen on {address}, TCP port {port}"))
        };
        let udp = |name, port| {
            let socket = UdpSocket::bind((address, port));
            let socket = socket.and_then(|it| it.set_broadcast(true).map(|()| it));
            socket
                .map(|it| Held::Udp(name, it))
                .with_context(|| format!("listen on {address}, UDP port {port}"))
        };
        match service {
            Service::Gateway => held.extend([tcp("plain", ports.plain)?, tcp("tls", ports.tls)?]),
            Service::Images => held.push(tcp("images", ports.images)?),
            Service::Dhcp => held.extend([udp("dhcp", ports.dhcp)?, udp("tftp", ports.tftp)?]),
            // Who connects is known over the loopback alone.
            Service::Power => {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, ports.powerman));
                held.push(Held::Tcp("powerman", listener.context("listen for powerman's clients")?));
            }
            Service::Console => {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, ports.conman));
                held.push(Held::Tcp("conman", listener.context("listen for conman's clients")?));
            }
            Service::Timeline => {
                held.push(Held::Datagram("events", events::bind(&events::passed_on(folder))?))
            }
            _ => {}
        }
        let notify = folder.join("run/notify").join(service.name());
        let notify = Notify::bind(&notify)?;
        Ok(Self { service, program, folder: folder.to_owned(), held, notify, process: None })
    }

    pub(super) fn service(&self) -> Service {
        self.service
    }

    pub(super) fn address(&self, socket: &str) -> Option<SocketAddr> {
        self.held.iter().find_map(|it| match it {
            Held::Tcp(name, it) if *name == socket => it.local_addr().ok(),
            Held::Udp(name, it) if *name == socket => it.local_addr().ok(),
            _ => None,
        })
    }

    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        if self.is_running() {
            bail!("the service {} runs already", self.service);
        }
        let handed: std::io::Result<Vec<_>> = self.held.iter().map(Held::handed_over).collect();
        let mut handed = handed.context("hand the sockets over")?;
        handed.extend(self.notify.begin().context("hand over what was kept")?);
        let name = self.service.name();
        let place = |kind: &str| self.folder.join(kind).join(name);
        let run = Run::new(name, &self.program, self.folder.join("log").join(format!("{name}.log")))
            .arg(name)
            .arg("--config")
            .arg(self.folder.join("pilothouse.toml"))
            .arg("--run")
            .arg(self.folder.join("run"))
            .arg("--state")
            .arg(place("state"))
            .env("STATE_DIRECTORY", place("state"))
            .env("CREDENTIALS_DIRECTORY", place("credentials"))
            .env("NOTIFY_SOCKET", self.folder.join("run/notify").join(name))
            // Of a panic, not of an error, whose chain says more.
            .env("RUST_BACKTRACE", "1")
            .env("RUST_LIB_BACKTRACE", "0")
            .uid(self.service.uid())
            .sockets(handed);
        // Its unit has a store for descriptors (systemd.exec(5), $FDSTORE).
        let run =
            if self.service == Service::Console { run.env("FDSTORE", STORE_MAX.to_string()) } else { run };
        // dhcp alone answers clients that have no address yet (DESIGN: users).
        let run = if self.service == Service::Dhcp { run.capabilities("+net_raw") } else { run };
        self.process = Some(run.spawn()?);
        Ok(())
    }

    /// Waits for READY=1 (sd_notify(3)).
    pub(super) async fn ready(&self) -> anyhow::Result<()> {
        let process = self.process.as_ref().context("the service was not started")?;
        let tail = || self.tail(20);
        tokio::select! {
            () = self.notify.ready() => Ok(()),
            status = process.ended() => bail!("the service {} ended with {status}\n{}", self.service, tail()),
            () = tokio::time::sleep(READY_MAX) => {
                bail!("the service {} did not say READY within {READY_MAX:?}\n{}", self.service, tail())
            }
        }
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.process.as_ref().filter(|it| it.is_running()).map(Process::pid)
    }

    pub(super) fn is_running(&self) -> bool {
        self.process.as_ref().is_some_and(Process::is_running)
    }

    pub(super) fn has_fallen(&self) -> bool {
        self.process.as_ref().is_some_and(|it| !it.is_running())
    }

    pub(super) fn tail(&self, lines: usize) -> String {
        self.process.as_ref().map(|it| it.tail(lines)).unwrap_or_default()
    }

    pub(super) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.process.as_ref().map_or(Ok(()), |it| it.signal(signal))
    }

    /// Ends the process; the sockets stay, and who connects waits for the next one.
    pub(super) async fn end(&mut self, signal: Signal, limit: Duration) -> anyhow::Result<()> {
        let Some(process) = self.process.take() else { return Ok(()) };
        let log = process.log().to_owned();
        let status = process.stop(signal, limit).await?;
        if signal == Signal::SIGTERM && !status.success() {
            bail!("the service {} ended with {status}\n{}", self.service, tail_of(&log, 20));
        }
        Ok(())
    }
}
