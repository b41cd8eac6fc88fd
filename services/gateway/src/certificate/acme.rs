//! Certificates by ACME (RFC 8555) with tls-alpn-01 (RFC 8737): our own ca's, or a public one's.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use daemon::Context;
use domain::Service;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_acme::acme::{Account, Auth, AuthStatus, Order, OrderStatus};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use web::{Client, SealKey};

use super::Certificate;
use super::kept::{self, Kept};
use crate::config::Public;

/// The protocol of a validation (RFC 8737 section 3).
pub(crate) const ALPN: &[u8] = rustls_acme::acme::ACME_TLS_ALPN_NAME;
/// How long all of it may take.
const ORDER_MAX: Duration = Duration::from_secs(120);
/// Between two looks at whether a validation or an order is done.
const LOOKS: [u64; 12] = [50, 100, 200, 500, 1000, 1000, 2000, 2000, 5000, 5000, 10_000, 10_000];
/// The roots of the system.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// An ACME server.
pub(super) struct Directory {
    url: String,
    /// None: our ca, whose root it gives itself, and whose names are the head's.
    public: Option<Public>,
}

impl Directory {
    /// Our own ca's, through our own port. `localhost` is a name of the head's, and one that needs no DNS.
    pub(super) fn internal(_: &Context, tls_port: u16) -> Self {
        Self { url: format!("https://localhost:{tls_port}/acme/directory"), public: None }
    }

    pub(super) fn public(public: &Public) -> Self {
        Self { url: public.directory.clone(), public: Some(public.clone()) }
    }

    pub(super) fn is_public(&self) -> bool {
        self.public.is_some()
    }

    /// Orders a certificate for a new key.
    pub(super) async fn order(
        &self,
        all: &Certificate,
        context: &Context,
        account: (&Path, Option<&SealKey>),
    ) -> anyhow::Result<Kept> {
        let ordered = self.order_for_ever(all, context, account);
        let ordered = tokio::time::timeout(ORDER_MAX, ordered).await;
        all.answer_challenges(HashMap::new());
        ordered.context("the order took too long")?
    }

    async fn order_for_ever(
        &self,
        all: &Certificate,
        context: &Context,
        account: (&Path, Option<&SealKey>),
    ) -> anyhow::Result<Kept> {
        let names = self.names(all)?;
        let tls = self.tls(context).await?;
        let key = account_key(account).context("have an account key")?;
        let directory = rustls_acme::acme::Directory::discover(&tls, &self.url).await;
        let directory = directory.with_context(|| format!("ask {}", self.url))?;
        let contact = self.public.as_ref().map(|it| it.contact.clone()).unwrap_or_default();
        let account = Account::create_with_keypair(&tls, directory, &contact, &key).await;
        let account = account.context("have an account")?;
        let (url, order) = account.new_order(&tls, names.clone()).await.context("order")?;
        validate(all, &account, &tls, &order).await?;
        let mut order = follow_order(&account, &tls, &url, |it| it.status != OrderStatus::Pending)
            .await
            .context("follow the order")?;
        let (key_pem, csr) = kept::new_key_for(&names)?;
        if order.status == OrderStatus::Ready {
            order = account.finalize(&tls, &order.finalize, csr.der()).await.context("finalize the order")?;
            if order.status == OrderStatus::Processing {
                order = follow_order(&account, &tls, &url, |it| it.status != OrderStatus::Processing)
                    .await
                    .context("wait for the certificate")?;
            }
        }
        match order.status {
            OrderStatus::Valid { certificate } => {
                let chain = account.certificate(&tls, certificate).await.context("fetch the certificate")?;
                Kept::new(key_pem, chain)
            }
            _ => {
                let error =
                    order.error.and_then(|it| it.detail).unwrap_or_else(|| "it does not say why".into());
                bail!("the order for {} is not fulfilled: {error}", names.join(", "))
            }
        }
    }

