//! `ochami smd iface`.

use std::net::IpAddr;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{Delete, Kind, delete, filters, post};
use crate::ochami::config::Service;
use crate::ochami::error::{Done, Stop};
use crate::ochami::http::{Ask, segment};
use crate::ochami::output::Output;
use crate::ochami::payload::{Payload, entries};
use crate::ochami::{Session, output};

const INTERFACES: Kind =
    Kind { path: "/Inventory/EthernetInterfaces", list: "EthernetInterfaces", names: &["ID", "MACAddress"] };

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show all interfaces, or those that match
    #[command(alias = "list")]
    Get(Box<Get>),
    /// Add interfaces
    #[command(after_help = "Examples:
  ochami smd iface add x3000c1s7b55n0 de:ca:fc:0f:fe:ee NMN,172.16.0.55
  ochami smd iface add -f yaml -d @interfaces.yaml")]
    Add {
        /// COMPONENT MAC_ADDRESS NETWORK,IP_ADDRESS…
        words: Vec<String>,
        #[arg(long, short = 'D')]
        description: Option<String>,
        #[command(flatten)]
        payload: Payload,
    },
    /// Delete interfaces, by ID or MAC address
    Delete(Delete),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Get {
    /// The interface with this ID
    #[arg(long, short, conflicts_with_all = ["mac", "ip", "net", "comp_id", "type"])]
    #[arg(conflicts_with_all = ["older_than", "newer_than"])]
    id: Option<String>,
    /// Its addresses alone
    #[arg(long, requires = "id")]
    by_ip: bool,
    #[arg(long, short, value_delimiter = ',')]
    mac: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    ip: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    net: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    comp_id: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    r#type: Vec<String>,
    /// RFC 3339
    #[arg(long)]
    older_than: Vec<String>,
    /// RFC 3339
    #[arg(long)]
    newer_than: Vec<String>,
    #[command(flatten)]
    output: Output,
}

pub(super) async fn run(session: &Session, command: Command) -> Done {
    match command {
        Command::Get(arguments) => get(session, &arguments).await,
        Command::Add { words, description, payload } => {
            let (description, payload) = match (&words[..], description, payload.data.as_deref()) {
                // In the older syntax -d is the description.
                ([_, _, ..], None, Some(text)) if !text.starts_with(['@', '{', '[']) => {
                    (payload.data, Payload::default())
                }
                (_, description, _) => (description, payload),
            };
            let list = match (payload.read(session)?, &words[..]) {
                (Some(data), _) => entries(data, INTERFACES.list)?,
                (None, [component, mac, addresses @ ..]) if !addresses.is_empty() => {
                    let description = description.as_deref().unwrap_or("Undescribed Ethernet Interface");
                    let addresses = addresses.iter().map(|it| address(it)).collect::<Result<Vec<_>, _>>()?;
                    vec![json!({"ComponentID": component, "Description": description, "MACAddress": mac,
                        "IPAddresses": addresses})]
                }
                _ => {
                    return Err(Stop::usage(
                        "write a component, a MAC address and NETWORK,IP_ADDRESS, or -d",
                    ));
                }
            };
            post(&mut session.client(Service::Smd)?, INTERFACES.path, list, "interfaces").await
        }
        Command::Delete(arguments) => delete(session, INTERFACES, arguments).await,
    }
}

/// `management,172.16.0.1`
fn address(text: &str) -> Result<Value, Stop> {
    let (network, address) =
        text.split_once(',').ok_or_else(|| Stop::usage(format!("write NETWORK,IP_ADDRESS, not {text}")))?;
    match address.parse::<IpAddr>() {
        Ok(address) => Ok(json!({"IPAddress": address.to_string(), "Network": network})),
        Err(_) => Err(Stop::usage(format!("{address} is no IP address"))),
    }
}

async fn get(session: &Session, arguments: &Get) -> Done {
    if let Some(id) = &arguments.id {
        let addresses = if arguments.by_ip { "/IPAddresses" } else { "" };
        let path = format!("{}/{}{addresses}", INTERFACES.path, segment(id));
        let reply = session.client(Service::Smd)?.ask(Ask::get(path)).await?;
        return match arguments.output.format {
            Some(_) => session.print(&reply, arguments.output),
            None => output::print(reply.text() + "\n"),
        };
    }
    let ask = Ask::get(INTERFACES.path).query(filters(&[
        ("MACAddress", &arguments.mac),
        ("IPAddress", &arguments.ip),
        ("Network", &arguments.net),
        ("ComponentID", &arguments.comp_id),
        ("Type", &arguments.r#type),
        ("OlderThan", &arguments.older_than),
        ("NewerThan", &arguments.newer_than),
    ]));
    let reply = session.open_client(Service::Smd)?.ask(ask).await?;
    session.print(&reply, arguments.output)
}
