//! A scan of the head from each of its networks.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use domain::document::PlaneKind;
use domain::port::{Protocol, TABLE};
use tests::Net;
use tests::net::{BRIDGE, Client, HEAD, SIDES};

/// Where a scanner is.
struct Post {
    kind: PlaneKind,
    client: Client,
    head: &'static str,
}

/// All TCP ports, and the UDP ports that have answers: each network finds what the port table opens there, and not one
/// more. What is not open is silent: a port that says it is closed was let through.
pub(super) async fn scan(net: &Net) -> anyhow::Result<()> {
    let mut posts = Vec::new();
    let mut place = async |kind, bridge, head: &'static str, address: &str| {
        let name = format!("scan-{}", posts.len());
        let client = net.add_client(bridge, &name, &format!("52:54:00:10:09:{:02x}", posts.len())).await?;
        client.run("ip", &["address", "add", address, "dev", "eth0"])?;
        let head = head.split_once('/').map_or(head, |it| it.0);
        posts.push(Post { kind, client, head });
        anyhow::Ok(())
    };
    place(PlaneKind::Nodes, BRIDGE, HEAD, "172.16.0.252/24").await?;
    for side in SIDES {
        let kind = if side.kind == "site" { PlaneKind::Site } else { PlaneKind::Bmc };
        place(kind, side.bridge, side.head, side.client).await?;
    }
    std::thread::scope(|scope| {
        let scans: Vec<_> = posts.iter().map(|it| scope.spawn(|| it.check())).collect();
        scans.into_iter().try_for_each(|it| it.join().unwrap_or_else(|_| anyhow::bail!("a scan panicked")))
    })?;
    for post in posts {
        post.client.remove().await?;
    }
    Ok(())
}

impl Post {
    fn check(&self) -> anyhow::Result<()> {
        let tcp = self.nmap(&["-sS", "-p", "1-65535", "--min-rate", "3000", "--max-retries", "2"])?;
        self.compare(Protocol::Tcp, &tcp, self.wanted(Protocol::Tcp))?;
        // NTP and TFTP answer a stranger; DHCP answers by broadcast, which no scanner takes for an answer, and on 4011
        // known machines alone.
        let udp = self.nmap(&["-sU", "-p", "53,67,69,111,123,161,514,623,5353", "--max-retries", "3"])?;
        let mut wanted = self.wanted(Protocol::Udp);
        wanted.remove("67");
        wanted.remove("4011");
        self.compare(Protocol::Udp, &udp, wanted)
    }

    fn wanted(&self, protocol: Protocol) -> BTreeSet<String> {
        let own = TABLE
            .iter()
            .filter(|it| it.protocol == protocol && it.planes.contains(&self.kind) && it.setting.is_none());
        own.map(|it| it.number.to_string()).collect()
    }

    fn compare(&self, protocol: Protocol, found: &str, wanted: BTreeSet<String>) -> anyhow::Result<()> {
        let kind = self.kind;
        let ports = found.lines().find_map(|it| it.split_once("Ports: ")).map_or("", |it| it.1);
        let ports = ports.split('\t').next().unwrap_or_default();
        let states = ports.split(", ").filter_map(|it| it.trim().split_once('/'));
        let (mut open, mut closed) = (BTreeSet::new(), BTreeSet::new());
        for (port, rest) in states {
            match rest.split('/').next() {
                Some("open") => open.insert(port.to_owned()),
                Some("closed" | "unfiltered") => closed.insert(port.to_owned()),
                _ => false,
            };
        }
        ensure!(open == wanted, "{kind:?}: {protocol:?} {open:?} are open, not {wanted:?}\n{found}");
        ensure!(closed.is_empty(), "{kind:?}: {protocol:?} {closed:?} are let through\n{found}");
        ensure!(!found.contains("State: closed"), "{kind:?}: {protocol:?} ports are let through\n{found}");
        eprintln!("a scan of {protocol:?} from {kind:?} finds {open:?}");
        Ok(())
    }

    fn nmap(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let all = [&["-n", "-Pn", "-oG", "-"], arguments, &[self.head]].concat();
        self.client.run("nmap", &all).context("scan the head")
    }
}
