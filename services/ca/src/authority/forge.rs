//! Makes the authorities that are missing, and says which one issues. Time is an argument.
//!
//! A root is followed by another at two thirds of its life. The younger one is shown to clients at once, beside the
//! older; it issues a month later, and even then with a certificate by the older root behind it.

use std::time::Duration;

use anyhow::Context as _;
use rcgen::{Issuer, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;
use web::SealKey;

use super::kept::{Cross, Kept, SealedAuthority, Site};
use super::site;
use crate::model::{Policy, Validity, fingerprint, key_id, pem, root_params};

/// How long clients have to learn a new root before certificates are issued under it.
const SETTLE: Duration = Duration::from_secs(30 * 24 * 3600);
/// An authority is good from a day before it was made.
const MADE: Duration = crate::model::AUTHORITY_BACKDATE;

/// What authorities are made with.
pub(crate) struct Forge {
    pub(crate) seal: SealKey,
    pub(crate) policy: Policy,
}

/// The authority that issues, opened.
pub(crate) struct Authority {
    /// The intermediate's fingerprint.
    pub(crate) id: String,
    /// Whom clients are to trust, oldest first.
    pub(crate) roots_pem: String,
    /// What stands behind a leaf.
    pub(crate) chain_pem: String,
    /// The same without certificates by older roots, if there are any.
    pub(crate) short_pem: Option<String>,
    pub(crate) issuer: Issuer<'static, KeyPair>,
    pub(crate) validity: Validity,
}

impl Forge {
    /// Makes what is missing: a root that is not old, certificates by older roots, and an intermediate for our names
    /// that is not old.
    pub(crate) fn complete(&self, kept: &mut Kept, now: OffsetDateTime) -> anyhow::Result<()> {
        if !kept.roots().any(|it| it.validity().is_fresh(now)) {
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("make the root's key")?;
            let validity = Validity::root(now);
            let number = kept.roots().count() + 1;
            let certificate = self.policy.root(&key, number, validity).context("make the root")?;
            kept.authorities.push(self.seal(&key, certificate.der(), None, validity)?);
        }
        self.complete_crosses(kept, now)?;
        let root = signing_root(kept, now).context("find the root")?.clone();
        if self.usable(kept, &root, now).is_none_or(|it| !it.validity().is_fresh(now)) {
            let issuer = self.open(&root)?;
            let key =
                KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("make the intermediate's key")?;
            let validity = Validity::intermediate(now, root.validity());
            let certificate =
                self.policy.intermediate(&key, &issuer, validity).context("make the intermediate")?;
            kept.authorities.push(self.seal(&key, certificate.der(), Some(&root.id), validity)?);
        }
        Ok(())
    }

    /// Every root that is shown to clients, certified by each root of ours that they may have had before.
    fn complete_crosses(&self, kept: &mut Kept, now: OffsetDateTime) -> anyhow::Result<()> {
        let ours: Vec<_> = kept.roots().filter(|it| it.validity().holds(now)).cloned().collect();
        let mut subjects: Vec<(String, Vec<u8>, Option<OffsetDateTime>)> =
            ours.iter().map(|it| (it.id.clone(), it.certificate.clone(), Some(it.not_before))).collect();
        for root in kept.sites.iter().filter_map(|it| it.chain.last()) {
            subjects.push((fingerprint(root), root.clone(), None));
        }
        for (subject, certificate, not_before) in subjects {
            // A site's is younger than each of ours, whenever it was made.
            let is_older = |it: &SealedAuthority| not_before.is_none_or(|mine| it.not_before < mine);
            for issuer in ours.iter().filter(|it| it.id != subject && is_older(it)) {
                let is_same = |it: &Cross| it.subject == subject && it.issuer == issuer.id;
                let fits = |it: &Cross| {
                    not_before.is_some() || site::check_bounds(&it.certificate, &self.policy).is_ok()
                };
                if kept.crosses.iter().any(|it| is_same(it) && it.validity().holds(now) && fits(it)) {
                    continue;
                }
                match self.cross(issuer, &certificate, not_before.is_none(), now) {
                    Ok(Some(cross)) => kept.crosses.push(cross),
                    Ok(None) => {}
                    Err(error) => tracing::warn!("a root is not certified by the one before it: {error:#}"),
                }
            }
        }
        Ok(())
    }

    fn cross(
        &self,
        issuer: &SealedAuthority,
        subject: &[u8],
        is_foreign: bool,
        now: OffsetDateTime,
    ) -> anyhow::Result<Option<Cross>> {
        let known = site::read(subject)?;
        let validity = Validity::root(now).within(issuer.validity()).within(known.validity);
        if validity.not_before >= validity.not_after {
            return Ok(None);
        }
        let mut params = root_params("", validity)?;
        params.distinguished_name = known.name.context("its name cannot be written again")?;
        params.use_authority_key_identifier_extension = true;
        params.key_identifier_method = key_id(subject).context("it has no subject key identifier")?;
        // A site's root speaks for our names alone where ours is trusted.
        params.name_constraints = is_foreign.then(|| self.policy.name_constraints());
        let certificate = params.signed_by(&known.key, &self.open(issuer)?).context("sign it")?;
        anyhow::ensure!(
            site::read(certificate.der())?.subject == known.subject,
            "its name cannot be written again as it is"
        );
        let (subject, issuer) = (fingerprint(subject), issuer.id.clone());
        let Validity { not_before, not_after } = validity;
        let certificate = certificate.der().to_vec();
        let id = fingerprint(&certificate);
        Ok(Some(Cross { id, subject, issuer, certificate, not_before, not_after }))
    }

    /// Whether clients who know a root of ours alone can follow a site's root.
    pub(crate) fn vouches(&self, mut kept: Kept, root: &[u8], now: OffsetDateTime) -> bool {
        let subject = fingerprint(root);
        let done = self.complete_crosses(&mut kept, now).is_ok();
        done && kept.crosses.iter().any(|it| it.subject == subject)
    }

    /// The newest intermediate of this root for our names.
    fn usable<'a>(
        &self,
        kept: &'a Kept,
        root: &SealedAuthority,
        now: OffsetDateTime,
    ) -> Option<&'a SealedAuthority> {
        let ours = |it: &&SealedAuthority| {
            !it.is_root()
                && it.root == root.id
                && it.constraints == self.policy.constraints()
                && it.validity().holds(now)
        };
        kept.authorities.iter().filter(ours).max_by_key(|it| it.not_before)
    }

    /// The authority that issues now: the site's if there is one that holds, else ours.
    pub(crate) fn choose(&self, kept: &Kept, now: OffsetDateTime) -> anyhow::Result<Authority> {
        let roots_pem = roots_pem(kept, now);
        if let Some(site) = self.site_in_use(kept, now) {
            let certificate = site.chain.first().context("find the site's intermediate")?;
            let known = site::read(certificate)?;
            let key = self.open_key(&site.sealed, &site_row(&site.id))?;
            let own = site.chain.get(..site.chain.len() - 1).unwrap_or_default();
            let root = fingerprint(site.chain.last().context("find the site's root")?);
            return opened(certificate, own, crosses(kept, &root, now), key, known.validity, roots_pem);
        }
        let root = signing_root(kept, now).context("find the root")?;
        let intermediate = self.usable(kept, root, now).context("find the intermediate")?;
        let key = self.open_key(&intermediate.sealed, &row(&intermediate.id))?;
        let certificate = &intermediate.certificate;
        anyhow::ensure!(
            fingerprint(certificate) == intermediate.id,
            "the authority {} bears the name of another",
            intermediate.id
        );
        let own = std::slice::from_ref(certificate);
        opened(certificate, own, crosses(kept, &root.id, now), key, intermediate.validity(), roots_pem)
    }

    /// The site's intermediate that issues now, the newest.
    pub(crate) fn site_in_use<'a>(&self, kept: &'a Kept, now: OffsetDateTime) -> Option<&'a Site> {
        let holds = |it: &&Site| {
            it.usable_from.is_some_and(|from| from <= now)
                && site::check_chain(&it.chain, &self.policy, now).is_ok()
        };
        kept.sites.iter().filter(holds).max_by_key(|it| it.usable_from)
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

    /// An authority of ours, to sign with.
    pub(crate) fn open(&self, kept: &SealedAuthority) -> anyhow::Result<Issuer<'static, KeyPair>> {
        let id = &kept.id;
        anyhow::ensure!(
            fingerprint(&kept.certificate) == *id,
            "the authority {id} bears the name of another"
        );
        let key =
            self.open_key(&kept.sealed, &row(id)).with_context(|| format!("open the authority {id}"))?;
        let der = CertificateDer::from_slice(&kept.certificate);
        Issuer::from_ca_cert_der(&der, key).context("read the authority")
    }

    /// A sealed key.
    pub(crate) fn open_key(&self, sealed: &[u8], row: &str) -> anyhow::Result<KeyPair> {
        let pkcs8 = self.seal.open(sealed, row).context("open the key")?;
        let key = PrivatePkcs8KeyDer::from(pkcs8.as_slice());
        KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256)
            .context("read the authority's key")
    }
}

