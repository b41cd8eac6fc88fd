//! Authorities in time: the second root, a site's own, clocks that jump.
#![expect(clippy::unwrap_used, reason = "tests")]

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, NameConstraints,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer, ServerName, UnixTime};
use time::{Duration, OffsetDateTime};
use web::SealKey;

use super::{Authorities, Kept};
use crate::model::{Policy, pem, test_policy};

/// A moment from which on these tests count.
pub(super) fn start() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
}

/// Authorities without a database, made at a moment.
pub(super) fn authorities(folder: &std::path::Path, policy: Policy, now: OffsetDateTime) -> Authorities {
    let seal = SealKey::new(&[7; 32]).unwrap();
    let file = folder.join("authorities.json");
    let authorities = Authorities::load(file, folder.join("root.pem"), seal, policy, now).unwrap();
    let mut kept = Kept::default();
    authorities.forge.complete(&mut kept, now).unwrap();
    authorities.take(kept, now).unwrap();
    authorities
}

/// What the hourly look does, without a database.
pub(super) fn look(authorities: &Authorities, now: OffsetDateTime) {
    let mut kept = authorities.kept.lock().unwrap().clone();
    authorities.forge.complete(&mut kept, now).unwrap();
    authorities.take(kept, now).unwrap();
}

pub(super) fn csr_pem() -> String {
    CertificateParams::default().serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
}

/// Whether rustls takes a chain for a name at a moment, with these roots.
pub(super) fn verifies(
    roots_pem: &str,
    chain_pem: &str,
    name: &str,
    now: OffsetDateTime,
) -> Result<(), String> {
    use rustls::client::danger::ServerCertVerifier;
    let mut roots = rustls::RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(roots_pem.as_bytes()) {
        roots.add(root.unwrap()).unwrap();
    }
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        rustls::client::WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build();
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain_pem.as_bytes()).map(Result::unwrap).collect();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now.unix_timestamp().unsigned_abs()));
    let verified = verifier.unwrap().verify_server_cert(&chain[0], &chain[1..], &name, &[], now);
    verified.map(drop).map_err(|it| it.to_string())
}

fn first(pem: &str) -> String {
    pem.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap().to_owned()
}

#[test]
fn a_second_root_follows_the_first_and_nobody_notices() {
    let folder = tempfile::tempdir().unwrap();
    let authorities = authorities(folder.path(), test_policy(""), start());
    let old = authorities.current().unwrap().roots_pem.clone();
    let two_thirds = start() + Duration::days(3652 * 2 / 3);
    look(&authorities, two_thirds - Duration::days(2));
    assert_eq!(authorities.current().unwrap().roots_pem, old);

    // The new one is shown, and does not issue yet.
    look(&authorities, two_thirds + Duration::days(1));
    let both = authorities.current().unwrap().roots_pem.clone();
    assert!(both.starts_with(&old) && both.len() > old.len());
    let (csr, life) = (csr_pem(), std::time::Duration::from_secs(86_400));
    let early = authorities.issue(&csr, two_thirds + Duration::days(2), life).unwrap();
    assert!(early.short_pem.is_none());

    // It issues, and who knows the old root alone follows, whoever knows the new one alone too.
    let now = two_thirds + Duration::days(40);
    look(&authorities, now);
    let late = authorities.issue(&csr, now, life).unwrap();
    let short = late.short_pem.unwrap();
    let new = both.strip_prefix(&old).unwrap();
    for (roots, chain, good) in [
        (old.as_str(), late.chain_pem.as_str(), true),
        (new, &late.chain_pem, true),
        (&both, &late.chain_pem, true),
        (new, &short, true),
        (&old, &short, false),
    ] {
        assert_eq!(verifies(roots, chain, "demo.openchami.cluster", now).is_ok(), good);
        std::fs::write(folder.path().join("roots"), roots).unwrap();
        std::fs::write(folder.path().join("chain"), chain).unwrap();
        let at = now.unix_timestamp().to_string();
        let output = std::process::Command::new("/usr/bin/openssl")
            .args(["verify", "-attime", &at, "-x509_strict", "-purpose", "sslserver", "-CAfile", "roots"])
            .args(["-untrusted", "chain", "chain"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert_eq!(output.status.success(), good, "{output:?}");
    }
}

#[test]
fn a_clock_that_jumps_comes_back_to_what_there_was() {
    let folder = tempfile::tempdir().unwrap();
    let authorities = authorities(folder.path(), test_policy(""), start());
    let (csr, life) = (csr_pem(), std::time::Duration::from_secs(86_400));
    let roots = authorities.current().unwrap().roots_pem.clone();
    let issue = |now| {
        let issued = authorities.issue(&csr, now, life).unwrap();
        let shown = authorities.current().unwrap().roots_pem.clone();
        verifies(&shown, &issued.chain_pem, "demo.openchami.cluster", now).unwrap();
        (issued.issuer, shown, issued.chain_pem)
    };
    let (issuer, ..) = issue(start());
    // A day back, and again.
    assert_eq!(issue(start() - Duration::hours(24)).0, issuer);
    assert_eq!(issue(start()).0, issuer);
    // Ten years ahead the first root has a day left, at most; and back.
    let ahead = start() + Duration::days(3653);
    assert_ne!(issue(ahead).0, issuer);
    let back = start() + Duration::hours(1);
    let (again, shown, chain) = issue(back);
    assert_eq!(again, issuer);
    assert!(shown.starts_with(&roots));
    verifies(&roots, &chain, "localhost", back).unwrap();
    // The root that was made in vain stays out of the way until its time.
    look(&authorities, back + Duration::days(400));
    verifies(&roots, &issue(back + Duration::days(400)).2, "localhost", back + Duration::days(400)).unwrap();
}

/// A site's PKI.
struct Site {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

impl Site {
    fn new(now: OffsetDateTime) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CountryName, "DE");
        params.distinguished_name.push(DnType::OrganizationName, "Site");
        params.distinguished_name.push(DnType::CommonName, "Site Root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = (now - Duration::days(300), now + Duration::days(3000));
        let root = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), root }
    }

    /// Its answer to a request.
    fn sign(&self, request: &[u8], now: OffsetDateTime, change: impl Fn(&mut CertificateParams)) -> Vec<u8> {
        let request = CertificateSigningRequestDer::from(request.to_vec());
        let mut request = CertificateSigningRequestParams::from_der(&request).unwrap();
        let params = &mut request.params;
        (params.not_before, params.not_after) = (now - Duration::hours(1), now + Duration::days(365));
        params.use_authority_key_identifier_extension = true;
        change(params);
        request.signed_by(&self.issuer).unwrap().der().to_vec()
    }
}

