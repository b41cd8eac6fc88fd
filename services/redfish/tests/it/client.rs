//! Log-in, power, boot source and accounts, in every way that BMCs differ.

use std::sync::Arc;
use std::time::Duration;

use redfish::{BootSource, Client, Error, Fingerprint, Options, PowerState, Resource, Target, Trust};
use rustls::RootCertStore;
use tests::redfish::{PASSWORD, Quirk, Redfish, USER};

/// Far longer than anything here takes.
const OPTIONS: Options = Options { connect: Duration::from_secs(30), request: Duration::from_secs(30) };

fn target(bmc: &Redfish) -> Target {
    let mut target = Target::new(bmc.address().ip().to_string(), USER, PASSWORD);
    target.port = bmc.address().port();
    target
}

async fn open(bmc: &Redfish) -> Client {
    Client::open(&target(bmc), OPTIONS).await.unwrap()
}

async fn system(client: &Client) -> Resource {
    let systems = client.systems().await.unwrap();
    client.resource(&systems[0]).await.unwrap()
}

#[tokio::test]
async fn whatever_a_bmc_leaves_out_its_power_is_switched() {
    for quirks in [
        &[][..],
        &[Quirk::NoSessions],
        &[Quirk::SessionsFull],
        &[Quirk::NoAllowableValues],
        &[Quirk::ActionInfo],
        &[Quirk::TrailingSlash],
        &[Quirk::NeedsEtag],
    ] {
        let bmc = Redfish::start(1, quirks).await.unwrap();
        let client = open(&bmc).await;
        let it = system(&client).await;
        assert_eq!(it.power, PowerState::Off, "{quirks:?}");
        client.set_boot(&it, BootSource::Pxe).await.unwrap();
        client.reset(&it, it.choose(&["On", "ForceOn"]).unwrap()).await.unwrap();
        client.set_light(&it, true).await.unwrap();
        let seen = system(&client).await;
        assert_eq!((seen.power, seen.identifying), (PowerState::On, Some(true)), "{quirks:?}");
        assert_eq!(bmc.told(), ["boot 1 Pxe", "reset 1 On", "light 1 true"], "{quirks:?}");
        client.close().await.unwrap();
        assert_eq!(bmc.session_count(), 0, "{quirks:?}");
    }
}

#[tokio::test]
async fn a_certificate_is_believed_once_it_was_seen_and_no_other() {
    let bmc = Redfish::start(1, &[]).await.unwrap();
    let shown = open(&bmc).await.fingerprint().unwrap();
    assert_eq!(shown, Fingerprint::of(&bmc.certificate));
    let mut pinned = target(&bmc);
    pinned.trust = Trust::Pin(Some(shown));
    Client::open(&pinned, OPTIONS).await.unwrap();
    pinned.trust = Trust::Pin(Some(Fingerprint::of(b"another")));
    let logins = bmc.logins();
    let refused = Client::open(&pinned, OPTIONS).await.unwrap_err();
    assert!(matches!(&refused, Error::Changed { shown: it, .. } if **it == shown), "{refused}");
    assert_eq!(bmc.logins(), logins, "nothing was sent");
    let mut roots = RootCertStore::empty();
    pinned.trust = Trust::Roots(Arc::new(roots.clone()));
    let refused = Client::open(&pinned, OPTIONS).await.unwrap_err();
    assert!(matches!(refused, Error::Tls { .. }), "{refused}");
    roots.add(bmc.certificate.clone().into()).unwrap();
    pinned.trust = Trust::Roots(Arc::new(roots));
    Client::open(&pinned, OPTIONS).await.unwrap();
    pinned.trust = Trust::Anyone;
    Client::open(&pinned, OPTIONS).await.unwrap();
}

#[tokio::test]
async fn a_wrong_password_is_told_and_not_shown() {
    for quirks in [&[][..], &[Quirk::NoSessions]] {
        let bmc = Redfish::start(1, quirks).await.unwrap();
        let mut wrong = target(&bmc);
        wrong.password = "swordfish".to_owned().into();
        let refused = Client::open(&wrong, OPTIONS).await.unwrap_err();
        assert!(refused.is_refusal() && refused.to_string().contains("check user name"), "{refused}");
        assert!(!format!("{refused:?} {wrong:?}").contains("swordfish"));
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_is_not_asked_for_again() {
    let bmc = Redfish::start(1, &[Quirk::DropsAnswers]).await.unwrap();
    let client = open(&bmc).await;
    let it = system(&client).await;
    let lost = client.reset(&it, "ForceRestart").await.unwrap_err();
    assert!(lost.is_lost(), "{lost}");
    assert_eq!(bmc.told(), ["reset 1 ForceRestart"]);
    // The connection is opened anew for the look that follows.
    assert_eq!(system(&client).await.power, PowerState::On);
    assert_eq!(bmc.told().len(), 1);
}

#[tokio::test]
async fn hostile_answers_are_refused() {
    for (quirk, word) in [
        (Quirk::Endless, "longer than 8 MiB"),
        (Quirk::Babbles, "is not JSON"),
        (Quirk::RedirectsElsewhere, "another machine"),
    ] {
        let bmc = Redfish::start(1, &[quirk]).await.unwrap();
        let refused = Client::open(&target(&bmc), OPTIONS).await.unwrap_err().to_string();
        assert!(refused.contains(word), "{quirk:?}: {refused}");
    }
}

#[tokio::test]
async fn a_password_is_changed_and_never_repeated() {
    let bmc = Redfish::start(1, &[]).await.unwrap();
    let client = open(&bmc).await;
    client.set_password(USER, "kanarie-4711").await.unwrap();
    assert_eq!(bmc.password(), "kanarie-4711");
    assert!(matches!(client.set_password("nobody", "x").await, Err(Error::Missing(_))));
    bmc.set_quirks(&[Quirk::RepeatsSecrets]);
    let refused = client.set_password(USER, "kanarie-4712").await.unwrap_err();
    let shown = format!("{refused} {refused:?}");
    assert!(shown.contains("400") && !shown.contains("kanarie"), "{shown}");
}

#[tokio::test]
async fn nobody_there_is_told_with_what_to_check() {
    let bmc = Redfish::start(1, &[]).await.unwrap();
    let target = target(&bmc);
    drop(bmc);
    let refused = Client::open(&target, OPTIONS).await.unwrap_err();
    assert!(refused.is_silence(), "{refused}");
    assert!(refused.to_string().contains("check the BMC's address"), "{refused}");
}
