//! DHCP: the highest rate of four-way exchanges, by Kea's perfdhcp, and what one of them costs.

use std::process::Command;
use std::time::Duration;

use ::tests::head::Ports;
use ::tests::program::find;
use ::tests::{Head, HeadOptions, Pg, Process};
use anyhow::{Context as _, ensure};
use domain::Service;

use super::peers::{self, Clients, Dhcp};
use super::table::{Figure, Row, best};
use super::{OURS, Place, cost};

/// No more than this share of exchanges may be lost.
const DROPS_MAX: f64 = 0.001;
/// So much of the asked rate has to come about; a generator that cannot send it proves nothing.
const SENT_MIN: f64 = 0.97;
/// The search goes no higher.
const RATE_MAX: u32 = 100_000;
/// First guesses: servers that write each lease to a disk do hundreds, the others thousands.
const RATE_FIRST_DISK: u32 = 150;
const RATE_FIRST: u32 = 2_400;
/// The rate at which exchanges are priced: all of the fast ones manage it.
const PRICED_RATE: u32 = 5_000;
/// How long dhcp may take to have its leases from an empty database.
const DURABLE_MAX: Duration = Duration::from_secs(20);
/// perfdhcp sends from the second processor.
const LOAD: &str = "1";

/// One run of perfdhcp.
#[derive(Clone, Copy, Debug)]
struct Probe {
    rate: u32,
    done: f64,
    drops: f64,
    cpu: Duration,
    exchanges: u32,
}

impl Probe {
    fn is_well(&self) -> bool {
        self.drops <= DROPS_MAX && self.done >= SENT_MIN * f64::from(self.rate)
    }

    fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / f64::from(self.exchanges.max(1))
    }
}

/// What is measured.
enum Server<'a> {
    Ours(&'a mut Head),
    Peer(Dhcp, Option<&'a Pg>),
}

impl Server<'_> {
    fn name(&self) -> &'static str {
        match self {
            Self::Ours(_) => "Pilothouse",
            Self::Peer(it, _) => it.name(),
        }
    }

    /// Starts it without leases, sends, and ends it if it is a peer.
    async fn probe(
        &mut self,
        place: &Place,
        clients: Clients,
        rate: u32,
        seconds: u32,
    ) -> anyhow::Result<Probe> {
        let (pids, process, address) = match self {
            Self::Ours(head) => {
                if matches!(clients, Clients::Pool(_)) {
                    forget_leases(head).await?;
                }
                let mut pids = vec![head.pid(Service::Dhcp).context("dhcp runs")?];
                if matches!(clients, Clients::Pool(_)) {
                    pids.extend(head.pg().pid());
                }
                (pids, None, OURS)
            }
            Self::Peer(peer, pg) => {
                let process: Process = peer.start(place, clients, *pg).await?;
                let mut pids = vec![process.pid()];
                pids.extend(pg.and_then(Pg::pid));
                (pids, Some(process), peers::ADDRESS)
            }
        };
        let before = cost::cpu(&pids);
        let told = perfdhcp(place, address, clients, rate, seconds)?;
        let cpu = cost::cpu(&pids).saturating_sub(before);
        if let Some(process) = process {
            peers::stop(process).await?;
        }
        let (sent, acknowledged) = counts(&told).with_context(|| format!("perfdhcp says\n{told}"))?;
        let drops = 1.0 - f64::from(acknowledged) / f64::from(sent.max(1));
        let done = f64::from(acknowledged) / f64::from(seconds);
        let probe = Probe { rate, done, drops, cpu, exchanges: acknowledged };
        eprintln!(
            "    {} at {rate}/s for {seconds} s: {:.3} % lost, {done:.0}/s, {:.1} us of processor each",
            self.name(),
            drops * 100.0,
            probe.cpu_us()
        );
        Ok(probe)
    }

    /// The highest rate that is well, from what it was before.
    async fn highest(&mut self, place: &Place, clients: Clients, before: Option<u32>) -> anyhow::Result<f64> {
        let seconds = place.seconds;
        let Some(before) = before else { return self.search(place, clients).await };
        let mut best = 0.0;
        for factor in [100, 112, 125] {
            let rate = before * factor / 100;
            let probe = self.probe(place, clients, rate, seconds).await?;
            if !probe.is_well() {
                break;
            }
            best = f64::from(rate);
        }
        for factor in [90, 80, 65, 50] {
            if best > 0.0 {
                break;
            }
            let rate = before * factor / 100;
            if self.probe(place, clients, rate, seconds).await?.is_well() {
                best = f64::from(rate);
            }
        }
        Ok(best)
    }

    async fn search(&mut self, place: &Place, clients: Clients) -> anyhow::Result<f64> {
        let slow = matches!(self, Self::Peer(Dhcp::Dnsmasq | Dhcp::KeaPostgres, _));
        let (mut low, mut rate) = (0, if slow { RATE_FIRST_DISK } else { RATE_FIRST });
        if matches!(self, Self::Ours(_)) {
            // Ten thousand nodes were imported a moment ago: what that leaves to be tidied is no part of it.
            eprintln!("    (first, not counted)");
            self.probe(place, clients, rate, 2).await?;
        }
        while rate <= RATE_MAX && self.probe(place, clients, rate, 2).await?.is_well() {
            low = rate;
            rate *= 2;
        }
        let mut high = rate;
        for _ in 0..3 {
            let middle = low.midpoint(high);
            if self.probe(place, clients, middle, 2).await?.is_well() {
                low = middle;
            } else {
                high = middle;
            }
        }
        // What holds for a moment does not count; nor what never holds.
        for _ in 0..8 {
            if low < 10 || self.probe(place, clients, low, place.seconds.max(6)).await?.is_well() {
                return Ok(f64::from(low));
            }
            low = low * 85 / 100;
        }
        Ok(0.0)
    }
}

