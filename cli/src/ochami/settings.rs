//! `ochami config`: shows and changes the configuration. The bootcamp's shape of a cluster is kept where it
//! is used.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Map, Value, json};

use super::config::{self, SYSTEM, find};
use super::error::{Done, Stop};
use super::output::{Format, sorted};
use super::{Session, log, output};

/// The settings that there are; a list of names below a cluster is another.
const KEYS: [&str; 7] = [
    "log.format",
    "log.level",
    "log.color",
    "timeout",
    "default-cluster",
    "default-input-format",
    "default-output-format",
];
const CLUSTER_KEYS: [&str; 4] = ["name", "cluster.uri", "cluster.base-uri", "cluster.enable-auth"];
const SERVICE_KEYS: [&str; 7] =
    ["smd", "bss", "cloud-init", "pcs", "rcs", "boot-service", "metadata-service"];

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

/// Which file; `--config FILE` names a third.
#[derive(Clone, Copy, Debug, clap::Args)]
struct Place {
    /// The machine's configuration, /etc/ochami/config.yaml
    #[arg(long, global = true, conflicts_with_all = ["user", "config"])]
    system: bool,
    /// The caller's configuration, ~/.config/ochami/config.yaml; what is changed unless another is named
    #[arg(long, global = true, conflicts_with = "config")]
    user: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what commands run with, or one setting of it
    Show {
        /// log.format, say
        key: Option<String>,
        #[command(flatten)]
        shape: Shape,
    },
    /// Change a setting
    Set {
        /// log.format, say
        key: String,
        value: String,
    },
    /// Take a setting out
    Unset {
        /// log.format, say
        key: String,
    },
    /// The clusters
    #[command(subcommand)]
    Cluster(Cluster),
}

#[derive(Debug, Subcommand)]
enum Cluster {
    /// Show all clusters, one, or one setting of one
    Show {
        name: Option<String>,
        /// cluster.uri, say
        key: Option<String>,
        #[command(flatten)]
        shape: Shape,
    },
    /// Add a cluster or change it
    #[command(after_help = "Examples:
  ochami config cluster set --default demo cluster.uri https://demo.openchami.cluster:8443
  ochami config cluster set --default --base-uri https://demo.openchami.cluster:8443 demo")]
    Set {
        name: String,
        /// cluster.uri, cluster.enable-auth, cluster.smd.uri, name …
        key: Option<String>,
        value: Option<String>,
        /// Make it the default one
        #[arg(long, short)]
        default: bool,
    },
    /// Take a setting out
    Unset {
        name: String,
        /// cluster.smd.uri, say
        key: String,
    },
    /// Take a cluster out
    Delete { name: String },
}

#[derive(Debug, clap::Args)]
struct Shape {
    /// yaml, json or json-pretty
    #[arg(long, short, value_enum, default_value = "yaml")]
    format: Format,
}

pub(super) fn run(session: &Session, arguments: Arguments) -> Done {
    let place = arguments.place;
    match arguments.command {
        Command::Show { key, shape } => show(&shown(session, place)?, key.as_deref(), shape.format),
        Command::Set { key, value } => {
            if key.starts_with("clusters") {
                return Err(Stop::usage("clusters are changed by `ochami config cluster set`"));
            }
            let value = typed(&KEYS, &key, &value)?;
            change(session, place, true, |settings| set(settings, &key, value))
        }
        Command::Unset { key } => {
            if key.starts_with("clusters") {
                return Err(Stop::usage("clusters are taken out by `ochami config cluster delete`"));
            }
            change(session, place, false, |settings| {
                unset(settings, &key);
                Ok(())
            })
        }
        Command::Cluster(command) => run_cluster(session, place, command),
    }
}

fn run_cluster(session: &Session, place: Place, command: Cluster) -> Done {
    match command {
        Cluster::Show { name: None, shape, .. } => {
            show(&shown(session, place)?, Some("clusters"), shape.format)
        }
        Cluster::Show { name: Some(name), key, shape } => {
            let mut settings = shown(session, place)?;
            let cluster = cluster_of(&mut settings, &name)?;
            show(cluster, key.as_deref(), shape.format)
        }
        Cluster::Set { name, key, value, default } => {
            let (key, value) = match (key, value, &session.global.cluster_uri) {
                (Some(key), Some(value), None) => (Some(key), value),
                (None, None, Some(uri)) => (Some("cluster.base-uri".to_owned()), uri.clone()),
                (None, None, None) => (None, String::new()),
                _ => return Err(Stop::usage("write a key and a value, or --base-uri")),
            };
            let value = match &key {
                Some(key) => Some((key.as_str(), typed(&CLUSTER_KEYS, key, &value)?)),
                None => None,
            };
            change(session, place, true, |settings| set_cluster(settings, &name, value, default))
        }
        Cluster::Unset { name, key } => {
            if key == "name" {
                return Err(Stop::usage(
                    "a cluster needs its name; `ochami config cluster delete` takes it out",
                ));
            }
            change(session, place, false, |settings| {
                unset(cluster_of(settings, &name)?, &key);
                Ok(())
            })
        }
        Cluster::Delete { name } => change(session, place, false, |settings| {
            cluster_of(settings, &name)?;
            if let Some(list) = settings["clusters"].as_array_mut() {
                list.retain(|it| it["name"] != name.as_str());
            }
            if settings["default-cluster"] == name.as_str() {
                unset(settings, "default-cluster");
            }
            Ok(())
        }),
    }
}

