//! `pilotctl discover`.

mod apply;

use axum::http::StatusCode;
use discovery::client::{
    Bmc, Discovery, Phase, Request, Summary, begin, cancel, follow, list, nodes_yaml, show,
};
use domain::Service;
use serde_json::json;
use web::ClientError;

use crate::Head;
use crate::error::Failure;
use crate::output::{Format, Shape, cell, print, progress};

/// Asks BMCs what they are, which nodes are behind them and by which network cards these boot.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pilotctl bmc set --user admin                        first the account of the BMCs; asks for the password
  pilotctl discover 172.16.0.101-109 --xname 'x1000c1s7b{1-9}n0' --name 'nid{nid:03}' --ip 172.16.0.1-9 \\
      -o yaml > nodes.yaml                             a file to edit; pilotctl nodes import takes it
  pilotctl discover 172.16.0.0/24                      whoever answers in a subnet
  pilotctl discover unknown                            whoever asked for an address and is in no inventory
  pilotctl discover 'bmc[001-064].site' --nic 2        by name; nodes boot from their second card
  pilotctl discover 172.16.0.101-109 --apply           straight into the inventory
  pilotctl discover 172.16.0.101-109                   once more: what has changed since

What is found is compared with the inventory: + is new, - is gone, ~ is otherwise.
The exit status is 3 if some BMCs told nothing; they are in the file with addresses made up (02:00:00:…).")]
pub(crate) struct Arguments {
    /// Ranges, subnets, lists, host names, or unknown
    #[arg(required_unless_present_any = ["list", "cancel", "id"])]
    targets: Vec<String>,
    /// Where the BMCs' nodes belong, in the order of the targets
    #[arg(long, value_name = "RULE")]
    xname: Option<String>,
    /// How nodes are called
    #[arg(long, value_name = "PATTERN")]
    name: Option<String>,
    /// The first node's number; the others count up
    #[arg(long, value_name = "NUMBER")]
    nid: Option<i64>,
    /// The nodes' addresses, in their order: 172.16.0.1-9
    #[arg(long, value_name = "RANGE")]
    ip: Option<String>,
    /// The group of nodes that are in none [default: compute]
    #[arg(long)]
    group: Option<String>,
    /// The card that nodes boot from: a MAC address, a name, or a number from 1
    #[arg(long, value_name = "CARD")]
    nic: Option<String>,
    /// The class whose account the BMCs have, as `pilotctl bmc set class:NAME` stored it
    #[arg(long, value_name = "NAME")]
    class: Option<String>,
    /// Where Redfish listens [default: 443]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    redfish_port: Option<u16>,
    /// Where IPMI listens [default: 623]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    ipmi_port: Option<u16>,
    /// Store what was found in the inventory; BMCs that told nothing are left as they are
    #[arg(long, conflicts_with_all = ["list", "cancel"])]
    apply: bool,
    /// The discoveries since the service was started
    #[arg(long, conflicts_with_all = ["targets", "cancel", "id"])]
    list: bool,
    /// End a discovery, or forget one that is over
    #[arg(long, value_name = "ID", conflicts_with_all = ["targets", "id"])]
    cancel: Option<u64>,
    /// An earlier discovery instead of a new one
    #[arg(long, value_name = "ID", conflicts_with = "targets")]
    id: Option<u64>,
}

pub(crate) async fn run(head: &Head, shape: Shape, arguments: Arguments) -> Result<(), Failure> {
    let client = head.client(Service::Discovery);
    if arguments.list {
        let all = list(&client).await?;
        print(
            head.format,
            &json!(all),
            &["ID", "STATE", "BMCS", "ASKED", "ANSWERED", "BEGAN", "BY"],
            &rows(&all),
        );
        return Ok(());
    }
    if let Some(id) = arguments.cancel {
        return Ok(cancel(&client, id).await?);
    }
    let (is_applied, id) = (arguments.apply, arguments.id);
    let id = match id {
        Some(id) => id,
        None => begin(&client, &request(arguments)).await.map_err(nonsense)?.id,
    };
    watch(head, id).await?;
    let found = show(&client, id).await?;
    if found.summary.phase == Phase::Cancelled {
        return Err(Failure::failed(format!("discovery {id} was ended before its time")));
    }
    match shape {
        Shape::Yaml => print!("{}", nodes_yaml(&found)),
        Shape::Json if is_applied => {}
        Shape::Json => println!("{:#}", json!(found)),
        Shape::Table => tell(&found),
    }
    for warning in &found.warnings {
        eprintln!("pilotctl: {}", cell(warning));
    }
    if is_applied {
        apply::store(head, &found).await?;
    }
    silent(&found)
}

