//! Each workaround against a BMC with the defect it is for: without it, the message says what to try.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use ipmi::{Cause, CipherSuite, Error, Pool, Session, SessionOptions, SolOptions, Target, Workarounds, ping};

use super::fake::{Fake, Script};
use super::{limited, quick};

/// What comes without the workarounds, and a session opened with them.
async fn both(script: impl Fn() -> Script, names: &str) -> (Error, Fake, Session) {
    let options = SessionOptions { deadline: Duration::from_secs(2), ..quick() };
    let fake = Fake::start(script()).await;
    let error = match limited(Session::open(&fake.target(), options)).await {
        Ok(session) => limited(session.device_id()).await.expect_err("the defect does not show"),
        Err(error) => error,
    };
    let fake = Fake::start(script()).await;
    let target = Target { workarounds: names.parse().unwrap(), ..fake.target() };
    let session = limited(Session::open(&target, quick())).await.unwrap();
    assert!(limited(session.chassis_status()).await.unwrap().power_on);
    (error, fake, session)
}

#[tokio::test]
async fn authcap_is_for_a_bmc_that_denies_what_it_speaks() {
    let script = || Script { denies_v20: true, overhears: AtomicU32::new(2), ..Script::default() };
    let (error, fake, _session) = both(script, "authcap").await;
    assert!(matches!(error, Error::Protocol { step: "open session", .. }), "{error}");
    assert!(error.to_string().contains("authcap"), "{error}");
    assert_eq!(fake.script.questions.load(SeqCst), 0, "it is not even asked");
}

#[tokio::test]
async fn opensesspriv_is_for_a_bmc_that_makes_codes_with_the_first_level() {
    for name in ["opensesspriv", "sun20"] {
        let script = || Script { open_privilege: true, ..Script::default() };
        let (error, ..) = both(script, name).await;
        assert!(matches!(error, Error::Auth { step: "RAKP 2", .. }), "{error}");
        assert!(error.to_string().contains("opensesspriv"), "{error}");
    }
}

#[tokio::test]
async fn intel20_is_for_a_bmc_that_fills_names_up() {
    let (error, ..) = both(|| Script { fills_names: true, ..Script::default() }, "intel20").await;
    assert!(matches!(error.cause(), Cause::Account(_)), "{error}");
    assert!(error.to_string().contains("intel20"), "{error}");
}

#[tokio::test]
async fn supermicro20_is_for_a_bmc_that_miscounts_its_bytes() {
    for suite in [CipherSuite::Three, CipherSuite::Seventeen] {
        let suites = || vec![suite];
        let script = || Script { long_codes: true, suites: suites(), ..Script::default() };
        let (error, ..) = both(script, "supermicro20").await;
        assert!(matches!(error.cause(), Cause::Malformed), "{error}");
        assert!(error.to_string().contains("supermicro20"), "{error}");
        let script = || Script { short_packets: true, suites: suites(), ..Script::default() };
        let (error, ..) = both(script, "supermicro20").await;
        assert!(matches!(error, Error::NoCipherSuite { .. } | Error::Timeout { .. }), "{error}");
    }
}

#[tokio::test]
async fn nochecksumcheck_is_for_a_bmc_that_cannot_add() {
    let script = || Script { wrong_sums: true, ..Script::default() };
    let (error, ..) = both(script, "nochecksumcheck").await;
    assert!(matches!(error.cause(), Cause::Malformed), "{error}");
    assert!(error.to_string().contains("nochecksumcheck"), "{error}");
}

#[tokio::test]
async fn solpayloadsize_is_for_a_bmc_that_takes_less_than_it_says() {
    let (quick_sol, written) = (Duration::from_millis(400), vec![b'x'; 150]);
    for (names, works) in [("none", false), ("solpayloadsize", true)] {
        let fake = Fake::start(Script { names_bytes: Some(256), ..Script::default() }).await;
        let target = Target { workarounds: names.parse().unwrap(), ..fake.target() };
        let session = limited(Session::open(&target, quick())).await.unwrap();
        let options = SolOptions {
            write_deadline: quick_sol,
            retry_wait: Duration::from_millis(40),
            ..SolOptions::default()
        };
        let line = limited(session.activate_sol(options)).await.unwrap();
        assert_eq!(limited(line.send(&written)).await.is_ok(), works, "{names}");
        assert_eq!(fake.script.input.lock().unwrap().len(), if works { 150 } else { 0 });
    }
}

#[tokio::test]
async fn ipmiping_is_for_a_bmc_that_answers_no_rmcp_ping() {
    let pool = Pool::with_sockets(1).unwrap();
    let options = SessionOptions { deadline: Duration::from_millis(300), ..quick() };
    for (pongs, names, works) in [(true, "none", true), (false, "none", false), (false, "ipmiping", true)] {
        let fake = Fake::start(Script { pongs, ..Script::default() }).await;
        let workarounds: Workarounds = names.parse().unwrap();
        let asked = limited(ping(&pool, &Target { workarounds, ..fake.target() }, &options)).await;
        assert_eq!(asked.is_ok(), works, "answers pings: {pongs}, workarounds: {names}");
    }
}