    /// What is ordered: the head's DNS names, as ca names them in the head's own certificate.
    fn names(&self, all: &Certificate) -> anyhow::Result<Vec<String>> {
        if let Some(public) = &self.public {
            return Ok(public.names.clone());
        }
        let head =
            all.head.current().ok_or_else(|| anyhow!("ca has not given the head's own certificate yet"))?;
        let is_dns = |it: &&String| it.parse::<std::net::IpAddr>().is_err() && *it != "localhost";
        let names: Vec<String> = head.names.iter().filter(is_dns).cloned().collect();
        if names.is_empty() { bail!("the head has no DNS name") } else { Ok(names) }
    }

    /// How the server is verified.
    async fn tls(&self, context: &Context) -> anyhow::Result<Arc<ClientConfig>> {
        let pem = if self.is_public() {
            std::fs::read(SYSTEM_ROOTS).with_context(|| format!("read {SYSTEM_ROOTS}"))?
        } else {
            let ca = Client::unix(context.socket_of(Service::Ca));
            ca::client::root_pem(&ca).await.context("ask ca for its root")?
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
}

/// Shows what each authorization asks for, and waits until the server has seen it.
async fn validate(
    all: &Certificate,
    account: &Account,
    tls: &Arc<ClientConfig>,
    order: &Order,
) -> anyhow::Result<()> {
    let (mut shown, mut waiting) = (HashMap::new(), Vec::new());
    for url in &order.authorizations {
        let authorization = account.auth(tls, url).await.context("read an authorization")?;
        let rustls_acme::acme::Identifier::Dns(name) = authorization.identifier;
        match authorization.status {
            AuthStatus::Valid => {}
            AuthStatus::Pending => {
                let (challenge, key) = account.tls_alpn_01(&authorization.challenges, name.clone())?;
                shown.insert(name.clone(), Arc::new(key));
                waiting.push((name, url, challenge.url.clone()));
            }
            other => bail!("the authorization for {name} is {other:?}"),
        }
    }
    all.answer_challenges(shown);
    for (name, _, challenge) in &waiting {
        let asked = account.challenge(tls, challenge).await;
        asked.with_context(|| format!("have {name} validated"))?;
    }
    for (name, url, _) in &waiting {
        let seen = follow_validation(account, tls, url)
            .await
            .with_context(|| format!("follow the validation of {name}"))?;
        if !matches!(seen.status, AuthStatus::Valid) {
            let errors = seen.challenges.into_iter().filter_map(|it| it.error?.detail);
            bail!("{name} is not validated: {}", errors.collect::<Vec<_>>().join("; "));
        }
    }
    Ok(())
}

/// Asks for the order until it is so, or as often as there are looks; the last answer.
async fn follow_order(
    account: &Account,
    tls: &Arc<ClientConfig>,
    url: &str,
    is_over: fn(&Order) -> bool,
) -> anyhow::Result<Order> {
    for pause in LOOKS {
        let order = account.order(tls, url).await?;
        if is_over(&order) {
            return Ok(order);
        }
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    Ok(account.order(tls, url).await?)
}

/// As [`follow_order`], for a validation.
async fn follow_validation(account: &Account, tls: &Arc<ClientConfig>, url: &str) -> anyhow::Result<Auth> {
    for pause in LOOKS {
        let authorization = account.auth(tls, url).await?;
        if !matches!(authorization.status, AuthStatus::Pending) {
            return Ok(authorization);
        }
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    Ok(account.auth(tls, url).await?)
}

/// The account's key, made when there is none yet. It stays, so that the server knows us again.
fn account_key((path, seal): (&Path, Option<&SealKey>)) -> anyhow::Result<zeroize::Zeroizing<Vec<u8>>> {
    if let Some(key) = seal.map(|it| kept::load(path, it)).transpose()?.flatten() {
        return Ok(key);
    }
    let key = zeroize::Zeroizing::new(Account::generate_key_pair());
    if let Some(seal) = seal {
        kept::save(path, seal, &key).context("keep it")?;
    }
    Ok(key)
}
