//! `ochami smd`: the inventory.

mod group;
mod iface;

use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};

use super::config::Service;
use super::error::{Done, Stop, Tally};
use super::http::{Ask, Client, segment};
use super::output::Output;
use super::payload::{Payload, entries, name_of};
use super::{Confirm, Session, log};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Nodes, management controllers and whatever else has a place in a rack
    #[command(subcommand)]
    Component(Component),
    /// What management controllers tell of components
    #[command(subcommand)]
    Compep(Compep),
    /// Groups of components
    #[command(subcommand)]
    Group(group::Command),
    /// Ethernet interfaces
    #[command(subcommand)]
    Iface(iface::Command),
    /// Management controllers as Redfish endpoints
    #[command(subcommand)]
    Rfe(Rfe),
    /// The service itself
    #[command(subcommand)]
    Service(Status),
    /// The same as `smd service status`
    #[command(hide = true)]
    Status(StatusArguments),
}

#[derive(Debug, Subcommand)]
pub(super) enum Status {
    /// Whether it is well
    Status(StatusArguments),
}

#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct StatusArguments {
    /// Show every value that it knows
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Subcommand)]
pub(super) enum Component {
    /// Show all components, or one
    #[command(alias = "list")]
    Get {
        #[arg(long, short)]
        xname: Option<String>,
        #[arg(long, short, conflicts_with = "xname", allow_negative_numbers = true)]
        nid: Option<i64>,
        #[command(flatten)]
        output: Output,
    },
    /// Add components
    #[command(after_help = "Examples:
  ochami smd component add x3000c1s7b56n0 56
  ochami smd component add -f yaml -d @components.yaml")]
    Add {
        xname: Option<String>,
        #[arg(allow_negative_numbers = true)]
        nid: Option<i64>,
        #[arg(long, default_value = "Ready")]
        state: String,
        #[arg(long, default_value = "true", default_missing_value = "true")]
        #[arg(num_args = 0..=1, require_equals = true)]
        enabled: String,
        #[arg(long, default_value = "Compute")]
        role: String,
        #[arg(long, default_value = "X86")]
        arch: String,
        #[command(flatten)]
        payload: Payload,
    },
    /// Delete components
    Delete(Delete),
}

