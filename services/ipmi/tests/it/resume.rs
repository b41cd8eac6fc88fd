//! A session and its line that go on in another pool, and in another process.

use std::fs;
use std::io::Write;
use std::net::UdpSocket;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ipmi::{Ledger, Pool, Session, SessionOptions, SessionRecord, Sol, SolEvent, SolOptions};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

use super::fake::{Fake, Script};
use super::simulator::Simulator;
use super::{limited, quick};

/// Keeps the newest record as bytes.
#[derive(Default)]
struct Shelf(Mutex<Vec<u8>>);

impl Ledger for Shelf {
    fn note(&self, record: &SessionRecord) {
        *self.0.lock().unwrap() = record.to_bytes().to_vec();
    }
}

impl Shelf {
    fn record(&self) -> SessionRecord {
        SessionRecord::from_bytes(&self.0.lock().unwrap()).unwrap()
    }
}

fn brisk() -> SolOptions {
    SolOptions { retry_wait: Duration::from_millis(40), ..SolOptions::default() }
}

fn text(events: &[SolEvent]) -> Vec<u8> {
    let data = |event: &SolEvent| match event {
        SolEvent::Data(data) => data.clone(),
        other => panic!("{other:?}"),
    };
    events.iter().flat_map(data).collect()
}

async fn read_some(line: &mut Sol, most: usize) -> Vec<u8> {
    let mut read = Vec::new();
    while read.len() < most {
        read.extend(text(&[limited(line.recv()).await.unwrap()]));
    }
    read
}

#[tokio::test]
async fn a_line_goes_on_over_many_restarts_with_every_number_once() {
    // Packets are lost and repeated meanwhile; what is acknowledged on neither side comes again.
    for (loses, stutters) in [(0, false), (10, true)] {
        let fake = Fake::start(Script { loses, stutters, ..Script::default() }).await;
        let written: Vec<u8> =
            (0..400).flat_map(|number| format!("count {number}\r\n").into_bytes()).collect();
        fake.script.output.lock().unwrap().extend(&written);
        let mut pool = Pool::with_sockets(3).unwrap();
        let first = limited(Session::open_on(&pool, &fake.target(), quick())).await.unwrap();
        let mut line = limited(first.activate_sol(brisk())).await.unwrap();
        let mut session = first;
        let mut read = Vec::new();
        for round in 0..20_u32 {
            read.extend(read_some(&mut line, 100).await);
            let typed = format!("<{round}>");
            limited(line.send(typed.as_bytes())).await.unwrap();
            pool.pause();
            let (record, rest) = line.suspend();
            read.extend(text(&rest));
            let sockets = pool.sockets().unwrap();
            drop((session, pool));
            let bytes = record.to_bytes();
            pool = Pool::from_sockets(sockets).unwrap();
            session = Session::resume(&pool, &SessionRecord::from_bytes(&bytes).unwrap(), quick()).unwrap();
            line = session.resume_sol(brisk()).unwrap();
            pool.start();
            assert!(limited(session.chassis_status()).await.unwrap().power_on);
        }
        let left = written.len() - read.len();
        read.extend(read_some(&mut line, left).await);
        assert_eq!(String::from_utf8(read).unwrap(), String::from_utf8(written).unwrap());
        let typed: String = (0..20).map(|round| format!("<{round}>")).collect();
        assert_eq!(String::from_utf8_lossy(&fake.script.input.lock().unwrap()), typed);
        assert_eq!(fake.script.closes.load(SeqCst), 0, "nothing of it was told to the BMC");
        assert_eq!(fake.script.deactivations.load(SeqCst), 0);
        limited(line.deactivate()).await.unwrap();
        session.close().await.unwrap();
    }
}

#[tokio::test]
async fn the_ledger_is_ahead_of_every_packet() {
    let fake = Fake::start(Script::default()).await;
    let pool = Pool::with_sockets(1).unwrap();
    let session = limited(Session::open_on(&pool, &fake.target(), quick())).await.unwrap();
    let shelf = Arc::new(Shelf::default());
    session.set_ledger(Arc::clone(&shelf) as Arc<dyn Ledger>);
    let mut line = limited(session.activate_sol(brisk())).await.unwrap();
    fake.script.output.lock().unwrap().extend(b"before");
    assert_eq!(read_some(&mut line, 6).await, b"before");
    assert!(shelf.record().has_line());
    // As after a kill: nobody says good-bye, and what the ledger has is all there is.
    let record = shelf.record();
    assert_eq!(record.to_bytes(), session.record().to_bytes());
    let sockets = pool.sockets().unwrap();
    pool.pause();
    let (_, rest) = line.suspend();
    assert!(rest.is_empty());
    drop((session, pool));
    let pool = Pool::from_sockets(sockets).unwrap();
    let session = Session::resume(&pool, &record, quick()).unwrap();
    assert!(Session::resume(&pool, &record, quick()).is_err(), "not twice on one pool");
    let mut line = session.resume_sol(brisk()).unwrap();
    assert!(session.resume_sol(brisk()).is_err(), "nor its line");
    pool.start();
    fake.script.output.lock().unwrap().extend(b"after");
    assert_eq!(read_some(&mut line, 5).await, b"after");
    session.set_ledger(Arc::clone(&shelf) as Arc<dyn Ledger>);
    limited(line.deactivate()).await.unwrap();
    assert!(!shelf.record().has_line(), "a line given back is not gone on with");
    assert!(session.resume_sol(brisk()).is_err());
}

