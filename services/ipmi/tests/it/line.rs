//! Serial over LAN against a BMC of our own: every character once, whatever happens to packets.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use ipmi::wire::SolControl;
use ipmi::{Deactivation, Error, Session, SessionOptions, Sol, SolEvent, SolOptions};

use super::fake::{Fake, Script};
use super::{limited, quick};

fn lines(count: u32) -> Vec<u8> {
    (0..count).flat_map(|number| format!("line {number}\r\n").into_bytes()).collect()
}

fn brisk() -> SolOptions {
    SolOptions { retry_wait: Duration::from_millis(40), ..SolOptions::default() }
}

async fn read(console: &mut Sol, count: usize) -> Vec<u8> {
    let mut read = Vec::new();
    while read.len() < count {
        match limited(console.recv()).await.unwrap() {
            SolEvent::Data(data) => read.extend(data),
            other => panic!("{other:?}"),
        }
    }
    read
}

#[tokio::test]
async fn characters_come_once_and_in_order_though_packets_are_lost_or_repeated() {
    for (loses, stutters) in [(0, false), (0, true), (30, false), (20, true)] {
        let fake = Fake::start(Script { loses, stutters, ..Script::default() }).await;
        let session = limited(Session::open(&fake.target(), quick())).await.unwrap();
        let mut console = limited(session.activate_sol(brisk())).await.unwrap();
        let written = lines(60);
        fake.script.output.lock().unwrap().extend(&written);
        assert_eq!(read(&mut console, written.len()).await, written, "loses {loses}, stutters {stutters}");
    }
}

#[tokio::test]
async fn a_write_arrives_whole_though_the_bmc_takes_it_in_pieces() {
    for (loses, crowded) in [(0, false), (0, true), (30, false), (20, true)] {
        let fake = Fake::start(Script { loses, crowded, ..Script::default() }).await;
        let session = limited(Session::open(&fake.target(), quick())).await.unwrap();
        let console = limited(session.activate_sol(brisk())).await.unwrap();
        let written = lines(12);
        limited(console.send(&written)).await.unwrap();
        assert_eq!(*fake.script.input.lock().unwrap(), written, "loses {loses}, crowded {crowded}");
        limited(console.send_break()).await.unwrap();
        limited(console.deactivate()).await.unwrap();
        assert!(fake.script.deactivations.load(SeqCst) >= 1);
        assert!(!session.is_closed(), "the session outlives its line");
    }
}

#[tokio::test]
async fn lines_are_held_back_and_released_and_what_the_bmc_holds_is_dropped() {
    let fake = Fake::start(Script::default()).await;
    let session = limited(Session::open(&fake.target(), quick())).await.unwrap();
    let console = limited(session.activate_sol(brisk())).await.unwrap();
    limited(console.hold(SolControl(SolControl::CTS_PAUSE))).await.unwrap();
    limited(console.send(b"held")).await.unwrap();
    limited(console.writer().flush(SolControl(SolControl::FLUSH_OUTBOUND))).await.unwrap();
    let seen = fake.script.controls_seen.swap(0, SeqCst);
    assert_eq!(seen, u32::from(SolControl::CTS_PAUSE | SolControl::FLUSH_OUTBOUND));
    limited(console.hold(SolControl(0))).await.unwrap();
    limited(console.send(b"released")).await.unwrap();
    assert_eq!(fake.script.controls_seen.load(SeqCst), 0);
}

#[tokio::test]
async fn a_slow_reader_loses_nothing() {
    let fake = Fake::start(Script::default()).await;
    let session = limited(Session::open(&fake.target(), quick())).await.unwrap();
    let mut console = limited(session.activate_sol(brisk())).await.unwrap();
    let written = lines(800); // More packets than the queue holds.
    fake.script.output.lock().unwrap().extend(&written);
    let full = async {
        while fake.script.repeats.load(SeqCst) < 10 {
            tokio::task::yield_now().await;
        }
    };
    limited(full).await;
    assert!(!fake.script.output.lock().unwrap().is_empty(), "the BMC keeps what there is no room for");
    assert_eq!(read(&mut console, written.len()).await, written);
}

#[tokio::test]
async fn requests_are_answered_while_the_line_is_busy() {
    let fake = Fake::start(Script { loses: 15, ..Script::default() }).await;
    let session = limited(Session::open(&fake.target(), quick())).await.unwrap();
    let mut console = limited(session.activate_sol(brisk())).await.unwrap();
    let writer = console.writer();
    let written = lines(40);
    fake.script.output.lock().unwrap().extend(&written);
    let asking = async {
        for _ in 0..20 {
            assert!(limited(session.chassis_status()).await.unwrap().power_on);
        }
    };
    let (read, sent, ()) = tokio::join!(read(&mut console, written.len()), writer.send(b"typed"), asking);
    sent.unwrap();
    assert_eq!((read, fake.script.input.lock().unwrap().as_slice()), (written, b"typed".as_slice()));
}

/// A BMC that counts requests alone would end the session of a line that is never quiet.
#[tokio::test]
async fn a_bmc_is_asked_for_a_sign_of_life_though_its_line_never_rests() {
    let fake = Fake::start(Script::default()).await;
    let options = SessionOptions { dead_after: Duration::from_millis(600), ..quick() };
    let session = limited(Session::open(&fake.target(), options)).await.unwrap();
    let mut console = limited(session.activate_sol(brisk())).await.unwrap();
    fake.script.signs.store(0, SeqCst);
    let talk = async {
        while fake.script.signs.load(SeqCst) < 3 {
            fake.script.output.lock().unwrap().extend(b"talk");
            read(&mut console, 4).await;
        }
    };
    limited(talk).await;
}

#[tokio::test]
async fn a_line_taken_without_notice_is_noticed() {
    let fake = Fake::start(Script::default()).await;
    let options = SessionOptions { dead_after: Duration::from_millis(300), ..quick() };
    let session = limited(Session::open(&fake.target(), options)).await.unwrap();
    let mut console = limited(session.activate_sol(brisk())).await.unwrap();
    fake.script.owner.store(77, SeqCst);
    let event = limited(console.recv()).await.unwrap();
    assert_eq!(event, SolEvent::Deactivated(Deactivation::TakenOver));
    assert!(matches!(limited(console.recv()).await, Err(Error::Closed)));
    assert!(limited(session.activate_sol(brisk())).await.is_ok(), "and it can be taken back");
}

#[tokio::test]
async fn a_bmc_that_takes_nothing_fails_the_write_and_not_the_line() {
    let fake = Fake::start(Script::default()).await;
    let session = limited(Session::open(&fake.target(), quick())).await.unwrap();
    let options = SolOptions { write_deadline: Duration::from_millis(200), ..brisk() };
    let console = limited(session.activate_sol(options)).await.unwrap();
    fake.script.silent.store(true, SeqCst);
    let error = limited(console.send(b"hello")).await.expect_err("nobody takes it");
    assert!(matches!(error, Error::Timeout { step: "SOL write", .. }), "{error}");
    fake.script.silent.store(false, SeqCst);
    limited(console.send(b"again")).await.unwrap();
}

#[tokio::test]
async fn a_dropped_line_is_given_back_and_a_session_has_one_at_a_time() {
    let fake = Fake::start(Script::default()).await;
    let session = limited(Session::open(&fake.target(), quick())).await.unwrap();
    let console = limited(session.activate_sol(brisk())).await.unwrap();
    assert!(matches!(session.activate_sol(brisk()).await, Err(Error::Invalid { .. })));
    drop(console);
    let given_back = async {
        while fake.script.deactivations.load(SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    };
    limited(given_back).await;
}
