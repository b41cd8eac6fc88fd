//! `ochami discover static`: puts the nodes of a file into the inventory, as if their management controllers
//! had been asked. Also `ochami discover -f FILE`, which is how the bootcamp's time wrote it.

mod file;

use std::str::FromStr;

use clap::Subcommand;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use self::file::Found;
use super::config::Service;
use super::error::{Done, Stop, Tally};
use super::http::{Ask, Client, Failure, Reply, segment};
use super::payload::Payload;
use super::{Session, log};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    older: What,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Put nodes of a file into the inventory; without -d, of standard input
    #[command(after_help = "A file:
  bmcs:
  - xname: x1000c1s7b0
    mac: de:ca:fc:0f:ee:ee
    ip: 172.16.0.101
  nodes:
  - name: node01
    nid: 1
    xname: x1000c1s7b0n0
    bmc: x1000c1s7b0
    groups: [compute]
    interfaces:
    - mac_addr: de:ad:be:ee:ee:f1
      ip_addrs: [{name: internal, ip_addr: 172.16.0.1}]

Nodes with bmc_mac, bmc_ip and group, as the bootcamp's script writes them, are understood too.")]
    Static {
        #[command(flatten)]
        what: What,
        /// 1: post the nodes' interfaces too; 2: leave them to the inventory
        #[arg(long, default_value = "2")]
        discovery_version: Version,
    },
}

#[derive(Debug, clap::Args)]
struct What {
    #[command(flatten)]
    payload: Payload,
    /// Replace what is there instead of failing
    #[arg(long)]
    overwrite: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    WithInterfaces,
    WithoutInterfaces,
}

impl FromStr for Version {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "1" => Ok(Self::WithInterfaces),
            "2" => Ok(Self::WithoutInterfaces),
            _ => Err("write 1 or 2"),
        }
    }
}

pub(super) async fn run(session: &Session, arguments: Arguments) -> Done {
    let (what, version) = match arguments.command {
        Some(Command::Static { what, discovery_version }) => (what, discovery_version),
        None => (arguments.older, Version::WithInterfaces),
    };
    let mut client = session.client(Service::Smd)?;
    let data = what.payload.read_or_input(session)?;
    let mut found = file::read(data, &client.base)?;
    if version == Version::WithoutInterfaces {
        found.interfaces.clear();
    }
    log::debug(format!("{} nodes, {} management controllers", found.components.len(), found.endpoints.len()));
    if what.overwrite {
        log::warning("what is there already is replaced");
        replace(&mut client, found).await
    } else {
        create(&mut client, found).await
    }
}

/// Posts everything; what is there already is an error, and the rest is posted all the same.
async fn create(client: &mut Client, found: Found) -> Done {
    let mut tally = Tally::default();
    let components =
        Ask::new(Method::POST, "/State/Components").body(json!({"Components": found.components}));
    tally.count(client.ask(components).await);
    let lists = [
        ("/Inventory/RedfishEndpoints", found.endpoints),
        ("/Inventory/EthernetInterfaces", found.interfaces),
        ("/groups", found.groups),
    ];
    for (path, list) in lists {
        for entry in list {
            tally.count(client.ask(Ask::new(Method::POST, path).body(entry)).await);
        }
    }
    tally.end("the discovery")
}

/// Puts everything in place of what is there.
async fn replace(client: &mut Client, found: Found) -> Done {
    let mut tally = Tally::default();
    let text = |value: &Value, member: &str| value[member].as_str().unwrap_or_default().to_owned();
    for component in &found.components {
        let path = format!("/State/Components/{}", segment(&text(component, "ID")));
        let body = json!({"Component": component, "Force": true});
        tally.count(client.ask(Ask::new(Method::PUT, path).body(body)).await);
    }
    let with_nid = found.components.iter().filter(|it| it["NID"].is_i64());
    let nids: Vec<Value> = with_nid.map(|it| json!({"ID": it["ID"], "NID": it["NID"]})).collect();
    if !nids.is_empty() {
        let ask = Ask::new(Method::PATCH, "/State/Components/BulkNID").body(json!({"Components": nids}));
        tally.count(client.ask(ask).await);
    }
    for endpoint in found.endpoints {
        let own = format!("/{}", segment(&text(&endpoint, "ID")));
        tally.count(put(client, "/Inventory/RedfishEndpoints", &own, Method::PUT, endpoint).await);
    }
    for mut interface in found.interfaces {
        let id = text(&interface, "MACAddress").to_lowercase().replace([':', '-', '_'], "");
        interface["ID"] = json!(id);
        let own = format!("/{}", segment(&id));
        tally.count(put(client, "/Inventory/EthernetInterfaces", &own, Method::PATCH, interface).await);
    }
    for group in found.groups {
        let own = format!("/{}", segment(&text(&group, "label")));
        let members = group["members"]["ids"].clone();
        if tally.count(put(client, "/groups", &own, Method::PATCH, group).await) == Some(true) {
            tally.count(complete(client, &format!("/groups{own}/members"), &members).await);
        }
    }
    tally.end("the discovery")
}

/// Posts an entry; one that is there already is changed. Whether it was there.
async fn put(client: &mut Client, path: &str, own: &str, method: Method, entry: Value) -> Result<bool, Stop> {
    match client.try_ask(Ask::new(Method::POST, path).body(entry.clone())).await? {
        Ok(Reply { .. }) => Ok(false),
        Err(Failure::Status { status: StatusCode::CONFLICT, .. }) => {
            log::info(format!("{path}{own} is there already, and is changed"));
            client.ask(Ask::new(method, format!("{path}{own}")).body(entry)).await.map(|_| true)
        }
        Err(failure) => Err(failure.into()),
    }
}

/// A change of a group leaves its members; those that it lacks are added.
async fn complete(client: &mut Client, path: &str, wanted: &Value) -> Done {
    let there = client.ask(Ask::get(path)).await?.json()?;
    let there = there["ids"].as_array().cloned().unwrap_or_default();
    for id in wanted.as_array().into_iter().flatten().filter(|it| !there.contains(it)) {
        client.ask(Ask::new(Method::POST, path).body(json!({"id": id}))).await?;
    }
    Ok(())
}
