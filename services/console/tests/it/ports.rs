//! Consoles that are no serial line over IPMI.

use console::client::{How, attach};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};

use super::attach::{see, type_in};
use super::head::{Head, component, limited, marks, until};
use super::simulator::serial_line;

/// Node 1, without a BMC.
fn alone() -> Vec<Value> {
    vec![component(1, None)]
}

fn table(line: &str) -> String {
    format!("[console.nodes.nid001]\nline = '{line}'\n")
}

#[tokio::test]
async fn a_unix_socket_is_logged_typed_to_and_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("console");
    let listener = UnixListener::bind(&path).unwrap();
    let head = Head::start(alone(), &table(&format!("unix:{}", path.display()))).await;
    let (mut line, _) = limited(listener.accept()).await.unwrap();
    head.until_logged("console open", 1).await;
    line.write_all(b"hello\r\n").await.unwrap();
    head.until_logged(" hello\n", 1).await;
    let mut reader = attach(&head.socket, "nid001", &How::default()).await.unwrap();
    type_in(&mut reader, "root\r").await;
    let mut typed = [0; 5];
    limited(line.read_exact(&mut typed)).await.unwrap();
    assert_eq!(&typed, b"root\r");
    type_in(&mut reader, "").await;
    see(&mut reader, "not sent: this line knows no serial break").await;
    drop(line);
    let (mut line, _) = limited(listener.accept()).await.unwrap();
    line.write_all(b"again\r\n").await.unwrap();
    head.until_logged(" again\n", 1).await;
    let marks = marks(&head.log("nid001"));
    assert!(marks.len() == 3 && marks[1].contains("the other end closed it"), "{marks:?}");
}

#[tokio::test]
async fn telnet_is_spoken_with_a_console_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let head = Head::start(alone(), &table(&format!("telnet:{}", listener.local_addr().unwrap()))).await;
    let (mut line, _): (TcpStream, _) = limited(listener.accept()).await.unwrap();
    line.write_all(b"\xff\xfb\x01\xff\xfd\x18login: \xff\xff\r\n").await.unwrap();
    head.until_logged(" login: ~?\n", 1).await;
    let mut answer = [0; 6];
    limited(line.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"\xff\xfd\x01\xff\xfc\x18");
    let mut reader = attach(&head.socket, "nid001", &How::default()).await.unwrap();
    type_in(&mut reader, "").await;
    let mut sent = [0; 2];
    limited(line.read_exact(&mut sent)).await.unwrap();
    assert_eq!(&sent, b"\xff\xf3", "a serial break");
    let listed: Value = web::Client::unix(&head.socket).get("/remote-console/consoles").await.unwrap();
    assert_eq!(listed["consoles"][0]["connectionType"], "telnet");
    assert_eq!(listed["consoles"][0]["connectionHost"], "127.0.0.1");
}

#[tokio::test]
async fn a_serial_port_of_the_head_is_a_console() {
    let (mut socat, terminal) = serial_line().await;
    let (mut writes, mut reads) = (socat.stdin.take().unwrap(), socat.stdout.take().unwrap());
    let head = Head::start(alone(), &table(&format!("serial:{terminal}"))).await;
    head.until_logged("console open", 1).await;
    let long = "x".repeat(3000);
    writes.write_all(format!("boot\r\n{long}\r\n").as_bytes()).await.unwrap();
    head.until_logged(&format!(" {long}\n"), 1).await;
    let mut reader = attach(&head.socket, "nid001", &How::default()).await.unwrap();
    type_in(&mut reader, &long).await;
    let mut typed = vec![0; long.len()];
    limited(reads.read_exact(&mut typed)).await.unwrap();
    assert_eq!(typed, long.as_bytes());
    drop(socat);
    head.until_logged("console lost", 1).await;
}

#[tokio::test]
async fn a_class_of_bmcs_may_have_lines_of_its_own() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let bmc = json!({"kind": "endpoint", "id": "x0c0s1b0", "row": {
        "id": "x0c0s1b0", "address": "127.0.0.1", "nodes": ["x0c0s1b0n0"], "class": "openbmc"}});
    let rows = vec![component(1, None), bmc];
    let head = Head::start(rows, &format!("[console.classes.openbmc]\nline = 'tcp:{{bmc}}:{port}'\n")).await;
    let (mut line, _) = limited(listener.accept()).await.unwrap();
    line.write_all(b"from OpenBMC\r\n").await.unwrap();
    until(async || head.log("nid001").contains("from OpenBMC")).await;
}
