//! Names and lives.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use domain::Document;
use time::OffsetDateTime;

use super::{Identifier, Policy, Validity};
use crate::config::Config;

const DOCUMENT: &str = "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"openchami.cluster\"\n\
    [[network.planes]]\nname = \"nodes\"\nkind = \"nodes\"\naddresses = [\"172.16.0.254/24\"]\n";

pub(crate) fn policy(more: &str) -> Policy {
    let document = Document::parse(&format!("{DOCUMENT}{more}")).unwrap();
    Policy::new(&document, &Config::parse(&document).unwrap())
}

#[test]
fn names_come_from_the_document() {
    let names = policy("[ca]\nhead_names = [\"head.example.org\", \"10.1.2.3\", \"localhost\"]\n").names();
    assert_eq!(
        names,
        "demo.openchami.cluster, demo-head, demo-head.openchami.cluster, localhost, head.example.org, \
         172.16.0.254, 127.0.0.1, ::1, 10.1.2.3"
    );
}

#[test]
fn the_intermediate_is_bound_to_what_is_allowed() {
    let policy =
        policy("[ca]\nhead_names = [\"fd00::1\"]\nallowed_names = [\"example.org\", \"10.0.0.0/8\"]\n");
    assert_eq!(
        policy.constraints(),
        [
            "dns:demo-head",
            "dns:example.org",
            "dns:localhost",
            "dns:openchami.cluster",
            "ip:10.0.0.0/8",
            "ip:127.0.0.1/32",
            "ip:172.16.0.0/24",
            "ip:::1/128",
            "ip:fd00::1/128"
        ]
    );
}

#[test]
fn what_is_not_the_clusters_is_not_allowed() {
    let policy = policy("[ca]\nallowed_names = [\"example.org\", \"10.0.0.0/8\"]\n");
    let is = |text: &str| {
        let identifier: Identifier = text.parse().unwrap();
        (policy.allows(&identifier), policy.is_head(&identifier))
    };
    for text in ["dns:demo.openchami.cluster", "dns:localhost", "ip:172.16.0.254", "ip:127.0.0.1", "ip:::1"] {
        assert_eq!(is(text), (true, true), "{text}");
    }
    for text in [
        "dns:nid001.openchami.cluster",
        "dns:openchami.cluster",
        "dns:a.b.example.org",
        "ip:172.16.0.1",
        "ip:10.2.3.4",
    ] {
        assert_eq!(is(text), (true, false), "{text}");
    }
    for text in [
        "dns:evilopenchami.cluster",
        "dns:cluster",
        "dns:nid001",
        "dns:openchami.cluster.evil.org",
        "dns:example.com",
        "ip:172.16.0.0",
        "ip:172.16.0.255",
        "ip:172.16.1.1",
        "ip:8.8.8.8",
        "ip:127.0.0.2",
        "ip:fd00::1",
    ] {
        assert_eq!(is(text), (false, false), "{text}");
    }
}

#[test]
fn no_certificate_outlives_its_issuer() {
    let now = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let root = Validity::root(now);
    let late = root.not_after - Duration::from_secs(3600);
    let intermediate = Validity::intermediate(late, root);
    let leaf = Validity::leaf(late, Duration::from_secs(86_400), intermediate);
    assert_eq!((intermediate.not_after, leaf.not_after), (root.not_after, root.not_after));
    assert!(
        root.is_fresh(now)
            && !root.is_fresh(late)
            && !root.is_fresh(root.not_before - Duration::from_secs(1))
    );
}
