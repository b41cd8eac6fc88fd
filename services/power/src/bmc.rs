//! Sessions with BMCs: which address, which account, what to do when it changed.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::Xname;
use domain::inventory::Endpoint;
use inventory::client::{Credential, InventoryClient};
use ipmi::{CipherSuite, Session, SessionOptions, Target};
use tokio::sync::Semaphore;
use web::{Client, ClientError};

/// The port of IPMI over LAN (IPMI 2.0 section 13.1.2).
const PORT: u16 = 623;
/// How long one step of a session may take, retransmissions included.
const STEP_MAX: Duration = Duration::from_secs(5);
/// Accounts asked for at once: each is a connection to the inventory, whose queue a thousand would overrun.
const ASKING_MAX: usize = 16;

/// Opens sessions; keeps the accounts in memory until they change or are refused.
#[derive(Clone)]
pub struct Bmcs {
    inventory: InventoryClient,
    options: SessionOptions,
    asking: Arc<Semaphore>,
    known: Arc<Mutex<HashMap<Xname, (i64, Credential)>>>,
}

/// Why no session could be opened; each says what to check.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The inventory has no address.
    #[error("BMC {0} has no address; import nodes.yaml with its bmc_ip")]
    NoAddress(Xname),
    /// The name does not resolve.
    #[error("BMC {bmc}: the name {host} does not resolve; give the BMC an IP address in the inventory")]
    NoName {
        /// The BMC.
        bmc: Xname,
        /// Its name.
        host: String,
    },
    /// It is to be spoken to in a protocol that is not IPMI.
    #[error("BMC {bmc} is set to {protocol}; this release speaks ipmi")]
    Protocol {
        /// The BMC.
        bmc: Xname,
        /// As set.
        protocol: String,
    },
    /// There is no account for it.
    #[error("BMC {0}: no account is known; set one with `pilotctl bmc set`")]
    NoCredential(Xname),
    /// The inventory cannot be asked for the account.
    #[error("BMC {bmc}: its account cannot be read from the inventory; is pilothouse-inventory running?")]
    Inventory {
        /// The BMC.
        bmc: Xname,
        /// What the inventory says.
        source: ClientError,
    },
    /// Packets do not get there, or are refused there.
    #[error("BMC {bmc} cannot be reached; check its address, its cable, and that IPMI over LAN is enabled")]
    Network {
        /// The BMC.
        bmc: Xname,
        /// The step, and what the network says.
        source: ipmi::Error,
    },
    /// The BMC refuses, or does not answer.
    #[error("BMC {bmc} at {address}")]
    Ipmi {
        /// The BMC.
        bmc: Xname,
        /// Where it was asked.
        address: SocketAddr,
        /// The step and what to check.
        source: ipmi::Error,
    },
}

impl OpenError {
    /// Whether the BMC does not take the account: asking again soon may lock it.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Ipmi { source: ipmi::Error::Auth { .. }, .. })
    }
}

impl Bmcs {
    /// Sessions for accounts that this inventory knows.
    #[must_use]
    pub fn new(inventory: Client) -> Self {
        let options = SessionOptions { deadline: STEP_MAX, ..SessionOptions::default() };
        let (asking, known) = (Arc::new(Semaphore::new(ASKING_MAX)), Arc::default());
        Self { inventory: InventoryClient::new(inventory), options, asking, known }
    }

    /// The same, with sessions that end when their BMC was silent for this long.
    #[must_use]
    pub fn with_dead_after(mut self, dead_after: Duration) -> Self {
        self.options.dead_after = dead_after;
        self
    }

    /// Opens a session.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub async fn open(&self, endpoint: &Endpoint) -> Result<Session, OpenError> {
        let bmc = &endpoint.id;
        if !matches!(endpoint.protocol.as_str(), "ipmi" | "auto") {
            return Err(OpenError::Protocol { bmc: bmc.clone(), protocol: endpoint.protocol.clone() });
        }
        let address = resolve(endpoint).await?;
        let fresh = self.credential(endpoint, false).await?;
        let failed = |source| match source {
            ipmi::Error::Io { .. } => OpenError::Network { bmc: bmc.clone(), source },
            source => OpenError::Ipmi { bmc: bmc.clone(), address, source },
        };
        match Session::open(&target(endpoint, address, &fresh), self.options.clone()).await {
            // Someone may have changed the password without the feed having told us yet.
            Err(error @ ipmi::Error::Auth { .. }) => {
                let anew = self.credential(endpoint, true).await?;
                // The same once more would only bring the account nearer to being locked.
                if anew == fresh {
                    return Err(failed(error));
                }
                Session::open(&target(endpoint, address, &anew), self.options.clone()).await.map_err(failed)
            }
            other => other.map_err(failed),
        }
    }

    async fn credential(&self, endpoint: &Endpoint, anew: bool) -> Result<Credential, OpenError> {
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
        let asked = asked.map_err(|source| OpenError::Inventory { bmc: bmc.clone(), source })?;
        let asked = asked.ok_or_else(|| OpenError::NoCredential(bmc.clone()))?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(bmc.clone(), (version, asked.clone()));
        Ok(asked)
    }
}

fn target(endpoint: &Endpoint, address: SocketAddr, account: &Credential) -> Target {
    let mut target = Target::new(address, account.user.clone(), account.password.clone());
    target.kg = account.kg.as_ref().map(|it| zeroize::Zeroizing::new(it.as_bytes().to_vec()));
    if let Some(suites) = &endpoint.cipher_suites {
        let known = [CipherSuite::Seventeen, CipherSuite::Three];
        let named = suites.iter().filter_map(|id| known.into_iter().find(|it| it.id() == *id));
        target.cipher_suites = named.collect();
    }
    target
}

async fn resolve(endpoint: &Endpoint) -> Result<SocketAddr, OpenError> {
    let bmc = &endpoint.id;
    let host = endpoint.address.as_deref().ok_or_else(|| OpenError::NoAddress(bmc.clone()))?;
    let port = endpoint.port.unwrap_or(PORT);
    let none = || OpenError::NoName { bmc: bmc.clone(), host: host.to_owned() };
    let mut found = tokio::net::lookup_host((host, port)).await.map_err(|_| none())?;
    found.next().ok_or_else(none)
}
