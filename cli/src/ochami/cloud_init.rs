//! `ochami cloud-init`: what nodes configure themselves by. `config` and `data`, of the bootcamp's time, are
//! `legacy.rs`.

mod render;

use base64::Engine as _;
use clap::{Subcommand, ValueEnum};
use http::Method;
use serde_json::{Value, json};

use super::config::Service;
use super::error::{Done, Stop, Tally};
use super::http::{Ask, Client, segment};
use super::output::{self, Output};
use super::payload::{Payload, entries, name_of};
use super::{Confirm, Session, legacy, log};

const DEFAULTS: &str = "/admin/cluster-defaults";
const GROUPS: &str = "/admin/groups";
const NODES: &str = "/admin/instance-info";
const SEEN_BY: &str = "/admin/impersonation";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The store that wants a token to be read too (`config` and `data`)
    #[arg(long, short, global = true)]
    secure: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What holds for the cluster where nothing else is said
    #[command(subcommand)]
    Defaults(Defaults),
    /// Groups: a file for each node of them, and variables
    #[command(subcommand)]
    Group(Group),
    /// Nodes
    #[command(subcommand)]
    Node(Node),
    /// The service itself
    #[command(subcommand)]
    Service(ServiceCommand),
    /// Entries of the older interface, named by group or xname
    #[command(subcommand)]
    Config(legacy::Config),
    /// What nodes get by the older interface
    #[command(subcommand)]
    Data(legacy::Data),
}

#[derive(Debug, Subcommand)]
enum Defaults {
    /// Show them
    #[command(alias = "list")]
    Get(Output),
    /// Set them; without -d, from standard input
    Set(Payload),
}