fn opened(
    certificate: &[u8],
    own: &[Vec<u8>],
    crosses: Vec<&Cross>,
    key: KeyPair,
    validity: Validity,
    roots_pem: String,
) -> anyhow::Result<Authority> {
    let issuer = Issuer::from_ca_cert_der(&CertificateDer::from_slice(certificate), key)
        .context("read the intermediate")?;
    let short: String = own.iter().map(|it| pem(it)).collect();
    let more: String = crosses.iter().map(|it| pem(&it.certificate)).collect();
    let chain_pem = [short.as_str(), more.as_str()].concat();
    let short_pem = (!more.is_empty()).then_some(short);
    Ok(Authority { id: fingerprint(certificate), roots_pem, chain_pem, short_pem, issuer, validity })
}

/// What older roots say of this one, the oldest last.
fn crosses<'a>(kept: &'a Kept, subject: &str, now: OffsetDateTime) -> Vec<&'a Cross> {
    let of = |it: &&Cross| it.subject == subject && it.validity().holds(now);
    let mut all: Vec<_> = kept.crosses.iter().filter(of).collect();
    // Of each root the newest alone.
    all.sort_by_key(|it| std::cmp::Reverse(it.not_before));
    let mut seen = std::collections::HashSet::new();
    all.retain(|it| seen.insert(it.issuer.as_str()));
    all
}

