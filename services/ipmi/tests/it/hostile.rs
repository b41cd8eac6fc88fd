//! A hostile BMC, or somebody in between: damaged copies of what was just said, and what fuzzers have found, at a session
//! in each of its states. What it does to that session is its own affair; it does nothing to others, nor to the process.

use std::net::SocketAddr;
use std::time::Duration;

use ipmi::{Pool, Session, SessionOptions, SolOptions, Target};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use super::corpus::replay::{corpus, damage};
use super::fake::{Fake, PASSWORD, Script, USER};
use super::{limited, quick};

/// Packets of a BMC in what is done here: three of the handshake, the privilege, the state, two for the line, some of it.
const STAGES: u32 = 9;
const SEEDS: u32 = 6;
/// Before the true packet: a handshake's queue has room for eight.
const BEFORE: u32 = 5;
const AFTER: u32 = 20;

/// Stands before a BMC and, from its `stage`th packet on, says a great deal in its name.
async fn start_relay(tasks: &mut JoinSet<()>, bmc: SocketAddr, stage: u32, seed: u32) -> SocketAddr {
    let outer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let inner = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    inner.connect(bmc).await.unwrap();
    let address = outer.local_addr().unwrap();
    let found: Vec<Vec<u8>> = corpus("ipmi_datagram").into_iter().map(|it| it.1).collect();
    tasks.spawn(async move {
        let (mut state, mut said, mut peer) = (u64::from(seed) << 8 | u64::from(stage), 0, address);
        let (mut question, mut answer) = ([0; 2048], [0; 2048]);
        loop {
            let genuine = tokio::select! {
                asked = outer.recv_from(&mut question) => {
                    let (count, from) = asked.unwrap();
                    peer = from;
                    inner.send(&question[..count]).await.unwrap();
                    continue;
                }
                told = inner.recv(&mut answer) => &answer[..told.unwrap()],
            };
            said += 1;
            let noise = if said > stage { BEFORE + AFTER } else { 0 };
            for turn in 0..=noise {
                // Whoever is not there any more hears nothing.
                let sent = if turn == noise.min(BEFORE) {
                    outer.send_to(genuine, peer).await
                } else {
                    let other = &found[turn as usize % found.len()];
                    let good = if turn % 4 == 3 { other.as_slice() } else { genuine };
                    outer.send_to(&damage(&mut state, good, other), peer).await
                };
                drop(sent);
            }
        }
    });
    address
}

/// How far a session comes: 1 it is open, 2 the state is known, 3 it has a line, 4 the line took what was written.
async fn go(pool: Pool, address: SocketAddr) -> u32 {
    let deadline = Duration::from_millis(600);
    let options = SessionOptions { deadline, dead_after: Duration::from_secs(3), ..quick() };
    let target = Target::new(address, USER, PASSWORD);
    let Ok(session) = Session::open_on(&pool, &target, options).await else { return 0 };
    if session.chassis_status().await.is_err() {
        return 1;
    }
    let line = SolOptions { write_deadline: deadline, ..SolOptions::default() };
    let Ok(line) = session.activate_sol(line).await else { return 2 };
    match line.send(b"anybody?").await {
        Ok(()) => 4,
        Err(_) => 3,
    }
}

#[tokio::test]
async fn noise_in_every_state_harms_no_other_session() {
    let pool = Pool::with_sockets(1).unwrap();
    let calm = Fake::start(Script::default()).await;
    let witness = limited(Session::open_on(&pool, &calm.target(), quick())).await.unwrap();
    let (mut relays, mut fakes, mut sessions) = (JoinSet::new(), Vec::new(), JoinSet::new());
    for stage in 0..STAGES {
        for seed in 1..=SEEDS {
            let fake = Fake::start(Script::default()).await;
            let address = start_relay(&mut relays, fake.address, stage, seed).await;
            fakes.push(fake);
            sessions.spawn(go(pool.clone(), address));
        }
    }
    let mut reached = [0_u32; 5];
    while let Some(stage) = limited(sessions.join_next()).await {
        reached[stage.unwrap() as usize] += 1;
        assert!(limited(witness.chassis_status()).await.unwrap().power_on);
    }
    // A bit that is wrong in the handshake may end it, one behind a session's codes does nothing.
    assert!(reached[4] >= (STAGES - 3) * SEEDS / 2, "{reached:?}");
    assert!(relays.try_join_next().is_none(), "a relay has ended");
    let again = limited(Session::open_on(&pool, &calm.target(), quick())).await.unwrap();
    assert!(limited(again.chassis_status()).await.unwrap().power_on);
}
