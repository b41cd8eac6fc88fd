//! The authorities: sealed rows of the database, and sealed too as the last good copy in the state folder, so
//! that certificates are issued while PostgreSQL is down, also after a restart.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwapOption;
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use daemon::{Context, Issue, Retry, Severity};
use rcgen::{CertificateSigningRequestParams, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use web::{Database, SealKey, Unavailable};

use crate::error::Error;
use crate::model::{Policy, Validity};
use crate::store;

/// The health issue while database and last good copy cannot be brought together.
const UNSETTLED: &str = "authorities-unsettled/ca";

/// An authority as it is kept, in the database and in the state folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SealedAuthority {
    /// SHA-256 of the certificate, in hexadecimal.
    pub(crate) id: String,
    /// The root's id; a root's own.
    pub(crate) root: String,
    /// What it may issue for; empty for a root.
    pub(crate) constraints: Vec<String>,
    /// DER.
    pub(crate) certificate: Vec<u8>,
    pub(crate) sealed: Vec<u8>,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) not_before: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) not_after: OffsetDateTime,
}

impl SealedAuthority {
    pub(crate) fn is_root(&self) -> bool {
        self.id == self.root
    }

    fn validity(&self) -> Validity {
        Validity { not_before: self.not_before, not_after: self.not_after }
    }
}

/// The authority in use, opened.
pub(crate) struct Authority {
    pub(crate) root_pem: String,
    intermediate_pem: String,
    issuer: Issuer<'static, KeyPair>,
    validity: Validity,
}

/// A certificate that was issued.
pub(crate) struct Issued {
    pub(crate) chain_pem: String,
    pub(crate) validity: Validity,
}

/// Every authority there is, and the one in use.
pub(crate) struct Authorities {
    seal: SealKey,
    policy: Policy,
    path: PathBuf,
    root_file: PathBuf,
    kept: Mutex<Vec<SealedAuthority>>,
    current: ArcSwapOption<Authority>,
}

impl Authorities {
    /// The authorities of the last good copy, or none.
    pub(crate) fn load(
        path: PathBuf,
        root_file: PathBuf,
        seal: SealKey,
        policy: Policy,
    ) -> anyhow::Result<Self> {
        let (kept, current) = (Mutex::default(), ArcSwapOption::empty());
        let authorities = Self { seal, policy, path, root_file, kept, current };
        match std::fs::read(&authorities.path) {
            Ok(text) => {
                let mut kept = serde_json::from_slice(&text).context("parse the last good authorities")?;
                // The names may have changed since; the database hears of a new intermediate once it is back.
                authorities.complete(&mut kept, OffsetDateTime::now_utc())?;
                authorities.take(kept)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("read {}", authorities.path.display())),
        }
        Ok(authorities)
    }

    pub(crate) fn current(&self) -> Option<Arc<Authority>> {
        self.current.load_full()
    }

    /// The head's names, for a log.
    pub(crate) fn names(&self) -> String {
        self.policy.names()
    }

    /// The head's certificate for the public key of a request, which must be signed with its private half.
    pub(crate) fn issue(&self, csr_pem: &str, now: OffsetDateTime, life: Duration) -> Result<Issued, Error> {
        let authority = self.current().ok_or(Error::NoAuthority)?;
        let request = CertificateSigningRequestParams::from_pem(csr_pem).map_err(Error::Request)?;
        // A point of P-256 has 65 octets, uncompressed (SEC 1 section 2.3.3).
        let key = &request.public_key;
        if key.algorithm() != &PKCS_ECDSA_P256_SHA256 || key.der_bytes().len() != 65 {
            return Err(Error::Key);
        }
        let validity = Validity::leaf(now, life, authority.validity);
        let leaf = self.policy.leaf(key, &authority.issuer, validity).map_err(Error::Issue)?;
        Ok(Issued { chain_pem: leaf.pem() + &authority.intermediate_pem, validity })
    }

