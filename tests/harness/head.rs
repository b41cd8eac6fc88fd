//! All services of a head as processes of this machine: each under its own uid, with sockets handed over and READY
//! awaited, as systemd does it.

mod events;
mod files;
mod notify;
mod ready;
mod slot;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use domain::Service;
use http::Method;
use nix::sys::signal::Signal;
use nix::unistd::Uid;
use toml::Table;
use web::Client;

use crate::folder::Folder;
use crate::front::Front;
use crate::pg::Pg;
use crate::{document, program};
use files::{make_folders, reachable, trust};
use slot::Slot;

pub use events::{Event, Events, tell};

/// How long a service may take to end: its own 10 s and some.
const STOP_MAX: Duration = Duration::from_secs(12);

/// The ports of what faces a network; 0 takes a free one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// images, TCP
    pub images: u16,
    /// gateway without TLS, TCP
    pub plain: u16,
    /// gateway with TLS, TCP
    pub tls: u16,
    /// dhcp, UDP
    pub dhcp: u16,
    /// TFTP, UDP
    pub tftp: u16,
    /// the second front door, TCP
    pub front: u16,
    /// powerman's protocol, TCP on the loopback
    pub powerman: u16,
    /// conman's protocol, TCP on the loopback
    pub conman: u16,
}

/// What kind of head is wanted.
#[derive(Clone, Debug)]
pub struct HeadOptions {
    /// The services to run.
    pub services: Vec<Service>,
    /// The document; the database's place is put in.
    pub document: Table,
    /// Where the network sockets are bound.
    pub address: IpAddr,
    /// Their ports.
    pub ports: Ports,
    /// Whether the second front door is opened, through which everybody is an administrator.
    pub front: bool,
    /// Other issuers, for `auth.trusted`.
    pub trusted: Vec<Trusted>,
    /// Whether PostgreSQL writes to its disk what it says is written.
    pub durable: bool,
}

/// Another issuer, whose tokens are an administrator's.
#[derive(Clone, Debug)]
pub struct Trusted {
    /// Their `iss`.
    pub issuer: String,
    /// Their `aud`.
    pub audience: String,
    /// Its keys, a JWK set.
    pub jwks: String,
}

/// A running head. Dropped, it is gone with everything it wrote.
#[derive(Debug)]
pub struct Head {
    slots: BTreeMap<Service, Slot>,
    events: Events,
    front: Option<Front>,
    pg: Pg,
    // Last, so that the folder goes when the processes have gone.
    folder: Folder,
}

impl Ports {
    /// The ports of the port table.
    pub const REAL: Self = Self {
        images: 8080,
        plain: 8081,
        tls: 8443,
        dhcp: 67,
        tftp: 69,
        front: 0,
        powerman: 10101,
        conman: 7890,
    };

    /// Ports from a base on, the last two digits those of the real ones.
    #[must_use]
    pub fn based(base: u16) -> Self {
        Self {
            images: base + 80,
            plain: base + 81,
            tls: base + 43,
            dhcp: base + 67,
            tftp: base + 69,
            front: base + 82,
            powerman: base + 1,
            conman: base + 90,
        }
    }
}

impl Default for HeadOptions {
    fn default() -> Self {
        Self {
            services: Service::ALL.to_vec(),
            document: document::demo("lo", "127.0.0.1/8"),
            address: Ipv4Addr::LOCALHOST.into(),
            ports: Ports::default(),
            front: false,
            trusted: Vec::new(),
            durable: false,
        }
    }
}

impl HeadOptions {
    /// The same with a setting of the document, as `--set` reads it.
    ///
    /// # Errors
    ///
    /// If it is no setting.
    pub fn set(mut self, setting: &str) -> anyhow::Result<Self> {
        let (path, value) = document::parse_setting(setting).map_err(anyhow::Error::msg)?;
        document::set(&mut self.document, &path, value)?;
        Ok(self)
    }
}

