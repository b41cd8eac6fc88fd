//! A simulated year, hour by hour, and sixteen more, day by day: certificates of the head and of a machine are renewed
//! by the gateway's own decision, and clients verify at each step.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "../../../gateway/src/model/renewal.rs"]
mod renewal;

use rcgen::{CertificateParams, KeyPair};
use time::{Duration, OffsetDateTime};

use super::Authorities;
use super::tests::{authorities, csr_pem, look, start, verifies};
use crate::model::{Request, test_policy};
use renewal::{Renewal, Validity};

const HEAD: &str = "demo.openchami.cluster";
const NODE: &str = "nid001.openchami.cluster";

/// Who shows a certificate, and renews it.
struct Server {
    name: &'static str,
    life: std::time::Duration,
    request: Option<Request>,
    csr_pem: String,
    chain_pem: String,
    validity: Option<Validity>,
    renewed: u32,
    jitter: u16,
}

impl Server {
    fn new(name: &'static str, life_s: u64) -> Self {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let request = params.serialize_request(&KeyPair::generate().unwrap()).unwrap();
        let request = (name != HEAD).then(|| Request::read(request.der()).unwrap());
        let (csr_pem, life) = (csr_pem(), std::time::Duration::from_secs(life_s));
        let (chain_pem, validity) = (String::new(), None);
        Self { name, life, request, csr_pem, chain_pem, validity, renewed: 0, jitter: 0 }
    }

    /// What the gateway does every 30 s.
    fn look(&mut self, authorities: &Authorities, now: OffsetDateTime) {
        if self.validity.is_some_and(|it| matches!(it.renewal(now, self.jitter), Renewal::Wait(_))) {
            return;
        }
        let issued = match &self.request {
            None => authorities.issue(&self.csr_pem, now, self.life).unwrap(),
            Some(request) => {
                let names: Vec<_> = request.names.iter().cloned().collect();
                authorities.issue_for(request, &names, now, self.life).unwrap()
            }
        };
        let crate::model::Validity { not_before, not_after } = issued.validity;
        self.validity = Some(Validity { not_before, not_after });
        self.chain_pem = issued.chain_pem;
        self.renewed += 1;
        self.jitter = self.jitter.wrapping_mul(25173).wrapping_add(13849);
        assert!(self.validity.is_some_and(|it| it.holds(now)));
    }
}

/// A client: it had the roots when it was set up, and looks for newer ones daily, or never.
struct Client {
    roots_pem: String,
    daily: bool,
}

struct World {
    authorities: Authorities,
    servers: Vec<Server>,
    clients: Vec<Client>,
}

impl World {
    fn new(folder: &std::path::Path, lives_s: [u64; 2]) -> Self {
        let authorities = authorities(folder, test_policy(""), start());
        let roots_pem = authorities.current().unwrap().roots_pem.clone();
        let clients = [true, false].map(|daily| Client { roots_pem: roots_pem.clone(), daily }).into();
        let servers = vec![Server::new(HEAD, lives_s[0]), Server::new(NODE, lives_s[1])];
        Self { authorities, servers, clients }
    }

    /// One moment: ca looks, servers renew, and every client verifies every server.
    fn step(&mut self, now: OffsetDateTime, is_daily: bool, all_clients: bool) {
        look(&self.authorities, now);
        for server in &mut self.servers {
            server.look(&self.authorities, now);
        }
        for client in &mut self.clients {
            if client.daily && is_daily {
                client.roots_pem.clone_from(&self.authorities.current().unwrap().roots_pem);
            }
            for server in self.servers.iter().filter(|_| client.daily || all_clients) {
                let verified = verifies(&client.roots_pem, &server.chain_pem, server.name, now);
                verified.unwrap_or_else(|error| {
                    panic!("{} at {now}, daily {}: {error}", server.name, client.daily)
                });
            }
        }
    }
}

#[test]
fn a_year_passes_hour_by_hour_without_a_hand() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(folder.path(), [86_400, 7 * 86_400]);
    for hour in 0..366 * 24 {
        world.step(start() + Duration::hours(hour), hour % 24 == 0, true);
    }
    let renewed: Vec<_> = world.servers.iter().map(|it| it.renewed).collect();
    // Each at two thirds of its life, or a little before.
    assert!((540..660).contains(&renewed[0]) && (75..95).contains(&renewed[1]), "{renewed:?}");
}

/// Sixteen years see every authority replaced: eleven intermediates or so, and two roots.
#[test]
fn roots_and_intermediates_follow_each_other_for_sixteen_years() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(folder.path(), [86_400 * 3, 90 * 86_400]);
    // Who never looks for new roots follows for as long as the first one holds.
    let first_ends = 3652 - 3;
    for day in 0..16 * 365 {
        world.step(start() + Duration::days(day), true, day < first_ends);
    }
    let kept = world.authorities.kept.lock().unwrap();
    let (roots, all) = (kept.roots().count(), kept.authorities.len());
    assert_eq!(roots, 3, "{all}");
    assert!((10..20).contains(&(all - roots)), "{all}");
}

#[test]
fn the_clock_jumps_a_day_back_and_ten_years_ahead_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(folder.path(), [86_400, 86_400]);
    let at = |hours: i64| start() + Duration::hours(hours);
    let mut steps: Vec<OffsetDateTime> = (0..72).map(at).collect();
    // A day back, for a day.
    steps.extend((48..72).map(at));
    steps.extend((72..96).map(at));
    // Ten years ahead, for two days: clients learn roots there as ever.
    steps.extend((0..48).map(|it| at(96 + it) + Duration::days(3652)));
    let ahead = steps.len() - 48..steps.len();
    steps.extend((97..240).map(at));
    for (index, now) in steps.into_iter().enumerate() {
        // Where the first root has ended, only who asks for new ones follows.
        let is_ahead = ahead.contains(&index);
        world.step(now, index % 24 == 0 || index == ahead.start, !is_ahead);
    }
}
