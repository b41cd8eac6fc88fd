//! The powerman protocol as bytes; that Debian's client shows the same as with the real daemon is tested beside it.

use std::net::SocketAddr;

use tests::swarm::{Fault, Options, Swarm};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::head::{Head, limited, node};

/// What is said on a connection, to its end.
async fn said(address: SocketAddr, lines: &[&str]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut text = String::new();
    for line in lines {
        // The next is said when the prompt is there.
        read_prompt(&mut stream, &mut text).await;
        stream.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
    }
    limited(stream.read_to_string(&mut text)).await.unwrap();
    text.replace("\r\n", "\n")
}

async fn read_prompt(stream: &mut TcpStream, text: &mut String) {
    let begun = text.len();
    limited(async {
        while !text[begun..].ends_with("powerman> ") {
            let mut some = [0; 4096];
            let count = stream.read(&mut some).await.unwrap();
            assert!(count > 0, "{text}");
            text.push_str(std::str::from_utf8(&some[..count]).unwrap());
        }
    })
    .await;
}

#[tokio::test]
async fn queries_commands_and_errors_are_those_of_powermand() {
    let swarm = Swarm::start(Options { count: 3, ..Options::default() }).unwrap();
    let rows = (1..=3).flat_map(|it| node(it, swarm.address(it.into()).port())).collect();
    let head = Head::with_accounts(rows, "", &[1, 2, 3]).await;
    let text = said(
        head.powerman,
        &[
            "nodes",
            "on nid001",
            "status",
            "exprange",
            "status nid[001-002],nid001",
            "device",
            "on nid[003-005]",
            "status nid[1-",
            "temp nid001",
            "bogus",
            "status nid[1-2000000]",
            "quit",
        ],
    )
    .await;
    let expected = "001 2.4.4
powerman> 306 nid[001-003]
103 Query complete
powerman> 102 Command completed successfully
powerman> 302 on:      nid001
302 off:     nid[002-003]
302 unknown: 
103 Query complete
powerman> 105 Hostrange expansion ON
powerman> 303 nid001: on
303 nid002: off
303 nid001: on
103 Query complete
powerman> 304 ipmi0: state=connected reconnects=000 actions=004 type=ipmipower hosts=nid[001-003]
103 Query complete
powerman> 209 No such nodes: nid[004-005]
powerman> 205 Hostlist error: invalid range
powerman> 213 Command cannot be handled by power control device(s)
powerman> 201 Unknown command
powerman> 205 Hostlist error: invalid range
powerman> 101 Goodbye
";
    assert_eq!(text, expected);
}

#[tokio::test]
async fn a_node_that_was_not_switched_is_named_and_the_command_has_failed() {
    let swarm = Swarm::start(Options { count: 2, ..Options::default() }).unwrap();
    swarm.inflict([2], Fault::Silent);
    let rows = (1..=2).flat_map(|it| node(it, swarm.address(it.into()).port())).collect();
    let head = Head::with_accounts(rows, "", &[1, 2]).await;
    let text = said(head.powerman, &["status", "on nid[001-002]", "quit"]).await;
    assert!(text.contains("302 unknown: nid002\n103 Query complete\n"), "{text}");
    let (_, after) = text.split_once("308 nid002: BMC x0c0s2b0").unwrap();
    assert!(after.contains("check") && after.contains("\n210 Command completed with errors\n"), "{text}");
    assert_eq!(swarm.seen(1).on, 1);
    head.stop().await;
}