/// A head with nothing but inventory and dhcp, and these nodes.
pub(super) async fn start_ours(known: u32) -> anyhow::Result<Head> {
    let mut document = ::tests::document::demo("srv0", &format!("{OURS}/16"));
    let plane = document.get_mut("network").and_then(|it| it.get_mut("planes")).and_then(|it| it.get_mut(0));
    let subnets = format!("subnets = [{{ cidr = \"10.99.0.0/16\", range = \"{}\" }}]", super::POOL);
    plane
        .and_then(toml::Value::as_table_mut)
        .context("the document's plane")?
        .extend(toml::from_str::<toml::Table>(&subnets)?);
    let options = HeadOptions {
        services: vec![Service::Inventory, Service::Dhcp],
        document,
        address: std::net::Ipv4Addr::UNSPECIFIED.into(),
        ports: Ports::REAL,
        durable: true,
        ..HeadOptions::default()
    };
    let head = Head::start(options).await?;
    if known > 0 {
        let node = |it: u32| {
            let (number, mac, address) = (it + 1, peers::mac(it), peers::address(it));
            format!(
                "- {{nid: {number}, xname: {}, group: compute, mac: '{mac}', ipaddr: {address}}}\n",
                ::tests::fleet::space::xname(number)
            )
        };
        let nodes: String = std::iter::once("nodes:\n".to_owned()).chain((0..known).map(node)).collect();
        head.pilotctl(&["nodes", "import", "--inventory-only", "-"], &nodes)?;
        head.settle().await?;
    }
    Ok(head)
}

/// Puts dhcp back to where it has lent nothing.
async fn forget_leases(head: &mut Head) -> anyhow::Result<()> {
    head.stop(Service::Dhcp).await?;
    let state = head.folder().join("state/dhcp");
    for entry in std::fs::read_dir(&state).context("look for leases")?.flatten() {
        if entry.file_type()?.is_file() {
            std::fs::remove_file(entry.path())?;
        }
    }
    if Service::Dhcp.has_database() {
        head.pg().psql(
            "postgres",
            "drop database if exists dhcp with (force);\ncreate database dhcp owner dhcp;",
        )?;
    }
    head.pg().psql("postgres", "checkpoint")?;
    head.resume(Service::Dhcp).await?;
    head.settle().await?;
    let client = head.client(Service::Dhcp);
    ::tests::settle::until(DURABLE_MAX, "dhcp keeps leases", async || {
        let ready: serde_json::Value = client.get("/readyz").await?;
        Ok((ready["leases"] == "kept").then_some(()))
    })
    .await
}

