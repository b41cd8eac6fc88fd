//! `ochami boot` and `ochami metadata`: resources of the services that other clusters have in place of BSS
//! and cloud-init. The head has no such services; the commands are for clusters that do.

use clap::Subcommand;
use http::Method;
use serde_json::{Map, Value, json};

use super::config::Service;
use super::error::{Done, Stop, Tally};
use super::http::{Ask, segment};
use super::output::Output;
use super::payload::{Payload, entries};
use super::{Confirm, Session};

#[derive(Debug, clap::Args)]
pub(super) struct Boot {
    /// The version of its interface, v1 say
    #[arg(long, global = true)]
    api_version: Option<String>,
    #[command(subcommand)]
    command: BootKind,
}

#[derive(Debug, Subcommand)]
enum BootKind {
    /// Management controllers
    #[command(subcommand)]
    Bmc(Command),
    /// What nodes boot
    #[command(subcommand)]
    Config(Command),
    /// Nodes
    #[command(subcommand)]
    Node(Command),
    /// The service itself
    #[command(subcommand)]
    Service(ServiceCommand),
}

#[derive(Debug, clap::Args)]
pub(super) struct Metadata {
    /// The version of its interface, v1 say
    #[arg(long, global = true)]
    api_version: Option<String>,
    #[command(subcommand)]
    command: MetadataKind,
}

#[derive(Debug, Subcommand)]
enum MetadataKind {
    /// What holds for the cluster
    #[command(subcommand)]
    Defaults(Command),
    /// Groups
    #[command(subcommand)]
    Group(Command),
    /// Nodes
    #[command(subcommand)]
    Instance(Command),
    /// Partners of the WireGuard network
    #[command(subcommand)]
    Peer(Command),
    /// The service itself
    #[command(subcommand)]
    Service(ServiceCommand),
}

#[derive(Debug, Subcommand)]
enum ServiceCommand {
    /// Whether it is well
    Status(Output),
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show all
    List(Output),
    /// Show one
    Get {
        uid: String,
        #[command(flatten)]
        output: Output,
    },
    /// Add some; without -d, those of standard input
    Add {
        /// The data are whole resources: metadata, spec, labels, annotations
        #[arg(long, short)]
        envelope: bool,
        #[command(flatten)]
        payload: Payload,
    },
    /// Set one, whatever it was
    Set {
        uid: String,
        /// The data are a whole resource
        #[arg(long, short)]
        envelope: bool,
        #[command(flatten)]
        payload: Payload,
    },
    /// Change one
    Patch(Patch),
    /// Delete some
    Delete {
        #[arg(required = true)]
        uids: Vec<String>,
        #[command(flatten)]
        confirm: Confirm,
    },
}

#[derive(Debug, clap::Args)]
struct Patch {
    uid: String,
    /// KEY.SUBKEY=VALUE
    #[arg(long)]
    set: Vec<String>,
    /// KEY.SUBKEY
    #[arg(long)]
    unset: Vec<String>,
    /// Behind a list: KEY=VALUE
    #[arg(long)]
    add: Vec<String>,
    /// From a list: KEY=INDEX
    #[arg(long)]
    remove: Vec<String>,
    /// What the data are: rfc7386, rfc6902 or keyval
    #[arg(long, short, default_value = "rfc7386", value_parser = ["rfc7386", "rfc6902", "keyval"])]
    patch_method: String,
    #[command(flatten)]
    payload: Payload,
}

/// Where resources of a kind are.
#[derive(Clone, Copy)]
struct Place<'a> {
    service: Service,
    path: &'static str,
    version: Option<&'a str>,
}

pub(super) async fn run_boot(session: &Session, arguments: Boot) -> Done {
    let at = |path| Place { service: Service::Boot, path, version: arguments.api_version.as_deref() };
    match arguments.command {
        BootKind::Bmc(command) => run(session, at("/bmcs"), command).await,
        BootKind::Config(command) => run(session, at("/bootconfigurations"), command).await,
        BootKind::Node(command) => run(session, at("/nodes"), command).await,
        BootKind::Service(ServiceCommand::Status(output)) => status(session, Service::Boot, output).await,
    }
}

pub(super) async fn run_metadata(session: &Session, arguments: Metadata) -> Done {
    let at = |path| Place { service: Service::Metadata, path, version: arguments.api_version.as_deref() };
    match arguments.command {
        MetadataKind::Defaults(command) => run(session, at("/clusterdefaultss"), command).await,
        MetadataKind::Group(command) => run(session, at("/groups"), command).await,
        MetadataKind::Instance(command) => run(session, at("/instanceinfos"), command).await,
        MetadataKind::Peer(command) => run(session, at("/wireguardpeers"), command).await,
        MetadataKind::Service(ServiceCommand::Status(output)) => {
            status(session, Service::Metadata, output).await
        }
    }
}

async fn status(session: &Session, service: Service, output: Output) -> Done {
    session.print_line(session.client(service)?.ask(Ask::get("/health")).await?.json()?, output)
}

