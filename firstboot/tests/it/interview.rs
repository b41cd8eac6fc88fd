//! People at terminals.

use std::fs;

use domain::document::Answer;

use crate::lab::{KEY, Lab, Terminal};

const BEGIN: &str = "Press Enter to answer the questions on this console: ";
const CONFIRM: &str = "Apply this? yes, no or a number to change: ";

async fn answer_all(terminal: &mut Terminal) {
    terminal.expect("ens3            52:54:00:00:00:03  link up, 1000 Mb/s").await;
    terminal.answer("Cluster name [demo]: ", "").await;
    terminal.answer("Domain [openchami.cluster]: ", "").await;
    terminal.answer("Name of the head [demo-head]: ", "").await;
    terminal.answer("Nodes network, interface [ens3]: ", "").await;
    // What a person takes back with the backspace key is gone.
    terminal.answer("Nodes network, address of the head [172.16.0.254/24]: ", "10.0.0.0/25\x7f\x7f24").await;
    terminal.expect("network's own address").await;
    terminal.answer("Nodes network, address of the head [172.16.0.254/24]: ", "10.0.0.1/24").await;
    terminal.answer("Nodes network, range for unknown machines [none]: ", "").await;
    terminal.answer("BMC network, same or an interface [same]: ", "").await;
    terminal.answer("Site network, none, dhcp or static [none]: ", "").await;
    terminal.answer("Name servers [none]: ", "").await;
    terminal.answer("Time servers [none]: ", "").await;
    terminal.answer("Administrator, account [admin]: ", "alice").await;
    terminal.answer("Administrator, SSH public key: ", "ssh-ed25519 wrong").await;
    terminal.expect("no OpenSSH public key").await;
    terminal.answer("Administrator, SSH public key: ", KEY).await;
    terminal.answer("BMC account, user [none]: ", "admin").await;
    terminal.answer("BMC account, password (not shown): ", "canary").await;
    terminal.answer("BMC account, password again (not shown): ", "canary").await;
    terminal.expect("Summary:").await;
}

fn headless() -> String {
    format!(
        r#"version = 1
[cluster]
name = "demo"
domain = "openchami.cluster"
[[network.planes]]
name = "nodes"
kind = "nodes"
interface = "ens3"
addresses = ["10.0.0.1/24"]
[admins.alice]
ssh_keys = ["{KEY}"]
[secrets.bmc]
user = "admin"
password = "canary"
"#
    )
}

#[tokio::test]
async fn the_questions_end_at_the_document_of_a_headless_file() {
    let lab = Lab::new().await;
    let _supervisor = lab.supervisor().await;
    let (mut one, mut other) = (Terminal::new(), Terminal::new());
    let program = lab.start(&[&one, &other]);
    other.expect(BEGIN).await;
    one.answer(BEGIN, "").await;
    other.expect(&format!("answered on {}", one.name())).await;
    answer_all(&mut one).await;
    one.answer(CONFIRM, "yes").await;
    let (status, log) = program.end().await;
    assert!(status.success(), "{log}");
    for terminal in [&mut one, &mut other] {
        terminal.expect("ssh alice@10.0.0.1").await;
        assert!(!terminal.shown.contains("canary"), "no password is echoed");
    }
    assert!(!log.contains("canary"), "{log}");
    let applied = lab.applied();
    assert_eq!(applied.len(), 1);
    let (interview, file) = (Answer::parse(&applied[0]).unwrap(), Answer::parse(&headless()).unwrap());
    assert_eq!(interview.document, file.document);
    assert!(interview.secrets == file.secrets);
}

#[tokio::test]
async fn a_failure_is_shown_and_the_summary_comes_back() {
    let lab = Lab::new().await;
    let _supervisor = lab.supervisor().await;
    lab.script.lock().unwrap().failures.push("pilothouse-dhcp.service does not run".to_owned());
    let mut terminal = Terminal::new();
    let program = lab.start(&[&terminal]);
    terminal.answer(BEGIN, "").await;
    answer_all(&mut terminal).await;
    terminal.answer(CONFIRM, "yes").await;
    terminal.expect("could not be applied: pilothouse-dhcp.service does not run").await;
    terminal.expect("10.0.0.1/24").await;
    terminal.answer(CONFIRM, "yes").await;
    assert!(program.end().await.0.success());
    let applied = lab.applied();
    assert_eq!(applied.len(), 2);
    assert_eq!(applied[0], applied[1]);
}