fn perfdhcp(
    place: &Place,
    server: std::net::Ipv4Addr,
    clients: Clients,
    rate: u32,
    seconds: u32,
) -> anyhow::Result<String> {
    let perfdhcp = find("perfdhcp", "kea-admin")?;
    let (Clients::Known(count) | Clients::Pool(count)) = clients;
    let words = ["-c", LOAD, &perfdhcp.display().to_string(), "-4", "-l", "10.99.0.2"].map(str::to_owned);
    let rest = [
        "-b".to_owned(),
        format!("mac={}", peers::mac(0)),
        "-R".to_owned(),
        count.to_string(),
        "-r".to_owned(),
        rate.to_string(),
        "-p".to_owned(),
        seconds.to_string(),
        // Else what is under way at the end counts as lost.
        "-W".to_owned(),
        "1000000".to_owned(),
        "-d".to_owned(),
        "1".to_owned(),
        server.to_string(),
    ];
    let words: Vec<&str> = words.iter().chain(&rest).map(String::as_str).collect();
    let mut command: Command = place.load.command("taskset", &words)?;
    let output = command.output().context("run perfdhcp")?;
    // It ends with 3 when something was lost.
    ensure!(matches!(output.status.code(), Some(0 | 3)), "perfdhcp: {output:?}");
    Ok([output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned()).concat())
}

/// DISCOVERs sent and ACKs received.
fn counts(told: &str) -> Option<(u32, u32)> {
    let all = |name: &str| -> Vec<u32> {
        told.lines().filter_map(|it| it.trim().strip_prefix(name)?.trim().parse().ok()).collect()
    };
    Some((*all("sent packets:").first()?, *all("received packets:").get(1)?))
}

/// Known clients: rates of all, and the price of an exchange.
pub(super) async fn known(place: &Place) -> anyhow::Result<Row> {
    let clients = Clients::Known(place.nodes);
    let mut ours = start_ours(place.nodes).await?;
    let mut row = Row {
        what: format!("DHCP exchanges/s, {} known clients, <= 0.1 % lost", place.nodes),
        target: ">= 1.5 x the best; where perfdhcp is the limit, <= 0.6 x the best's processor",
        ..Row::default()
    };
    let peers = available(place, &[Dhcp::Kea, Dhcp::Coredhcp, Dhcp::Dnsmasq], &mut row);
    measure(place, clients, &mut ours, &peers, None, &mut row).await?;
    ours.shut_down().await?;
    let ratio = ratio(&row, true, |it| Some(it.value));
    let cheap = ratio_of_cpu(&row);
    row.met = ratio.map(|it| it >= 1.5 || cheap.is_some_and(|it| it <= 0.6));
    row.notes.push(format!(
        "{:.2} x the best rate; {:.2} x the best's processor at {PRICED_RATE}/s",
        ratio.unwrap_or_default(),
        cheap.unwrap_or_default()
    ));
    Ok(row)
}

/// Unknown clients: leases that are durable before they are told.
pub(super) async fn pool(place: &Place) -> anyhow::Result<Row> {
    let clients = Clients::Pool(60_000);
    let mut ours = start_ours(0).await?;
    let pg = kea_database(place).await?;
    let mut row = Row {
        what: "DHCP exchanges/s from a pool, 60,000 clients, leases durable".to_owned(),
        target: ">= 10 x Kea on PostgreSQL, >= 1.0 x Kea memfile without fsync",
        ..Row::default()
    };
    let peers = available(place, &[Dhcp::Kea, Dhcp::KeaPostgres], &mut row);
    measure(place, clients, &mut ours, &peers, pg.as_ref(), &mut row).await?;
    ours.shut_down().await?;
    let value = |name: &str| row.peers.iter().find(|it| it.who == name).map(|it| it.value);
    let own = row.ours.as_ref().map(|it| it.value).unwrap_or_default();
    let (file, database) = (value(Dhcp::Kea.name()), value(Dhcp::KeaPostgres.name()));
    row.met = file.zip(database).map(|(file, database)| own >= file && own >= 10.0 * database);
    let times = |it: Option<f64>| own / it.unwrap_or(f64::NAN);
    row.notes.push(format!("{:.1} x Kea on PostgreSQL, {:.2} x Kea memfile", times(database), times(file)));
    Ok(row)
}