async fn run(session: &Session, place: Place<'_>, command: Command) -> Done {
    let one = |uid: &str| format!("{}/{}", place.path, segment(uid));
    let kind = |of: &str| place.version.map_or(of.to_owned(), |it| format!("{of};version={it}"));
    match command {
        Command::List(output) => session
            .print_line(session.client(place.service)?.ask(Ask::get(place.path)).await?.json()?, output),
        Command::Get { uid, output } => {
            session.print_line(session.client(place.service)?.ask(Ask::get(one(&uid))).await?.json()?, output)
        }
        Command::Add { envelope, payload } => {
            let list = entries(payload.read_or_input(session)?, "items")?;
            let mut client = session.client(place.service)?;
            let mut tally = Tally::default();
            for entry in list {
                let body = if envelope { entry } else { enveloped(entry, true)? };
                let ask = Ask::new(Method::POST, place.path).body(body).content(kind("application/json"));
                tally.count(client.ask(ask).await);
            }
            tally.end("resources")
        }
        Command::Set { uid, envelope, payload } => {
            let data = payload.read_or_input(session)?;
            let body = if envelope { data } else { enveloped(data, false)? };
            let ask = Ask::new(Method::PUT, one(&uid)).body(body).content(kind("application/json"));
            session.client(place.service)?.ask(ask).await.map(drop)
        }
        Command::Patch(patch) => {
            let (content, body) = patch.body(session)?;
            let ask = Ask::new(Method::PATCH, one(&patch.uid)).body(body).content(content);
            session.client(place.service)?.ask(ask).await.map(drop)
        }
        Command::Delete { uids, confirm } => {
            if !confirm.ask("Really delete?")? {
                return Ok(());
            }
            let mut client = session.client(place.service)?;
            let mut tally = Tally::default();
            for uid in uids {
                tally.count(client.ask(Ask::delete(one(&uid))).await);
            }
            tally.end("resources")
        }
    }
}

/// A resource of its data: the name apart, the rest its specification.
fn enveloped(data: Value, named: bool) -> Result<Value, Stop> {
    let Value::Object(mut spec) = data else { return Err(Stop::failed("the data have no members")) };
    let mut envelope = Map::new();
    match spec.shift_remove("name") {
        Some(name) => {
            envelope.insert("metadata".to_owned(), json!({"name": name}));
        }
        None if named => return Err(Stop::failed("the data have no name; -e sends whole resources")),
        None => {}
    }
    envelope.insert("spec".to_owned(), Value::Object(spec));
    Ok(Value::Object(envelope))
}

impl Patch {
    /// The patch, and what kind of JSON it is.
    fn body(&self, session: &Session) -> Result<(&'static str, Value), Stop> {
        let flags =
            !(self.set.is_empty() && self.unset.is_empty() && self.add.is_empty() && self.remove.is_empty());
        let content = match self.patch_method.as_str() {
            "rfc6902" => "application/json-patch+json",
            "keyval" => "application/fabrica-patch+json",
            _ => "application/merge-patch+json",
        };
        if !flags {
            return Ok((content, self.payload.read_or_input(session)?));
        }
        if !self.add.is_empty() || !self.remove.is_empty() {
            return Ok(("application/json-patch+json", self.operations()?));
        }
        let mut patch = json!({});
        for word in &self.set {
            let (key, value) = pair(word)?;
            *place(&mut patch, key) = value;
        }
        for key in &self.unset {
            *place(&mut patch, key) = Value::Null;
        }
        Ok(("application/merge-patch+json", patch))
    }

    /// RFC 6902, which alone can change lists.
    fn operations(&self) -> Result<Value, Stop> {
        let mut operations = Vec::new();
        for word in &self.set {
            let (key, value) = pair(word)?;
            operations.push(json!({"op": "add", "path": pointer(key), "value": value}));
        }
        operations.extend(self.unset.iter().map(|it| json!({"op": "remove", "path": pointer(it)})));
        for word in &self.add {
            let (key, value) = pair(word)?;
            operations.push(json!({"op": "add", "path": format!("{}/-", pointer(key)), "value": value}));
        }
        for word in &self.remove {
            let (key, index) = pair(word)?;
            let index = index.as_u64().ok_or_else(|| Stop::usage(format!("write KEY=INDEX, not {word}")))?;
            operations.push(json!({"op": "remove", "path": format!("{}/{index}", pointer(key))}));
        }
        Ok(Value::Array(operations))
    }
}

/// `a.b=3`: the value is JSON if it can be, else text.
fn pair(word: &str) -> Result<(&str, Value), Stop> {
    let (key, value) =
        word.split_once('=').ok_or_else(|| Stop::usage(format!("write KEY=VALUE, not {word}")))?;
    Ok((key, serde_json::from_str(value).unwrap_or_else(|_| json!(value))))
}

fn parts(key: &str) -> impl Iterator<Item = &str> {
    key.split('.').filter(|it| !it.is_empty())
}

fn pointer(key: &str) -> String {
    parts(key).map(|it| format!("/{}", it.replace('~', "~0").replace('/', "~1"))).collect()
}

fn place<'a>(value: &'a mut Value, key: &str) -> &'a mut Value {
    parts(key).fold(value, |value, part| {
        if !value.is_object() {
            *value = json!({});
        }
        &mut value[part]
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{enveloped, pair, place, pointer};

    #[test]
    fn a_resource_is_its_name_and_the_rest() {
        let made = enveloped(json!({"name": "n", "nid": 1}), true).expect("a resource");
        assert_eq!(made, json!({"metadata": {"name": "n"}, "spec": {"nid": 1}}));
        assert!(enveloped(json!({"nid": 1}), true).is_err());
        assert!(enveloped(json!([]), false).is_err());
    }

    #[test]
    fn keys_name_places() {
        assert_eq!(pointer("spec.a/b.c~d"), "/spec/a~1b/c~0d");
        assert_eq!(pair("a.b=[1]").expect("a pair"), ("a.b", json!([1])));
        assert_eq!(pair("a=b=c").expect("a pair").1, json!("b=c"));
        let mut value = json!({"a": 1});
        *place(&mut value, "a.b") = json!(2);
        assert_eq!(value, json!({"a": {"b": 2}}));
    }
}
