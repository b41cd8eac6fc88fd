//! Looks for challenges where they are to be: http-01 (RFC 8555 section 8.3) and tls-alpn-01 (RFC 8737) at the
//! machine that a certificate is for. The only connections that ca makes; each is bounded in time, size and number.

mod http;
mod tls;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::api::acme::AcmeProblem;
use crate::config::Validation;
use crate::model::{Identifier, Policy};

/// Looks at once; more wait.
const LOOKS_MAX: usize = 16;
/// How often a machine that does not answer is tried, and how long after the one before.
const TRIES: [Duration; 3] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(3)];
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;

/// A kind of challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Http,
    TlsAlpn,
}

/// What is to be found.
#[derive(Clone, Debug)]
pub(crate) struct Proof {
    identifier: Identifier,
    /// Whether it is the head's own, which answers at the gateway's port.
    is_head: bool,
    token: String,
    /// The token and the account's key (RFC 8555 section 8.1).
    authorization: String,
}

/// Who looks.
pub(crate) struct Probe {
    settings: Validation,
    slots: Semaphore,
    tls: Arc<ClientConfig>,
}

/// Why nothing was found there.
enum Missed {
    /// Nobody answers: worth another try.
    Silent(AcmeProblem),
    /// Something else answers.
    Wrong(AcmeProblem),
}

impl Kind {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Http, Self::TlsAlpn].into_iter().find(|it| it.word() == text)
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Http => "http-01",
            Self::TlsAlpn => "tls-alpn-01",
        }
    }
}

impl Proof {
    pub(crate) fn new(identifier: Identifier, is_head: bool, token: &str, thumbprint: &str) -> Self {
        let authorization = format!("{token}.{thumbprint}");
        Self { identifier, is_head, token: token.to_owned(), authorization }
    }

    pub(crate) fn identifier(&self) -> &Identifier {
        &self.identifier
    }

    fn digest(&self) -> digest::Digest {
        digest::digest(&digest::SHA256, self.authorization.as_bytes())
    }
}

impl Probe {
    /// # Errors
    ///
    /// If TLS cannot be set up.
    pub(crate) fn new(settings: Validation) -> anyhow::Result<Self> {
        Ok(Self { settings, slots: Semaphore::new(LOOKS_MAX), tls: tls::config()? })
    }

    /// Looks for a proof.
    pub(crate) async fn look(&self, proof: &Proof, kind: Kind, policy: &Policy) -> Result<(), AcmeProblem> {
        let gone = || AcmeProblem::bad("serverInternal", "ca stops");
        let _slot = self.slots.acquire().await.map_err(|_| gone())?;
        let mut silent = None;
        for pause in TRIES {
            tokio::time::sleep(pause).await;
            let looked = tokio::time::timeout(self.settings.timeout.0, async {
                match kind {
                    Kind::Http => http::look(self, proof, policy).await,
                    Kind::TlsAlpn => tls::look(self, proof).await,
                }
            });
            match looked.await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(Missed::Wrong(problem))) => return Err(problem),
                Ok(Err(Missed::Silent(problem))) => silent = Some(problem),
                Err(_) => {
                    let detail =
                        format!("{} did not answer within {}", proof.identifier, self.settings.timeout);
                    silent = Some(AcmeProblem::bad("connection", detail));
                }
            }
        }
        Err(silent.unwrap_or_else(gone))
    }

    /// A connection to whom an identifier names.
    async fn connect(&self, identifier: &Identifier, is_head: bool, port: u16) -> Result<TcpStream, Missed> {
        let mut last = None;
        for address in self.addresses(identifier, is_head, port).await? {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(format!("{address}: {error}")),
            }
        }
        let detail = last.unwrap_or_else(|| "it has no address that could be asked".to_owned());
        let detail = format!("cannot connect to {}: {detail}", identifier.value());
        Err(Missed::Silent(AcmeProblem::bad("connection", detail)))
    }

    async fn addresses(
        &self,
        identifier: &Identifier,
        is_head: bool,
        port: u16,
    ) -> Result<Vec<SocketAddr>, Missed> {
        let found: Vec<SocketAddr> = match identifier {
            Identifier::Ip(address) => vec![(*address, port).into()],
            // Whatever its names resolve to elsewhere, the head is here.
            Identifier::Dns(_) if is_head => vec![(IpAddr::from(Ipv4Addr::LOCALHOST), port).into()],
            Identifier::Dns(name) => match tokio::net::lookup_host((name.as_str(), port)).await {
                Ok(found) => found.collect(),
                Err(error) => {
                    let detail = format!("{name} cannot be resolved on the head: {error}");
                    return Err(Missed::Silent(AcmeProblem::bad("dns", detail)));
                }
            },
        };
        let is_one = |it: &SocketAddr| !it.ip().is_unspecified() && !it.ip().is_multicast();
        Ok(found.into_iter().filter(is_one).take(ADDRESSES_MAX).collect())
    }
}

fn wrong(kind: &'static str, detail: String) -> Missed {
    Missed::Wrong(AcmeProblem::bad(kind, detail))
}