#[derive(Debug, Subcommand)]
enum Group {
    /// Add groups; without -d, those of standard input
    #[command(after_help = "Example of a file:
  - name: compute
    description: The compute nodes
    meta-data: {role: compute}
    file:
      encoding: plain
      content: |
        ## template: jinja
        #cloud-config
        hostname: {{ ds.meta_data.instance_data.v1.local_hostname }}")]
    Add(Payload),
    /// Set groups, whatever they were
    Set(Payload),
    /// Show all groups, or some
    #[command(subcommand, alias = "list")]
    Get(GroupPart),
    /// Delete groups
    Delete {
        names: Vec<String>,
        #[command(flatten)]
        payload: Payload,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Show a group's file as a node would understand it
    Render(render::Arguments),
}

#[derive(Debug, Subcommand)]
enum GroupPart {
    /// The files
    Config {
        names: Vec<String>,
        #[command(flatten)]
        headers: Headers,
    },
    /// The variables
    MetaData {
        names: Vec<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Everything
    Raw {
        names: Vec<String>,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Subcommand)]
enum Node {
    /// Show what nodes get
    #[command(subcommand, alias = "list")]
    Get(NodePart),
    /// Set what nodes have of their own; without -d, from standard input
    Set(Payload),
}

#[derive(Debug, Subcommand)]
enum NodePart {
    /// The files of some of its groups
    Group {
        node: String,
        #[arg(required = true)]
        groups: Vec<String>,
        #[command(flatten)]
        headers: Headers,
    },
    MetaData {
        #[arg(required = true)]
        nodes: Vec<String>,
        #[command(flatten)]
        output: Output,
    },
    UserData {
        #[arg(required = true)]
        nodes: Vec<String>,
        #[command(flatten)]
        headers: Headers,
    },
    VendorData {
        #[arg(required = true)]
        nodes: Vec<String>,
        #[command(flatten)]
        headers: Headers,
    },
}

#[derive(Debug, Subcommand)]
enum ServiceCommand {
    /// Whether it is well
    Status {
        /// Show the description of its interface
        #[arg(long, conflicts_with = "quiet")]
        api: bool,
        /// Say it by the exit status alone
        #[arg(long, short)]
        quiet: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Which one it is
    Version(Output),
}

/// Whether texts are told apart by a line above each.
#[derive(Clone, Copy, Debug, clap::Args)]
struct Headers {
    /// When a line above each says what it is
    #[arg(long = "headers", value_enum, default_value = "multiple")]
    when: When,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum When {
    Always,
    Multiple,
    Never,
}

impl Headers {
    fn print(self, texts: &[(String, String)]) -> Done {
        let count = texts.len();
        let some = self.when == When::Always || (self.when == When::Multiple && count > 1);
        let of_one = |(index, (name, text)): (usize, &(String, String))| {
            let header = if some { format!("--- ({}/{count}) {name}\n", index + 1) } else { String::new() };
            format!("{header}{text}\n")
        };
        output::print(texts.iter().enumerate().map(of_one).collect::<String>())
    }
}

pub(super) async fn run(session: &Session, arguments: Arguments) -> Done {
    let secure = arguments.secure;
    match arguments.command {
        Command::Defaults(Defaults::Get(output)) => {
            session.print(&session.client(Service::CloudInit)?.ask(Ask::get(DEFAULTS)).await?, output)
        }
        Command::Defaults(Defaults::Set(payload)) => {
            let body = payload.read_or_input(session)?;
            let ask = Ask::new(Method::POST, DEFAULTS).body(body);
            session.client(Service::CloudInit)?.ask(ask).await.map(drop)
        }
        Command::Group(command) => group(session, command).await,
        Command::Node(Node::Set(payload)) => {
            let list = entries(payload.read_or_input(session)?, "nodes")?;
            send(session, Method::PUT, NODES, Some("id"), list, "nodes").await
        }
        Command::Node(Node::Get(part)) => node(session, part).await,
        Command::Service(command) => service(session, command).await,
        Command::Config(command) => legacy::config(session, secure, command).await,
        Command::Data(command) => legacy::data(session, secure, command).await,
    }
}

async fn group(session: &Session, command: Group) -> Done {
    match command {
        Group::Add(payload) => {
            let list = entries(payload.read_or_input(session)?, "groups")?;
            send(session, Method::POST, GROUPS, None, list, "groups").await
        }
        Group::Set(payload) => {
            let list = entries(payload.read_or_input(session)?, "groups")?;
            send(session, Method::PUT, GROUPS, Some("name"), list, "groups").await
        }
        Group::Get(part) => group_part(session, part).await,
        Group::Delete { names, payload, confirm } => {
            let names = match payload.read(session)? {
                Some(_) if !names.is_empty() => return Err(Stop::usage("write names or -d, not both")),
                Some(data) => {
                    let list = entries(data, "groups")?;
                    list.iter()
                        .map(|it| name_of(it, &["name"]).map(str::to_owned))
                        .collect::<Result<_, _>>()?
                }
                None if names.is_empty() => return Err(Stop::usage("write at least one name, or -d")),
                None => names,
            };
            if !confirm.ask("Really delete?")? {
                return Ok(());
            }
            let mut client = session.client(Service::CloudInit)?;
            let mut tally = Tally::default();
            for name in names {
                tally.count(client.ask(Ask::delete(format!("{GROUPS}/{}", segment(&name)))).await);
            }
            tally.end("groups")
        }
        Group::Render(arguments) => render::run(session, &arguments).await,
    }
}

/// Sends entries one by one, each to its own path if `named` says which member names it.
async fn send(
    session: &Session,
    method: Method,
    path: &str,
    named: Option<&str>,
    list: Vec<Value>,
    what: &str,
) -> Done {
    let mut client = session.client(Service::CloudInit)?;
    let mut tally = Tally::default();
    for entry in list {
        let path = match named {
            Some(member) => format!("{path}/{}", segment(name_of(&entry, &[member])?)),
            None => path.to_owned(),
        };
        tally.count(client.ask(Ask::new(method.clone(), path).body(entry)).await);
    }
    tally.end(what)
}

/// All groups by name, or those that are named.
async fn groups(client: &mut Client, names: &[String]) -> Result<Vec<Value>, Stop> {
    if names.is_empty() {
        let all = output::sorted(client.ask(Ask::get(GROUPS)).await?.json()?);
        return Ok(match all {
            Value::Object(groups) => groups.into_iter().map(|it| it.1).collect(),
            _ => Vec::new(),
        });
    }
    let (mut found, mut tally) = (Vec::new(), Tally::default());
    for name in names {
        let asked = client.ask(Ask::get(format!("{GROUPS}/{}", segment(name)))).await;
        found.extend(tally.count(asked.and_then(|it| it.json())));
    }
    tally.end("groups").map(|()| found)
}

async fn group_part(session: &Session, part: GroupPart) -> Done {
    let mut client = session.client(Service::CloudInit)?;
    match part {
        GroupPart::Raw { names, output } => {
            session.print_value(groups(&mut client, &names).await?.into(), output)
        }
        GroupPart::MetaData { names, output } => {
            let groups = groups(&mut client, &names).await?;
            let part = |it: &Value| json!({"name": it["name"], "meta-data": it["meta-data"]});
            session.print_value(groups.iter().map(part).collect(), output)
        }
        GroupPart::Config { names, headers } => {
            let mut texts = Vec::new();
            for group in groups(&mut client, &names).await? {
                let name = group["name"].as_str().unwrap_or_default();
                match file_of(&group)? {
                    Some(text) => texts.push((format!("group={name}"), text)),
                    None => log::warning(format!("the group {name} has no file")),
                }
            }
            headers.print(&texts)
        }
    }
}

/// The file of a group, as nodes get it.
fn file_of(group: &Value) -> Result<Option<String>, Stop> {
    let file = &group["file"];
    let Some(content) = file["content"].as_str().filter(|it| !it.is_empty()) else { return Ok(None) };
    if file["encoding"] != "base64" {
        return Ok(Some(content.to_owned()));
    }
    let bytes = base64::engine::general_purpose::STANDARD.decode(content.trim());
    let bytes = bytes.map_err(|it| Stop::failed("a group's file is no base64").because(it))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// What nodes get, a text each.
async fn texts(client: &mut Client, asked: &[(String, String)]) -> Result<Vec<(String, String)>, Stop> {
    let (mut found, mut tally) = (Vec::new(), Tally::default());
    for (name, path) in asked {
        let reply = tally.count(client.ask(Ask::get(path)).await);
        found.extend(reply.map(|it| (name.clone(), it.text())));
    }
    tally.end("nodes").map(|()| found)
}

async fn node(session: &Session, part: NodePart) -> Done {
    let mut client = session.client(Service::CloudInit)?;
    let of_nodes = |nodes: &[String], what: &str| -> Vec<_> {
        nodes.iter().map(|it| (format!("node={it}"), format!("{SEEN_BY}/{}/{what}", segment(it)))).collect()
    };
    match part {
        NodePart::Group { node, groups, headers } => {
            let of_group = |it: &String| {
                let path = format!("{SEEN_BY}/{}/{}.yaml", segment(&node), segment(it));
                (format!("node={node} group={it}"), path)
            };
            let mut found = texts(&mut client, &groups.iter().map(of_group).collect::<Vec<_>>()).await?;
            found.retain(|it| !it.1.is_empty());
            headers.print(&found)
        }
        NodePart::MetaData { nodes, output } => {
            let found = texts(&mut client, &of_nodes(&nodes, "meta-data")).await?;
            let parsed = found.iter().map(|it| parse(&it.1)).collect::<Result<Vec<_>, _>>()?;
            session.print_value(parsed.into(), output)
        }
        NodePart::UserData { nodes, headers } => {
            headers.print(&texts(&mut client, &of_nodes(&nodes, "user-data")).await?)
        }
        NodePart::VendorData { nodes, headers } => {
            headers.print(&texts(&mut client, &of_nodes(&nodes, "vendor-data")).await?)
        }
    }
}

fn parse(yaml: &str) -> Result<Value, Stop> {
    serde_saphyr::from_str(yaml).map_err(|it| Stop::failed("the meta-data are no YAML").because(it))
}

async fn service(session: &Session, command: ServiceCommand) -> Done {
    let mut client = session.open_client(Service::CloudInit)?;
    match command {
        ServiceCommand::Version(output) => session.print(&client.ask(Ask::get("/version")).await?, output),
        ServiceCommand::Status { api: true, output, .. } => {
            session.print(&client.ask(Ask::get("/openapi.json")).await?, output)
        }
        ServiceCommand::Status { quiet, .. } => {
            use super::http::Failure;
            let asked = client.try_ask(Ask::get("/version")).await?;
            let says = match &asked {
                Ok(_) => "cloud-init is running",
                Err(Failure::Status { .. }) => "cloud-init is running, but not normally",
                Err(Failure::NoAnswer { .. }) => "cloud-init is not running",
            };
            if !quiet {
                output::print(format!("{says}\n"))?;
            }
            asked.map(drop).map_err(Stop::from)
        }
    }
}
