//! `pilotctl group`: labelled sets of nodes.

use std::collections::BTreeMap;

use axum::http::Method;
use clap::Subcommand;
use domain::Service;
use serde_json::{Value, json};
use web::{Client, ClientError};

use crate::Head;
use crate::error::Failure;
use crate::output::{print, text};

const BASE: &str = "/hsm/v2/groups";

/// Groups of nodes.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  pilotctl group add login --description 'where users log in'
  pilotctl group member add login 'nid[001-002]'
  pilotctl group show login")]
pub(crate) enum Command {
    /// Every group
    List,
    /// One group with its members
    Show {
        /// Its label
        label: String,
    },
    /// Make a group
    Add {
        /// Its label: letters, digits and _ . : -
        label: String,
        /// What it is for
        #[arg(long)]
        description: Option<String>,
        /// A word to find it by, as often as needed
        #[arg(long)]
        tag: Vec<String>,
        /// A node may be in one group alone of those with this word
        #[arg(long)]
        exclusive: Option<String>,
        /// Names, xnames or lists such as 'nid[001-009]'
        nodes: Vec<String>,
    },
    /// Take groups away; their nodes stay
    Remove {
        /// Their labels
        #[arg(required = true)]
        labels: Vec<String>,
    },
    /// Who is in a group
    #[command(subcommand)]
    Member(MemberCommand),
}

/// Members of a group.
#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// Put nodes into a group
    Add {
        /// The group's label
        label: String,
        /// Names, xnames or lists such as 'nid[001-009]'
        #[arg(required = true)]
        nodes: Vec<String>,
    },
    /// Take nodes out of a group
    Remove {
        /// The group's label
        label: String,
        /// Names, xnames or lists such as 'nid[001-009]'
        #[arg(required = true)]
        nodes: Vec<String>,
    },
}

pub(crate) async fn run(head: &Head, command: Command) -> Result<(), Failure> {
    let client = head.client(Service::Inventory);
    match command {
        Command::List => list(head, &client).await,
        Command::Show { label } => show(head, &client, &label).await,
        Command::Add { label, description, tag, exclusive, nodes } => {
            let ids = resolve(&client, &nodes).await?.into_values().collect::<Vec<_>>();
            let mut body = json!({"label": label, "tags": tag, "members": {"ids": ids}});
            if let Some(text) = description {
                body["description"] = json!(text);
            }
            if let Some(word) = exclusive {
                body["exclusiveGroup"] = json!(word);
            }
            client.text(Method::POST, BASE, Some(&body)).await?;
            println!("added {label}");
            Ok(())
        }
        Command::Remove { labels } => {
            for label in labels {
                client.text(Method::DELETE, &format!("{BASE}/{label}"), None::<&()>).await?;
                println!("removed {label}");
            }
            Ok(())
        }
        Command::Member(MemberCommand::Add { label, nodes }) => change(&client, &label, &nodes, true).await,
        Command::Member(MemberCommand::Remove { label, nodes }) => {
            change(&client, &label, &nodes, false).await
        }
    }
}

async fn list(head: &Head, client: &Client) -> Result<(), Failure> {
    let groups: Value = client.get(BASE).await?;
    let rows = groups.as_array().into_iter().flatten().map(|group| {
        let count = group["members"]["ids"].as_array().map_or(0, Vec::len).to_string();
        let [label, tags, exclusive, description] =
            ["label", "tags", "exclusiveGroup", "description"].map(|it| text(group, it));
        vec![label, count, tags, exclusive, description]
    });
    let headings = ["LABEL", "MEMBERS", "TAGS", "EXCLUSIVE", "DESCRIPTION"];
    print(head.format, &groups, &headings, &rows.collect::<Vec<_>>());
    Ok(())
}

async fn show(head: &Head, client: &Client, label: &str) -> Result<(), Failure> {
    let group: Value = client.get(&format!("{BASE}/{label}")).await?;
    let names = names(client).await?;
    let rows = group["members"]["ids"].as_array().into_iter().flatten().filter_map(Value::as_str).map(|id| {
        let name = names.iter().find(|it| it.1 == id).map(|it| it.0.clone()).unwrap_or_default();
        vec![id.to_owned(), name]
    });
    print(head.format, &group, &["XNAME", "NAME"], &rows.collect::<Vec<_>>());
    Ok(())
}

/// The nodes' xnames by name.
async fn names(client: &Client) -> Result<BTreeMap<String, String>, Failure> {
    let nodes: Value = client.get("/pilothouse/v1/nodes").await?;
    let pair = |it: &Value| (text(it, "name"), text(it, "xname"));
    Ok(nodes.as_array().into_iter().flatten().map(pair).collect())
}

/// The xnames of words; a word that is no node's name stays and is the service's to judge.
async fn resolve(client: &Client, lists: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    if lists.is_empty() {
        return Ok(BTreeMap::new());
    }
    let names = names(client).await?;
    let words = crate::power::expand(lists)?;
    Ok(words.into_iter().map(|it| (it.clone(), names.get(&it).cloned().unwrap_or(it))).collect())
}

async fn change(client: &Client, label: &str, lists: &[String], join: bool) -> Result<(), Failure> {
    let words = resolve(client, lists).await?;
    let base = format!("{BASE}/{label}/members");
    let mut failed = 0;
    for (word, id) in &words {
        let done = if join {
            client.text(Method::POST, &base, Some(&json!({"id": id}))).await
        } else {
            client.text(Method::DELETE, &format!("{base}/{id}"), None::<&()>).await
        };
        match done {
            Ok(_) => println!("{} {word}", if join { "added" } else { "removed" }),
            Err(ClientError::Status { status, detail }) if !matches!(status.as_u16(), 401 | 403) => {
                failed += 1;
                eprintln!("pilotctl: {word}: {detail}");
            }
            Err(error) => return Err(error.into()),
        }
    }
    match failed {
        0 => Ok(()),
        _ => Err(Failure::some_nodes(format!("{failed} of {} nodes were left as they were", words.len()))),
    }
}