/// What is shown: one file, or all that commands run with.
fn shown(session: &Session, place: Place) -> Result<Value, Stop> {
    let path = match (&session.global.config, place) {
        (Some(path), _) => path.clone(),
        (None, Place { system: true, .. }) => SYSTEM.into(),
        (None, Place { user: true, .. }) => user_file()?,
        _ => return Ok(session.config.0.clone()),
    };
    config::read(&path)?.ok_or_else(|| Stop::failed(format!("there is no configuration {}", path.display())))
}

fn user_file() -> Result<PathBuf, Stop> {
    config::user_file().ok_or_else(|| Stop::failed("nobody's configuration: HOME is not set"))
}

/// Sorted and complete as today; where a cluster is in the bootcamp's shape, as the bootcamp shows it.
fn show(settings: &Value, key: Option<&str>, format: Format) -> Done {
    let mut settings = settings.clone();
    if !settings.to_string().contains("\"base-uri\"") {
        settings = complete(settings, key.is_none());
    }
    let value = key.map_or(Some(&settings), |key| find(&settings, key));
    let Some(value) = value else { return Ok(()) };
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Object(_) | Value::Array(_) => output::text(value, format),
        other => other.to_string(),
    };
    output::print(format!("{text}\n"))
}

/// With what applies where nothing is said.
fn complete(mut settings: Value, whole: bool) -> Value {
    let entries = match settings.get_mut("clusters") {
        Some(Value::Array(list)) => list.as_mut_slice(),
        _ => std::slice::from_mut(&mut settings),
    };
    for entry in entries {
        if let Some(cluster) = entry.get_mut("cluster").and_then(Value::as_object_mut) {
            cluster.entry("enable-auth").or_insert(json!(true));
        }
    }
    if whole && let Some(members) = settings.as_object_mut() {
        if members.contains_key("log") {
            members.entry("timeout").or_insert(json!("30s"));
        }
        members.retain(|_, value| !value.is_null());
    }
    sorted(settings)
}

/// Changes the file that is meant.
fn change(
    session: &Session,
    place: Place,
    make: bool,
    edit: impl FnOnce(&mut Value) -> Result<(), Stop>,
) -> Done {
    let path = match (&session.global.config, place.system) {
        (Some(path), _) => path.clone(),
        (None, true) => SYSTEM.into(),
        (None, false) => user_file()?,
    };
    if make {
        config::make(&path)?;
    }
    let mut settings = config::read(&path)?
        .ok_or_else(|| Stop::failed(format!("there is no configuration {}", path.display())))?;
    edit(&mut settings)?;
    config::write(&path, &settings)
}

/// The value that a key takes; a key that nothing reads is refused.
fn typed(keys: &[&str], key: &str, value: &str) -> Result<Value, Stop> {
    let mut parts = key.split('.');
    let service = (parts.next(), parts.next(), parts.next(), parts.next());
    let of_service = matches!(service, (Some("cluster"), Some(name), Some("uri" | "api-version"), None)
        if SERVICE_KEYS.contains(&name));
    let known = keys.contains(&key) || (of_service && keys.contains(&"name"));
    match (key, value) {
        _ if !known => Err(Stop::usage(format!("no setting is called {key:?}"))),
        ("cluster.enable-auth", "true") => Ok(json!(true)),
        ("cluster.enable-auth", "false") => Ok(json!(false)),
        ("cluster.enable-auth", _) => Err(Stop::usage("write true or false")),
        ("log.format", "json" | "rfc3339" | "basic") | ("log.level", "info" | "warning" | "debug") => {
            Ok(json!(value))
        }
        ("log.format", _) => Err(Stop::usage("write json, rfc3339 or basic")),
        ("log.level", _) => Err(Stop::usage("write info, warning or debug")),
        ("default-input-format" | "default-output-format", _) if Format::find(value).is_none() => {
            Err(Stop::usage("write json, json-pretty or yaml"))
        }
        _ => Ok(json!(value)),
    }
}

