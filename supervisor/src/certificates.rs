//! The certificates of the services, from the files these write (INTERFACES 7): an object on the bus for each.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use domain::Service;
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};
use zbus::message::Header;
use zbus::object_server::InterfaceRef;
use zbus::{Connection, fdo, interface};

use crate::bus::{JOB_MAX, ROOT};
use crate::polkit;
use crate::systemd::{Systemd, Verb};

/// How often the files are looked at: whether one was replaced.
const LOOK: Duration = Duration::from_secs(1);
/// The longest file that is read.
const FILE_MAX: u64 = 64 << 10;
/// Certificates of one service that are shown.
const SHOWN_MAX: usize = 64;

/// What a service says of a certificate of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Told {
    id: String,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    issuer: String,
    #[serde(default)]
    serial: String,
    #[serde(default)]
    not_before: String,
    #[serde(default)]
    not_after: String,
    #[serde(default)]
    last_error: Option<String>,
}

/// Renewals that wait for the files to be looked at; the others wait for those.
const LOOKS_MAX: usize = 8;

/// Is told when the files were looked at.
type Looked = oneshot::Sender<()>;

/// A certificate as others see it.
#[derive(Debug)]
pub(crate) struct CertificateObject {
    service: Service,
    id: String,
    /// Replaced while a call is under way, which holds the object itself.
    told: RwLock<Told>,
    systemd: Systemd,
    looks: mpsc::Sender<Looked>,
}

impl CertificateObject {
    fn of(&self, member: impl Fn(&Told) -> &str) -> String {
        member(&self.told.read().unwrap_or_else(PoisonError::into_inner)).to_owned()
    }
}

