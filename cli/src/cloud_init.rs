//! `pilotctl cloud-init`.

use std::path::{Path, PathBuf};

use axum::http::{Method, StatusCode};
use clap::{Args, Subcommand};
use domain::Service;
use serde_json::{Map, Value, json};
use web::ClientError;

use crate::Head;
use crate::error::Failure;
use crate::output::{Format, print, text};

/// What nodes become.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  pilotctl cloud-init render nid001              what it would get, filled in, and from where
  pilotctl cloud-init render nid001 --raw        what it fetches
  pilotctl cloud-init group set compute --file compute.yaml --data syslog=10.0.0.9
  pilotctl cloud-init node set nid001 --hostname login.example.org
  pilotctl cloud-init defaults set --short-name nid --nid-length 3 --key-file ~/.ssh/id_ed25519.pub

Groups, nodes and defaults here are those of the present API; entries of the legacy one
(ochami cloud-init config) go before them unless cloud_init.api says otherwise.")]
pub(crate) enum Command {
    /// What a node would be given now, each part with where it comes from
    Render {
        /// A name, an xname, a MAC address, or a group's label
        node: String,
        /// As it is fetched: templates are not filled in
        #[arg(long)]
        raw: bool,
    },
    /// The files and values that nodes get by their groups
    #[command(subcommand)]
    Group(Group),
    /// What is set for single nodes
    #[command(subcommand)]
    Node(Node),
    /// What holds for every node
    #[command(subcommand)]
    Defaults(Defaults),
}

/// The files and values that nodes get by their groups.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  pilotctl cloud-init group set compute --file compute.yaml --description 'All compute nodes'
  pilotctl cloud-init group set compute --data syslog=10.0.0.9 --data 'ntp=[\"10.0.0.1\"]'
  pilotctl cloud-init group show compute
  pilotctl cloud-init group list --output json")]
