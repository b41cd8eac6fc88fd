//! The simulated nodes, against a head whose services are processes of the lab.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use domain::BootStage;
use tests::fleet::cluster::{self, Sizes};
use tests::fleet::space::{self, Space};
use tests::fleet::{self, Faults, Firmware, Link, Node, Target};
use tests::head::Ports;
use tests::{Head, HeadOptions, Net, lab};

const IMAGES: &str = "http://10.20.0.1:8080";

async fn head(folder: &Path, count: u32, sizes: Sizes) -> anyhow::Result<(Net, Space, Head)> {
    let net = Net::up(folder)?;
    let space = Space::attach(&net).await?;
    let options = HeadOptions {
        services: cluster::SERVICES.to_vec(),
        address: Ipv4Addr::UNSPECIFIED.into(),
        ports: Ports::REAL,
        document: space::document(),
        ..HeadOptions::default()
    };
    let head = Head::start(options).await?;
    cluster::fill(&head, count, space::address, IMAGES, sizes).await?;
    Ok((net, space, head))
}

/// Nodes of each firmware boot on the wire and through a relay, one to its root file system, all to their last word.
#[test]
fn each_kind_of_node_boots() {
    lab::test("fleet::each_kind_of_node_boots", async |folder| {
        let sizes = Sizes { root: Some(3_000_000), ..Sizes::default() };
        let (_net, space, head) = head(&folder, 8, sizes).await?;
        let outcomes = space::run_in(space.namespace(), async || {
            let wire = Target::new(Link::wire("eth0")?);
            let own = SocketAddrV4::new(space::OWN, 67);
            let relay = Target::new(Link::relay(own, SocketAddrV4::new(space::HEAD_ADDRESS, 67)).await?);
            let kinds = [Firmware::Bios, Firmware::Uefi, Firmware::UefiHttp, Firmware::Ipxe];
            let mut outcomes = Vec::new();
            for (number, firmware) in (1..).zip(kinds) {
                let node = Node { firmware, ..space::node(number) };
                outcomes.push(node.boot(&wire, &Faults::default()).await);
                let node = Node { firmware, ..space::node(number + 4) };
                outcomes.push(node.boot(&relay, &Faults::default()).await);
            }
            Ok(outcomes)
        })
        .await?;
        for (outcome, number) in outcomes.iter().zip([1, 5, 2, 6, 3, 7, 4, 8]) {
            let firmware = outcome.node.firmware;
            ensure!(outcome.error.is_none(), "{firmware:?}: {outcome:?}\n{}", head.tails(10));
            ensure!(outcome.address == Some(space::address(number)), "{firmware:?}: {outcome:?}");
            for stage in [BootStage::Kernel, BootStage::Initrd, BootStage::Root, BootStage::PhoneHome] {
                ensure!(outcome.at(stage).is_some(), "{firmware:?} has no {stage}");
            }
            let tftp = !matches!(firmware, Firmware::UefiHttp | Firmware::Ipxe);
            ensure!(outcome.at(BootStage::TftpEnd).is_some() == tftp, "{firmware:?}: {outcome:?}");
        }
        head.shut_down().await
    });
}

/// Every fault of a node ends where it should, with its reason.
#[test]
fn a_faulty_node_ends_where_its_fault_is() {
    lab::test("fleet::a_faulty_node_ends_where_its_fault_is", async |folder| {
        let (_net, space, head) = head(&folder, 8, Sizes::default()).await?;
        let none = Faults::default;
        let cases = [
            (Faults { silent_after: Some(BootStage::Script), ..none() }, BootStage::Script, "silent"),
            (Faults { tftp_dropped: true, ..none() }, BootStage::DhcpAck, "TFTP server does not answer"),
            (
                Faults { other_server: Some(space::OWN), ..none() },
                BootStage::DhcpOffer,
                "took an offer of 10.20.0.2",
            ),
            (Faults { loader_refused: true, ..none() }, BootStage::TftpEnd, "cannot run its loader"),
            (Faults { initrd_cut_after: Some(50_000), ..none() }, BootStage::Kernel, "lost after"),
            (Faults { from_disk: true, ..none() }, BootStage::DhcpAck, "from its disk"),
        ];
        let outcomes = space::run_in(space.namespace(), {
            let cases = cases.clone();
            async move || {
                let target = Target::new(Link::wire("eth0")?);
                let mut outcomes = Vec::new();
                for (number, (faults, _, _)) in (1..).zip(cases) {
                    let boot = space::node(number).boot(&target, &faults);
                    outcomes.push(boot.await);
                }
                Ok(outcomes)
            }
        })
        .await?;
        for (outcome, (faults, last, text)) in outcomes.iter().zip(cases) {
            ensure!(outcome.last() == Some(last), "{faults:?}: {outcome:?}");
            ensure!(outcome.error.as_deref().is_some_and(|it| it.contains(text)), "{faults:?}: {outcome:?}");
        }
        head.shut_down().await
    });
}

/// A mass boot in small, and once more where one packet in twenty is lost each way.
#[test]
fn all_of_many_nodes_boot_also_with_loss() {
    const COUNT: u32 = 100;
    lab::test("fleet::all_of_many_nodes_boot_also_with_loss", async |folder| {
        space::raise_limits(COUNT)?;
        let (_net, space, head) = head(&folder, COUNT, Sizes::default()).await?;
        for (percent, count) in [(0, COUNT), (5, 20)] {
            space.lose(percent)?;
            let report = space::run_in(space.namespace(), async move || {
                let mut target = Target::new(Link::wire("eth0")?);
                target.patience.failures = 5;
                let nodes: Vec<Node> = (1..=count).map(space::node).collect();
                Ok(fleet::storm(&nodes, &target, Duration::from_millis(200), |_, _| {}).await)
            })
            .await?;
            let summary = report.summary();
            eprintln!("{percent} % lost: {summary:?}\n{}", report.table());
            ensure!(summary.failed == 0, "{}\n{}", report.table(), head.tails(10));
            ensure!((summary.again > 0) == (percent > 0), "{summary:?}");
        }
        head.shut_down().await
    });
}
