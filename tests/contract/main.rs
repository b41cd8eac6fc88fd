//! The recordings of the services we follow, replayed against a fresh head each. What the lines mean, and which of
//! them are no model: the head of `harness/replay.rs`.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use domain::Service;
use tests::head::Trusted;
use tests::replay::{self, Keys, Replay, Secure};
use tests::{Head, HeadOptions};

/// Exchanges that another recording has too, and marks as a fault of the original.
const SAME_AS: [(&str, &str); 1] = [("ochami-new-043", "as bss-params-058: the version is known here")];

/// Replays a recording that carries no token, as an administrator.
async fn replay(file: &str, settings: &[&str]) {
    play(file, HeadOptions { front: true, ..HeadOptions::default() }, settings, None).await;
}

/// Replays a recording that carries tokens, through the gateway and TLS, to a head that trusts their issuer.
async fn replay_with_tokens(file: &str, settings: &[&str]) {
    let keys = Keys::generate().unwrap();
    let (issuer, audience) = (replay::ISSUER.to_owned(), replay::AUDIENCE.to_owned());
    let trusted = Trusted { issuer, audience, jwks: keys.jwks().to_string() };
    let options = HeadOptions { trusted: vec![trusted], ..HeadOptions::default() };
    play(file, options, settings, Some(keys)).await;
}

async fn play(file: &str, mut options: HeadOptions, settings: &[&str], keys: Option<Keys>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("contract").join(file);
    let mut exchanges = replay::load(&path).unwrap();
    for exchange in &mut exchanges {
        let same = SAME_AS.iter().find(|it| it.0 == exchange.id);
        exchange.quirk = exchange.quirk.take().or(same.map(|it| it.1.into()));
    }
    for setting in settings {
        options = options.set(setting).unwrap();
    }
    let head = Head::start(options).await.unwrap();
    let (base, secure) = match head.front() {
        Some(front) => (front.url(), None),
        None => {
            let root = head.root_certificate().await.unwrap().unwrap();
            let gateway = head.address(Service::Gateway, "tls").unwrap();
            (format!("https://{gateway}"), Some(Secure::trusting(&root).unwrap()))
        }
    };
    let replay = Replay { base, secure, keys, ..Replay::default() };
    let findings = replay.run(&exchanges).await.unwrap();
    let told: String = findings
        .failed
        .iter()
        .map(|(line, found)| format!("{line}\n    {}\n", found.join("\n    ")))
        .collect();
    assert!(findings.failed.is_empty(), "{} lines differ\n{told}{}", findings.failed.len(), head.tails(5));
    assert!(findings.passed > 0);
    head.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn smd_components_are_as_recorded() {
    replay("smd-components.jsonl", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn smd_ethernet_interfaces_are_as_recorded() {
    replay("smd-ethernet.jsonl", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn smd_service_paths_are_as_recorded() {
    replay("smd-service.jsonl", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn smd_redfish_endpoints_are_as_recorded() {
    replay("smd-redfish-2.20.jsonl", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn smd_groups_and_partitions_are_as_recorded() {
    replay("smd-groups-2.20.jsonl", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn smd_asks_for_tokens_as_recorded() {
    replay_with_tokens("smd-auth.jsonl", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bss_parameters_are_as_recorded() {
    replay("bss-params.jsonl", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bss_scripts_are_as_recorded() {
    replay("bss-script.jsonl", &["boot.advertise_url=https://demo.openchami.cluster"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bss_asks_for_tokens_as_recorded() {
    replay_with_tokens("bss-auth.jsonl", &["boot.advertise_url=https://demo.openchami.cluster"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn legacy_cloud_init_is_as_recorded() {
    replay("cloud-init-legacy.jsonl", &["cloud_init.api=legacy"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn legacy_cloud_init_with_tokens_is_as_recorded() {
    replay_with_tokens("cloud-init-legacy-secure.jsonl", &["cloud_init.api=legacy"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cloud_init_is_as_recorded() {
    replay("cloud-init.jsonl", &["cloud_init.api=current"]).await;
}

/// What the command line of today sends.
#[tokio::test(flavor = "multi_thread")]
async fn the_present_ochami_is_served_as_recorded() {
    ochami("ochami-new.jsonl", &["cloud_init.api=current"]).await;
}

/// What the command line of the bootcamp's time sends.
#[tokio::test(flavor = "multi_thread")]
async fn the_older_ochami_is_served_as_recorded() {
    ochami("ochami-seed.jsonl", &["cloud_init.api=legacy"]).await;
}

/// Its recordings carry tokens and are of servers that ask for none.
async fn ochami(file: &str, settings: &[&str]) {
    let advertised = "boot.advertise_url=https://demo.openchami.cluster";
    replay_with_tokens(file, &[settings, &[advertised]].concat()).await;
}
