//! `pilotctl nodes add | replace | lock | unlock`: a node as a thing in a rack.

use axum::body::Body;
use axum::http::{Method, StatusCode};
use clap::Args;
use domain::{MacAddr, Nid, Service, Xname};
use serde_json::{Map, Value, json};
use web::ClientError;

use super::{defaults, is_refused, refusal_of};
use crate::Head;
use crate::error::Failure;
use crate::output::text;

/// A node that is not there yet.
#[derive(Debug, Args)]
pub(crate) struct AddArguments {
    /// Its name
    name: String,
    /// Where it stands, x1000c0s0b0n0
    #[arg(long)]
    xname: Xname,
    /// Its number
    #[arg(long)]
    nid: Option<i64>,
    /// The MAC addresses of its network cards, the one it boots from first
    #[arg(long, required = true, value_parser = MacAddr::parse_bare)]
    mac: Vec<MacAddr>,
    /// The IP addresses of its network cards, in the order of --mac
    #[arg(long)]
    ip: Vec<std::net::IpAddr>,
    /// Its groups
    #[arg(long)]
    group: Vec<String>,
    /// The IP address of its controller
    #[arg(long)]
    bmc_ip: Option<std::net::IpAddr>,
    /// The MAC address of its controller
    #[arg(long, value_parser = MacAddr::parse_bare)]
    bmc_mac: Option<MacAddr>,
    /// Leave boot parameters and cloud-init of its groups as they are
    #[arg(long)]
    inventory_only: bool,
}

/// Another board in a node's place.
#[derive(Debug, Args)]
pub(crate) struct ReplaceArguments {
    /// A name or an xname
    node: String,
    /// The new card's MAC address; with several cards OLD=NEW, as often as needed
    #[arg(long)]
    mac: Vec<String>,
    /// The new MAC address of its controller
    #[arg(long, value_parser = MacAddr::parse_bare)]
    bmc_mac: Option<MacAddr>,
    /// The new IP address of its controller
    #[arg(long)]
    bmc_ip: Option<std::net::IpAddr>,
}

