//! The configuration: /etc/ochami/config.yaml below ~/.config/ochami/config.yaml, or one named file. A
//! cluster's address is its `uri`, or its `base-uri` as the bootcamp's time wrote it.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::error::Stop;
use super::log;

/// The file of the machine.
pub(super) const SYSTEM: &str = "/etc/ochami/config.yaml";
/// A configuration is a page; what is longer is none.
const FILE_MAX: u64 = 1 << 20;

/// A service that commands speak to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    Smd,
    Bss,
    CloudInit,
    /// cloud-init's store that wants a token to be read, of the bootcamp's time.
    CloudInitSecure,
    Pcs,
    Rcs,
    Boot,
    Metadata,
}

impl Service {
    /// Its name in the configuration, and where it is below the cluster's address.
    pub(super) const fn place(self) -> (&'static str, &'static str) {
        match self {
            Self::Smd => ("smd", "/hsm/v2"),
            Self::Bss => ("bss", "/boot/v1"),
            Self::CloudInit => ("cloud-init", "/cloud-init"),
            Self::CloudInitSecure => ("cloud-init-secure", "/cloud-init-secure"),
            Self::Pcs => ("pcs", "/"),
            Self::Rcs => ("rcs", "/remote-console"),
            Self::Boot => ("boot-service", "/boot-service"),
            Self::Metadata => ("metadata-service", "/metadata-service"),
        }
    }
}

/// What files say, put together.
#[derive(Clone, Debug, Default)]
pub(super) struct Config(pub(super) Value);

/// A cluster of the configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cluster<'a> {
    pub(super) name: &'a str,
    settings: &'a Value,
}

impl Config {
    /// The configuration that a command runs with.
    pub(super) fn load(file: Option<&Path>, ignore: bool) -> Result<Self, Stop> {
        let mut value = json!({"log": {"format": "rfc3339", "level": "warning"}});
        if ignore {
            return Ok(Self(value));
        }
        match file {
            Some(path) => {
                let read = read(path)?
                    .ok_or_else(|| Stop::failed(format!("there is no configuration {}", path.display())))?;
                merge(&mut value, read);
            }
            None => {
                for path in [Some(PathBuf::from(SYSTEM)), user_file()].into_iter().flatten() {
                    if let Some(read) = read(&path)? {
                        merge(&mut value, read);
                    }
                }
            }
        }
        Ok(Self(value))
    }

    /// The text of a setting, `log.format`; empty if it is not set.
    pub(super) fn text(&self, key: &str) -> &str {
        find(&self.0, key).and_then(Value::as_str).unwrap_or_default()
    }

    /// The cluster that a command is about: the one that is named, else the default one.
    pub(super) fn cluster(&self, named: Option<&str>) -> Result<Option<Cluster<'_>>, Stop> {
        let default = Some(self.text("default-cluster")).filter(|it| !it.is_empty());
        let Some(name) = named.or(default) else { return Ok(None) };
        let clusters = self.0["clusters"].as_array();
        match clusters.into_iter().flatten().find(|it| it["name"] == name) {
            Some(entry) => Ok(Some(Cluster {
                name: entry["name"].as_str().unwrap_or_default(),
                settings: &entry["cluster"],
            })),
            None => Err(Stop::failed(format!(
                "no cluster {name:?} is configured; `ochami config cluster show` lists them"
            ))),
        }
    }
}

impl Cluster<'_> {
    /// Whether requests carry a token.
    pub(super) fn wants_token(&self) -> bool {
        self.settings["enable-auth"] != false
    }

    /// The variable with its token.
    pub(super) fn variable(&self) -> String {
        format!("{}_ACCESS_TOKEN", self.name.replace(['-', ' '], "_").to_uppercase())
    }

    fn uri(&self) -> Option<&str> {
        ["uri", "base-uri"].into_iter().find_map(|it| self.settings[it].as_str()).filter(|it| !it.is_empty())
    }
}

/// Where a service is: `own`, the command line's word, before the configuration's, before its usual place,
/// each absolute or below the cluster's address, of which the command line may have another.
pub(super) fn service_uri(
    service: Service,
    cluster: Option<Cluster<'_>>,
    cluster_uri: Option<&str>,
    own: Option<&str>,
) -> Result<http::Uri, Stop> {
    let (name, usual) = service.place();
    let configured = cluster.and_then(|it| it.settings[name]["uri"].as_str()).filter(|it| !it.is_empty());
    let place = own.or(configured).unwrap_or(usual);
    let full = if place.contains("://") {
        place.to_owned()
    } else {
        let base = cluster_uri.or(cluster.as_ref().and_then(Cluster::uri)).ok_or_else(|| {
            Stop::failed(format!(
                "no address of {name} is known; pass --cluster-uri, or set it: \
                 ochami config cluster set --default NAME cluster.uri https://HEAD:8443"
            ))
        })?;
        format!("{}/{}", base.trim_end_matches('/'), place.trim_start_matches('/'))
    };
    let uri: http::Uri = full.parse().map_err(|it| Stop::failed(format!("{full} is no URI")).because(it))?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.host().is_some() => Ok(uri),
        _ => Err(Stop::failed(format!("{full} is no address; write https://HOST[:PORT][/PATH]"))),
    }
}

/// The file of the caller.
pub(super) fn user_file() -> Option<PathBuf> {
    std::env::home_dir().map(|it| it.join(".config/ochami/config.yaml"))
}

