//! Serial over LAN against `ipmi_sim`.

use std::time::Duration;

use ipmi::{Session, SessionOptions, Sol, SolEvent, SolOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::simulator::Simulator;
use super::{limited, quick};

async fn attach(simulator: &Simulator) -> (Session, Sol) {
    // The simulator gives no notice, so how soon a lost line is noticed hangs on this.
    let options = SessionOptions { dead_after: Duration::from_millis(1500), ..quick() };
    let session = limited(Session::open(&simulator.target(), options)).await.unwrap();
    let options = SolOptions { retry_wait: Duration::from_millis(100), ..SolOptions::default() };
    let console = limited(session.activate_sol(options)).await.unwrap();
    (session, console)
}

async fn read_line(console: &mut Sol, kept: &mut Vec<u8>) -> String {
    loop {
        if let Some(at) = kept.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = kept.drain(..=at).collect();
            return String::from_utf8(line).unwrap().trim_end().to_owned();
        }
        match limited(console.recv()).await.unwrap() {
            SolEvent::Data(data) => kept.extend(data),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn every_number_the_node_writes_comes_once_and_in_order() {
    let mut simulator = Simulator::start().await;
    let (session, mut console) = attach(&simulator).await;
    let mut node = simulator.node.stdin.take().unwrap();
    let mut kept = Vec::new();
    // In groups that the simulator's buffer holds: it drops what comes on top, as a serial port does.
    for group in 0..200 {
        let numbers = group * 25..(group + 1) * 25;
        let text: String = numbers.clone().map(|number| format!("count {number}\r\n")).collect();
        node.write_all(text.as_bytes()).await.unwrap();
        for number in numbers {
            assert_eq!(read_line(&mut console, &mut kept).await, format!("count {number}"));
        }
    }
    assert!(kept.is_empty());
    limited(console.deactivate()).await.unwrap();
    session.close().await.unwrap();
}

#[tokio::test]
async fn what_is_written_arrives_at_the_node_while_the_node_writes() {
    let mut simulator = Simulator::start().await;
    let (session, mut console) = attach(&simulator).await;
    let mut input = simulator.node.stdin.take().unwrap();
    let mut output = simulator.node.stdout.take().unwrap();
    let typed: String = (0..50).map(|number| format!("echo {number}\r")).collect();
    let writer = console.writer();
    let node = async {
        let mut seen = vec![0; typed.len()];
        limited(output.read_exact(&mut seen)).await.unwrap();
        input.write_all(b"seen\n").await.unwrap();
        String::from_utf8(seen).unwrap()
    };
    let (sent, seen) = tokio::join!(limited(writer.send(typed.as_bytes())), node);
    sent.unwrap();
    assert_eq!(seen, typed);
    assert_eq!(read_line(&mut console, &mut Vec::new()).await, "seen");
    assert!(session.chassis_status().await.is_ok(), "requests go on beside the line");
}

#[tokio::test]
async fn a_second_client_takes_the_line_over() {
    let mut simulator = Simulator::start().await;
    let (_first_session, mut first) = attach(&simulator).await;
    let second_session = limited(Session::open(&simulator.target(), quick())).await.unwrap();
    let modest = SolOptions { take_over: false, ..SolOptions::default() };
    let error = limited(second_session.activate_sol(modest)).await.expect_err("the line is taken");
    assert_eq!(error.completion(), Some(0x80), "{error}");
    let mut second = limited(second_session.activate_sol(SolOptions::default())).await.unwrap();
    let mut node = simulator.node.stdin.take().unwrap();
    node.write_all(b"to the second\n").await.unwrap();
    assert_eq!(read_line(&mut second, &mut Vec::new()).await, "to the second");
    let event = limited(first.recv()).await.unwrap();
    assert!(matches!(event, SolEvent::Deactivated(_)), "{event:?}");
}
