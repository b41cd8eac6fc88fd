//! One BMC: where it is, which account it takes, what it speaks, what it tells.

mod cards;
mod lan;
mod reader;
mod trust;
mod walk;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use daemon::Context;
use domain::document::PlaneKind;
use domain::inventory::Inventory;
use domain::{Document, Service, Xname};
use inventory::client::{Credential, InventoryClient};
use ipmi::{Pool, SessionOptions};
use redfish::{Client, Options};
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use web::mirror::Mirror;
use zeroize::Zeroizing;

use crate::client::{Bmc, Protocol};
use crate::config::Config;
use crate::error::VisitError;
use crate::model::nic::Wanted;
use crate::model::target::Target;
pub(crate) use trust::{TrustError, Trusting};
use walk::Walk;

/// The usual ports.
pub(crate) const HTTPS: u16 = 443;
pub(crate) const RMCP: u16 = 623;
/// How long a connection may take to be there: who scans a subnet meets mostly silence.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// How long an address of a subnet has to say that somebody is there.
const KNOCK_MAX: Duration = Duration::from_secs(2);
/// How long one resource may take; some BMCs think for long.
const REQUEST_MAX: Duration = Duration::from_secs(20);
/// How long a step of IPMI may take.
const STEP_MAX: Duration = Duration::from_secs(4);
/// How long a log-out may take.
const CLOSE_MAX: Duration = Duration::from_secs(3);
/// Accounts asked for at once: each is a connection to the inventory.
const ASKING_MAX: usize = 16;
/// Stands for a BMC of which nobody knows where it belongs: it has no account of its own.
const NOWHERE: &str = "s0";

/// What visits need.
pub(crate) struct Crawler {
    inventory: InventoryClient,
    pub(crate) mirror: Mirror<Inventory>,
    trusting: Trusting,
    /// The document, which may say otherwise of power since the start.
    document: PathBuf,
    /// Made when the first BMC is asked by IPMI.
    pool: OnceLock<Pool>,
    bmc_planes: Vec<ipnet::Ipv4Net>,
    asking: Semaphore,
    deadline: Duration,
}

/// What is the same for all BMCs of a discovery.
#[derive(Default)]
pub(crate) struct Errand {
    pub(crate) class: Option<String>,
    pub(crate) redfish_port: u16,
    pub(crate) ipmi_port: u16,
    pub(crate) wanted: Option<Wanted>,
    /// How certificates are believed; none: as at the start.
    pub(crate) trusting: Option<Trusting>,
    /// Whether it may leave the networks of BMCs: whoever asks may read their account.
    pub(crate) is_free: bool,
    /// The BMCs that the inventory has, by their address or host name.
    pub(crate) known: HashMap<String, Xname>,
    /// The account of BMCs that have none of their own.
    pub(crate) common: OnceCell<Option<Credential>>,
    /// Cancelled: sessions are ended, and what was read by then is kept.
    pub(crate) stop: CancellationToken,
}

impl Crawler {
    pub(crate) fn new(context: &Context, config: &Config, mirror: Mirror<Inventory>) -> Self {
        let unix = |service| web::Client::unix(context.socket_of(service));
        let planes = context.document.network.planes.iter().filter(|it| it.kind == PlaneKind::Bmc);
        Self {
            inventory: InventoryClient::new(unix(Service::Inventory)),
            mirror,
            trusting: Trusting::new(&context.document, unix(Service::Power)),
            document: context.paths.config.clone(),
            pool: OnceLock::new(),
            bmc_planes: planes.flat_map(domain::document::Plane::networks).collect(),
            asking: Semaphore::new(ASKING_MAX),
            deadline: config.deadline.0,
        }
    }

    /// How certificates are believed as of now: `[power]` changes without a restart of this service.
    pub(crate) fn trusting(&self) -> Option<Trusting> {
        let text = std::fs::read_to_string(&self.document).ok()?;
        Document::parse(&text).ok().map(|it| self.trusting.with(&it))
    }

