//! `cargo xtask swarm`: simulated BMCs.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ::tests::fleet::space;
use ::tests::swarm::{self, Delays, Fault, Options, Place, Rate, Swarm};
use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};
use serde_json::json;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};

/// Run simulated BMCs until Ctrl-C; prints one line of JSON when they listen
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask swarm --count 200                        127.1.0.1 to .200, port 623: suites 3 and 17, power, console
  cargo xtask swarm --count 5000 --rate 1 --power on   each node writes a line with a counter each second
  cargo xtask swarm --count 20 --fault silent@3 --fault slow_ms=800@4-6
  cargo xtask swarm --count 20 --control /tmp/swarm.sock
    echo '{\"do\": \"fault\", \"bmcs\": \"3,10-19\", \"fault\": \"sol_stolen\"}' | socat - UNIX:/tmp/swarm.sock
  cargo xtask swarm --count 20 --write nodes >nodes.yaml; cargo xtask up --nodes nodes.yaml
  ipmitool -I lanplus -C 17 -H 127.1.0.1 -U admin -P secret12 sol activate

Every 250th BMC begins a new block: 127.1.0.250 is followed by 127.1.1.1. Faults: silent, slow_ms=N, says_on, ignores_power,
drops_percent=N, babbles_per_s=N, full, wrong_password, nack_storm, sol_stolen, sol_stolen_quietly, sol_dropped, and the
defects behind FreeIPMI's workarounds: authcap, opensesspriv, intel20, supermicro20, solpayloadsize, ipmiping,
nochecksumcheck. Commands over the socket, one a line: fault, heal, rate, power, write, seen, total. Ports below 1024 take
root, or CAP_NET_BIND_SERVICE.")]
pub(crate) struct Arguments {
    /// How many
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(swarm::COUNT_MAX)))]
    count: u32,
    /// The first one's address, which ends in .1; all of them have to be local here
    #[arg(long, default_value = "127.1.0.1")]
    address_base: Ipv4Addr,
    /// The port of all of them
    #[arg(long, default_value_t = 623)]
    port: u16,
    /// Lines that each node writes a second; `full` for as many as its console takes
    #[arg(long, default_value = "0", value_parser = parse_rate)]
    rate: Rate,
    /// Whether the nodes are on at first
    #[arg(long, value_enum, default_value = "off")]
    power: Power,
    /// How long they take to be switched, ms
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// Bytes kept of what a node writes while nobody has its console
    #[arg(long, default_value_t = 0)]
    history: usize,
    /// A fault and the BMCs that have it: `silent@3,10-19`; may be repeated
    #[arg(long, value_name = "FAULT@BMCS", value_parser = parse_fault)]
    fault: Vec<(Fault, String)>,
    /// Take commands on this socket
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
    /// Print a file for these BMCs, and do nothing
    #[arg(long, value_enum)]
    write: Option<File>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Power {
    On,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum File {
    /// nodes.yaml for `pilotctl nodes import`
    Nodes,
    /// powerman.conf for powermand with ipmipower
    Powerman,
    /// conman.conf for conmand
    Conman,
}

fn parse_rate(text: &str) -> Result<Rate, String> {
    match (text, text.parse::<f64>()) {
        ("full", _) => Ok(Rate::Full),
        (_, Ok(0.0)) => Ok(Rate::Off),
        (_, Ok(rate)) if (0.0..=10_000.0).contains(&rate) => Ok(Rate::PerSecond(rate)),
        _ => Err("write a number of lines a second, 0 to 10000, or `full`".to_owned()),
    }
}

fn parse_fault(text: &str) -> Result<(Fault, String), String> {
    let (fault, numbers) = text.split_once('@').ok_or("write FAULT@BMCS, as silent@3,10-19")?;
    let fault = fault.parse::<Fault>().map_err(|it| format!("{it:#}"))?;
    Ok((fault, numbers.to_owned()))
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let place = Place::Addresses { base: arguments.address_base, port: arguments.port };
    if let Some(file) = arguments.write {
        print!("{}", write(file, place, arguments.count)?);
        return Ok(());
    }
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let delay = Duration::from_millis(arguments.delay_ms);
    let swarm = Swarm::start(Options {
        count: arguments.count,
        place,
        power_on: arguments.power == Power::On,
        delays: Delays { on: delay, off: delay, soft: delay },
        rate: arguments.rate,
        history: arguments.history,
        ..Options::default()
    })?;
    let swarm = Arc::new(swarm);
    for (fault, numbers) in &arguments.fault {
        swarm.inflict(swarm.numbers(numbers)?, *fault);
    }
    let served = match &arguments.control {
        Some(path) => {
            let listener =
                UnixListener::bind(path).with_context(|| format!("listen on {}", path.display()))?;
            Some(tokio::spawn(Arc::clone(&swarm).serve(listener)))
        }
        None => None,
    };
    println!(
        "{}",
        json!({
            "count": swarm.count(),
            "first": swarm.address(1),
            "last": swarm.address(swarm.count()),
            "user": swarm::USER,
            "password": swarm::PASSWORD,
            "control": arguments.control,
            "pid": std::process::id(),
        })
    );
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    if let (Some(served), Some(path)) = (served, &arguments.control) {
        served.abort();
        std::fs::remove_file(path).with_context(|| format!("remove {}", path.display()))?;
    }
    eprintln!("{}", serde_json::to_string(&swarm.total())?);
    Ok(())
}

fn write(file: File, place: Place, count: u32) -> anyhow::Result<String> {
    let addresses: Vec<_> = (1..=count).filter_map(|it| place.address(it)).collect();
    ensure!(
        addresses.iter().all(|it| it.port() == 623) || file == File::Nodes,
        "peers are told no other port here"
    );
    Ok(match file {
        File::Nodes => nodes(place, count),
        File::Powerman => powerman(
            &addresses.iter().map(|it| *it.ip()).collect::<Vec<_>>(),
            Path::new("/etc/powerman/ipmipower.dev"),
            Path::new("/usr/sbin/ipmipower"),
        ),
        File::Conman => conman(&addresses.iter().map(|it| *it.ip()).collect::<Vec<_>>()),
    })
}

/// The `nodes.yaml` of nodes that have these BMCs: nid001 is behind the first one.
pub(crate) fn nodes(place: Place, count: u32) -> String {
    let mut text = String::from("nodes:\n");
    for (number, bmc) in (1..=count).filter_map(|it| Some((it, place.address(it)?))) {
        let [_, high, middle, low] = number.to_be_bytes();
        let written = writeln!(
            text,
            "- {{nid: {number}, xname: {}, group: compute, mac: '{}', ipaddr: {}, \
             bmc_mac: '02:f1:bc:{high:02x}:{middle:02x}:{low:02x}', bmc_ipaddr: {}}}",
            space::xname(number),
            space::node(number).mac,
            space::address(number),
            bmc.ip(),
        );
        written.expect("a string takes what is written");
    }
    text
}

/// What FreeIPMI's tools call these addresses: `127.1.0.[1-200]`, blocks with commas between.
pub(crate) fn ranges(addresses: &[Ipv4Addr]) -> String {
    let mut blocks: Vec<([u8; 3], u8, u8)> = Vec::new();
    for [a, b, c, d] in addresses.iter().map(Ipv4Addr::octets) {
        match blocks.last_mut() {
            Some((block, _, last)) if *block == [a, b, c] && *last + 1 == d => *last = d,
            _ => blocks.push(([a, b, c], d, d)),
        }
    }
    let block = |([a, b, c], first, last): &([u8; 3], u8, u8)| format!("{a}.{b}.{c}.[{first}-{last}]");
    blocks.iter().map(block).collect::<Vec<_>>().join(",")
}

/// powermand's settings: one ipmipower for all, on its usual port; `device` is its definition of that.
pub(crate) fn powerman(addresses: &[Ipv4Addr], device: &Path, ipmipower: &Path) -> String {
    let (ranges, account) =
        (ranges(addresses), format!("-D LAN_2_0 -u {} -p {}", swarm::USER, swarm::PASSWORD));
    let nodes = node_names(addresses.len());
    format!(
        "include \"{}\"\nlisten \"127.0.0.1:10101\"\n\
         device \"i0\" \"ipmipower\" \"{} {account} -h {ranges} |&\"\n\
         node \"{nodes}\" \"i0\" \"{ranges}\"\n",
        device.display(),
        ipmipower.display(),
    )
}

/// conmand's settings.
pub(crate) fn conman(addresses: &[Ipv4Addr]) -> String {
    let mut text = format!(
        "server keepalive=ON\nserver loopback=ON\nserver port=7890\nglobal log=\"%N.log\"\n\
         global ipmiopts=\"U:{},P:{}\"\n",
        swarm::USER,
        swarm::PASSWORD
    );
    for (number, address) in (1..).zip(addresses) {
        let written = writeln!(text, "console name=\"{}\" dev=\"ipmi:{address}\"", node_name(number));
        written.expect("a string takes what is written");
    }
    text
}

fn node_name(number: usize) -> String {
    format!("nid{number:03}")
}

/// All of them as powerman writes it: `nid[001-200]`, the wider ones by themselves.
fn node_names(count: usize) -> String {
    let narrow = format!("nid[001-{:03}]", count.min(999));
    if count < 1000 { narrow } else { format!("{narrow},nid[1000-{count}]") }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_the_peers_read_them() {
        let addresses: Vec<_> = (1..=252).map(|it| *Place::LOOPBACK.address(it).unwrap().ip()).collect();
        assert_eq!(ranges(&addresses), "127.1.0.[1-250],127.1.1.[1-2]");
        assert_eq!(node_names(1002), "nid[001-999],nid[1000-1002]");
        assert!(conman(&addresses[..1]).ends_with("console name=\"nid001\" dev=\"ipmi:127.1.0.1\"\n"));
    }

    #[test]
    fn rates_and_faults_are_read() {
        assert_eq!(parse_rate("full"), Ok(Rate::Full));
        assert_eq!(parse_rate("0"), Ok(Rate::Off));
        assert_eq!(parse_rate("2.5"), Ok(Rate::PerSecond(2.5)));
        assert!(parse_rate("-1").is_err() && parse_rate("fast").is_err());
        assert_eq!(parse_fault("slow_ms=20@1-3"), Ok((Fault::SlowMs(20), "1-3".to_owned())));
        assert!(parse_fault("silent").is_err());
    }
}