#[tokio::test]
async fn a_session_the_bmc_has_forgotten_is_found_dead() {
    let fake = Fake::start(Script::default()).await;
    let pool = Pool::with_sockets(1).unwrap();
    let session = limited(Session::open_on(&pool, &fake.target(), quick())).await.unwrap();
    let record = session.suspend();
    drop(session);
    fake.script.silent.store(true, SeqCst);
    let options = SessionOptions { dead_after: Duration::from_millis(300), ..quick() };
    let session = Session::resume(&pool, &record, options).unwrap();
    let error = limited(session.closed()).await;
    assert!(matches!(error, ipmi::Error::Timeout { step: "keep-alive", .. }), "{error}");
    let elsewhere = Pool::with_sockets(1).unwrap();
    assert!(Session::resume(&elsewhere, &record, quick()).is_err(), "that pool has not the socket");
}

const RECORD: &str = "IPMI_TEST_RECORD";
/// So many characters each process reads.
const SHARE: usize = 300;

/// Not a test by itself: what the processes of the next one run, with the socket as standard input.
#[tokio::test]
async fn process_that_goes_on() {
    let Some(path) = std::env::var_os(RECORD).map(PathBuf::from) else { return };
    let socket = UdpSocket::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    let pool = Pool::from_sockets(vec![socket]).unwrap();
    let record = SessionRecord::from_bytes(&fs::read(&path).unwrap()).unwrap();
    let session = Session::resume(&pool, &record, quick()).unwrap();
    let mut line = session.resume_sol(brisk()).unwrap();
    pool.start();
    let mut read = read_some(&mut line, SHARE).await;
    pool.pause();
    let (record, rest) = line.suspend();
    read.extend(text(&rest));
    fs::write(&path, record.to_bytes()).unwrap();
    let mut log = fs::File::options().append(true).open(path.with_extension("log")).unwrap();
    log.write_all(&read).unwrap();
}

#[tokio::test]
async fn ipmi_sim_notices_nothing_of_new_processes_and_no_number_is_lost() {
    let mut simulator = Simulator::start().await;
    let mut node = simulator.node.stdin.take().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (path, log) = (folder.path().join("record"), folder.path().join("record.log"));
    fs::write(&log, "").unwrap();
    let pool = Pool::with_sockets(1).unwrap();
    let session = limited(Session::open_on(&pool, &simulator.target(), quick())).await.unwrap();
    let line = limited(session.activate_sol(brisk())).await.unwrap();
    pool.pause();
    let (record, rest) = line.suspend();
    assert!(rest.is_empty());
    fs::write(&path, record.to_bytes()).unwrap();
    let port = pool.sockets().unwrap().into_iter().find(|it| it.local_addr().unwrap().is_ipv4());
    let socket = OwnedFd::from(port.unwrap());
    drop((session, pool)); // Two processes would take each other's packets.
    let (mut number, mut expected) = (0, String::new());
    for _ in 0..5 {
        // The node writes on, whoever listens: in groups that the simulator's buffer holds.
        let group: String = (number..number + 40).map(|it| format!("count {it}\r\n")).collect();
        number += 40;
        node.write_all(group.as_bytes()).await.unwrap();
        expected += &group;
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "it::resume::process_that_goes_on", "--nocapture"])
            .env(RECORD, &path)
            .stdin(Stdio::from(socket.try_clone().unwrap()))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut all = String::new();
        while let Some(line) = limited(said.next_line()).await.unwrap() {
            all += &line;
        }
        assert!(limited(process.wait()).await.unwrap().success(), "{all}");
    }
    let pool = Pool::from_sockets(vec![UdpSocket::from(socket)]).unwrap();
    let record = SessionRecord::from_bytes(&fs::read(&path).unwrap()).unwrap();
    let session = Session::resume(&pool, &record, quick()).unwrap();
    let mut line = session.resume_sol(brisk()).unwrap();
    pool.start();
    let mut read = fs::read(&log).unwrap();
    let left = expected.len() - read.len();
    read.extend(read_some(&mut line, left).await);
    assert_eq!(String::from_utf8(read).unwrap(), expected);
    session.close().await.unwrap();
}
