//! BMCs: which address, which account, which protocol, and what to do when one of these changed.

mod account;
mod error;
mod link;
mod pins;
mod reach;
mod redfish;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use daemon::Context;
use domain::Xname;
use domain::inventory::Endpoint;
use inventory::client::{Credential, InventoryClient};
use ipmi::{CipherSuite, Pool, Session, SessionOptions, Target, Workarounds};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::sync::Semaphore;
use web::{Client, ClientError};

use crate::config::{Config, Scoped, TlsMode};

pub use error::OpenError;
pub(crate) use link::{Link, LinkError, Seen};
pub(crate) use pins::Pin;
use pins::Pins;
pub(crate) use reach::Reach;

/// The port of IPMI over LAN (IPMI 2.0 section 13.1.2).
const PORT: u16 = 623;
/// How long one step of a session may take, retransmissions included.
const STEP_MAX: Duration = Duration::from_secs(5);
/// The same where power is only looked at: whoever looks at many wants to know who is silent.
pub(crate) const LOOK_MAX: Duration = Duration::from_millis(2400);
/// How long IPMI is waited for before Redfish is tried beside it, where it is not known which of them a BMC speaks.
const OTHER_AFTER: Duration = Duration::from_millis(900);
/// Accounts asked for at once: each is a connection to the inventory, whose queue a thousand would overrun.
const ASKING_MAX: usize = 16;
/// Where Debian keeps the roots that the system trusts.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Opens sessions; keeps the accounts in memory until they change or are refused.
#[derive(Clone)]
pub struct Bmcs {
    inventory: InventoryClient,
    options: SessionOptions,
    asking: Arc<Semaphore>,
    known: Arc<Mutex<HashMap<Xname, (i64, Credential)>>>,
    speaks: Arc<Mutex<HashMap<Xname, Protocol>>>,
    /// The cipher suite that was last agreed on, which spares the question for it.
    suites: Arc<Mutex<HashMap<Xname, CipherSuite>>>,
    /// The sockets of IPMI; none: each session has one of its own.
    pool: Option<Pool>,
    trust: Arc<Trusting>,
}

/// How certificates are believed, and what the document says of BMCs besides.
#[derive(Default)]
struct Trusting {
    modes: Scoped<TlsMode>,
    workarounds: Scoped<Vec<String>>,
    roots: Option<Arc<RootCertStore>>,
    pins: Option<Pins>,
    reach: Arc<Reach>,
}

/// What a BMC speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Ipmi,
    Redfish,
}

impl Protocol {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ipmi => "ipmi",
            Self::Redfish => "redfish",
        }
    }
}

impl Bmcs {
    /// Sessions for accounts that this inventory knows.
    #[must_use]
    pub fn new(inventory: Client) -> Self {
        let options = SessionOptions { deadline: STEP_MAX, ..SessionOptions::default() };
        let (asking, known) = (Arc::new(Semaphore::new(ASKING_MAX)), Arc::default());
        let inventory = InventoryClient::new(inventory);
        let (speaks, suites, trust) = (Arc::default(), Arc::default(), Arc::default());
        Self { inventory, options, asking, known, speaks, suites, pool: None, trust }
    }

    /// The same, with sessions that share these sockets.
    #[must_use]
    pub fn with_pool(mut self, pool: Pool) -> Self {
        self.pool = Some(pool);
        self
    }

    /// The same, as power's part of the document has it; certificates are kept in the state folder.
    pub(crate) fn with_trust(mut self, context: &Context, config: &Config) -> anyhow::Result<Self> {
        let named = config.tls_ca.as_deref();
        let roots = match read_roots(named.unwrap_or(Path::new(SYSTEM_ROOTS))) {
            Ok(roots) => Some(Arc::new(roots)),
            Err(error) if named.is_some() => return Err(error.context("read power.tls_ca")),
            Err(error) => {
                tracing::debug!("the system has no roots: {error:#}");
                None
            }
        };
        let pins = Some(Pins::load(context)?);
        let (modes, workarounds) = (config.tls.clone(), config.workarounds.clone());
        self.trust = Arc::new(Trusting { modes, workarounds, roots, pins, reach: Arc::default() });
        self.pool = Some(Pool::new().context("open the sockets of IPMI")?);
        Ok(self)
    }