impl Head {
    /// Starts PostgreSQL and the services, and waits until each answers from live data.
    ///
    /// # Errors
    ///
    /// Names the service that failed, with the last lines of its log.
    pub async fn start(options: HeadOptions) -> anyhow::Result<Self> {
        if !Uid::effective().is_root() {
            bail!(
                "each service runs under a uid of its own, which takes root or a user namespace: \
                 use `cargo xtask`, or run this under `unshare --user --map-auto --map-root-user`"
            );
        }
        let program = program::pilothouse()?;
        let folder = Folder::make("head")?;
        make_folders(folder.path(), &options.services)?;
        let program = reachable(&program, folder.path())?;
        let pg = if options.durable { Pg::start_durable().await? } else { Pg::start().await? };
        pg.make_databases(&options.services)?;

        let mut slots = BTreeMap::new();
        for service in options.services {
            let slot = Slot::bind(service, program.clone(), folder.path(), options.address, options.ports)?;
            slots.insert(service, slot);
        }
        let events = Events::collect(&folder.path().join("run/timeline-events.sock"))?;
        let mut head = Self { slots, events, front: None, pg, folder };
        let document = head.fill(options.document, &options.trusted)?;
        std::fs::write(head.document(), document::text(&document)?).context("write the document")?;
        for slot in head.slots.values_mut() {
            slot.start()?;
        }
        for slot in head.slots.values_mut() {
            slot.ready().await?;
        }
        head.settle().await?;
        if options.front {
            let address = SocketAddr::new(options.address, options.ports.front);
            head.front = Some(Front::open(address, head.sockets()).await?);
        }
        Ok(head)
    }

    /// Waits until every running service answers from live data and takes writes.
    ///
    /// # Errors
    ///
    /// Names the one that does not.
    pub async fn settle(&self) -> anyhow::Result<()> {
        for slot in self.slots.values().filter(|it| it.is_running()) {
            ready::settle(slot, &self.client(slot.service())).await?;
        }
        Ok(())
    }

    /// Puts in what depends on this machine, where the document does not say it already.
    fn fill(&self, mut document: Table, trusted: &[Trusted]) -> anyhow::Result<Table> {
        trust(&mut document, trusted, self.folder.path())?;
        let place = |it: &Path| toml::Value::from(it.display().to_string());
        let mut proxies = vec!["127.0.0.0/8", "::1"];
        if !trusted.is_empty() {
            // A proxy of the recordings with tokens (`cloud-init-legacy-secure-044`).
            proxies.push("10.0.0.0/8");
        }
        let mut defaults = vec![
            ("database.socket", place(self.pg.socket())),
            ("images.root", place(&self.folder.path().join("images"))),
            ("console.log_dir", place(&self.folder.path().join("state/console/log"))),
            ("gateway.trusted_proxies", proxies.into()),
        ];
        let ports = [
            ("dhcp.script_port", Service::Gateway, "plain"),
            ("dhcp.images_port", Service::Images, "images"),
            ("ca.validation.head_port", Service::Gateway, "tls"),
        ];
        for (path, service, socket) in ports {
            defaults.extend(self.address(service, socket).map(|it| (path, i64::from(it.port()).into())));
        }
        for (path, value) in defaults {
            if document::find(&document, path).is_none() {
                document::set(&mut document, path, value)?;
            }
        }
        Ok(document)
    }

    /// What booting nodes have left behind since the start.
    #[must_use]
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// The document's file.
    #[must_use]
    pub fn document(&self) -> PathBuf {
        self.folder.path().join("pilothouse.toml")
    }

    /// The folder that images serves, empty unless the document named another.
    #[must_use]
    pub fn images(&self) -> PathBuf {
        self.folder.path().join("images")
    }

