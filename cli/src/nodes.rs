//! `pilotctl nodes`.

mod board;
mod defaults;

use std::path::PathBuf;

use axum::body::Body;
use axum::http::{Method, Response, StatusCode};
use clap::Subcommand;
use domain::Service;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Map, Value, json};
use web::ClientError;

use crate::Head;
use crate::error::Failure;
use crate::output::{Format, print, progress, text};

pub(crate) use defaults::apply as apply_defaults;

/// The nodes of the cluster.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  pilotctl nodes import nodes.yaml --dry-run
  pilotctl nodes list
  pilotctl nodes list --unknown              who asked for an address and is in no inventory
  pilotctl nodes set nid003 --name login1
  pilotctl nodes add nid010 --xname x1000c1s7b9n0 --nid 10 --mac 52:54:00:10:00:0a --ip 172.16.0.10
  pilotctl nodes replace nid003 --mac 52:54:00:10:00:33 --bmc-mac 52:54:00:b0:00:33
  pilotctl nodes lock 'nid[001-004]' --reason 'memory errors, ticket 4711'")]
pub(crate) enum Command {
    /// Take nodes from a nodes.yaml; importing twice changes nothing
    Import {
        /// The file; - reads standard input
        file: PathBuf,
        /// Show the difference and change nothing
        #[arg(long)]
        dry_run: bool,
        /// Leave boot parameters and cloud-init of the groups as they are
        #[arg(long)]
        inventory_only: bool,
    },
    /// Every node
    List {
        /// Machines that asked for an address and are in no inventory
        #[arg(long)]
        unknown: bool,
    },
    /// Everything that is known of one node
    Show {
        /// A name or an xname
        node: String,
    },
    /// Change a node
    Set {
        /// A name or an xname
        node: String,
        /// Its new name
        #[arg(long)]
        name: Option<String>,
        /// Its new number
        #[arg(long)]
        nid: Option<i64>,
        /// Whether it takes part
        #[arg(long)]
        enabled: Option<bool>,
    },
    /// Add one node
    Add(board::AddArguments),
    /// Put another board in a node's place; name, number, groups and addresses stay
    Replace(board::ReplaceArguments),
    /// Have nodes left alone: power commands and boot changes that name them are refused
    Lock {
        /// Names, xnames or lists such as 'nid[001-009]'
        #[arg(required = true)]
        nodes: Vec<String>,
        /// Why, for whoever meets the lock
        #[arg(long)]
        reason: String,
    },
    /// Take locks away
    Unlock {
        /// Names, xnames or lists such as 'nid[001-009]'
        #[arg(required = true)]
        nodes: Vec<String>,
    },
    /// Take nodes out of the inventory
    Remove {
        /// Names, xnames or lists such as 'nid[001-009]'
        #[arg(required = true)]
        nodes: Vec<String>,
    },
}

pub(crate) async fn run(head: &Head, command: Command) -> Result<(), Failure> {
    match command {
        Command::Import { file, dry_run, inventory_only } => {
            import(head, &file, dry_run, inventory_only).await
        }
        Command::List { unknown: true } => list_unknown(head).await,
        Command::List { unknown: false } => list(head).await,
        Command::Show { node } => {
            let path = format!("/pilothouse/v1/nodes/{node}");
            let found: Value = head.client(Service::Inventory).get(&path).await?;
            println!("{found:#}");
            Ok(())
        }
        Command::Set { node, name, nid, enabled } => {
            let members = [("name", json!(name)), ("nid", json!(nid)), ("enabled", json!(enabled))];
            let body: Map<String, Value> =
                members.into_iter().filter(|it| !it.1.is_null()).map(|it| (it.0.to_owned(), it.1)).collect();
            if body.is_empty() {
                return Err(Failure::usage("say what to set: --name, --nid or --enabled"));
            }
            let path = format!("/pilothouse/v1/nodes/{node}");
            head.client(Service::Inventory).text(Method::PATCH, &path, Some(&body)).await?;
            Ok(())
        }
        Command::Add(arguments) => board::add(head, arguments).await,
        Command::Replace(arguments) => board::replace(head, arguments).await,
        Command::Lock { nodes, reason } => board::lock(head, &nodes, Some(&reason)).await,
        Command::Unlock { nodes } => board::lock(head, &nodes, None).await,
        Command::Remove { nodes } => remove(head, &nodes).await,
    }
}

