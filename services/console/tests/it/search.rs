//! The search of the logs.

use console::client::{Line, SearchRequest, search};
use web::Client;

use super::head::{Head, limited, node};
use super::simulator::Simulator;

async fn found(head: &Head, request: SearchRequest) -> (Vec<String>, bool) {
    let mut searching = search(&Client::unix(&head.socket), &request).await.unwrap();
    let mut lines = Vec::new();
    loop {
        match limited(searching.next()).await.unwrap().unwrap() {
            Line::Found(it) => lines.push(format!("{}: {}", it.node, &it.line[20..])),
            Line::End { end } => {
                assert_eq!((end.found, end.failed.len()), (lines.len(), 0));
                return (lines, end.more);
            }
        }
    }
}

#[tokio::test]
async fn lines_are_found_by_pattern_node_and_time() {
    let (mut first, mut second) = (Simulator::start().await, Simulator::start().await);
    let rows = [node(1, &first), node(2, &second)].concat();
    let head = Head::start(rows, "rotate_size = '64KiB'\n").await;
    head.until_logged("console open", 1).await;
    first.write("mce: [Hardware Error]: CPU 7\r\nfine\r\n").await;
    head.until_logged(" fine\n", 1).await;
    // What was put aside, and compressed, is searched too.
    head.count(&mut first, 0..620, 110).await;
    first.write("Oops: 0000\r\n").await;
    head.until_logged(" Oops: 0000\n", 1).await;
    second.write("oops\r\n").await;
    super::head::until(async || head.log("nid002").contains(" oops\n")).await;
    let request = |pattern: &str, nodes: &str| SearchRequest {
        pattern: pattern.to_owned(),
        nodes: nodes.to_owned(),
        ..SearchRequest::default()
    };
    let (lines, more) = found(&head, request("Hardware Error|Oops", "nid[001-002]")).await;
    assert_eq!(
        (lines, more),
        (vec!["nid001: mce: [Hardware Error]: CPU 7".to_owned(), "nid001: Oops: 0000".to_owned()], false)
    );
    let (lines, _) = found(&head, SearchRequest { ignore_case: true, ..request("^oops", "") }).await;
    assert_eq!(lines, ["nid001: Oops: 0000", "nid002: oops"]);
    let (lines, more) = found(&head, SearchRequest { max: Some(3), ..request("count", "x0c0s1b0n0") }).await;
    assert!(lines.len() == 3 && more);
    let (lines, _) = found(&head, SearchRequest { since_s: Some(3600), ..request("Hardware", "") }).await;
    assert_eq!(lines.len(), 1);
    for (request, word) in [
        (request("(", ""), "is no pattern"),
        (request("a", "nid[001-"), "nid[001-"),
        (request("a", "nid[0000001-2000000]"), "more than"),
    ] {
        let error = search(&Client::unix(&head.socket), &request).await.unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}