pub(crate) enum Group {
    /// Every group that has data
    List,
    /// One group
    Show {
        /// The group's label
        name: String,
    },
    /// Change what a group has; what is not given stays
    Set(GroupSet),
    /// Take a group's data away; its members stay
    Remove {
        /// The group's label
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct GroupSet {
    /// The group's label
    name: String,
    /// The file for cloud-init; its first line says what it is: #cloud-config, ## template: jinja, #!/bin/sh
    /// …; - reads standard input
    #[arg(long)]
    file: Option<PathBuf>,
    /// Free text
    #[arg(long)]
    description: Option<String>,
    /// A value for templates, KEY=JSON or KEY=text; KEY= takes it away
    #[arg(long = "data", value_name = "KEY=VALUE")]
    data: Vec<String>,
    /// Take a template though a variable has no value for some node
    #[arg(long)]
    force: bool,
}

/// What is set for single nodes.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  pilotctl cloud-init node set nid001 --local-hostname login1 --hostname login1.example.org
  pilotctl cloud-init node set nid001 --instance-id i-new     cloud-init begins anew on it
  pilotctl cloud-init node remove nid001")]
pub(crate) enum Node {
    /// What is set for a node
    Show {
        /// A name or an xname
        node: String,
    },
    /// Change what is set for a node; what is not given stays
    Set(Box<NodeSet>),
    /// Take away what is set for a node
    Remove {
        /// A name or an xname
        node: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct NodeSet {
    /// A name or an xname
    node: String,
    /// What cloud-init knows the machine by; with another one it begins anew
    #[arg(long)]
    instance_id: Option<String>,
    /// The node's own name
    #[arg(long)]
    local_hostname: Option<String>,
    /// How others call it
    #[arg(long)]
    hostname: Option<String>,
    /// Free text
    #[arg(long)]
    instance_type: Option<String>,
    /// Where it finds the files of its groups
    #[arg(long)]
    cloud_init_base_url: Option<String>,
    /// A file with SSH keys, one a line, beside those of the defaults
    #[arg(long)]
    key_file: Option<PathBuf>,
}

/// What holds for every node.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  pilotctl cloud-init defaults show
  pilotctl cloud-init defaults set --cluster-name demo --short-name nid --nid-length 3
  pilotctl cloud-init defaults set --region ''       unsets it")]
pub(crate) enum Defaults {
    /// The defaults
    Show,
    /// Change defaults; what is not given stays, what is empty is unset
    Set(Box<DefaultsSet>),
}

#[derive(Debug, Args)]
pub(crate) struct DefaultsSet {
    /// The cluster's long name
    #[arg(long)]
    cluster_name: Option<String>,
    /// What stands before the number in a node's name
    #[arg(long)]
    short_name: Option<String>,
    /// Digits of the number in a node's name; 0 unsets it
    #[arg(long)]
    nid_length: Option<u8>,
    /// Where nodes find the files of their groups; unset: where they asked
    #[arg(long)]
    base_url: Option<String>,
    /// Free text
    #[arg(long)]
    region: Option<String>,
    /// Free text
    #[arg(long)]
    availability_zone: Option<String>,
    /// Free text
    #[arg(long)]
    cloud_provider: Option<String>,
    /// A file with SSH keys, one a line
    #[arg(long)]
    key_file: Option<PathBuf>,
}

pub(crate) async fn run(head: &Head, command: Command) -> Result<(), Failure> {
    match command {
        Command::Render { node, raw } => render(head, &node, raw).await,
        Command::Group(command) => group(head, command).await,
        Command::Node(command) => node(head, command).await,
        Command::Defaults(Defaults::Show) => {
            let found: Value = head.client(Service::CloudInit).get("/pilothouse/v1/defaults").await?;
            show(head, &found);
            Ok(())
        }
        Command::Defaults(Defaults::Set(given)) => set_defaults(head, *given).await,
    }
}

async fn render(head: &Head, node: &str, raw: bool) -> Result<(), Failure> {
    let path = format!("/pilothouse/v1/render/{}", escape(node));
    let found: Value = head.client(Service::CloudInit).get(&path).await?;
    if head.format == Format::Json {
        println!("{found:#}");
        return Ok(());
    }
    eprintln!("{node} by the {} API, from: {}", text(&found, "api"), one_line(&text(&found, "sources")));
    for hint in found["hints"].as_array().into_iter().flatten() {
        eprintln!("note: {}", hint.as_str().unwrap_or_default());
    }
    for (part, member) in
        [("meta-data", "meta_data"), ("user-data", "user_data"), ("vendor-data", "vendor_data")]
    {
        println!("# {part}{}", origins(&found, part));
        println!("{}", printable(text(&found, member).trim_end()));
    }
    let mut faults = Vec::new();
    for file in found["files"].as_array().into_iter().flatten() {
        let filled = !raw && !file["rendered"].is_null();
        let how = if filled { ", filled in" } else { "" };
        println!("# group {}: {}{how}", text(file, "group"), text(file, "url"));
        let content = if filled { text(file, "rendered") } else { text(file, "content") };
        println!("{}", printable(content.trim_end()));
        faults.extend(file["fault"].as_str().map(str::to_owned));
    }
    if faults.is_empty() { Ok(()) } else { Err(Failure::failed(faults.join("\n  "))) }
}

/// Where the keys of a part come from, in brackets.
fn origins(found: &Value, part: &str) -> String {
    let all = found["origins"].as_array().into_iter().flatten();
    let here = all.filter(|it| it["part"] == part);
    let from = |it: &Value| text(it, "from").replace(',', " and ");
    let told: Vec<String> = here.map(|it| format!("{} from {}", text(it, "key"), from(it))).collect();
    if told.is_empty() { String::new() } else { format!(" ({})", one_line(&told.join(", "))) }
}

async fn group(head: &Head, command: Group) -> Result<(), Failure> {
    let client = head.client(Service::CloudInit);
    let path = |name: &str| format!("/pilothouse/v1/groups/{}", escape(name));
    match command {
        Group::List => {
            let all: Value = client.get("/pilothouse/v1/groups").await?;
            let row = |(name, it): (&String, &Value)| {
                let first = text(&it["file"], "content").lines().next().unwrap_or_default().to_owned();
                let keys = it["meta-data"].as_object().into_iter().flat_map(Map::keys).cloned();
                vec![name.clone(), text(it, "description"), keys.collect::<Vec<_>>().join(","), first]
            };
            let rows: Vec<_> = all.as_object().into_iter().flatten().map(row).collect();
            print(head.format, &all, &["GROUP", "DESCRIPTION", "DATA", "FILE"], &rows);
        }
        Group::Show { name } => {
            let found: Value = client.get(&path(&name)).await?;
            show(head, &found);
        }
        Group::Set(given) => {
            let mut group = find(head, &path(&given.name)).await?;
            change_group(&mut group, &given)?;
            let path = format!("{}?force={}", path(&given.name), given.force);
            client.text(Method::PUT, &path, Some(&group)).await?;
        }
        Group::Remove { name } => drop(client.text(Method::DELETE, &path(&name), None::<&()>).await?),
    }
    Ok(())
}

fn change_group(group: &mut Value, given: &GroupSet) -> Result<(), Failure> {
    if given.file.is_none() && given.description.is_none() && given.data.is_empty() {
        return Err(Failure::usage("say what to set: --file, --description or --data"));
    }
    if let Some(file) = &given.file {
        let content = read(file)?;
        let name = file.file_name().map(|it| it.to_string_lossy().into_owned()).unwrap_or_default();
        group["file"] = json!({"content": content, "filename": name, "encoding": "plain"});
    }
    if let Some(description) = &given.description {
        group["description"] = json!(description);
    }
    for word in &given.data {
        let Some((key, value)) = word.split_once('=').filter(|it| !it.0.is_empty()) else {
            return Err(Failure::usage(format!("--data {word:?} is not KEY=VALUE")));
        };
        if !group["meta-data"].is_object() {
            group["meta-data"] = json!({});
        }
        match value {
            "" => drop(group["meta-data"].as_object_mut().map(|it| it.remove(key))),
            _ => group["meta-data"][key] = serde_json::from_str(value).unwrap_or_else(|_| json!(value)),
        }
    }
    Ok(())
}

async fn node(head: &Head, command: Node) -> Result<(), Failure> {
    let client = head.client(Service::CloudInit);
    let path = |node: &str| format!("/pilothouse/v1/instances/{}", escape(node));
    match command {
        Node::Show { node } => {
            let found: Value = client.get(&path(&node)).await?;
            show(head, &found);
        }
        Node::Set(given) => {
            let mut info = find(head, &path(&given.node)).await?;
            let keys = given.key_file.as_deref().map(keys).transpose()?;
            let members = [
                ("instance-id", json!(given.instance_id)),
                ("local-hostname", json!(given.local_hostname)),
                ("hostname", json!(given.hostname)),
                ("instance-type", json!(given.instance_type)),
                ("cloud-init-base-url", json!(given.cloud_init_base_url)),
                ("public-keys", json!(keys)),
            ];
            take(&mut info, members)?;
            client.text(Method::PUT, &path(&given.node), Some(&info)).await?;
        }
        Node::Remove { node } => drop(client.text(Method::DELETE, &path(&node), None::<&()>).await?),
    }
    Ok(())
}

async fn set_defaults(head: &Head, given: DefaultsSet) -> Result<(), Failure> {
    const PATH: &str = "/pilothouse/v1/defaults";
    let mut defaults = find(head, PATH).await?;
    let keys = given.key_file.as_deref().map(keys).transpose()?;
    let members = [
        ("cluster-name", json!(given.cluster_name)),
        ("short-name", json!(given.short_name)),
        ("nid-length", json!(given.nid_length)),
        ("base-url", json!(given.base_url)),
        ("region", json!(given.region)),
        ("availability-zone", json!(given.availability_zone)),
        ("cloud_provider", json!(given.cloud_provider)),
        ("public-keys", json!(keys)),
    ];
    take(&mut defaults, members)?;
    head.client(Service::CloudInit).text(Method::PUT, PATH, Some(&defaults)).await?;
    Ok(())
}

/// Takes the members that are given.
fn take<const N: usize>(into: &mut Value, members: [(&str, Value); N]) -> Result<(), Failure> {
    let given: Vec<_> = members.into_iter().filter(|it| !it.1.is_null()).collect();
    if given.is_empty() {
        return Err(Failure::usage("say what to set; --help lists what there is"));
    }
    for (name, value) in given {
        into[name] = value;
    }
    Ok(())
}

/// What is there, or nothing.
async fn find(head: &Head, path: &str) -> Result<Value, Failure> {
    match head.client(Service::CloudInit).get(path).await {
        Err(ClientError::Status { status: StatusCode::NOT_FOUND, .. }) => Ok(json!({})),
        found => Ok(found?),
    }
}

/// JSON as it is, or one member a line; a text of several lines below its name.
fn show(head: &Head, value: &Value) {
    if head.format == Format::Json {
        println!("{value:#}");
        return;
    }
    for (name, member) in value.as_object().into_iter().flatten() {
        match member {
            Value::Object(_) => {
                println!("{name}:");
                for (name, member) in member.as_object().into_iter().flatten() {
                    line(&format!("  {name}"), member);
                }
            }
            _ => line(name, member),
        }
    }
}

fn line(name: &str, value: &Value) {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if text.contains('\n') {
        println!("{name}:");
        text.lines().for_each(|it| println!("    {}", printable(it)));
    } else {
        println!("{name}: {}", one_line(&text));
    }
}

fn read(file: &Path) -> Result<String, Failure> {
    let text = match file.as_os_str() {
        it if it == "-" => std::io::read_to_string(std::io::stdin()),
        _ => std::fs::read_to_string(file),
    };
    text.map_err(|it| Failure::failed(format!("cannot read {}: {it}", file.display())))
}

/// The keys of a file: its lines that are neither empty nor comments.
fn keys(file: &Path) -> Result<Vec<String>, Failure> {
    let text = read(file)?;
    let lines = text.lines().map(str::trim).filter(|it| !it.is_empty() && !it.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

/// What comes from the network may hold what a terminal obeys.
fn printable(text: &str) -> String {
    text.replace(|it: char| it.is_control() && !matches!(it, '\n' | '\t'), "?")
}

fn one_line(text: &str) -> String {
    text.replace(char::is_control, "?")
}

/// A word as one segment of a path.
fn escape(word: &str) -> String {
    let plain = |it: &u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_' | b'.' | b'~');
    let shown = |it: u8| if plain(&it) { char::from(it).to_string() } else { format!("%{it:02X}") };
    word.bytes().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{GroupSet, change_group, escape, origins};

    fn set(data: &[&str]) -> GroupSet {
        let data = data.iter().map(|it| (*it).to_owned()).collect();
        GroupSet { name: "compute".into(), file: None, description: None, data, force: false }
    }

    #[test]
    fn what_is_not_given_stays() {
        let mut group = json!({"file": {"content": "a"}, "meta-data": {"b": 1, "c": 2}});
        assert!(change_group(&mut group, &set(&["b=", "d=[1]", "e=10.0.0.9"])).is_ok());
        let data = json!({"c": 2, "d": [1], "e": "10.0.0.9"});
        assert_eq!(group, json!({"file": {"content": "a"}, "meta-data": data}));
        assert!(change_group(&mut group, &set(&[])).is_err());
        assert!(change_group(&mut group, &set(&["=1"])).is_err());
    }

    #[test]
    fn each_key_names_where_it_comes_from() {
        let origin = json!({"part": "user-data", "key": "runcmd", "from": ["compute", "zeta"]});
        let found = json!({"origins": [origin]});
        assert_eq!(origins(&found, "user-data"), " (runcmd from compute and zeta)");
        assert_eq!(origins(&found, "meta-data"), "");
    }

    #[test]
    fn a_word_is_one_segment() {
        assert_eq!(escape("ec:e7/.."), "ec%3Ae7%2F..");
    }
}
