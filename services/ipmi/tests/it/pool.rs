//! Many BMCs over few sockets: none is in another's way.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use ipmi::{Pool, Session, SessionOptions, SolEvent, SolOptions, Target};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use super::crowd::Crowd;
use super::fake::{Fake, PASSWORD, Script, USER};
use super::{limited, quick};

const MANY: usize = 5000;
/// What a session, its line and the BMC's side of both may take together.
const SESSION_BYTES_MAX: usize = 30 * 1024;

#[tokio::test]
async fn many_sessions_share_two_sockets() {
    let pool = Pool::with_sockets(2).unwrap();
    let mut fakes = Vec::new();
    for _ in 0..40 {
        fakes.push(Fake::start(Script { stutters: true, ..Script::default() }).await);
    }
    let mut opening = JoinSet::new();
    for fake in &fakes {
        let (pool, target) = (pool.clone(), fake.target());
        opening.spawn(async move { limited(Session::open_on(&pool, &target, quick())).await.unwrap() });
    }
    let sessions = opening.join_all().await;
    assert_eq!(pool.session_count(), 40);
    for session in &sessions {
        assert!(limited(session.chassis_status()).await.unwrap().power_on);
    }
    drop(sessions);
    let closed = async {
        while pool.session_count() > 0 || fakes.iter().any(|it| it.script.closes.load(SeqCst) == 0) {
            tokio::task::yield_now().await;
        }
    };
    limited(closed).await;
}

#[tokio::test]
async fn bmcs_with_ipv6_addresses_are_reached_too() {
    let fake = Fake::start_at("[::1]:0", Script::default()).await;
    let pool = Pool::with_sockets(1).unwrap();
    for shared in [true, false] {
        let target = fake.target();
        let session = if shared {
            limited(Session::open_on(&pool, &target, quick())).await.unwrap()
        } else {
            limited(Session::open(&target, quick())).await.unwrap()
        };
        assert!(limited(session.chassis_status()).await.unwrap().power_on);
        session.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bmc_that_babbles_disturbs_no_other() {
    let pool = Pool::with_sockets(1).unwrap();
    let good = Fake::start(Script::default()).await;
    let session = limited(Session::open_on(&pool, &good.target(), quick())).await.unwrap();
    let mut line = limited(session.activate_sol(SolOptions::default())).await.unwrap();
    // It answers to the first packet with an unending stream of garbage, forgeries and near misses.
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let bad = socket.local_addr().unwrap();
    let mut babbling = JoinSet::new();
    babbling.spawn(async move {
        let mut buffer = [0; 2048];
        let (count, peer) = socket.recv_from(&mut buffer).await.unwrap();
        let mut state = 1_u32;
        loop {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let mut bytes = buffer[..count].to_vec();
            let at = usize::try_from(state >> 8).unwrap() % bytes.len();
            bytes[at] ^= state.to_le_bytes()[0];
            bytes.extend(vec![0x55; usize::try_from(state >> 20).unwrap() % 300]);
            drop(socket.send_to(&bytes, peer).await);
            tokio::task::yield_now().await;
        }
    });
    let hostile = Target::new(bad, USER, PASSWORD);
    let opening = Session::open_on(&pool, &hostile, quick());
    let working = async {
        let mut read = Vec::new();
        for round in 0..30 {
            assert!(limited(session.chassis_status()).await.unwrap().power_on);
            let said = format!("round {round}\n");
            good.script.output.lock().unwrap().extend(said.bytes());
            read.clear();
            while read.len() < said.len() {
                match limited(line.recv()).await.unwrap() {
                    SolEvent::Data(data) => read.extend(data),
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(String::from_utf8_lossy(&read), said);
        }
    };
    let (opened, ()) = tokio::join!(limited(opening), working);
    assert!(opened.is_err(), "what it babbles opens no session");
    assert_eq!(pool.session_count(), 1);
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_sessions_with_lines_take_little_memory() {
    let crowd = Crowd::start().await;
    let (pool, target) = (Pool::new().unwrap(), Target::new(crowd.address, USER, PASSWORD));
    let options = SessionOptions { deadline: super::LIMIT, ..quick() };
    let permits = Arc::new(tokio::sync::Semaphore::new(32));
    let before = resident_bytes();
    let mut opening = JoinSet::new();
    for _ in 0..MANY {
        let (pool, target, options, permits) =
            (pool.clone(), target.clone(), options.clone(), Arc::clone(&permits));
        opening.spawn(async move {
            let _permit = permits.acquire().await.unwrap();
            let session = Session::open_on(&pool, &target, options).await.unwrap();
            session.activate_sol(SolOptions::default()).await.unwrap()
        });
    }
    let lines = limited(opening.join_all()).await;
    assert_eq!(pool.session_count(), MANY);
    let each = resident_bytes().saturating_sub(before) / MANY;
    assert!(each <= SESSION_BYTES_MAX, "{each} bytes a session, both sides of it");
    println!("{MANY} sessions with lines: {each} bytes each, both sides of it");
    drop(lines);
}