/// A file's settings; None if there is no file.
pub(super) fn read(path: &Path) -> Result<Option<Value>, Stop> {
    let fail = |cause: String| {
        Stop::failed(format!("cannot read the configuration {}", path.display())).because(cause)
    };
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Ok(found) if found.len() > FILE_MAX => {
            return Err(fail("it is no configuration, it is too long".into()));
        }
        _ => {}
    }
    let text = std::fs::read_to_string(path).map_err(|it| fail(it.to_string()))?;
    let value = match text.trim() {
        "" => Value::Object(Map::new()),
        text => serde_saphyr::from_str(text).map_err(|it| fail(it.to_string()))?,
    };
    match value {
        Value::Null => Ok(Some(Value::Object(Map::new()))),
        Value::Object(_) => Ok(Some(value)),
        _ => Err(fail("it holds no settings".into())),
    }
}

/// Writes settings, through a link if the file is one.
pub(super) fn write(path: &Path, value: &Value) -> Result<(), Stop> {
    std::fs::write(path, super::yaml::write(value))
        .map_err(|it| Stop::failed(format!("cannot write {}", path.display())).because(it))?;
    log::info(format!("wrote {}", path.display()));
    Ok(())
}

/// Asks whether a missing file is to be made, and makes it.
pub(super) fn make(path: &Path) -> Result<(), Stop> {
    if path.exists() {
        return Ok(());
    }
    if !confirm(&format!("{} does not exist. Create it?", path.display()))? {
        return Err(Stop::failed(format!("{} was not made, and nothing changed", path.display())));
    }
    let fail = |it| Stop::failed(format!("cannot make {}", path.display())).because(it);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(fail)?;
    }
    std::fs::write(path, "").map_err(fail)
}

/// Asks on standard error until the answer is y or n; the end of the input is no.
pub(super) fn confirm(question: &str) -> Result<bool, Stop> {
    let mut input = std::io::stdin().lock();
    loop {
        eprint!("{question} [yn]:");
        let mut line = String::new();
        let read = std::io::stderr().flush().and_then(|()| input.read_line(&mut line));
        match read.map_err(|it| Stop::failed("cannot read the answer").because(it))? {
            0 => return Ok(false),
            _ if line.trim().eq_ignore_ascii_case("y") => return Ok(true),
            _ if line.trim().eq_ignore_ascii_case("n") => return Ok(false),
            _ => {}
        }
    }
}

/// The value below `a.b.c`.
pub(super) fn find<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    key.split('.').try_fold(value, |value, part| value.get(part)).filter(|it| !it.is_null())
}

/// Puts `over` over what is there; clusters are told apart by their names.
pub(super) fn merge(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (name, value) in over {
                merge(under.entry(name).or_insert(Value::Null), value);
            }
        }
        (Value::Array(under), Value::Array(over)) => {
            for value in over {
                match under.iter_mut().find(|it| it["name"] == value["name"] && !value["name"].is_null()) {
                    Some(same) => merge(same, value),
                    None => under.push(value),
                }
            }
        }
        (_, Value::Null) => {}
        (under, over) => *under = over,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Config, Service, merge, service_uri};

    fn config() -> Config {
        let mut value = json!({"log": {"level": "warning"}, "default-cluster": "demo", "clusters": [
            {"name": "demo", "cluster": {"base-uri": "https://demo:8443/"}}]});
        merge(
            &mut value,
            json!({"log": {"format": "basic"}, "clusters": [
            {"name": "demo", "cluster": {"smd": {"uri": "hsm/v3"}, "bss": {"uri": "http://bss:1/b"}}},
            {"name": "a-b c", "cluster": {"uri": "http://other", "enable-auth": false}}]}),
        );
        Config(value)
    }

    #[test]
    fn a_service_is_where_the_nearest_word_says() {
        let config = config();
        let cluster = config.cluster(None).expect("demo is configured");
        let at = |service, base, own| service_uri(service, cluster, base, own).map(|it| it.to_string());
        for (service, base, own, uri) in [
            (Service::Smd, None, None, "https://demo:8443/hsm/v3"),
            (Service::Bss, Some("http://x"), None, "http://bss:1/b"),
            (Service::CloudInit, None, None, "https://demo:8443/cloud-init"),
            (Service::Smd, Some("http://x:9/y"), None, "http://x:9/y/hsm/v3"),
            (Service::Smd, None, Some("/z"), "https://demo:8443/z"),
            (Service::Pcs, None, None, "https://demo:8443/"),
        ] {
            assert_eq!(at(service, base, own).expect("an address"), uri);
        }
        assert!(at(Service::Smd, Some("ftp://x"), None).is_err());
        assert!(service_uri(Service::Smd, None, None, None).is_err());
    }

    #[test]
    fn a_cluster_names_its_variable() {
        let config = config();
        let of = |name| config.cluster(name).expect("it is configured").expect("a cluster");
        assert_eq!((of(None).variable().as_str(), of(None).wants_token()), ("DEMO_ACCESS_TOKEN", true));
        let other = of(Some("a-b c"));
        assert_eq!((other.variable().as_str(), other.wants_token()), ("A_B_C_ACCESS_TOKEN", false));
        assert!(config.cluster(Some("nowhere")).is_err());
        assert_eq!(config.text("log.format"), "basic");
    }
}
