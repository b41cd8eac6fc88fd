//! The authorities in use: sealed rows of the database, and sealed too as the last good copy in the state folder, so
//! that certificates are issued while PostgreSQL is down, also after a restart.

mod crl;
mod forge;
mod kept;
mod site;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod year;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwapOption;
use daemon::{Context, Issue, Retry, Severity};
use rcgen::{CertificateSigningRequestParams, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use time::OffsetDateTime;
use web::{Database, SealKey, Unavailable};

use crate::error::Error;
use crate::model::{Identifier, Policy, Request, Validity};
use crate::store;

pub(crate) use crl::Revoked;
pub(crate) use forge::{Authority, Forge};
pub(crate) use kept::{Cross, Kept, SealedAuthority, Site};

use kept::More;

/// The health issue while database and last good copy cannot be brought together.
const UNSETTLED: &str = "authorities-unsettled/ca";
/// The health issue while a site's intermediate is near its end, or of no use any more.
const SITE: &str = "site-authority/ca";
/// How long clients have to learn a site's root, where ours cannot vouch for it.
const SITE_SETTLE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Requests that wait for the site's answer.
const REQUESTS_MAX: usize = 8;

/// A certificate that was issued.
pub(crate) struct Issued {
    pub(crate) der: Vec<u8>,
    pub(crate) chain_pem: String,
    /// The same without certificates by older roots, if there are any.
    pub(crate) short_pem: Option<String>,
    /// The issuer's fingerprint.
    pub(crate) issuer: String,
    pub(crate) validity: Validity,
}

/// Every authority there is, and the one in use.
pub(crate) struct Authorities {
    forge: Forge,
    path: PathBuf,
    more_path: PathBuf,
    root_file: PathBuf,
    kept: Mutex<Kept>,
    current: ArcSwapOption<Authority>,
}

impl Authorities {
    /// The authorities of the last good copy, or none.
    pub(crate) fn load(
        path: PathBuf,
        root_file: PathBuf,
        seal: SealKey,
        policy: Policy,
        now: OffsetDateTime,
    ) -> anyhow::Result<Self> {
        let more_path = path.with_file_name("authorities-more.json");
        let (kept, current) = (Mutex::default(), ArcSwapOption::empty());
        let forge = Forge { seal, policy };
        let authorities = Self { forge, path, more_path, root_file, kept, current };
        if let Some(text) = read(&authorities.path)? {
            let list = serde_json::from_slice(&text).context("parse the last good authorities")?;
            let more: More = match read(&authorities.more_path)? {
                Some(text) => serde_json::from_slice(&text).context("parse the last good authorities")?,
                None => More::default(),
            };
            let mut kept = Kept { authorities: list, crosses: more.crosses, sites: more.sites };
            // The names may have changed since; the database hears of a new intermediate once it is back.
            authorities.forge.complete(&mut kept, now)?;
            authorities.take(kept, now)?;
        }
        Ok(authorities)
    }

    /// The one in use, whatever time it is.
    pub(crate) fn current(&self) -> Option<Arc<Authority>> {
        self.current.load_full()
    }

    /// For which names certificates are made.
    pub(crate) fn policy(&self) -> &Policy {
        &self.forge.policy
    }

    /// The authority that issues at this moment. The clock may have jumped since it was last looked at: then what is
    /// missing is made at once, and the database hears of it later.
    pub(crate) fn at(&self, now: OffsetDateTime) -> Result<Arc<Authority>, Error> {
        let current = self.current().ok_or(Error::NoAuthority)?;
        if current.validity.is_fresh(now) {
            return Ok(current);
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.forge
            .complete(&mut kept, now)
            .and_then(|()| self.take(kept, now))
            .map_err(|it| Error::Authority(it.into()))?;
        self.current().ok_or(Error::NoAuthority)
    }

    /// The head's certificate for the public key of a request, which must be signed with its private half.
    pub(crate) fn issue(&self, csr_pem: &str, now: OffsetDateTime, life: Duration) -> Result<Issued, Error> {
        let authority = self.at(now)?;
        let request = CertificateSigningRequestParams::from_pem(csr_pem).map_err(Error::Request)?;
        // A point of P-256 has 65 octets, uncompressed (SEC 1 section 2.3.3).
        let key = &request.public_key;
        if key.algorithm() != &PKCS_ECDSA_P256_SHA256 || key.der_bytes().len() != 65 {
            return Err(Error::Key);
        }
        let validity = Validity::leaf(now, life, authority.validity);
        let leaf = self.policy().head_leaf(key, &authority.issuer, validity).map_err(Error::Issue)?;
        Ok(issued(&leaf, &authority, validity))
    }

    /// A certificate for an order's names, which the request has been checked to ask for.
    pub(crate) fn issue_for(
        &self,
        request: &Request,
        names: &[Identifier],
        now: OffsetDateTime,
        life: Duration,
    ) -> Result<Issued, Error> {
        let authority = self.at(now)?;
        let validity = Validity::leaf(now, life, authority.validity);
        let issuer = (authority.id.as_str(), &authority.issuer);
        let leaf = self.policy().leaf(request, names, issuer, validity).map_err(Error::Issue)?;
        Ok(issued(&leaf, &authority, validity))
    }

    /// Brings database and last good copy together: the database's root counts; an empty database is given
    /// ours, or a new one. Retried until done or stopped.
    pub(crate) async fn settle(&self, context: &Context, database: &Database) {
        let mut retry = Retry::default();
        while !context.stop.is_cancelled() {
            match self.settle_once(database, OffsetDateTime::now_utc()).await {
                Ok(()) => {
                    context.status("certificates are issued");
                    context.issues().clear(UNSETTLED);
                    self.report_site(context, OffsetDateTime::now_utc());
                    return;
                }
                Err(error) if error.is::<Unavailable>() => {
                    tracing::debug!("the authorities are not settled: {error:#}")
                }
                Err(error) => context.issues().raise(unsettled(&error)),
            }
            tokio::select! {
                () = context.stop.cancelled() => {}
                () = retry.wait() => {}
            }
        }
    }

    /// One such try.
    pub(crate) async fn settle_once(&self, database: &Database, now: OffsetDateTime) -> anyhow::Result<()> {
        let mut tx = database.begin().await?;
        store::lock_authorities(&mut tx).await.context("lock the authorities")?;
        let stored = Kept {
            authorities: store::list_authorities(&mut tx).await.context("list the authorities")?,
            crosses: store::list_crosses(&mut tx).await.context("list the roots' certificates")?,
            sites: store::list_sites(&mut tx).await.context("list the site's authorities")?,
        };
        let mut all = stored.clone();
        let has_root = stored.roots().any(|it| it.validity().holds(now));
        // Roots stand before what they have signed.
        for kept in &self.kept.lock().unwrap_or_else(PoisonError::into_inner).authorities {
            let is_known = all.authorities.iter().any(|it| it.id == kept.id);
            let is_welcome =
                if kept.is_root() { !has_root } else { all.authorities.iter().any(|it| it.id == kept.root) };
            if !is_known && is_welcome {
                all.authorities.push(kept.clone());
            }
        }
        self.forge.complete(&mut all, now)?;
        for new in all.authorities.iter().filter(|it| !stored.authorities.iter().any(|old| old.id == it.id)) {
            store::insert_authority(&mut tx, new).await.context("insert an authority")?;
        }
        for new in all.crosses.iter().filter(|it| !stored.crosses.iter().any(|old| old.id == it.id)) {
            store::insert_cross(&mut tx, new).await.context("insert a root's certificate")?;
        }
        // Opened before the commit: what cannot be opened here must not become the truth.
        self.take(all.clone(), now)?;
        tx.commit().await.context("commit the authorities")?;
        let text = serde_json::to_vec(&all.authorities).context("write the authorities as JSON")?;
        daemon::replace_file(&self.path, &text, 0o600).context("keep the last good authorities")?;
        let more = More { crosses: all.crosses, sites: all.sites };
        let text = serde_json::to_vec(&more).context("write the authorities as JSON")?;
        daemon::replace_file(&self.more_path, &text, 0o600).context("keep the last good authorities")
    }

    fn take(&self, all: Kept, now: OffsetDateTime) -> anyhow::Result<()> {
        let authority = self.forge.choose(&all, now)?;
        let shown = self.current().is_some_and(|it| it.roots_pem == authority.roots_pem);
        if !shown || !self.root_file.exists() {
            daemon::replace_file(&self.root_file, authority.roots_pem.as_bytes(), 0o644)
                .context("write the root certificates")?;
        }
        self.current.store(Some(Arc::new(authority)));
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = all;
        Ok(())
    }

    /// A request for an intermediate under a site's own root, DER; its key is kept here.
    pub(crate) async fn request_site(
        &self,
        database: &Database,
        now: OffsetDateTime,
    ) -> Result<Vec<u8>, Error> {
        let failed = |it: anyhow::Error| Error::Authority(it.into());
        let site = self.forge.request(now).map_err(failed)?;
        let mut tx = database.begin().await?;
        store::delete_waiting_sites(&mut tx, REQUESTS_MAX - 1).await?;
        store::insert_site(&mut tx, &site).await?;
        tx.commit().await?;
        Ok(site.request)
    }

    /// Takes the chain that a site's PKI made of one of our requests, and issues under it: at once if clients who
    /// know our root alone can follow, or if the caller says so; else in a week.
    pub(crate) async fn install_site(
        &self,
        database: &Database,
        chain_pem: &str,
        at_once: bool,
        now: OffsetDateTime,
    ) -> Result<OffsetDateTime, Error> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain_pem.as_bytes()).collect();
        let chain = chain.map_err(|_| Error::Chain("it is no PEM".to_owned()))?;
        let chain: Vec<Vec<u8>> = chain.into_iter().map(|it| it.to_vec()).collect();
        site::check_chain(&chain, self.policy(), now).map_err(|it| Error::Chain(format!("{it:#}")))?;
        let mut tx = database.begin().await?;
        store::lock_authorities(&mut tx).await?;
        let mut sites = store::list_sites(&mut tx).await?;
        let site = sites.iter_mut().find(|it| self.forge.answers(it, &chain)).ok_or_else(|| {
            Error::Chain("its first certificate has the key of no request of `pilotctl ca csr`".to_owned())
        })?;
        let authorities = store::list_authorities(&mut tx).await?;
        site.chain = chain;
        let root = site.chain.last().cloned().unwrap_or_default();
        let kept = Kept { authorities, crosses: Vec::new(), sites: vec![site.clone()] };
        let follows = at_once || self.forge.vouches(kept, &root, now);
        let from = if follows { now } else { now + SITE_SETTLE };
        site.usable_from = Some(from);
        store::update_site(&mut tx, site).await?;
        tx.commit().await?;
        self.settle_once(database, now).await.map_err(|it| Error::Authority(it.into()))?;
        Ok(from)
    }

    /// Says that the site's intermediate has to be renewed by hand.
    fn report_site(&self, context: &Context, now: OffsetDateTime) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let wanted = kept.sites.iter().any(|it| it.usable_from.is_some_and(|from| from <= now));
        let summary = match self.forge.site_in_use(&kept, now).and_then(|it| it.chain.first()) {
            None if !wanted => None,
            None => Some(
                "the site's intermediate does not hold for our names any more; the head's own root is used"
                    .to_owned(),
            ),
            Some(certificate) => match site::read(certificate) {
                Ok(known) if known.validity.is_fresh(now) => None,
                Ok(known) => Some(format!(
                    "the site's intermediate ends at {} and is to be renewed",
                    known.validity.not_after
                )),
                Err(error) => Some(format!("the site's intermediate is of no use: {error:#}")),
            },
        };
        match summary {
            None => context.issues().clear(SITE),
            Some(summary) => context.issues().raise(Issue {
                id: SITE.to_owned(),
                kind: "site-authority".to_owned(),
                context: serde_json::json!({}),
                severity: Severity::Warning,
                since: String::new(),
                summary,
                suggestion: "pilotctl ca csr, have it signed by the site, then pilotctl ca install"
                    .to_owned(),
                fix: None,
                message_id: String::new(),
            }),
        }
    }
}

fn issued(leaf: &rcgen::Certificate, authority: &Authority, validity: Validity) -> Issued {
    let pem = leaf.pem();
    Issued {
        der: leaf.der().to_vec(),
        short_pem: authority.short_pem.as_ref().map(|it| format!("{pem}{it}")),
        chain_pem: pem + &authority.chain_pem,
        issuer: authority.id.clone(),
        validity,
    }
}

fn read(path: &std::path::Path) -> anyhow::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

/// Raised again it changes nothing, so the retries need no limit of their own.
fn unsettled(error: &anyhow::Error) -> Issue {
    Issue {
        id: UNSETTLED.to_owned(),
        kind: "authorities-unsettled".to_owned(),
        context: serde_json::json!({"reason": format!("{error:#}")}),
        severity: Severity::Error,
        since: String::new(),
        summary: format!("the authorities are not settled with the database: {error:#}"),
        suggestion: "If the sealing key was replaced, restore the credential ca.seal-key from the backup"
            .to_owned(),
        fix: None,
        message_id: String::new(),
    }
}
