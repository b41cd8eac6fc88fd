//! Revocation lists (RFC 5280 section 5): one for each intermediate that has issued.

use std::sync::PoisonError;
use std::time::Duration;

use anyhow::Context as _;
use rcgen::{
    CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, RevocationReason, RevokedCertParams,
    SerialNumber,
};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;

use super::Authorities;
use super::forge::site_row;
use crate::model::{crl_name, fingerprint, key_id};

/// How long a list is good.
const LIFE: Duration = Duration::from_secs(24 * 3600);
/// Lists are good from some time before they were made, as certificates are.
const BACKDATE: Duration = Duration::from_secs(3600);

/// A certificate that is not to be believed.
#[derive(Clone, Debug)]
pub(crate) struct Revoked {
    /// Big-endian.
    pub(crate) serial: Vec<u8>,
    pub(crate) at: OffsetDateTime,
    /// RFC 5280 section 5.3.1.
    pub(crate) reason: u8,
}

impl Authorities {
    /// The fingerprint of the intermediate whose list has this name.
    pub(crate) fn find_issuer(&self, name: &str) -> Option<String> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = kept.authorities.iter().filter(|it| !it.is_root()).map(|it| it.id.clone());
        let sites = kept.sites.iter().filter_map(|it| it.chain.first()).map(|it| fingerprint(it));
        ours.chain(sites).find(|it| crl_name(it) == name)
    }

    /// The list of an intermediate, DER.
    pub(crate) fn crl(
        &self,
        issuer: &str,
        revoked: &[Revoked],
        now: OffsetDateTime,
    ) -> anyhow::Result<Vec<u8>> {
        let (certificate, signer) = self.open_issuer(issuer)?;
        let now = now.replace_nanosecond(0).unwrap_or(now);
        let revoked = revoked.iter().map(|it| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&it.serial),
            revocation_time: it.at,
            reason_code: Some(reason(it.reason)),
            invalidity_date: None,
        });
        let number = u64::try_from(now.unix_timestamp()).unwrap_or(1);
        let params = CertificateRevocationListParams {
            this_update: now - BACKDATE,
            next_update: now + LIFE,
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: key_id(&certificate).unwrap_or(KeyIdMethod::Sha256),
        };
        Ok(params.signed_by(&signer).context("sign the revocation list")?.der().to_vec())
    }

    fn open_issuer(&self, issuer: &str) -> anyhow::Result<(Vec<u8>, Issuer<'static, KeyPair>)> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(ours) = kept.authorities.iter().find(|it| it.id == issuer) {
            return Ok((ours.certificate.clone(), self.forge.open(ours)?));
        }
        let sites = kept.sites.iter().filter_map(|it| Some((it, it.chain.first()?)));
        let (site, certificate) =
            sites.into_iter().find(|it| fingerprint(it.1) == issuer).context("find the issuer")?;
        let key = self.forge.open_key(&site.sealed, &site_row(&site.id))?;
        let signer = Issuer::from_ca_cert_der(&CertificateDer::from_slice(certificate), key)
            .context("read the site's intermediate")?;
        Ok((certificate.clone(), signer))
    }
}

fn reason(code: u8) -> RevocationReason {
    match code {
        1 => RevocationReason::KeyCompromise,
        3 => RevocationReason::AffiliationChanged,
        4 => RevocationReason::Superseded,
        5 => RevocationReason::CessationOfOperation,
        9 => RevocationReason::PrivilegeWithdrawn,
        _ => RevocationReason::Unspecified,
    }
}