#[interface(name = "org.pilothouse.Supervisor1.Certificate", introspection_docs = false)]
impl CertificateObject {
    /// Whose it is; Renew has all of that service's renewed.
    #[zbus(property(emits_changed_signal = "const"))]
    fn service(&self) -> &str {
        self.service.name()
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn id(&self) -> &str {
        &self.id
    }

    /// DNS names and addresses; none as long as there is no certificate.
    #[zbus(property)]
    fn names(&self) -> Vec<String> {
        self.told.read().unwrap_or_else(PoisonError::into_inner).names.clone()
    }

    #[zbus(property)]
    fn issuer(&self) -> String {
        self.of(|it| &it.issuer)
    }

    #[zbus(property)]
    fn serial(&self) -> String {
        self.of(|it| &it.serial)
    }

    /// RFC 3339.
    #[zbus(property)]
    fn not_before(&self) -> String {
        self.of(|it| &it.not_before)
    }

    /// RFC 3339.
    #[zbus(property)]
    fn not_after(&self) -> String {
        self.of(|it| &it.not_after)
    }

    /// Why there is no newer one; empty if none was missed.
    #[zbus(property)]
    fn last_error(&self) -> String {
        self.of(|it| it.last_error.as_deref().unwrap_or_default())
    }

    /// Has it renewed, and returns when it is and shows here.
    async fn renew(
        &self,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<()> {
        let details = HashMap::from([("service", self.service.name()), ("verb", "renew")]);
        polkit::require(bus, &header, polkit::MANAGE_SERVICES, &details).await?;
        let unit = format!("pilothouse-renew@{}.service", self.service);
        log::info!("start {unit} for {}", header.sender().map_or("", |it| it.as_str()));
        let done = self.systemd.run(Verb::Start, &unit, JOB_MAX).await;
        done.map_err(|error| fdo::Error::Failed(format!("{error:#}")))?;
        let (looked, shown) = oneshot::channel();
        let asked = self.looks.send(looked).await.is_ok();
        if !asked || shown.await.is_err() {
            return Err(fdo::Error::Failed("it is renewed, but the supervisor is stopping".to_owned()));
        }
        Ok(())
    }
}

/// By what a file is known to have been replaced.
type Stamp = Option<(SystemTime, u64)>;

/// What is shown of the services' files.
pub(crate) struct Certificates {
    folder: PathBuf,
    connection: Connection,
    systemd: Systemd,
    stamps: HashMap<Service, Stamp>,
    shown: BTreeMap<(Service, String), Told>,
    /// Renewals that want the files looked at; the sender is each object's.
    asked: mpsc::Receiver<Looked>,
    looks: mpsc::Sender<Looked>,
}

impl Certificates {
    /// With what is there now.
    ///
    /// # Errors
    ///
    /// If the bus does not take an object.
    pub(crate) async fn show(
        folder: PathBuf,
        connection: Connection,
        systemd: Systemd,
    ) -> anyhow::Result<Self> {
        let (stamps, shown) = (HashMap::new(), BTreeMap::new());
        let (looks, asked) = mpsc::channel(LOOKS_MAX);
        let mut all = Self { folder, connection, systemd, stamps, shown, asked, looks };
        all.look().await?;
        Ok(all)
    }

    /// Follows the files for ever.
    ///
    /// # Errors
    ///
    /// If the bus does not take an object.
    pub(crate) async fn follow(mut self) -> anyhow::Result<()> {
        let mut tick = tokio::time::interval(LOOK);
        loop {
            let asked = tokio::select! {
                _ = tick.tick() => None,
                asked = self.asked.recv() => asked,
            };
            self.look().await?;
            if asked.is_some_and(|it| it.send(()).is_err()) {
                log::debug!("who had a certificate renewed has gone");
            }
        }
    }

    async fn look(&mut self) -> anyhow::Result<()> {
        for service in Service::ALL {
            let path = self.folder.join(service.name()).join("certificates.json");
            let stamp = std::fs::metadata(&path).ok().and_then(|it| Some((it.modified().ok()?, it.len())));
            if self.stamps.insert(service, stamp) != Some(stamp) {
                let told = match stamp {
                    Some(_) => read(&path),
                    None => Ok(Vec::new()),
                };
                match told {
                    Ok(told) => self.replace(service, told).await.context("show certificates")?,
                    Err(error) => log::warn!("cannot read {}: {error:#}", path.display()),
                }
            }
        }
        Ok(())
    }

    /// What the service said before counts no more.
    async fn replace(&mut self, service: Service, told: Vec<Told>) -> zbus::Result<()> {
        let server = self.connection.object_server();
        let of_service = self.shown.keys().filter(|it| it.0 == service);
        let gone: Vec<_> = of_service.filter(|it| !told.iter().any(|new| new.id == it.1)).cloned().collect();
        for key in gone {
            server.remove::<CertificateObject, _>(object_path(&key.1)).await?;
            self.shown.remove(&key);
        }
        for told in told.into_iter().take(SHOWN_MAX) {
            let path = object_path(&told.id);
            match self.shown.insert((service, told.id.clone()), told.clone()) {
                Some(before) if before == told => {}
                Some(_) => {
                    let object: InterfaceRef<CertificateObject> = server.interface(path.as_str()).await?;
                    *object.get().await.told.write().unwrap_or_else(PoisonError::into_inner) = told;
                    announce(&object).await?;
                }
                None => {
                    let (systemd, looks) = (self.systemd.clone(), self.looks.clone());
                    let (id, told) = (told.id.clone(), RwLock::new(told));
                    let object = CertificateObject { service, id, told, systemd, looks };
                    // An id that another service has is shown once.
                    if server.at(path.as_str(), object).await?.is_some() {
                        log::warn!("{path} is there already");
                    }
                }
            }
        }
        Ok(())
    }
}

async fn announce(object: &InterfaceRef<CertificateObject>) -> zbus::Result<()> {
    let (shown, emitter) = (object.get().await, object.signal_emitter());
    shown.names_changed(emitter).await?;
    shown.issuer_changed(emitter).await?;
    shown.serial_changed(emitter).await?;
    shown.not_before_changed(emitter).await?;
    shown.not_after_changed(emitter).await?;
    shown.last_error_changed(emitter).await
}

fn read(path: &Path) -> anyhow::Result<Vec<Told>> {
    let mut text = Vec::new();
    File::open(path)?.take(FILE_MAX).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

/// `…/certificate/gateway_front`
fn object_path(id: &str) -> String {
    let word: String =
        id.chars().map(|it| if it.is_ascii_alphanumeric() { it } else { '_' }).take(64).collect();
    format!("{ROOT}/certificate/{word}")
}
