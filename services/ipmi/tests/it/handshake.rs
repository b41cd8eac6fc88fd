//! The handshake against a BMC of our own: suite 17, and everything that has to be refused.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use ipmi::{AuthFailure, Cause, CipherSuite, Error, PrivilegeLevel, Session, Target};
use zeroize::Zeroizing;

use super::fake::{Fake, PASSWORD, Script};
use super::{limited, quick};

async fn refusal(fake: &Fake, target: Target) -> Error {
    let failed = limited(Session::open(&target, quick())).await;
    assert_eq!(fake.script.controls.load(SeqCst), 0);
    failed.expect_err("the session must not open")
}

#[tokio::test]
async fn suite_17_is_spoken_where_the_bmc_has_it() {
    let fake = Fake::start(Script::default()).await;
    let session = limited(Session::open(&fake.target(), quick())).await.unwrap();
    assert_eq!(session.cipher_suite(), CipherSuite::Seventeen);
    assert_eq!(session.guid(), *b"a GUID of a fake");
    assert_eq!(session.device_id().await.unwrap().major_fw_revision, 2);
    assert!(session.chassis_status().await.unwrap().power_on);
    session.close().await.unwrap();
    assert_eq!(fake.script.closes.load(SeqCst), 1);
    assert!(matches!(session.device_id().await, Err(Error::Closed)));
}

#[tokio::test]
async fn suite_3_is_spoken_where_the_bmc_has_nothing_better() {
    let script = Script { suites: vec![CipherSuite::Three], capabilities: false, ..Script::default() };
    let fake = Fake::start(script).await;
    let session = limited(Session::open(&fake.target(), quick())).await.unwrap();
    assert_eq!(session.cipher_suite(), CipherSuite::Three);
    assert!(session.device_id().await.is_ok());
}

#[tokio::test]
async fn a_bmc_without_a_suite_of_ours_is_named_as_such() {
    let fake = Fake::start(Script { suites: Vec::new(), ..Script::default() }).await;
    let error = refusal(&fake, fake.target()).await;
    assert!(matches!(&error, Error::NoCipherSuite { tried, .. } if tried.len() == 2), "{error}");
}

#[tokio::test]
async fn a_bmc_cannot_talk_us_into_weaker_algorithms() {
    let fake = Fake::start(Script { downgrades: true, ..Script::default() }).await;
    let error = refusal(&fake, fake.target()).await;
    assert!(matches!(error, Error::Protocol { step: "open session", .. }), "{error}");
    assert_eq!(fake.script.proofs.load(SeqCst), 0);
}

#[tokio::test]
async fn our_proof_is_not_given_to_who_does_not_know_the_password() {
    for suite in [CipherSuite::Seventeen, CipherSuite::Three] {
        let script = Script { suites: vec![suite], password: "another", ..Script::default() };
        let fake = Fake::start(script).await;
        let error = refusal(&fake, fake.target()).await;
        let wrong = AuthFailure::WrongPassword;
        assert!(matches!(error, Error::Auth { step: "RAKP 2", reason, .. } if reason == wrong), "{error}");
        assert_eq!(fake.script.proofs.load(SeqCst), 0);
    }
}

#[tokio::test]
async fn an_unknown_user_is_told_from_a_wrong_password() {
    let fake = Fake::start(Script::default()).await;
    let error = refusal(&fake, Target::new(fake.address, "nobody", PASSWORD)).await;
    assert!(matches!(error, Error::Auth { reason: AuthFailure::UnknownUser, .. }), "{error}");
}

#[tokio::test]
async fn a_bmc_without_room_for_another_session_is_told_as_such() {
    let fake = Fake::start(Script { full: true, ..Script::default() }).await;
    let error = refusal(&fake, fake.target()).await;
    assert_eq!(error.cause(), Cause::NoSlot, "{error}");
    let text = error.to_string();
    assert!(text.contains("close unused ones") && text.contains(&fake.address.to_string()), "{text}");
}

#[tokio::test]
async fn a_key_kg_is_used_and_a_wrong_one_found_out() {
    let fake = Fake::start(Script { kg: Some(b"twenty bytes of key!"), ..Script::default() }).await;
    let error = refusal(&fake, fake.target()).await;
    assert!(matches!(error, Error::Auth { step: "RAKP 4", reason: AuthFailure::WrongKg, .. }), "{error}");
    let kg = Some(Zeroizing::new(b"twenty bytes of key!".to_vec()));
    let target = Target { kg, ..fake.target() };
    let session = limited(Session::open(&target, quick())).await.unwrap();
    assert!(session.chassis_status().await.is_ok());
}

#[tokio::test]
async fn a_privilege_the_user_may_not_have_is_told() {
    let fake = Fake::start(Script { privilege_code: 0x81, ..Script::default() }).await;
    let error = refusal(&fake, fake.target()).await;
    assert!(matches!(error, Error::Auth { reason: AuthFailure::Privilege, .. }), "{error}");
    let user = Target { privilege: PrivilegeLevel::User, ..fake.target() };
    assert!(matches!(refusal(&fake, user).await, Error::Auth { .. }));
}

#[tokio::test]
async fn silence_ends_in_time_and_names_the_step() {
    let fake = Fake::start(Script::default()).await;
    fake.script.silent.store(true, SeqCst);
    let options = ipmi::SessionOptions { deadline: Duration::from_millis(300), ..quick() };
    let error = limited(Session::open(&fake.target(), options)).await.expect_err("nobody answers");
    assert!(matches!(error, Error::Timeout { step: "open session", .. }), "{error}");
    assert!(error.to_string().contains(&fake.address.to_string()), "{error}");
}

#[tokio::test]
async fn the_handshake_survives_the_loss_of_packets() {
    for loses in [5, 10, 20, 30] {
        let fake = Fake::start(Script { loses, ..Script::default() }).await;
        let session = limited(Session::open(&fake.target(), quick())).await;
        let session = session.unwrap_or_else(|error| panic!("{loses} of 100 packets lost: {error}"));
        for _ in 0..10 {
            limited(session.device_id()).await.unwrap();
        }
    }
}