/// Adds one node, as an import of a file with this node alone would.
pub(crate) async fn add(head: &Head, arguments: AddArguments) -> Result<(), Failure> {
    let AddArguments { name, xname, nid, mac, ip, group, bmc_ip, bmc_mac, inventory_only } = arguments;
    if ip.len() > mac.len() {
        return Err(Failure::usage("there are more --ip than --mac; give them in the same order"));
    }
    let client = head.client(Service::Inventory);
    for word in [xname.as_str(), name.as_str()] {
        match client.get::<Value>(&format!("/pilothouse/v1/nodes/{word}")).await {
            Ok(known) => {
                let is = text(&known, "xname");
                let hint = "change it with nodes set, exchange its board with nodes replace";
                return Err(Failure::failed(format!("{word} is there already, as {is}; {hint}")));
            }
            Err(ClientError::Status { status: StatusCode::NOT_FOUND, .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let cards = mac.iter().enumerate().map(|(at, mac)| {
        let addresses: Vec<Value> = ip.get(at).map(|it| json!({"ip_addr": it})).into_iter().collect();
        json!({"mac_addr": mac, "ip_addrs": addresses})
    });
    let members = [
        ("xname", json!(xname)),
        ("name", json!(name)),
        ("nid", json!(nid.map(Nid))),
        ("groups", json!(group)),
        ("interfaces", cards.collect()),
        ("bmc_ip", json!(bmc_ip)),
        ("bmc_mac", json!(bmc_mac)),
    ];
    let node: Map<String, Value> =
        members.into_iter().filter(|it| !it.1.is_null()).map(|it| (it.0.to_owned(), it.1)).collect();
    // JSON is YAML too.
    let file = json!({"nodes": [node]}).to_string();
    let answer = client.send(Method::PUT, "/pilothouse/v1/nodes", Body::from(file)).await?;
    if let Some(failure) = refusal_of(&name, answer).await? {
        return Err(failure);
    }
    println!("added {xname}");
    if !inventory_only {
        for note in defaults::apply(head).await? {
            println!("{note}");
        }
    }
    Ok(())
}

/// Puts another board in a node's place; what was set by an old MAC address follows to the new one.
pub(crate) async fn replace(head: &Head, arguments: ReplaceArguments) -> Result<(), Failure> {
    let ReplaceArguments { node, mac, bmc_mac, bmc_ip } = arguments;
    if mac.is_empty() && bmc_mac.is_none() && bmc_ip.is_none() {
        return Err(Failure::usage("say what was exchanged: --mac, --bmc-mac or --bmc-ip"));
    }
    let client = head.client(Service::Inventory);
    let path = format!("/pilothouse/v1/nodes/{node}");
    let before: Value = client.get(&path).await?;
    let only = || match before["interfaces"].as_array().map(Vec::as_slice) {
        Some([one]) => one["mac"].as_str().and_then(|it| it.parse().ok()),
        _ => None,
    };
    let mut pairs: Vec<(Option<MacAddr>, MacAddr)> = Vec::new();
    for word in &mac {
        let parse = |it: &str| MacAddr::parse_bare(it).map_err(|it| Failure::usage(it.to_string()));
        pairs.push(match word.split_once('=') {
            Some((old, new)) => (Some(parse(old)?), parse(new)?),
            None => (only(), parse(word)?),
        });
    }
    let cards: Vec<Value> = pairs
        .iter()
        .map(|(old, new)| match old {
            Some(old) => json!({"old": old, "new": new}),
            None => json!({"new": new}),
        })
        .collect();
    let mut body = json!({"interfaces": cards});
    if let Some(mac) = bmc_mac {
        body["bmc_mac"] = json!(mac);
    }
    if let Some(ip) = bmc_ip {
        body["bmc_address"] = json!(ip);
    }
    client.text(Method::PUT, &format!("{path}/board"), Some(&body)).await?;
    for (old, new) in pairs {
        if let Some(old) = old {
            move_parameters(head, old, new).await?;
        }
    }
    println!("replaced the board of {node}");
    Ok(())
}

/// Boot parameters that are held by the old address.
async fn move_parameters(head: &Head, old: MacAddr, new: MacAddr) -> Result<(), Failure> {
    let boot = head.client(Service::Boot);
    let path = "/boot/v1/bootparameters";
    let known: Value = match boot.get(&format!("{path}?mac={old}")).await {
        Ok(known) => known,
        Err(ClientError::Status { status: StatusCode::NOT_FOUND, .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let held = |it: &&Value| {
        let macs = it["macs"].as_array().into_iter().flatten();
        macs.filter_map(Value::as_str).any(|it| it.parse() == Ok(old))
    };
    let Some(entry) = known.as_array().into_iter().flatten().find(held) else { return Ok(()) };
    let mut moved = json!({"macs": [new]});
    for member in ["kernel", "initrd", "params"] {
        if let Some(value) = entry[member].as_str().filter(|it| !it.is_empty()) {
            moved[member] = json!(value);
        }
    }
    boot.text(Method::PUT, path, Some(&moved)).await?;
    boot.text(Method::DELETE, path, Some(&json!({"macs": [old]}))).await?;
    println!("the boot parameters of {old} are those of {new} now");
    Ok(())
}

/// Locks nodes (with a reason) or unlocks them.
pub(crate) async fn lock(head: &Head, lists: &[String], reason: Option<&str>) -> Result<(), Failure> {
    let client = head.client(Service::Inventory);
    let nodes = crate::power::expand(lists)?;
    let mut failed = 0;
    for node in &nodes {
        let path = format!("/pilothouse/v1/nodes/{node}/lock");
        let done = match reason {
            Some(reason) => client.text(Method::PUT, &path, Some(&json!({"reason": reason}))).await,
            None => client.text(Method::DELETE, &path, None::<&()>).await,
        };
        match done {
            Ok(_) => println!("{} {node}", if reason.is_some() { "locked" } else { "unlocked" }),
            Err(ClientError::Status { status, detail }) if !is_refused(status) => {
                failed += 1;
                eprintln!("pilotctl: {node}: {detail}");
            }
            Err(error) => return Err(error.into()),
        }
    }
    match failed {
        0 => Ok(()),
        _ => Err(Failure::some_nodes(format!("{failed} of {} nodes stayed as they were", nodes.len()))),
    }
}