    /// The folder of the services' sockets.
    #[must_use]
    pub fn sockets(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// The folder with everything: `pilothouse.toml`, `run`, `state`, `log`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The database server.
    pub fn pg(&mut self) -> &mut Pg {
        &mut self.pg
    }

    /// Where clients find the databases.
    #[must_use]
    pub fn database_url(&self) -> String {
        self.pg.url()
    }

    /// A client of a service, which it takes for an administrator.
    #[must_use]
    pub fn client(&self, service: Service) -> Client {
        Client::unix(self.sockets().join(format!("{service}.sock")))
    }

    /// Where a service's network socket is: `plain` and `tls` of gateway, `images`, `dhcp` and `tftp` of dhcp.
    #[must_use]
    pub fn address(&self, service: Service, socket: &str) -> Option<SocketAddr> {
        self.slots.get(&service)?.address(socket)
    }

    /// The second front door, if there is one.
    #[must_use]
    pub fn front(&self) -> Option<&Front> {
        self.front.as_ref()
    }

    /// The file with a service's output.
    #[must_use]
    pub fn log(&self, service: Service) -> PathBuf {
        self.folder.path().join("log").join(format!("{service}.log"))
    }

    /// The pid of a service's process, if it runs.
    #[must_use]
    pub fn pid(&self, service: Service) -> Option<u32> {
        self.slots.get(&service)?.pid()
    }

    /// The last lines of every service's output, for the message of a test that fails.
    #[must_use]
    pub fn tails(&self, lines: usize) -> String {
        self.slots.values().map(|it| format!("{}:\n{}\n", it.service(), it.tail(lines))).collect()
    }

    /// Runs `pilotctl` on this head as an administrator; what it prints.
    ///
    /// # Errors
    ///
    /// If it fails, with what it says.
    pub fn pilotctl(&self, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        let mut command = Command::new(program::pilotctl()?);
        command.arg("--run").arg(self.sockets()).arg("--config").arg(self.document()).args(arguments);
        program::converse(&mut command, input)
    }

    /// The first service that ended by itself, and what it wrote last.
    #[must_use]
    pub fn fallen(&self) -> Option<String> {
        let fallen = self.slots.values().find(|it| it.has_fallen())?;
        Some(format!("the service {} ended\n{}", fallen.service(), fallen.tail(20)))
    }

    /// A token of an administrator; none if auth is not run here.
    ///
    /// # Errors
    ///
    /// If auth refuses.
    pub async fn token(&self) -> anyhow::Result<Option<String>> {
        if !self.slots.contains_key(&Service::Auth) {
            return Ok(None);
        }
        let request = serde_json::json!({"role": "admin", "seconds": 86_400});
        let auth = self.client(Service::Auth);
        let answer: serde_json::Value = auth
            .call(Method::POST, "/pilothouse/v1/tokens", Some(&request))
            .await
            .context("ask auth for a token")?;
        let token = answer["access_token"].as_str().context("auth's answer has no access_token")?;
        Ok(Some(token.to_owned()))
    }

    /// A file with the root certificate; none if ca is not run here.
    ///
    /// # Errors
    ///
    /// If ca has none.
    pub async fn root_certificate(&self) -> anyhow::Result<Option<PathBuf>> {
        if !self.slots.contains_key(&Service::Ca) {
            return Ok(None);
        }
        let ca = self.client(Service::Ca);
        let pem = ca
            .text(Method::GET, "/pilothouse/v1/root.pem", None::<&()>)
            .await
            .context("ask ca for its root")?;
        let path = self.folder.path().join("root.pem");
        std::fs::write(&path, pem).with_context(|| format!("write {}", path.display()))?;
        Ok(Some(path))
    }

    /// Kills a service, as a crash would.
    ///
    /// # Errors
    ///
    /// If it does not run here.
    pub async fn kill(&mut self, service: Service) -> anyhow::Result<()> {
        self.slot(service)?.end(Signal::SIGKILL, STOP_MAX).await
    }

    /// Stops a service as systemd does, and asserts that it ends well.
    ///
    /// # Errors
    ///
    /// If it does not run here or does not end in time.
    pub async fn stop(&mut self, service: Service) -> anyhow::Result<()> {
        self.slot(service)?.end(Signal::SIGTERM, STOP_MAX).await
    }

    /// Starts a service again, with its sockets as they were, and waits until it says READY.
    ///
    /// # Errors
    ///
    /// If it does not.
    pub async fn resume(&mut self, service: Service) -> anyhow::Result<()> {
        let slot = self.slot(service)?;
        slot.start()?;
        slot.ready().await
    }

    /// Ends all services as systemd does, those that ask the others first.
    ///
    /// # Errors
    ///
    /// Names a service that did not end in time; it is killed then.
    pub async fn shut_down(mut self) -> anyhow::Result<()> {
        for slot in self.slots.values() {
            slot.signal(Signal::SIGTERM)?;
        }
        for slot in self.slots.values_mut() {
            slot.end(Signal::SIGTERM, STOP_MAX).await?;
        }
        self.pg.stop().await
    }

    fn slot(&mut self, service: Service) -> anyhow::Result<&mut Slot> {
        self.slots.get_mut(&service).with_context(|| format!("the service {service} is not run here"))
    }
}