#[tokio::test]
async fn ctrl_c_forgets_everything_also_within_a_password() {
    let lab = Lab::new().await;
    let mut terminal = Terminal::new();
    let program = lab.start(&[&terminal]);
    terminal.answer(BEGIN, "").await;
    terminal.answer("Cluster name [demo]: ", "iron").await;
    terminal.expect("Domain [openchami.cluster]: ").await;
    terminal.send(b"half a\x03");
    terminal.answer(BEGIN, "").await;
    answer_all(&mut terminal).await;
    terminal.answer(CONFIRM, "10").await;
    terminal.answer("BMC account, user [admin]: ", "").await;
    terminal.expect("BMC account, password (not shown): ").await;
    terminal.send(b"secret\x03");
    terminal.answer(BEGIN, "").await;
    // The echo is back.
    terminal.answer("Cluster name [demo]: ", "visible").await;
    terminal.expect("visible").await;
    let (status, log) = program.stop().await;
    assert!(status.success() && log.contains("come back at the next boot"), "{log}");
    assert!(lab.applied().is_empty() && !lab.path("setup-complete").exists());
}

#[tokio::test]
async fn the_questions_can_be_brought_to_another_console() {
    let lab = Lab::new().await;
    let (mut one, mut other) = (Terminal::new(), Terminal::new());
    let program = lab.start(&[&one, &other]);
    other.expect(BEGIN).await;
    one.answer(BEGIN, "").await;
    one.answer("Cluster name [demo]: ", "iron").await;
    one.expect("Domain [openchami.cluster]: ").await;
    other.answer("type: here", "iron2").await;
    other.answer("type: here", "here").await;
    one.expect(&format!("go on on {}", other.name())).await;
    other.answer("Domain [openchami.cluster]: ", "").await;
    other.expect("Name of the head [iron-head]: ").await;
    program.stop().await;
}

#[tokio::test]
async fn a_console_that_goes_takes_its_answers_along() {
    let lab = Lab::new().await;
    let (mut one, mut other) = (Terminal::new(), Terminal::new());
    let program = lab.start(&[&one, &other]);
    other.expect(BEGIN).await;
    one.answer(BEGIN, "").await;
    one.expect("Cluster name [demo]: ").await;
    drop(one);
    other.expect("console with the questions is gone").await;
    other.answer(BEGIN, "").await;
    other.expect("Cluster name [demo]: ").await;
    program.stop().await;
}

#[tokio::test]
async fn a_volume_that_is_plugged_in_answers_instead() {
    let lab = Lab::new().await;
    let _supervisor = lab.supervisor().await;
    let mut terminal = Terminal::new();
    let program = lab.start(&[&terminal]);
    terminal.expect(BEGIN).await;
    fs::write(lab.path("new.toml"), headless()).unwrap();
    fs::rename(lab.path("new.toml"), lab.path("seed.toml")).unwrap();
    let (status, log) = program.end().await;
    assert!(status.success(), "{log}");
    terminal.expect("The head is set up.").await;
    assert_eq!(lab.applied(), [headless()]);
}

#[tokio::test]
async fn a_line_without_end_is_refused_and_noise_does_no_harm() {
    let lab = Lab::new().await;
    let mut terminal = Terminal::new();
    let program = lab.start(&[&terminal]);
    terminal.answer(BEGIN, "").await;
    terminal.expect("Cluster name [demo]: ").await;
    // The terminal stops keeping characters; each piece is read back so that its buffers do not fill.
    for _ in 0..50 {
        terminal.send(&[b'a'; 100]);
        terminal.expect("aaaaaaaa").await;
    }
    terminal.send(b"\r");
    terminal.expect("This line is too long.").await;
    terminal.expect("Cluster name [demo]: ").await;
    terminal.send(b"\xff\xfe\r");
    terminal.expect("This line is no text").await;
    terminal.answer("Cluster name [demo]: ", "\x1b[A").await;
    terminal.expect("printable").await;
    terminal.expect("Cluster name [demo]: ").await;
    program.stop().await;
}

#[tokio::test]
async fn it_asks_on_the_kernels_consoles_that_systemd_opened() {
    let lab = Lab::new().await;
    fs::create_dir_all(lab.path("sys/class/tty/console")).unwrap();
    // tty0 is whichever virtual terminal is in front.
    fs::write(lab.path("sys/class/tty/console/active"), "tty0 ttyS0\n").unwrap();
    let (mut serial, mut screen) = (Terminal::new(), Terminal::new());
    let program = lab.start_with_open(&serial, &screen);
    screen.expect(BEGIN).await;
    serial.answer(BEGIN, "").await;
    serial.expect("Cluster name [demo]: ").await;
    screen.expect("answered on ttyS0").await;
    program.stop().await;
}