    /// The same, with sessions that end when their BMC was silent for this long.
    #[must_use]
    pub fn with_dead_after(mut self, dead_after: Duration) -> Self {
        self.options.dead_after = dead_after;
        self
    }

    /// Opens an IPMI session.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub async fn open(&self, endpoint: &Endpoint) -> Result<Session, OpenError> {
        let bmc = &endpoint.id;
        if !matches!(endpoint.protocol.as_str(), "ipmi" | "auto") {
            return Err(OpenError::Protocol { bmc: bmc.clone(), protocol: endpoint.protocol.clone() });
        }
        self.open_ipmi(endpoint, self.options.deadline).await
    }

    /// Where a BMC is and which account it has, for who opens its session otherwise.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub async fn target(&self, endpoint: &Endpoint) -> Result<Target, OpenError> {
        let address = resolve(endpoint).await?;
        Ok(self.target_of(endpoint, address, &self.credential(endpoint, false).await?))
    }

    async fn open_ipmi(&self, endpoint: &Endpoint, step: Duration) -> Result<Session, OpenError> {
        let bmc = &endpoint.id;
        let address = resolve(endpoint).await?;
        let fresh = self.credential(endpoint, false).await?;
        match self.log_in_ipmi(endpoint, address, &fresh, step).await {
            // Someone may have changed the password without the feed having told us yet.
            Err(error) if error.is_refusal() => {
                let anew = self.credential(endpoint, true).await?;
                // The same once more would only bring the account nearer to being locked.
                if anew == fresh {
                    return Err(error);
                }
                tracing::debug!("the account of {bmc} has changed");
                self.log_in_ipmi(endpoint, address, &anew, step).await
            }
            other => other,
        }
    }

    async fn log_in_ipmi(
        &self,
        endpoint: &Endpoint,
        address: SocketAddr,
        account: &Credential,
        step: Duration,
    ) -> Result<Session, OpenError> {
        let bmc = &endpoint.id;
        let options = SessionOptions { deadline: step, ..self.options.clone() };
        let target = self.target_of(endpoint, address, account);
        let session = match &self.pool {
            Some(pool) => Session::open_on(pool, &target, options).await,
            None => Session::open(&target, options).await,
        };
        let session = session.map_err(|source| match source {
            ipmi::Error::Io { .. } => OpenError::Network { bmc: bmc.clone(), source },
            source => OpenError::Ipmi { bmc: bmc.clone(), source },
        })?;
        let mut suites = self.suites.lock().unwrap_or_else(PoisonError::into_inner);
        suites.insert(bmc.clone(), session.cipher_suite());
        Ok(session)
    }

    /// Opens whatever the BMC speaks. Where that is not set and not known, IPMI is tried, and Redfish beside it when
    /// IPMI does not answer at once; an account that is refused is not tried by the other.
    pub(crate) async fn link(
        &self,
        endpoint: &Endpoint,
        of: &Xname,
        step: Duration,
    ) -> Result<Link, OpenError> {
        let set = match endpoint.protocol.as_str() {
            "ipmi" => Some(Protocol::Ipmi),
            "redfish" => Some(Protocol::Redfish),
            _ => None,
        };
        let opened = match set.or_else(|| self.spoken(&endpoint.id)) {
            Some(Protocol::Ipmi) => self.open_ipmi(endpoint, step).await.map(Link::Ipmi),
            Some(Protocol::Redfish) => self.open_redfish(endpoint, of, step).await,
            None => self.open_either(endpoint, of, step).await,
        };
        self.trust.reach.note(endpoint, opened.as_ref().err());
        let mut speaks = self.speaks.lock().unwrap_or_else(PoisonError::into_inner);
        match &opened {
            Ok(link) => drop(speaks.insert(endpoint.id.clone(), link.protocol())),
            // Another board may be there now.
            Err(error) if error.is_silence() => drop(speaks.remove(&endpoint.id)),
            Err(_) => {}
        }
        opened
    }

    async fn open_either(&self, endpoint: &Endpoint, of: &Xname, step: Duration) -> Result<Link, OpenError> {
        let ipmi = self.open_ipmi(endpoint, step);
        tokio::pin!(ipmi);
        let first = match tokio::time::timeout(OTHER_AFTER, &mut ipmi).await {
            Ok(Ok(session)) => return Ok(Link::Ipmi(session)),
            Ok(Err(error)) if !error.is_silence() => return Err(error),
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        };
        let within = if first.is_some() { step } else { step.saturating_sub(OTHER_AFTER) };
        let redfish = self.open_redfish(endpoint, of, within);
        if let Some(ipmi) = first {
            return redfish.await.map_err(|it| OpenError::neither(ipmi, it));
        }
        tokio::pin!(redfish);
        tokio::select! {
            biased;
            done = &mut ipmi => match done {
                Ok(session) => Ok(Link::Ipmi(session)),
                Err(error) if !error.is_silence() => Err(error),
                Err(error) => redfish.await.map_err(|it| OpenError::neither(error, it)),
            },
            done = &mut redfish => match done {
                Ok(link) => Ok(link),
                Err(error) if !error.is_silence() => Err(error),
                Err(error) => ipmi.await.map(Link::Ipmi).map_err(|it| OpenError::neither(it, error)),
            },
        }
    }

    /// Those that cannot be logged in at.
    pub(crate) fn reach(&self) -> Arc<Reach> {
        Arc::clone(&self.trust.reach)
    }

    /// What the BMC was last spoken to in.
    pub(crate) fn spoken(&self, bmc: &Xname) -> Option<Protocol> {
        self.speaks.lock().unwrap_or_else(PoisonError::into_inner).get(bmc).copied()
    }

    pub(crate) async fn credential(&self, endpoint: &Endpoint, anew: bool) -> Result<Credential, OpenError> {
        let bmc = &endpoint.id;
        let version = endpoint.credential_version;
        let kept = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.get(bmc).filter(|it| it.0 == version && !anew).map(|it| it.1.clone())
        };
        if let Some(kept) = kept {
            return Ok(kept);
        }
        let permit = self.asking.acquire().await;
        let asked = self.inventory.find_credential(bmc).await;
        drop(permit);
        let failed = |source: ClientError| OpenError::Inventory { bmc: bmc.clone(), source };
        let asked = asked.map_err(failed)?;
        let asked = asked.ok_or_else(|| OpenError::NoCredential(bmc.clone()))?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(bmc.clone(), (version, asked.clone()));
        Ok(asked)
    }

    fn target_of(&self, endpoint: &Endpoint, address: SocketAddr, account: &Credential) -> Target {
        let mut target = Target::new(address, account.user.clone(), account.password.clone());
        target.kg = account.kg.as_ref().map(|it| zeroize::Zeroizing::new(it.as_bytes().to_vec()));
        if let Some(suites) = &endpoint.cipher_suites {
            target.cipher_suites = suites.iter().filter_map(|it| CipherSuite::from_id(*it)).collect();
        }
        let set = self.trust.workarounds.of(endpoint).into_iter().flatten();
        for name in set.chain(&endpoint.workarounds) {
            match name.parse::<Workarounds>() {
                Ok(it) => target.workarounds = target.workarounds | it,
                Err(error) => tracing::warn!("BMC {}: {error}", endpoint.id),
            }
        }
        let suites = self.suites.lock().unwrap_or_else(PoisonError::into_inner);
        match suites.get(&endpoint.id) {
            Some(suite) => target.first_with(*suite),
            None => target,
        }
    }
}

fn read_roots(file: &Path) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(file).with_context(|| format!("read {}", file.display()))?;
    for certificate in certificates {
        let certificate = certificate.with_context(|| format!("read {}", file.display()))?;
        // A bundle may hold what no TLS of today can use.
        if let Err(error) = roots.add(certificate) {
            tracing::debug!("a certificate of {} is left out: {error}", file.display());
        }
    }
    anyhow::ensure!(!roots.is_empty(), "{} holds no root certificate", file.display());
    Ok(roots)
}

async fn resolve(endpoint: &Endpoint) -> Result<SocketAddr, OpenError> {
    let bmc = &endpoint.id;
    let host = endpoint.address.as_deref().ok_or_else(|| OpenError::NoAddress(bmc.clone()))?;
    let port = endpoint.port.unwrap_or(PORT);
    let none = || OpenError::NoName { bmc: bmc.clone(), host: host.to_owned() };
    let mut found = tokio::net::lookup_host((host, port)).await.map_err(|_| none())?;
    found.next().ok_or_else(none)
}