#[test]
fn a_sites_chain_is_taken_if_it_is_good() {
    let now = start();
    let folder = tempfile::tempdir().unwrap();
    let authorities = authorities(folder.path(), test_policy(""), now);
    let own_roots = authorities.current().unwrap().roots_pem.clone();
    let site = Site::new(now);
    let request = authorities.forge.request(now).unwrap();
    let check = |chain: &[Vec<u8>], policy: &Policy| {
        super::site::check_chain(chain, policy, now).map_err(|it| format!("{it:#}")).err().unwrap_or_default()
    };
    let policy = test_policy("");
    let root = site.root.to_vec();
    let good = site.sign(&request.request, now, |_| {});
    assert_eq!(check(&[good.clone(), root.clone()], &policy), "");
    let bound = site.sign(&request.request, now, |it| it.name_constraints = Some(policy.name_constraints()));
    assert_eq!(check(&[bound.clone(), root.clone()], &policy), "");

    let narrow = |it: &mut CertificateParams| {
        let permitted_subtrees = vec![rcgen::GeneralSubtree::DnsName("openchami.cluster".to_owned())];
        it.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
    };
    let other = Site::new(now);
    for (chain, why) in [
        (vec![], "2 to 4"),
        (vec![good.clone()], "2 to 4"),
        (vec![good.clone(), other.root.to_vec()], "is not signed by"),
        (vec![site.sign(&request.request, now, |it| it.is_ca = IsCa::NoCa), root.clone()], "no authority"),
        (
            vec![
                site.sign(&request.request, now, |it| {
                    it.key_usages = vec![KeyUsagePurpose::DigitalSignature]
                }),
                root.clone(),
            ],
            "keyCertSign",
        ),
        (vec![site.sign(&request.request, now, |it| it.not_after = now), root.clone()], "holds from"),
        (vec![site.sign(&request.request, now, narrow), root.clone()], "do not permit"),
        (vec![b"rubbish".to_vec(), root.clone()], "unreadable"),
    ] {
        let said = check(&chain, &policy);
        assert!(said.contains(why), "{why}: {said}");
    }
    // Taken for fewer names, it is of no use once there are more.
    let wider = test_policy("[ca]\nallowed_names = ['example.org']\n");
    assert!(!check(&[bound, root.clone()], &wider).is_empty());
    assert!(!authorities.forge.answers(&request, &[other.root.to_vec()]));

    // In use: who knows the site's root follows, and who knows ours alone too.
    let mut installed = request;
    assert!(authorities.forge.answers(&installed, std::slice::from_ref(&good)));
    (installed.chain, installed.usable_from) = (vec![good, root.clone()], Some(now));
    let mut kept = authorities.kept.lock().unwrap().clone();
    kept.sites.push(installed);
    authorities.forge.complete(&mut kept, now).unwrap();
    authorities.take(kept, now).unwrap();
    let issued = authorities.issue(&csr_pem(), now, std::time::Duration::from_secs(3600)).unwrap();
    for roots in [&pem(&root), &own_roots, &authorities.current().unwrap().roots_pem] {
        verifies(roots, &issued.chain_pem, "demo.openchami.cluster", now).unwrap();
    }
    assert!(authorities.current().unwrap().roots_pem.contains(&pem(&root)));
    // When it has ended, ours issues again.
    let later = now + Duration::days(366);
    let issued = authorities.issue(&csr_pem(), later, std::time::Duration::from_secs(3600)).unwrap();
    verifies(&first(&own_roots), &issued.chain_pem, "demo.openchami.cluster", later).unwrap();
}
