//! `pilotctl dhcp`.

mod import;

use std::net::Ipv4Addr;
use std::path::PathBuf;

use ::dhcp::client::{Client, Lease, Why};
use clap::Subcommand;
use domain::{MacAddr, Service};

use crate::Head;
use crate::error::Failure;
use crate::output::{Format, print};

/// Addresses and who has them.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  pilotctl dhcp leases
  pilotctl dhcp why 52:54:00:10:00:01                  as it is on the head's own wires
  pilotctl dhcp why 52:54:00:10:00:01 --relay 10.9.0.1 --arch 7
  pilotctl dhcp import /etc/ochami/configs/coredhcp.yaml")]
pub(crate) enum Command {
    /// Every address in a machine's hands, by address
    Leases,
    /// Why a client gets what it gets, or nothing, rule by rule
    Why(WhyArguments),
    /// Print what a CoreDHCP configuration says as tables of the document
    Import {
        /// coredhcp.yaml, of coresmd 0.3 or 0.5 and later
        file: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pilotctl dhcp why 52:54:00:10:00:01
  pilotctl dhcp why 52:54:00:10:00:01 --arch 16 --http   as UEFI that boots by HTTP
  pilotctl dhcp why 52:54:00:10:00:01 --ipxe")]
pub(crate) struct WhyArguments {
    /// The client's MAC address
    mac: MacAddr,
    /// The address of the relay that passes its packets on
    #[arg(long)]
    relay: Option<Ipv4Addr>,
    /// The plane it is on; else any that the head is on
    #[arg(long, conflicts_with = "relay")]
    plane: Option<String>,
    /// Its architecture, by the number of option 93: 0 BIOS, 7 UEFI, 11 arm64
    #[arg(long)]
    arch: Option<u16>,
    /// It boots by HTTP
    #[arg(long, requires = "arch")]
    http: bool,
    /// It is iPXE
    #[arg(long)]
    ipxe: bool,
}

pub(crate) async fn run(head: &Head, command: Command) -> Result<(), Failure> {
    let client = Client::new(head.client(Service::Dhcp));
    match command {
        Command::Leases => leases(head, &client).await,
        Command::Why(arguments) => why(head, &client, &arguments).await,
        Command::Import { file } => import::run(&file),
    }
}

async fn leases(head: &Head, client: &Client) -> Result<(), Failure> {
    let leases = client.list_leases().await?;
    let row = |it: &Lease| {
        let node = it.node.as_ref().map(ToString::to_string).unwrap_or_default();
        let expires = it.expires.clone().unwrap_or_default();
        vec![it.ip.to_string(), it.mac.to_string(), node, it.plane.clone(), expires]
    };
    let rows: Vec<_> = leases.iter().map(row).collect();
    let headings = ["ADDRESS", "MAC", "NODE", "PLANE", "UNTIL"];
    print(head.format, &serde_json::json!(leases), &headings, &rows);
    Ok(())
}

async fn why(head: &Head, client: &Client, asked: &WhyArguments) -> Result<(), Failure> {
    let mut query = Vec::new();
    query.extend(asked.relay.map(|it| ("relay", it.to_string())));
    query.extend(asked.plane.as_ref().map(|it| ("plane", percent_encode(it))));
    query.extend(asked.arch.map(|it| ("arch", it.to_string())));
    query.extend(asked.http.then(|| ("http", "true".to_owned())));
    query.extend(asked.ipxe.then(|| ("ipxe", "true".to_owned())));
    let why = client.explain(asked.mac, &query).await?;
    if head.format == Format::Json {
        println!("{:#}", serde_json::json!(why));
    } else {
        print!("{}", story(asked.mac, &why));
    }
    Ok(())
}

fn percent_encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn story(mac: MacAddr, why: &Why) -> String {
    let mut text: String =
        why.rules.iter().enumerate().map(|(at, rule)| format!("{}. {rule}\n", at + 1)).collect();
    let Some(answer) = &why.answer else { return text + &format!("{mac} gets no answer.\n") };
    let ip = answer.ip.map_or("no address".to_owned(), |it| it.to_string());
    let plane = why.plane.as_ref().map(|it| format!(" on the plane {it:?}")).unwrap_or_default();
    let file = answer.file.as_ref().map_or("boots nothing".to_owned(), |it| format!("boots {it}"));
    text += &format!("{mac} gets {ip}{plane} and {file}.\n");
    text
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use ::dhcp::client::Why;

    #[test]
    fn the_story_ends_with_what_the_client_gets() {
        let mac = "52:54:00:00:00:01".parse().unwrap();
        let mut why = Why { rules: vec!["one".into(), "two".into()], ..Why::default() };
        assert_eq!(super::story(mac, &why), "1. one\n2. two\n52:54:00:00:00:01 gets no answer.\n");
        let answer = serde_json::json!({"ip": "10.0.0.1", "server": "10.0.0.2", "lease_s": 5, "file": "x", "options": {}});
        why.answer = Some(serde_json::from_value(answer).unwrap());
        why.plane = Some("nodes".into());
        assert!(super::story(mac, &why).ends_with("gets 10.0.0.1 on the plane \"nodes\" and boots x.\n"));
    }
}
