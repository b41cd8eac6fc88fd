//! The logs: every character once, with time stamps, gaps marked, put aside when full.

use std::os::unix::fs::PermissionsExt;

use console::client::attach;
use ipmi::SolOptions;
use ipmi::chassis::PowerAction;

use super::attach::{see, tail};
use super::head::{Head, limited, marks, node, numbers, until};
use super::simulator::Simulator;

#[tokio::test]
async fn every_number_is_logged_once_over_a_power_cycle() {
    let mut bmc = Simulator::start().await;
    let head = Head::with_node(&bmc).await;
    head.count(&mut bmc, 0..200, 0).await;
    let session = bmc.session().await;
    for (action, from) in [(PowerAction::Off, 200), (PowerAction::On, 300), (PowerAction::Reset, 400)] {
        limited(session.chassis_control(action)).await.unwrap();
        head.count(&mut bmc, from..from + 100, 0).await;
    }
    let log = head.log("nid001");
    assert_eq!(numbers(&log), (0..500).collect::<Vec<_>>());
    assert_eq!(marks(&log), ["console open"]);
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let path = head.log_path("nid001");
    assert_eq!(mode(&path) & 0o137, 0, "others read no console");
    assert_eq!(mode(path.parent().unwrap()) & 0o027, 0);
}

#[tokio::test]
async fn a_restart_gives_the_line_back_and_marks_the_gap() {
    let mut bmc = Simulator::start().await;
    let mut head = Head::with_node(&bmc).await;
    head.count(&mut bmc, 0..50, 0).await;
    bmc.write("half a line").await;
    head.until_logged("half a line", 1).await;
    head.stop().await;
    let before = head.log("nid001");
    assert!(marks(&before).last().unwrap().starts_with("logging stops"), "{before}");
    // Without taking it over: it is free.
    head.start_again("takeover = 'never'\n").await;
    head.until_logged("console open", 2).await;
    head.count(&mut bmc, 50..100, 0).await;
    let log = head.log("nid001");
    assert_eq!(numbers(&log), (0..100).collect::<Vec<_>>());
    let marks = marks(&log);
    assert_eq!(marks.len(), 3, "{marks:?}");
    assert!(marks[2].starts_with("console open; nothing was logged since 20"), "{marks:?}");
}

#[tokio::test]
async fn a_crash_marks_the_gap_too() {
    let mut bmc = Simulator::start().await;
    let mut head = Head::with_node(&bmc).await;
    head.count(&mut bmc, 0..20, 0).await;
    head.kill().await;
    head.start_again("").await;
    head.until_logged("nothing was logged since 20", 1).await;
    head.count(&mut bmc, 20..40, 0).await;
    assert_eq!(numbers(&head.log("nid001")), (0..40).collect::<Vec<_>>());
    assert_eq!(marks(&head.log("nid001")).len(), 2);
}

#[tokio::test]
async fn a_full_log_is_put_aside_without_a_loss() {
    let mut bmc = Simulator::start().await;
    let head = Head::start(node(1, &bmc), "rotate_size = '64KiB'\nkeep = 2\ncompress = false\n").await;
    head.until_logged("console open", 1).await;
    head.count(&mut bmc, 0..600, 110).await;
    let (all, new) = (head.whole_log("nid001"), head.log("nid001"));
    let old = all.strip_suffix(&new).unwrap();
    assert!(old.len() > 65000 && old.ends_with('\n'), "{}", old.len());
    assert_eq!(numbers(&all), (0..600).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_log_that_cannot_be_written_keeps_nobody_from_reading() {
    let mut bmc = Simulator::start().await;
    let mut head = Head::with_node(&bmc).await;
    head.stop().await;
    let path = head.log_path("nid001");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    head.start_again("").await;
    let mut reader = attach(&head.socket, "nid001", &tail()).await.unwrap();
    until(async || head.status().await.unwrap().connected).await;
    bmc.write("unwritten\r\n").await;
    see(&mut reader, "unwritten").await;
    // The bytes are kept nevertheless, and beside them the text was tried.
    let raw = path.with_file_name("raw/console.nid001");
    until(async || std::fs::read_to_string(&raw).unwrap_or_default().contains("unwritten")).await;
    std::fs::remove_dir(&path).unwrap();
    bmc.write("written\r\n").await;
    head.until_logged(" written\n", 1).await;
    let log = head.log("nid001");
    assert!(log.contains("bytes could not be written") && !log.contains("unwritten"), "{log}");
}

#[tokio::test]
async fn what_a_terminal_would_obey_is_made_visible() {
    let mut bmc = Simulator::start().await;
    let head = Head::with_node(&bmc).await;
    bmc.write("\x1b[2Jcleared\r\n10%\r20%\r\nend\r\n").await;
    head.until_logged(" end\n", 1).await;
    let log = head.log("nid001");
    let raw = std::fs::read(head.log_path("nid001").with_file_name("raw/console.nid001")).unwrap();
    assert_eq!(raw, b"\x1b[2Jcleared\r\n10%\r20%\r\nend\r\n");
    for line in [" ^[[2Jcleared\n", " 10%\n", " 20%\n"] {
        assert!(log.contains(line), "{log}");
    }
}

#[tokio::test]
async fn a_held_line_is_waited_for_where_it_may_not_be_taken() {
    let mut bmc = Simulator::start().await;
    let session = bmc.session().await;
    let held = limited(session.activate_sol(SolOptions::default())).await.unwrap();
    let head = Head::start(node(1, &bmc), "takeover = 'never'\n").await;
    head.until_lost("already in use").await;
    limited(held.deactivate()).await.unwrap();
    head.until_logged("console open", 1).await;
    head.count(&mut bmc, 0..20, 0).await;
    let marks = marks(&head.log("nid001"));
    assert_eq!(marks.len(), 2, "{marks:?}");
    assert!(marks[0].starts_with("console lost: BMC x0c0s1b0: activate SOL"), "{marks:?}");
}