fn set(settings: &mut Value, key: &str, value: Value) -> Result<(), Stop> {
    let mut place = settings;
    for part in key.split('.') {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[part];
    }
    *place = value;
    Ok(())
}

fn unset(settings: &mut Value, key: &str) {
    match key.split_once('.') {
        Some((first, rest)) => {
            if let Some(inner) = settings.get_mut(first) {
                unset(inner, rest);
            }
        }
        None => {
            if let Some(members) = settings.as_object_mut() {
                members.shift_remove(key);
            }
        }
    }
}

fn cluster_of<'a>(settings: &'a mut Value, name: &str) -> Result<&'a mut Value, Stop> {
    let clusters = settings.get_mut("clusters").and_then(Value::as_array_mut);
    clusters
        .into_iter()
        .flatten()
        .find(|it| it["name"] == name)
        .ok_or_else(|| Stop::failed(format!("no cluster is called {name:?}")))
}

fn set_cluster(
    settings: &mut Value,
    name: &str,
    value: Option<(&str, Value)>,
    default: bool,
) -> Result<(), Stop> {
    let mut name = name.to_owned();
    if let Some(("name", new)) = &value
        && cluster_of(settings, new.as_str().unwrap_or_default()).is_ok()
    {
        return Err(Stop::failed(format!("a cluster is called {new} already")));
    }
    let first = settings["clusters"].as_array().is_none_or(Vec::is_empty);
    if cluster_of(settings, &name).is_err() {
        if first {
            settings["clusters"] = json!([]);
            log::info(format!("{name} is the first cluster, and so the default one"));
        }
        if let Some(list) = settings["clusters"].as_array_mut() {
            list.push(json!({"name": name, "cluster": {}}));
        }
    }
    let mut default = default || first;
    if let Some((key, value)) = value {
        let entry = cluster_of(settings, &name)?;
        match key {
            // One cluster has one address.
            "cluster.uri" => unset(entry, "cluster.base-uri"),
            "cluster.base-uri" => unset(entry, "cluster.uri"),
            _ => {}
        }
        let new_name = value.as_str().filter(|_| key == "name").map(str::to_owned);
        set(entry, key, value)?;
        if let Some(new) = new_name {
            default |= settings["default-cluster"] == name.as_str();
            name = new;
        }
    }
    if default {
        // Before the clusters, where people look for it.
        let clusters = settings.as_object_mut().and_then(|it| it.shift_remove("clusters"));
        settings["default-cluster"] = json!(name);
        settings["clusters"] = clusters.unwrap_or_else(|| json!([]));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{complete, set, set_cluster, typed, unset};

    #[test]
    fn a_cluster_keeps_one_address_in_the_shape_it_was_given() {
        let mut settings = json!({"log": {"format": "basic"}});
        set_cluster(&mut settings, "demo", Some(("cluster.base-uri", json!("https://a"))), true)
            .expect("set");
        let wanted = json!({"log": {"format": "basic"}, "default-cluster": "demo",
            "clusters": [{"name": "demo", "cluster": {"base-uri": "https://a"}}]});
        assert_eq!(settings.to_string(), wanted.to_string());
        set_cluster(&mut settings, "demo", Some(("cluster.uri", json!("https://b"))), false).expect("set");
        assert_eq!(settings["clusters"][0]["cluster"], json!({"uri": "https://b"}));
        set_cluster(&mut settings, "demo", Some(("name", json!("new"))), false).expect("set");
        assert_eq!(
            (&settings["default-cluster"], &settings["clusters"][0]["name"]),
            (&json!("new"), &json!("new"))
        );
        assert_eq!(complete(settings, true)["clusters"][0]["cluster"]["enable-auth"], json!(true));
    }

    #[test]
    fn settings_that_nothing_reads_are_refused() {
        assert!(typed(&super::KEYS, "log.levelx", "1").is_err());
        assert!(typed(&super::KEYS, "log.level", "loud").is_err());
        assert!(typed(&super::CLUSTER_KEYS, "cluster.smd.uri", "/hsm").is_ok());
        assert!(typed(&super::CLUSTER_KEYS, "cluster.smd.url", "/hsm").is_err());
        let mut settings = json!({"log": {"format": "basic", "level": "info"}});
        unset(&mut settings, "log.level");
        unset(&mut settings, "nothing.there");
        set(&mut settings, "timeout", json!("5s")).expect("set");
        assert_eq!(settings, json!({"log": {"format": "basic"}, "timeout": "5s"}));
    }
}
