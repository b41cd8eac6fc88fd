//! Stages of a boot as they are seen on the console.

use std::sync::{LazyLock, Mutex};

use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use super::head::{Head, node, until};
use super::simulator::Simulator;

/// Every boot event of this process, as `node stage`.
static SEEN: LazyLock<Mutex<Vec<String>>> = LazyLock::new(|| {
    tracing_subscriber::registry().with(Recorder).init();
    Mutex::default()
});

struct Recorder;

#[derive(Default)]
struct Event {
    node: String,
    stage: Option<String>,
}

impl Visit for Event {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "pilothouse_node" => self.node = value.to_owned(),
            "pilothouse_stage" => self.stage = Some(value.to_owned()),
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

impl<S: tracing::Subscriber> Layer<S> for Recorder {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut seen = Event::default();
        event.record(&mut seen);
        if let Some(stage) = seen.stage {
            SEEN.lock().unwrap().push(format!("{} {stage}", seen.node));
        }
    }
}

/// The stages of node 9, which is this test's alone.
fn stages() -> Vec<String> {
    let seen = SEEN.lock().unwrap();
    seen.iter().filter_map(|it| it.strip_prefix("x0c0s9b0n0 ")).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_boot_shows_one_log_in_and_a_panic_one_panic() {
    assert!(stages().is_empty());
    let mut bmc = Simulator::start().await;
    let head = Head::start(node(9, &bmc), "").await;
    let mut logged = 0;
    let boot = [
        "SeaBIOS (version 1.16.3)\r\niPXE 1.21.1\r\n",
        "[    0.000000] Linux version 6.12.48\r\n",
        "Welcome to \x1b[1mDebian GNU/Linux 13 (trixie)\x1b[0m!\r\n",
        "\r\nDebian GNU/Linux 13 nid009 ttyS0\r\n\r\nnid009 lo",
        "gin: ",
        "root\r\nPassword: \r\nLast login: Sun Nov 22 13:05:47\r\n",
        "logout\r\n\r\nnid009 login: ",
    ];
    until(async || head.log("nid009").contains("console open")).await;
    let panic = [
        "\r\nKernel panic - not",
        " syncing: VFS: Unable",
        " to mount root fs\r\n---[ end Kernel panic - not syncing: VFS ]---\r\n",
    ];
    for piece in boot.iter().chain(&boot).chain(&panic) {
        bmc.write(piece).await;
        until(async || head.log("nid009").len() > logged).await;
        logged = head.log("nid009").len();
    }
    until(async || head.log("nid009").contains("[ end Kernel panic")).await;
    until(async || stages().len() >= 3).await;
    assert_eq!(stages(), ["login", "login", "panic"]);
}