    /// Brings database and last good copy together: the database's root counts; an empty database is given
    /// ours, or a new one. Retried until done or stopped.
    pub(crate) async fn settle(&self, context: &Context, database: &Database) {
        let mut retry = Retry::default();
        while !context.stop.is_cancelled() {
            match self.settle_once(database).await {
                Ok(()) => {
                    context.status("certificates are issued");
                    context.issues().clear(UNSETTLED);
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

    async fn settle_once(&self, database: &Database) -> anyhow::Result<()> {
        let mut tx = database.begin().await?;
        store::lock_authorities(&mut tx).await.context("lock the authorities")?;
        let stored = store::list_authorities(&mut tx).await.context("list the authorities")?;
        let mut all = stored.clone();
        for kept in self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let is_known = stored.iter().any(|it| it.id == kept.id);
            if !is_known && (stored.is_empty() || stored.iter().any(|it| it.id == kept.root)) {
                all.push(kept.clone());
            }
        }
        self.complete(&mut all, OffsetDateTime::now_utc())?;
        for new in all.iter().filter(|it| !stored.iter().any(|old| old.id == it.id)) {
            store::insert_authority(&mut tx, new).await.context("insert an authority")?;
        }
        // Opened before the commit: what cannot be opened here must not become the truth.
        self.take(all.clone())?;
        tx.commit().await.context("commit the authorities")?;
        let text = serde_json::to_vec(&all).context("write the authorities as JSON")?;
        daemon::replace_file(&self.path, &text, 0o600).context("keep the last good authorities")
    }

    /// Makes what is missing: a root, and an intermediate of it for our names that is not old.
    fn complete(&self, all: &mut Vec<SealedAuthority>, now: OffsetDateTime) -> anyhow::Result<()> {
        if newest_root(all).is_none() {
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("make the root's key")?;
            let validity = Validity::root(now);
            let certificate = self.policy.root(&key, validity).context("make the root")?;
            all.push(self.seal(&key, certificate.der(), None, validity)?);
        }
        let root = newest_root(all).context("find the root")?.clone();
        if self.usable(all, &root).is_none_or(|it| !it.validity().is_fresh(now)) {
            let root_key = self.open(&root)?;
            let issuer = Issuer::from_ca_cert_der(&CertificateDer::from_slice(&root.certificate), root_key)?;
            let key =
                KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("make the intermediate's key")?;
            let validity = Validity::intermediate(now, root.validity());
            let certificate =
                self.policy.intermediate(&key, &issuer, validity).context("make the intermediate")?;
            all.push(self.seal(&key, certificate.der(), Some(&root.id), validity)?);
        }
        Ok(())
    }

    /// The newest intermediate of this root for our names.
    fn usable<'a>(&self, all: &'a [SealedAuthority], root: &SealedAuthority) -> Option<&'a SealedAuthority> {
        let ours = |it: &&SealedAuthority| {
            !it.is_root() && it.root == root.id && it.constraints == self.policy.constraints()
        };
        all.iter().filter(ours).max_by_key(|it| it.not_before)
    }

    fn take(&self, all: Vec<SealedAuthority>) -> anyhow::Result<()> {
        let root = newest_root(&all).context("find the root")?;
        let intermediate = self.usable(&all, root).context("find the intermediate")?;
        let key = self.open(intermediate)?;
        let der = CertificateDer::from_slice(&intermediate.certificate);
        let issuer = Issuer::from_ca_cert_der(&der, key).context("read the intermediate")?;
        let root_pem = pem(&root.certificate);
        daemon::replace_file(&self.root_file, root_pem.as_bytes(), 0o644)
            .context("write the root certificate")?;
        let intermediate_pem = pem(&intermediate.certificate);
        let validity = intermediate.validity();
        self.current.store(Some(Arc::new(Authority { root_pem, intermediate_pem, issuer, validity })));
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = all;
        Ok(())
    }

    fn seal(
        &self,
        key: &KeyPair,
        certificate: &CertificateDer<'_>,
        root: Option<&str>,
        validity: Validity,
    ) -> anyhow::Result<SealedAuthority> {
        let id = fingerprint(certificate);
        let sealed = self.seal.seal(key.serialized_der(), &row(&id))?;
        Ok(SealedAuthority {
            root: root.unwrap_or(&id).to_owned(),
            constraints: if root.is_some() { self.policy.constraints().to_vec() } else { Vec::new() },
            certificate: certificate.to_vec(),
            sealed,
            not_before: validity.not_before,
            not_after: validity.not_after,
            id,
        })
    }

    fn open(&self, kept: &SealedAuthority) -> anyhow::Result<KeyPair> {
        let id = &kept.id;
        anyhow::ensure!(
            fingerprint(&kept.certificate) == *id,
            "the authority {id} bears the name of another"
        );
        let pkcs8 =
            self.seal.open(&kept.sealed, &row(id)).with_context(|| format!("open the authority {id}"))?;
        let key = PrivatePkcs8KeyDer::from(pkcs8.as_slice());
        KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256)
            .context("read the authority's key")
    }
}

fn newest_root(all: &[SealedAuthority]) -> Option<&SealedAuthority> {
    all.iter().filter(|it| it.is_root()).max_by_key(|it| it.not_before)
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

/// What a sealed key is bound to.
fn row(id: &str) -> String {
    format!("authority/{id}")
}

fn fingerprint(certificate: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, certificate);
    digest.as_ref().iter().map(|it| format!("{it:02x}")).collect()
}

/// RFC 7468 section 5: base64 in lines of 64.
fn pem(certificate: &[u8]) -> String {
    let text = STANDARD.encode(certificate);
    let lines: Vec<&str> =
        (0..text.len()).step_by(64).filter_map(|it| text.get(it..text.len().min(it + 64))).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