async fn import(head: &Head, file: &PathBuf, dry_run: bool, inventory_only: bool) -> Result<(), Failure> {
    let shown = file.display();
    let yaml = if file.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(file)
    };
    let yaml = yaml.map_err(|it| Failure::failed(format!("cannot read {shown}: {it}")))?;
    let bar = progress(format!("importing {shown}"));
    let path = format!("/pilothouse/v1/nodes?dry_run={dry_run}");
    let answer = head.client(Service::Inventory).send(Method::PUT, &path, Body::from(yaml)).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await.map_err(|it| Failure::failed(it.to_string()))?.to_bytes();
    let value: Value = serde_json::from_slice(&body).unwrap_or_default();
    if !status.is_success() {
        bar.finish_and_clear();
        return Err(refusal(&shown.to_string(), status, &value, &body));
    }
    let notes = if dry_run || inventory_only {
        Vec::new()
    } else {
        bar.set_message("boot parameters and cloud-init of the groups");
        defaults::apply(head).await?
    };
    bar.finish_and_clear();
    if head.format == Format::Json {
        println!("{value:#}");
        return Ok(());
    }
    let word = if dry_run { "would be " } else { "" };
    for node in value["added"].as_array().into_iter().flatten() {
        println!("{word}added    {}", node.as_str().unwrap_or("?"));
    }
    for node in value["changed"].as_array().into_iter().flatten() {
        for field in node["fields"].as_array().into_iter().flatten() {
            let (from, to) = (text(field, "from"), text(field, "to"));
            println!("{word}changed  {} {}: {from} -> {to}", text(node, "xname"), text(field, "field"));
        }
    }
    println!("{} unchanged", text(&value, "unchanged"));
    for note in notes {
        println!("{note}");
    }
    Ok(())
}

/// Why an answer is no success, if it is none.
async fn refusal_of(what: &str, answer: Response<Incoming>) -> Result<Option<Failure>, Failure> {
    let status = answer.status();
    if status.is_success() {
        return Ok(None);
    }
    let body = answer.into_body().collect().await.map_err(|it| Failure::failed(it.to_string()))?.to_bytes();
    let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
    Ok(Some(refusal(what, status, &problem, &body)))
}

/// Why an import was refused: every fault of the file with its line, or the service's own words.
fn refusal(file: &str, status: StatusCode, problem: &Value, body: &[u8]) -> Failure {
    let faults = problem["errors"].as_array().into_iter().flatten();
    let faults = faults.map(|it| format!("\n  {}: {}", text(it, "pointer"), text(it, "detail")));
    let faults: String = faults.collect();
    if !faults.is_empty() {
        return Failure::failed(format!("{file} is refused as a whole:{faults}"));
    }
    let own = String::from_utf8_lossy(body).trim().to_owned();
    let detail = problem["detail"].as_str().map_or(own, str::to_owned);
    ClientError::Status { status, detail: format!("{file}: {detail}") }.into()
}

async fn list(head: &Head) -> Result<(), Failure> {
    let list: Value = head.client(Service::Inventory).get("/pilothouse/v1/nodes").await?;
    let rows: Vec<_> = list
        .as_array()
        .into_iter()
        .flatten()
        .map(|node| {
            let first = &node["interfaces"][0];
            vec![
                text(node, "name"),
                text(node, "xname"),
                text(node, "nid"),
                text(node, "groups"),
                text(first, "mac"),
                text(first, "ips"),
                text(&node["bmc"], "address"),
                text(node, "state"),
                text(&node["lock"], "by"),
            ]
        })
        .collect();
    let headings = ["NAME", "XNAME", "NID", "GROUPS", "MAC", "ADDRESS", "BMC", "STATE", "LOCKED BY"];
    print(head.format, &list, &headings, &rows);
    Ok(())
}

async fn list_unknown(head: &Head) -> Result<(), Failure> {
    let list: Value = head.client(Service::Dhcp).get("/pilothouse/v1/unknown").await?;
    let members = ["mac", "plane", "ip", "vendor_class", "count", "first_seen", "last_seen"];
    let rows: Vec<_> = list
        .as_array()
        .into_iter()
        .flatten()
        .map(|it| members.map(|member| text(it, member)).to_vec())
        .collect();
    print(
        head.format,
        &list,
        &["MAC", "PLANE", "ADDRESS", "VENDOR", "COUNT", "FIRST SEEN", "LAST SEEN"],
        &rows,
    );
    Ok(())
}

/// Whether the caller has no right, which no other node would change.
fn is_refused(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

async fn remove(head: &Head, lists: &[String]) -> Result<(), Failure> {
    let client = head.client(Service::Inventory);
    let mut failed = 0;
    let nodes = crate::power::expand(lists)?;
    for node in &nodes {
        let path = format!("/pilothouse/v1/nodes/{node}");
        match client.text(Method::DELETE, &path, None::<&()>).await {
            Ok(_) => println!("removed {node}"),
            Err(ClientError::Status { status, detail }) if !is_refused(status) => {
                failed += 1;
                eprintln!("pilotctl: {node}: {detail}");
            }
            Err(error) => return Err(error.into()),
        }
    }
    match failed {
        0 => Ok(()),
        _ => Err(Failure::some_nodes(format!("{failed} of {} nodes were not removed", nodes.len()))),
    }
}
