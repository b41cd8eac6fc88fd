//! From `pilotctl image import` to the end of a boot: the image goes through the socket into the store, nodes fetch it by
//! its digests, and `pilotctl boot watch`, `report` and `history` tell of it.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use domain::Service;
use serde_json::Value;
use tests::fleet::cluster::{self, Sizes};
use tests::fleet::space::{self, Space};
use tests::fleet::{Faults, Link, Target};
use tests::head::Ports;
use tests::{Head, HeadOptions, Net, lab, program, settle};

const IMAGES: &str = "http://10.20.0.1:8080";
/// Far longer than anything here takes: only a hang meets it.
const LIMIT: Duration = Duration::from_secs(60);
/// More than what is told of at its end alone.
const ROOT_BYTES: usize = 6_000_000;

#[test]
fn an_imported_image_is_booted_by_its_digests_and_told_of() {
    lab::test("boots::an_imported_image_is_booted_by_its_digests_and_told_of", async |folder| {
        let (_net, space, head) = start(&folder).await?;
        let digest = import(&head, &folder)?;
        let mut watch = Command::new(program::pilotctl()?);
        watch.arg("--run").arg(head.sockets()).arg("--config").arg(head.document());
        let watch = watch.args(["boot", "watch", "--until-up", "nid001"]).stdin(Stdio::null());
        let watch = watch.stdout(Stdio::piped()).spawn().context("run pilotctl boot watch")?;
        boot(&space, &head).await?;

        let watched = tokio::task::spawn_blocking(move || watch.wait_with_output());
        let watched = tokio::time::timeout(LIMIT, watched).await.context("boot watch never ends")???;
        let lines = String::from_utf8_lossy(&watched.stdout).into_owned();
        ensure!(watched.status.success(), "{lines}");

        let told = settle::until(LIMIT, "both boots are good", async || {
            let told = json(&head, &["boot", "report", "--since", "1h"])?;
            Ok((told["good"] == 2).then_some(told))
        });
        let told = told.await.with_context(|| head.events().all_of(&space::xname(1)))?;
        ensure!(told["nodes"] == 2 && told["findings"] == Value::Array(Vec::new()), "{told:#}");

        let history = head.pilotctl(&["boot", "history", "nid001"], "")?;
        for words in ["It booted compute:9.5@sha256:", &format!("root {digest}"), " begun "] {
            ensure!(history.contains(words), "{words:?} is not in\n{history}");
        }
        let shown = json(&head, &["boot", "history", "nid001"])?;
        let events = shown["last"]["events"].as_array().context("events")?;
        let roots: Vec<&Value> =
            events.iter().filter(|it| it["stage"] == "root").map(|it| &it["result"]).collect();
        ensure!(roots == ["begun", "ok"], "{roots:?}");

        // Whoever was taken away is in no report any more.
        head.pilotctl(&["boot", "forget", "nid002"], "")?;
        let told = json(&head, &["boot", "report", "--since", "1h"])?;
        ensure!(told["nodes"] == 1, "{told:#}");
        let again =
            head.pilotctl(&["boot", "forget", "nid002"], "").err().context("it is forgotten twice")?;
        ensure!(format!("{again:#}").contains("no boot of nid002 is known"), "{again:#}");
        head.shut_down().await
    });
}

/// A head with two nodes that boot nothing of the store yet.
async fn start(folder: &Path) -> anyhow::Result<(Net, Space, Head)> {
    let net = Net::up(folder)?;
    let space = Space::attach(&net).await?;
    let mut services = cluster::SERVICES.to_vec();
    services.push(Service::Timeline);
    let options = HeadOptions {
        services,
        address: Ipv4Addr::UNSPECIFIED.into(),
        ports: Ports::REAL,
        document: space::document(),
        ..HeadOptions::default()
    };
    let head = Head::start(options).await?;
    cluster::fill(&head, 2, space::address, IMAGES, Sizes::default()).await?;
    Ok((net, space, head))
}

/// Imports an image and has the nodes boot it; the digest of its root file system.
fn import(head: &Head, folder: &Path) -> anyhow::Result<String> {
    let build = folder.join("build");
    std::fs::create_dir_all(&build)?;
    for (name, size) in [("vmlinuz-6.12", 1 << 20), ("initrd.img", 1 << 20), ("root.squashfs", ROOT_BYTES)] {
        let bytes: Vec<u8> =
            (0..size).map(|it: usize| (it.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
        std::fs::write(build.join(name), bytes)?;
    }
    let build = build.to_str().context("text")?;
    head.pilotctl(&["image", "import", "compute:9.5", "--from", build], "")?;
    let shown = json(head, &["image", "show", "compute:9.5"])?;
    let digest = shown["root"]["digest"].as_str().context("the root's digest")?.to_owned();
    let sum = Command::new("sha256sum").arg(format!("{build}/root.squashfs")).output()?;
    let sum = String::from_utf8_lossy(&sum.stdout).into_owned();
    ensure!(Some(digest.trim_start_matches("sha256:")) == sum.split(' ').next(), "{digest}, {sum}");

    head.pilotctl(&["boot", "set", "nid[001-002]", "--image", "compute:9.5", "--params", "ip=dhcp"], "")?;
    let images = json(head, &["image", "list"])?;
    let pinned = images.as_array().into_iter().flatten().find(|it| it["tag"] == "9.5");
    let pins = pinned.and_then(|it| it["pins"].as_array()).context("it is not in the list")?;
    ensure!(pins.iter().any(|it| it.as_str().is_some_and(|it| it.starts_with("boot/"))), "{images:#}");
    let script = head.pilotctl(&["boot", "script", "nid001"], "")?;
    let url = format!("/blobs/sha256/{}", digest.trim_start_matches("sha256:"));
    ensure!(script.contains(&url), "{url} is not in\n{script}");
    // What boots go by stays though its name is taken away and all is cleaned up.
    head.pilotctl(&["image", "remove", "compute:9.5"], "")?;
    head.pilotctl(&["image", "gc"], "")?;
    Ok(digest)
}

/// Boots both nodes.
async fn boot(space: &Space, head: &Head) -> anyhow::Result<()> {
    let outcomes = space::run_in(space.namespace(), async || {
        let target = Target::new(Link::wire("eth0")?);
        let faults = Faults::default();
        let (one, two) = (space::node(1), space::node(2));
        Ok(tokio::join!(one.boot(&target, &faults), two.boot(&target, &faults)))
    })
    .await?;
    for outcome in [&outcomes.0, &outcomes.1] {
        ensure!(outcome.error.is_none(), "{outcome:?}\n{}", head.tails(10));
    }
    Ok(())
}

fn json(head: &Head, words: &[&str]) -> anyhow::Result<Value> {
    let text = head.pilotctl(&[words, &["--output", "json"]].concat(), "")?;
    serde_json::from_str(&text).with_context(|| format!("pilotctl {}: {text}", words.join(" ")))
}
