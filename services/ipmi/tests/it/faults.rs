//! A running session with a BMC that loses, repeats, falsifies or says nothing.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use ipmi::chassis::{Identify, PowerAction};
use ipmi::{Error, Session, SessionOptions};

use super::fake::{Fake, Script};
use super::{limited, quick};

#[tokio::test]
async fn falsified_packets_count_for_nothing() {
    let fake = Fake::start(Script::default()).await;
    let session = limited(Session::open(&fake.target(), quick())).await.unwrap();
    fake.script.tampers.store(3, SeqCst);
    assert!(limited(session.chassis_status()).await.unwrap().power_on, "the fourth answer is genuine");
    assert_eq!(fake.script.tampers.load(SeqCst), 0);
    fake.script.tampers.store(u32::MAX, SeqCst);
    let error = limited(session.device_id()).await.expect_err("no genuine answer");
    assert!(matches!(error, Error::Timeout { step: "get device id", .. }), "{error}");
}

#[tokio::test]
async fn many_tasks_share_a_session_and_many_sessions_a_process() {
    let options = SessionOptions { in_flight: 8, ..quick() };
    let mut sessions = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let options = options.clone();
        sessions.spawn(async move {
            let fake = Fake::start(Script { stutters: true, ..Script::default() }).await;
            let session = limited(Session::open(&fake.target(), options)).await.unwrap();
            let mut requests = tokio::task::JoinSet::new();
            for number in 0..30 {
                let session = session.clone();
                requests.spawn(async move {
                    match number % 2 {
                        0 => assert!(session.chassis_status().await.unwrap().power_on),
                        _ => assert_eq!(session.device_id().await.unwrap().device_id, 0x20),
                    }
                });
            }
            requests.join_all().await;
        });
    }
    limited(sessions.join_all()).await;
}

#[tokio::test]
async fn a_cycle_is_never_sent_twice_and_power_on_is() {
    let fake = Fake::start(Script::default()).await;
    let options = SessionOptions { deadline: Duration::from_millis(400), ..quick() };
    let session = limited(Session::open(&fake.target(), options)).await.unwrap();
    for (action, repeated) in [(PowerAction::Cycle, false), (PowerAction::On, true)] {
        fake.script.controls.store(0, SeqCst);
        fake.script.tampers.store(u32::MAX, SeqCst); // The BMC hears us; we do not hear it.
        let error = limited(session.chassis_control(action)).await.expect_err("no answer");
        assert!(matches!(error, Error::Timeout { step: "chassis control", .. }), "{error}");
        assert_eq!(fake.script.controls.load(SeqCst) > 1, repeated, "{action:?}");
        fake.script.tampers.store(0, SeqCst);
    }
}

#[tokio::test]
async fn a_refused_command_tells_its_code_and_what_to_check() {
    let fake = Fake::start(Script::default()).await;
    let session = limited(Session::open(&fake.target(), quick())).await.unwrap();
    let error = session.identify(Identify::On).await.expect_err("refused");
    assert_eq!(error.completion(), Some(0xd4));
    assert!(error.to_string().contains("privilege"), "{error}");
}

#[tokio::test]
async fn a_dead_bmc_ends_the_session_in_time() {
    let fake = Fake::start(Script::default()).await;
    let dead_after = Duration::from_millis(600);
    let session =
        limited(Session::open(&fake.target(), SessionOptions { dead_after, ..quick() })).await.unwrap();
    let mut console = limited(session.activate_sol(ipmi::SolOptions::default())).await.unwrap();
    // Idle but alive is not dead: twice the time passes, and the keep-alive is answered.
    assert!(tokio::time::timeout(dead_after * 2, session.closed()).await.is_err());
    fake.script.silent.store(true, SeqCst);
    let start = std::time::Instant::now();
    let error = limited(console.recv()).await.expect_err("the BMC is dead");
    assert!(matches!(error, Error::Timeout { step: "keep-alive", .. }), "{error}");
    assert!(start.elapsed() < dead_after * 3, "{:?}", start.elapsed());
    assert!(session.is_closed());
    assert!(console.send(b"anybody?").await.is_err());
}

#[tokio::test]
async fn a_session_nobody_holds_is_given_back() {
    let fake = Fake::start(Script::default()).await;
    let session = limited(Session::open(&fake.target(), quick())).await.unwrap();
    let clone = session.clone();
    drop(session);
    assert!(limited(clone.device_id()).await.is_ok(), "a clone keeps it");
    drop(clone);
    let closed = async {
        while fake.script.closes.load(SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    };
    limited(closed).await;
}