/// What the service does not take is how it was called.
fn nonsense(error: ClientError) -> Failure {
    match error {
        ClientError::Status { status: StatusCode::BAD_REQUEST, detail } => Failure::usage(detail),
        other => other.into(),
    }
}

fn request(it: Arguments) -> Request {
    Request {
        targets: it.targets,
        xname: it.xname,
        name: it.name,
        nid: it.nid,
        ip: it.ip,
        group: it.group,
        nic: it.nic,
        class: it.class,
        redfish_port: it.redfish_port,
        ipmi_port: it.ipmi_port,
    }
}

fn rows(all: &[Summary]) -> Vec<Vec<String>> {
    let state = |it: &Summary| match it.phase {
        Phase::Running => "running",
        Phase::Done => "done",
        Phase::Cancelled => "ended",
    };
    let row = |it: &Summary| {
        let numbers = [it.targets, it.asked, it.answered].map(|it| it.to_string());
        let words = [it.id.to_string(), state(it).to_owned()];
        words.into_iter().chain(numbers).chain([it.began.clone(), it.by.clone()]).collect()
    };
    all.iter().map(row).collect()
}

/// Waits until it is over, showing how far it is; who interrupts ends it.
async fn watch(head: &Head, id: u64) -> Result<(), Failure> {
    let client = head.client(Service::Discovery);
    let bar = progress("asking BMCs");
    let mut updates = follow(&client, id).await?;
    let watched = async {
        while let Some(update) = updates.next().await? {
            let Summary { targets, asked, answered, .. } = update.summary;
            bar.set_message(format!("{asked} of {targets} BMCs asked, {answered} told what they are"));
            if let Some(told) = update.bmc {
                let what = match &told.error {
                    Some(error) => cell(error),
                    None => format!("{}, {} network cards", cell(&told.what), told.nics),
                };
                // Only where somebody looks at it.
                bar.println(format!("{}: {what}", cell(&told.target)));
            }
        }
        Ok::<(), ClientError>(())
    };
    let watched = tokio::select! {
        watched = watched => watched.map_err(Failure::from),
        _ = tokio::signal::ctrl_c() => {
            cancel(&client, id).await?;
            Err(Failure::failed(format!("discovery {id} was ended")))
        }
    };
    bar.finish_and_clear();
    watched
}

fn tell(found: &Discovery) {
    let mut rows = Vec::new();
    for node in &found.nodes {
        for card in &node.interfaces {
            let ip = card.ip.map(|it| it.to_string()).unwrap_or_default();
            let [bmc, mac] = [node.target.clone(), card.mac.to_string()];
            rows.push(vec![node.name.clone(), node.xname.to_string(), bmc, mac, ip, card.note.clone()]);
        }
    }
    print(Format::Table, &json!(null), &["NODE", "XNAME", "BMC", "MAC", "ADDRESS", "CARD"], &rows);
    for change in &found.changes {
        println!("{}", cell(&change.to_string()));
    }
    println!("{} nodes are in the inventory just so", found.unchanged);
}

/// Names the BMCs that told nothing, or not all.
fn silent(found: &Discovery) -> Result<(), Failure> {
    let told = |it: &&Bmc| it.speaks.is_some() && it.error.is_none();
    for bmc in found.bmcs.iter().filter(|it| !told(it)) {
        let error = bmc.error.as_deref().unwrap_or("it told nothing");
        eprintln!("pilotctl: {}: {}", cell(&bmc.target), cell(error));
    }
    let (count, failed) = (found.bmcs.len(), found.bmcs.iter().filter(|it| !it.is_whole()).count());
    match failed {
        0 => Ok(()),
        some => Err(Failure::some_nodes(format!("{some} of {count} BMCs told nothing, or not all"))),
    }
}