    /// Whether an address is on a network of BMCs.
    pub(crate) fn is_on_bmc_plane(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(it) => self.bmc_planes.iter().any(|net| net.contains(&it)),
            IpAddr::V6(_) => false,
        }
    }

    /// What one BMC tells. None: nobody is there, and nobody said that somebody is.
    pub(crate) async fn visit(&self, errand: &Errand, target: &Target, place: Option<&Xname>) -> Option<Bmc> {
        let blank = Bmc { target: target.host.clone(), ..Bmc::default() };
        let address = match self.resolve(errand, target).await {
            Ok(address) => address,
            // Within a subnet that is asked whole, nodes and others are met.
            Err(VisitError::Node(..)) if target.is_sought => return None,
            Err(error) => return Some(Bmc { error: Some(chain(&error)), ..blank }),
        };
        if target.is_sought && !self.is_there(errand, address).await {
            return None;
        }
        let blank = Bmc { address: Some(address), ..blank };
        let told = timeout(self.deadline, self.ask(errand, target, address, place)).await;
        match told.unwrap_or(Err(VisitError::Late(self.deadline))) {
            Ok(told) => Some(Bmc { target: blank.target, address: blank.address, ..told }),
            Err(error) if error.is_silence() && target.is_sought => None,
            Err(error) => Some(Bmc { error: Some(chain(&error)), ..blank }),
        }
    }

    /// Whether anybody listens at an address, for Redfish or IPMI: a subnet is mostly silence, which need not be waited
    /// for twice.
    async fn is_there(&self, errand: &Errand, address: IpAddr) -> bool {
        let tcp = tokio::net::TcpStream::connect((address, errand.redfish_port));
        let tcp = async { matches!(timeout(KNOCK_MAX, tcp).await, Ok(Ok(_))) };
        let udp = async {
            // Neither name nor password is sent.
            let target = ipmi::Target::new(SocketAddr::new(address, errand.ipmi_port), "", "");
            let options = SessionOptions { deadline: KNOCK_MAX, ..SessionOptions::default() };
            match self.pool() {
                Ok(pool) => ipmi::ping(pool, &target, &options).await.is_ok(),
                Err(_) => false,
            }
        };
        tokio::pin!(tcp, udp);
        tokio::select! {
            true = &mut tcp => true,
            true = &mut udp => true,
            else => false,
        }
    }

    fn pool(&self) -> Result<&Pool, VisitError> {
        if let Some(pool) = self.pool.get() {
            return Ok(pool);
        }
        let made = Pool::new().map_err(VisitError::Ipmi)?;
        Ok(self.pool.get_or_init(|| made))
    }

    /// The target's address, if it may be asked.
    async fn resolve(&self, errand: &Errand, target: &Target) -> Result<IpAddr, VisitError> {
        let address = match target.host.parse() {
            Ok(address) => address,
            Err(_) => {
                let none = || VisitError::NoName(target.host.clone());
                let looked = timeout(CONNECT_MAX, tokio::net::lookup_host((target.host.as_str(), HTTPS)));
                let mut found = looked.await.map_err(|_| none())?.map_err(|_| none())?;
                found.next().ok_or_else(none)?.ip()
            }
        };
        let is_known = errand.known.contains_key(&address.to_string());
        if !errand.is_free && !is_known && !self.is_on_bmc_plane(address) {
            return Err(VisitError::Elsewhere(address));
        }
        let holder = self.mirror.read(|it| it.interface_by_ip(address).and_then(|it| it.component.clone()));
        match holder.filter(|it| it.is_node() && !is_known) {
            Some(node) => Err(VisitError::Node(address, node)),
            None => Ok(address),
        }
    }

    async fn ask(
        &self,
        errand: &Errand,
        target: &Target,
        address: IpAddr,
        place: Option<&Xname>,
    ) -> Result<Bmc, VisitError> {
        let known = errand.known.get(&address.to_string()).or_else(|| errand.known.get(&target.host));
        let account = self.account(errand, place.or(known)).await?;
        let bmc = known.or(place);
        let class = errand.class.clone().or_else(|| {
            let known = known?;
            self.mirror.read(|it| it.endpoint(known).and_then(|it| it.class.clone()))
        });
        let trust = errand
            .trusting
            .as_ref()
            .unwrap_or(&self.trusting)
            .of(bmc, class.as_deref(), known.is_some())
            .await
            .map_err(VisitError::Trust)?;
        let mut at =
            redfish::Target::new(address.to_string(), account.user.clone(), account.password.clone());
        at.port = errand.redfish_port;
        at.trust = trust;
        let options = Options { connect: CONNECT_MAX, request: REQUEST_MAX };
        match Client::open(&at, options).await {
            Ok(client) => Ok(self.walk(errand, client, address, &account).await),
            Err(error) if error.is_refusal() => Err(VisitError::Redfish(error)),
            Err(error @ redfish::Error::Changed { .. }) => {
                Err(VisitError::Changed { bmc: known.cloned(), error })
            }
            Err(error) => self.ask_by_ipmi(errand, address, &account).await.map_err(|it| it.beside(error)),
        }
    }

    /// All that Redfish tells within the time; of its own card IPMI, where Redfish does not tell it.
    async fn walk(&self, errand: &Errand, client: Client, address: IpAddr, account: &Credential) -> Bmc {
        let mut walk = Walk::default();
        // Less than the whole, so that what was read by then is kept.
        let within = self.deadline.saturating_sub(CLOSE_MAX + STEP_MAX).max(self.deadline / 2);
        let walked = tokio::select! {
            walked = timeout(within, walk.run(&client, address)) => Some(walked),
            () = errand.stop.cancelled() => None,
        };
        let mut bmc = walk.finish(errand.wanted.as_ref());
        bmc.certificate = client.fingerprint().map(|it| it.to_string());
        bmc.port = (errand.redfish_port != HTTPS).then_some(errand.redfish_port);
        match walked {
            Some(Ok(Ok(()))) if bmc.systems.is_empty() => {
                let hint = "look at its web page, or update its firmware";
                bmc.error = Some(format!("its Redfish tells of no system; {hint}"));
            }
            Some(Ok(Ok(()))) => {}
            Some(Ok(Err(error))) => bmc.error = Some(format!("not all was read: {}", chain(&error))),
            Some(Err(_)) => {
                let hint = "ask it alone, or raise discovery.deadline";
                bmc.error = Some(format!("not all was read within {} s; {hint}", within.as_secs()));
            }
            None => bmc.error = Some("not all was read: the discovery was ended".to_owned()),
        }
        if !matches!(timeout(CLOSE_MAX, client.close()).await, Ok(Ok(()))) {
            tracing::debug!("{address} did not confirm the end of the session");
        }
        if bmc.mac.is_none() && !errand.stop.is_cancelled() {
            match timeout(STEP_MAX, self.ask_by_ipmi(errand, address, account)).await {
                Ok(Ok(told)) => bmc.mac = told.mac,
                Ok(Err(error)) => tracing::debug!("{address} by IPMI: {}", chain(&error)),
                Err(_) => tracing::debug!("{address} by IPMI: no answer"),
            }
        }
        bmc
    }

    async fn ask_by_ipmi(
        &self,
        errand: &Errand,
        address: IpAddr,
        account: &Credential,
    ) -> Result<Bmc, VisitError> {
        let at = SocketAddr::new(address, errand.ipmi_port);
        let mut target = ipmi::Target::new(at, account.user.clone(), account.password.clone());
        target.kg = account.kg.as_ref().map(|it| Zeroizing::new(it.as_bytes().to_vec()));
        let options = SessionOptions { deadline: STEP_MAX, ..SessionOptions::default() };
        let mut bmc = lan::ask(self.pool()?, &target, options).await.map_err(VisitError::Ipmi)?;
        debug_assert!(bmc.speaks == Some(Protocol::Ipmi));
        bmc.port = (errand.ipmi_port != RMCP).then_some(errand.ipmi_port);
        bmc.error = Some("it speaks IPMI alone, which does not tell the node's network cards".to_owned());
        Ok(bmc)
    }

    /// The account: the place's own, its class', the common one.
    async fn account(&self, errand: &Errand, place: Option<&Xname>) -> Result<Credential, VisitError> {
        let class = errand.class.as_deref();
        let account = match place {
            Some(place) => self.find_account(place, class).await?,
            None => {
                let nowhere: Xname = NOWHERE.parse().map_err(|_| VisitError::NoAccount)?;
                errand.common.get_or_try_init(|| self.find_account(&nowhere, class)).await?.clone()
            }
        };
        account.ok_or(VisitError::NoAccount)
    }

    async fn find_account(
        &self,
        place: &Xname,
        class: Option<&str>,
    ) -> Result<Option<Credential>, VisitError> {
        let permit = self.asking.acquire().await;
        let found = self.inventory.find_account(place, class).await.map_err(VisitError::Inventory);
        drop(permit);
        found
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