/// PostgreSQL as ours has it, with Kea's tables; none where they are not installed.
async fn kea_database(place: &Place) -> anyhow::Result<Option<Pg>> {
    const TABLES: &str = "/usr/share/kea/scripts/pgsql/dhcpdb_create.pgsql";
    if Dhcp::Kea.find(place).is_err() {
        return Ok(None);
    }
    let pg = Pg::start_durable().await?;
    pg.psql("postgres", "create database kea;")?;
    let tables = std::fs::read_to_string(TABLES).context("read Kea's tables; install kea-admin")?;
    pg.psql("kea", &tables).context("make Kea's tables")?;
    Ok(Some(pg))
}

/// The peers that are here; the others are named.
fn available(place: &Place, all: &[Dhcp], row: &mut Row) -> Vec<Dhcp> {
    let here = |peer: &Dhcp| match peer.find(place) {
        Ok(_) => {
            row.notes.push(format!("{}: {}", peer.name(), peer.settings()));
            true
        }
        Err(error) => {
            row.notes.push(format!("not measured: {error:#}"));
            false
        }
    };
    all.iter().copied().filter(here).collect()
}

async fn measure(
    place: &Place,
    clients: Clients,
    ours: &mut Head,
    peers: &[Dhcp],
    pg: Option<&Pg>,
    row: &mut Row,
) -> anyhow::Result<()> {
    let mut rates = vec![Vec::new(); peers.len() + 1];
    let mut prices = vec![Vec::new(); peers.len() + 1];
    for round in 1..=place.rounds {
        eprintln!("  round {round} of {}", place.rounds);
        for (index, (rates, prices)) in rates.iter_mut().zip(&mut prices).enumerate() {
            let mut server = match index.checked_sub(1).map(|it| peers[it]) {
                None => Server::Ours(&mut *ours),
                Some(peer) => Server::Peer(peer, pg.filter(|_| peer == Dhcp::KeaPostgres)),
            };
            let before = rates.last().map(|it: &f64| *it as u32).filter(|it| *it > 0);
            let rate = server.highest(place, clients, before).await?;
            rates.push(rate);
            if rate >= f64::from(PRICED_RATE) {
                prices.push(server.probe(place, clients, PRICED_RATE, place.seconds).await?.cpu_us());
            }
        }
    }
    let mut figures = rates.into_iter().zip(prices).enumerate().map(|(index, (rates, prices))| {
        let who = index.checked_sub(1).map_or("Pilothouse", |it| peers[it].name());
        let figure = Figure::of(who, "/s", rates);
        if prices.is_empty() { figure } else { figure.with_cpu(cost::median(prices), "us/exchange") }
    });
    row.ours = figures.next();
    row.peers = figures.collect();
    Ok(())
}

/// Ours to the best peer's.
fn ratio(row: &Row, more_is_better: bool, pick: impl Fn(&Figure) -> Option<f64> + Copy) -> Option<f64> {
    Some(row.ours.as_ref().and_then(pick)? / best(&row.peers, more_is_better, pick)?)
}

fn ratio_of_cpu(row: &Row) -> Option<f64> {
    ratio(row, false, |it| it.cpu)
}

/// What dhcp holds in memory with all nodes known, and after each has been served once.
pub(super) async fn memory(place: &Place) -> anyhow::Result<Row> {
    let mut ours = start_ours(place.nodes).await?;
    let clients = Clients::Known(place.nodes);
    Server::Ours(&mut ours).probe(place, clients, 2_000, place.nodes.div_ceil(2_000) + 1).await?;
    let mib = cost::rss_mib(ours.pid(Service::Dhcp).context("dhcp runs")?)?;
    ours.shut_down().await?;
    Ok(Row {
        what: format!("dhcp's memory at {} known nodes, all served once", place.nodes),
        target: "<= 64 MiB",
        ours: Some(Figure::of("Pilothouse", "MiB", vec![mib])),
        met: Some(mib <= 64.0),
        ..Row::default()
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn perfdhcps_figures_are_read() {
        let told = "***Statistics for: DISCOVER-OFFER***\nsent packets: 2000\nreceived packets: 1999\n\
            drops: 1\n***Statistics for: REQUEST-ACK***\nsent packets: 1999\nreceived packets: 1998\n";
        assert_eq!(super::counts(told), Some((2000, 1998)));
        assert_eq!(super::counts("sent packets: 1"), None);
    }
}