#[derive(Debug, Subcommand)]
pub(super) enum Compep {
    /// Show all, or those of some components
    #[command(alias = "list")]
    Get {
        xnames: Vec<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Delete some or all
    Delete(Delete),
}

#[derive(Debug, Subcommand)]
pub(super) enum Rfe {
    /// Show all, or those that match
    #[command(alias = "list")]
    Get {
        #[arg(long, short, value_delimiter = ',')]
        xname: Vec<String>,
        #[arg(long, value_delimiter = ',')]
        fqdn: Vec<String>,
        #[arg(long, value_delimiter = ',')]
        r#type: Vec<String>,
        #[arg(long, value_delimiter = ',')]
        uuid: Vec<String>,
        #[arg(long, short, value_delimiter = ',')]
        mac: Vec<String>,
        #[arg(long, short, value_delimiter = ',')]
        ip: Vec<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Add endpoints
    #[command(after_help = "Examples:
  ochami smd rfe add x3000c1s7b56 bmc-node56 172.16.0.156 de:ca:fc:0f:fe:ee
  ochami smd rfe add -f yaml -d @endpoints.yaml

A password on the command line is seen in the list of processes; in a file it is not.")]
    Add {
        /// XNAME NAME IP_ADDRESS MAC_ADDRESS
        #[arg(num_args = 0..=4)]
        words: Vec<String>,
        #[arg(long)]
        domain: Option<String>,
        #[arg(long)]
        hostname: Option<String>,
        #[arg(long)]
        username: Option<String>,
        #[arg(long)]
        password: Option<String>,
        #[command(flatten)]
        payload: Payload,
    },
    /// Delete some or all
    Delete(Delete),
}

#[derive(Debug, clap::Args)]
pub(super) struct Delete {
    names: Vec<String>,
    /// Delete all
    #[arg(long, short)]
    all: bool,
    #[command(flatten)]
    payload: Payload,
    #[command(flatten)]
    confirm: Confirm,
}

/// A kind of thing in the inventory.
#[derive(Clone, Copy)]
struct Kind {
    path: &'static str,
    /// The list in a body, and the word for all of them.
    list: &'static str,
    /// What names one in a body.
    names: &'static [&'static str],
}

const COMPONENTS: Kind = Kind { path: "/State/Components", list: "Components", names: &["ID"] };
const ENDPOINTS: Kind =
    Kind { path: "/Inventory/RedfishEndpoints", list: "RedfishEndpoints", names: &["ID"] };
const COMPONENT_ENDPOINTS: Kind =
    Kind { path: "/Inventory/ComponentEndpoints", list: "ComponentEndpoints", names: &["ID"] };

pub(super) async fn run(session: &Session, command: Command) -> Done {
    match command {
        Command::Component(command) => component(session, command).await,
        Command::Compep(Compep::Get { xnames, output }) => {
            component_endpoints(session, &xnames, output).await
        }
        Command::Compep(Compep::Delete(arguments)) => delete(session, COMPONENT_ENDPOINTS, arguments).await,
        Command::Group(command) => group::run(session, command).await,
        Command::Iface(command) => iface::run(session, command).await,
        Command::Rfe(command) => endpoint(session, command).await,
        Command::Service(Status::Status(arguments)) | Command::Status(arguments) => {
            let path = if arguments.all { "/service/values" } else { "/service/ready" };
            let reply = session.open_client(Service::Smd)?.ask(Ask::get(path)).await?;
            session.print(&reply, arguments.output)
        }
    }
}

async fn component(session: &Session, command: Component) -> Done {
    match command {
        Component::Get { xname: None, nid: None, output } => {
            let reply = session.open_client(Service::Smd)?.ask(Ask::get(COMPONENTS.path)).await?;
            session.print(&reply, output)
        }
        Component::Get { xname, nid, output } => {
            let one = match (xname, nid) {
                (Some(xname), _) => segment(&xname),
                (None, nid) => format!("ByNID/{}", nid.unwrap_or_default()),
            };
            let path = format!("{}/{one}", COMPONENTS.path);
            let reply = session.client(Service::Smd)?.ask(Ask::get(path)).await?;
            session.print(&reply, output)
        }
        Component::Add { xname, nid, state, enabled, role, arch, payload } => {
            let list = match (payload.read(session)?, xname, nid) {
                (Some(data), ..) => entries(data, COMPONENTS.list)?,
                (None, Some(xname), Some(nid)) => {
                    let enabled =
                        enabled.parse::<bool>().map_err(|_| Stop::usage("--enabled is true or false"))?;
                    vec![json!({"ID": xname, "NID": nid, "State": state, "Enabled": enabled, "Role": role,
                        "Arch": arch})]
                }
                _ => return Err(Stop::usage("write an xname and a NID, or -d")),
            };
            let body = json!({"Components": list});
            let ask = Ask::new(Method::POST, COMPONENTS.path).body(body);
            session.client(Service::Smd)?.ask(ask).await.map(drop)
        }
        Component::Delete(arguments) => delete(session, COMPONENTS, arguments).await,
    }
}

async fn component_endpoints(session: &Session, xnames: &[String], output: Output) -> Done {
    let mut client = session.client(Service::Smd)?;
    if xnames.is_empty() {
        let reply = client.ask(Ask::get(COMPONENT_ENDPOINTS.path)).await?;
        return session.print(&reply, output);
    }
    let (mut found, mut tally) = (Vec::new(), Tally::default());
    for xname in xnames {
        let path = format!("{}/{}", COMPONENT_ENDPOINTS.path, segment(xname));
        let asked = client.ask(Ask::get(path)).await.and_then(|it| it.json());
        found.extend(tally.count(asked));
    }
    session.print_value(json!({"ComponentEndpoints": found}), output)?;
    tally.end("component endpoints")
}

async fn endpoint(session: &Session, command: Rfe) -> Done {
    match command {
        Rfe::Get { xname, fqdn, r#type, uuid, mac, ip, output } => {
            let query = filters(&[
                ("id", &xname),
                ("fqdn", &fqdn),
                ("type", &r#type),
                ("uuid", &uuid),
                ("macaddr", &mac),
                ("ipaddress", &ip),
            ]);
            let reply = session.client(Service::Smd)?.ask(Ask::get(ENDPOINTS.path).query(query)).await?;
            session.print(&reply, output)
        }
        Rfe::Add { words, domain, hostname, username, password, payload } => {
            let list = match (payload.read(session)?, &words[..]) {
                (Some(data), _) => entries(data, ENDPOINTS.list)?,
                (None, [xname, name, ip, mac]) => {
                    let mut entry = json!({"ID": xname, "Name": name, "MACAddr": mac, "IPAddress": ip});
                    let more = [
                        ("Domain", domain),
                        ("Hostname", hostname),
                        ("User", username),
                        ("Password", password),
                    ];
                    for (member, value) in more {
                        if let Some(value) = value {
                            entry[member] = value.into();
                        }
                    }
                    vec![entry]
                }
                _ => {
                    return Err(Stop::usage(
                        "write an xname, a name, an IP address and a MAC address, or -d",
                    ));
                }
            };
            post(&mut session.client(Service::Smd)?, ENDPOINTS.path, list, "Redfish endpoints").await
        }
        Rfe::Delete(arguments) => delete(session, ENDPOINTS, arguments).await,
    }
}

/// Posts entries one by one.
async fn post(client: &mut Client, path: &str, list: Vec<Value>, what: &str) -> Done {
    let mut tally = Tally::default();
    for entry in list {
        tally.count(client.ask(Ask::new(Method::POST, path).body(entry)).await);
    }
    tally.end(what)
}

/// Deletes some by name, those of data, or all.
async fn delete(session: &Session, kind: Kind, arguments: Delete) -> Done {
    let Delete { names, all, payload, confirm } = arguments;
    let data = payload.read(session)?;
    if names.is_empty() && !all && data.is_none() {
        return Err(Stop::usage("name at least one, or pass --all or -d"));
    }
    if !names.is_empty() && (all || data.is_some()) {
        log::warning("the names on the command line are passed over");
    }
    let question = if all {
        format!("Really delete ALL {}?", kind.list.to_uppercase())
    } else {
        "Really delete?".to_owned()
    };
    if !confirm.ask(&question)? {
        return Ok(());
    }
    let mut client = session.client(Service::Smd)?;
    if all {
        return client.ask(Ask::delete(kind.path)).await.map(drop);
    }
    let names = match data {
        Some(data) => {
            let list = entries(data, kind.list)?;
            list.iter().map(|it| name_of(it, kind.names).map(str::to_owned)).collect::<Result<_, _>>()?
        }
        None => names,
    };
    remove(&mut client, kind.path, &names, kind.list).await
}

/// Deletes some by name.
async fn remove(client: &mut Client, path: &str, names: &[String], what: &str) -> Done {
    let mut tally = Tally::default();
    for name in names {
        tally.count(client.ask(Ask::delete(format!("{path}/{}", segment(name)))).await);
    }
    tally.end(what)
}

/// Filters of a query.
fn filters(of: &[(&str, &[String])]) -> Vec<(String, String)> {
    of.iter().flat_map(|(name, values)| values.iter().map(|it| ((*name).to_owned(), it.clone()))).collect()
}