/// The root under which certificates are issued: the newest that clients have had time to learn, else the oldest.
fn signing_root(kept: &Kept, now: OffsetDateTime) -> Option<&SealedAuthority> {
    let holding = || kept.roots().filter(|it| it.validity().holds(now));
    let settled = holding().filter(|it| now >= it.not_before + MADE + SETTLE);
    settled.max_by_key(|it| it.not_before).or_else(|| holding().min_by_key(|it| it.not_before))
}

/// Whom clients are to trust: our roots, also those that begin later, and the site's.
fn roots_pem(kept: &Kept, now: OffsetDateTime) -> String {
    let mut ours: Vec<_> = kept.roots().filter(|it| now < it.not_after).collect();
    ours.sort_by_key(|it| (it.not_before, it.id.as_str()));
    let mut all: Vec<&[u8]> = ours.iter().map(|it| it.certificate.as_slice()).collect();
    for root in kept.sites.iter().filter_map(|it| it.chain.last()) {
        let holds = site::read(root).is_ok_and(|it| now < it.validity.not_after);
        if holds && !all.contains(&root.as_slice()) {
            all.push(root);
        }
    }
    all.into_iter().map(pem).collect()
}

/// What a sealed key is bound to.
pub(crate) fn row(id: &str) -> String {
    format!("authority/{id}")
}

/// The same of a site's intermediate.
pub(crate) fn site_row(id: &str) -> String {
    format!("site/{id}")
}
