//! Redfish: whose certificate is believed, and which of a BMC's systems a node is.

use std::time::Duration;

use domain::Xname;
use domain::inventory::Endpoint;
use inventory::client::Credential;
use redfish::{Client, Error, Options, Target, Trust};

use super::{Bmcs, Link, OpenError, PORT, Pin};
use crate::config::TlsMode;

/// The port of HTTPS.
const HTTPS: u16 = 443;

impl Bmcs {
    /// How a BMC's certificate is believed.
    pub(crate) fn tls_mode(&self, endpoint: &Endpoint) -> TlsMode {
        self.trust.modes.of(endpoint).copied().unwrap_or_default()
    }

    /// The certificate that is kept for it.
    pub(crate) fn pin(&self, bmc: &Xname) -> Option<Pin> {
        self.trust.pins.as_ref()?.find(bmc)
    }

    /// Believes this certificate of it from now on.
    pub(crate) fn accept(&self, bmc: &Xname, shown: redfish::Fingerprint) -> std::io::Result<()> {
        self.trust.pins.as_ref().map_or(Ok(()), |it| it.keep(bmc, shown))
    }

    pub(super) async fn open_redfish(
        &self,
        endpoint: &Endpoint,
        of: &Xname,
        step: Duration,
    ) -> Result<Link, OpenError> {
        let client = self.redfish(endpoint, step).await?;
        match find_resource(&client, endpoint, of).await {
            Ok(path) => Ok(Link::Redfish { client: Box::new(client), path }),
            Err(source) => {
                if let Err(error) = client.close().await {
                    tracing::debug!("{} did not confirm the end of the session: {error}", endpoint.id);
                }
                Err(OpenError::Redfish { bmc: endpoint.id.clone(), source })
            }
        }
    }

    /// A log-in with the account that the inventory has; once more, if it has another one by now.
    pub(crate) async fn redfish(&self, endpoint: &Endpoint, step: Duration) -> Result<Client, OpenError> {
        let fresh = self.credential(endpoint, false).await?;
        match self.log_in_redfish(endpoint, &fresh, step).await {
            Err(error) if error.is_refusal() => {
                let anew = self.credential(endpoint, true).await?;
                if anew == fresh {
                    return Err(error);
                }
                self.log_in_redfish(endpoint, &anew, step).await
            }
            other => other,
        }
    }

    pub(super) async fn log_in_redfish(
        &self,
        endpoint: &Endpoint,
        account: &Credential,
        step: Duration,
    ) -> Result<Client, OpenError> {
        let bmc = &endpoint.id;
        let host = endpoint.address.clone().ok_or_else(|| OpenError::NoAddress(bmc.clone()))?;
        let mode = self.tls_mode(endpoint);
        let trust = match mode {
            TlsMode::Insecure => Trust::Anyone,
            TlsMode::Ca => {
                Trust::Roots(self.trust.roots.clone().ok_or_else(|| OpenError::NoRoots(bmc.clone()))?)
            }
            TlsMode::Pin => Trust::Pin(self.pin(bmc).and_then(|it| it.sha256.parse().ok())),
        };
        let mut target = Target::new(host, account.user.clone(), account.password.clone());
        target.port = port(endpoint);
        target.trust = trust;
        let options = Options { connect: step, request: step.max(Options::default().request.min(step * 4)) };
        let opened = Client::open(&target, options).await;
        let shown = opened.as_ref().ok().and_then(Client::fingerprint);
        match opened {
            Ok(client) => {
                if let (TlsMode::Pin, Some(shown)) = (mode, shown) {
                    self.keep(bmc, shown);
                }
                Ok(client)
            }
            Err(Error::Changed { known, shown, .. }) => {
                if let Some(pins) = &self.trust.pins {
                    pins.raise(bmc, *known, *shown);
                }
                Err(OpenError::Changed { bmc: bmc.clone(), known, shown })
            }
            Err(source) => Err(OpenError::Redfish { bmc: bmc.clone(), source }),
        }
    }

    fn keep(&self, bmc: &Xname, shown: redfish::Fingerprint) {
        let Some(pins) = &self.trust.pins else { return };
        let is_new = pins.find(bmc).is_none();
        match pins.keep(bmc, shown) {
            Ok(()) if is_new => {
                tracing::info!("BMC {bmc} is believed by its certificate from now on: {shown}")
            }
            Ok(()) => pins.settle(bmc),
            Err(error) => tracing::warn!("the certificate of BMC {bmc} cannot be kept: {error}"),
        }
    }
}

/// The port of the inventory is that of the protocol the BMC is set to; where that is `auto`, it may be IPMI's own.
fn port(endpoint: &Endpoint) -> u16 {
    endpoint.port.filter(|it| *it != PORT).unwrap_or(HTTPS)
}

/// The path of what a component is to its BMC.
async fn find_resource(client: &Client, endpoint: &Endpoint, of: &Xname) -> Result<String, Error> {
    if of.is_node() {
        let systems = client.systems().await?;
        let count = systems.len();
        let place = if count == 1 { 0 } else { place(endpoint, of) };
        let none = || {
            Error::Missing(format!("system for {of}: it has {count}, and this would be number {}", place + 1))
        };
        return systems.into_iter().nth(place).ok_or_else(none);
    }
    let chassis = client.chassis().await?;
    let wanted = if of.kind().name() == "ComputeModule" {
        format!("blade{}", of.ordinal())
    } else {
        "enclosure".to_owned()
    };
    let name =
        |path: &String| path.trim_end_matches('/').rsplit('/').next().unwrap_or("").to_ascii_lowercase();
    let found = chassis.iter().find(|it| name(it) == wanted).or(match chassis.as_slice() {
        [one] => Some(one),
        _ => None,
    });
    found.cloned().ok_or_else(|| Error::Missing(format!("chassis for {of}, which would be called {wanted}")))
}

/// Which of several systems: as the inventory lists the BMC's nodes, else by the xname's last number.
fn place(endpoint: &Endpoint, of: &Xname) -> usize {
    let mut nodes: Vec<&Xname> = endpoint.nodes.iter().collect();
    nodes.sort_by_key(|it| (it.ordinal(), (*it).clone()));
    let listed = nodes.iter().position(|it| *it == of);
    listed.unwrap_or_else(|| usize::try_from(of.ordinal()).unwrap_or(usize::MAX))
}
