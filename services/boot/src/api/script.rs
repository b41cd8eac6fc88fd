//! `/boot/v1/bootscript`: the one path that every node asks at every boot.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use daemon::BootEvent;
use domain::inventory::Component;
use domain::{BootStage, Nid, Service};
use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;
use web::{Caller, Query};

use super::{Boot, parameters};
use crate::config::Config;
use crate::error::Error;
use crate::model::{Asked, Outcome, look_up, node_mac, node_of};
use crate::wire::{Origin, boot_script, command_line, retry_script, wait_script};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Request {
    mac: Option<String>,
    name: Option<String>,
    nid: Option<String>,
    retry: Option<String>,
    arch: Option<String>,
    json: Option<String>,
}

impl Request {
    fn asked(&self) -> Option<Asked> {
        let given = |it: &Option<String>| it.clone().filter(|it| !it.is_empty());
        given(&self.mac)
            .map(Asked::Mac)
            .or_else(|| given(&self.name).map(Asked::Name))
            .or_else(|| self.nid.as_ref()?.parse::<Nid>().ok().map(Asked::Nid))
    }

    fn retry(&self) -> u32 {
        self.retry.as_ref().and_then(|it| it.parse().ok()).unwrap_or(0)
    }
}

/// What a look-up gave, with what rendering needs.
pub(super) struct Answer {
    pub(super) node: Option<Component>,
    pub(super) outcome: Outcome,
    /// What the next request asks by: the MAC as it was asked, else the node's first MAC (recording `-014`).
    pub(super) again: Asked,
}

pub(super) fn answer(boot: &Boot, asked: &Asked, arch: Option<&str>) -> Answer {
    let pattern = &boot.config.node_name;
    boot.inventory.read(|inventory| {
        let outcome = boot.parameters.read(|it| look_up(inventory, it, pattern, asked, arch));
        let node = node_of(inventory, asked, pattern);
        let mac = node.filter(|_| !matches!(asked, Asked::Mac(_))).and_then(|it| node_mac(inventory, it));
        let again = mac.map_or_else(|| asked.clone(), |it| Asked::Mac(it.to_string()));
        Answer { node: node.cloned(), outcome, again }
    })
}

impl Answer {
    /// The script's text, and where its settings come from.
    pub(super) fn render(&self, arch: Option<&str>, retry: u32, origin: &Origin) -> (String, String) {
        match (&self.outcome, arch) {
            (Outcome::Boot(settings, source), _) => {
                (boot_script(settings, self.node.as_ref(), &self.again, retry, origin), source.to_string())
            }
            (Outcome::Wait, Some(arch)) => {
                (retry_script(&self.again, arch, retry, origin), "none".to_owned())
            }
            (Outcome::Wait, None) => {
                let epoch = OffsetDateTime::now_utc().unix_timestamp();
                (wait_script(&self.again, epoch, origin), "none".to_owned())
            }
        }
    }
}

pub(super) async fn show(
    State(boot): State<Boot>,
    caller: Caller,
    Query(request): Query<Request>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let began = Instant::now();
    let asked = request.asked().ok_or(Error::NothingAsked)?;
    let origin = origin(&boot.config, &caller, &headers);
    let answer = answer(&boot, &asked, request.arch.as_deref());
    if request.json.as_deref() == Some("1") {
        return show_data(&answer, &origin);
    }
    let (text, source) = answer.render(request.arch.as_deref(), request.retry(), &origin);
    match (&answer.outcome, &answer.node) {
        (Outcome::Boot(settings, _), node) => {
            note_served(&boot, &answer, &caller, settings.kernel(), &source, (text.len(), began.elapsed()));
            if let Some(node) = node {
                boot.history.lock().unwrap_or_else(std::sync::PoisonError::into_inner).note(&node.id, now());
            }
        }
        (Outcome::Wait, Some(node)) if answer.again == asked => {
            let (id, address) = (&node.id, show_address(caller.address));
            if boot.is_news(&id.to_string()) {
                tracing::info!(pilothouse_node = %id, "{id} at {address} has no boot parameters; it waits");
            }
        }
        (Outcome::Wait, Some(_)) => {}
        (Outcome::Wait, None) => {
            let (key, value, address) = (asked.key(), asked.value(), show_address(caller.address));
            let value: String = value.escape_default().take(64).collect();
            if boot.is_news(&value) {
                let mac = asked.mac().map(|it| it.to_string()).unwrap_or_default();
                tracing::info!(
                    pilothouse_mac = mac,
                    "{key} {value} at {address} is in no inventory; it waits"
                );
            }
        }
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=UTF-8")], text).into_response())
}

/// `json=1`: the boot data with the final command line (BSS 1.32.2; recording `bss-script-016`).
fn show_data(answer: &Answer, origin: &Origin) -> Result<Response, Error> {
    let Outcome::Boot(settings, _) = &answer.outcome else { return Err(Error::NotFound("host")) };
    let line = command_line(settings, answer.node.as_ref(), origin);
    let mut data = json!({"params": format!("kernel {line}"), "kernel": settings.kernel()});
    if !settings.initrd().is_empty() {
        data["initrd"] = settings.initrd().into();
    }
    Ok(parameters::json(&data))
}

fn note_served(
    boot: &Boot,
    answer: &Answer,
    caller: &Caller,
    kernel: &str,
    source: &str,
    (bytes, took): (usize, Duration),
) {
    let mac = answer.again.mac();
    let name = match &answer.node {
        Some(node) => boot.inventory.read(|it| it.name_of(node, &boot.config.node_name)),
        None => answer.again.value(),
    };
    let event =
        BootEvent::new(Service::Boot, BootStage::Script, format!("{name} boots {kernel} (by {source})"));
    let event = event.node(answer.node.as_ref().map(|it| &it.id)).mac(mac).image(kernel);
    let event = event.sent(bytes as u64, took);
    match caller.address {
        Some(ip) => event.ip(ip).send(),
        None => event.send(),
    }
}

pub(super) fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

fn show_address(address: Option<IpAddr>) -> String {
    address.map_or_else(|| "an unknown address".to_owned(), |it| it.to_string())
}

/// By which way the script was fetched, or what the document says instead.
pub(super) fn origin(config: &Config, caller: &Caller, headers: &HeaderMap) -> Origin {
    let text = |name: &str| headers.get(name).and_then(|it| it.to_str().ok());
    // Only the gateway and root may say how their client came; INTERFACES 5 and DESIGN 4.
    let trusted = matches!(caller.uid, Some(0)) || caller.uid == Some(Service::Gateway.uid());
    let secure = trusted && text("x-forwarded-proto") == Some("https");
    let host = text("host").filter(|it| is_host(it));
    let plain = config.plain_base(caller.address);
    let scheme = if secure { "https" } else { "http" };
    let fetched = host.map(|it| format!("{scheme}://{it}"));
    let base = config.advertise_url.clone().or_else(|| fetched.clone()).or_else(|| plain.clone());
    let base = base.unwrap_or_else(|| "http://localhost:8081".to_owned());
    let cloud_init = match (&config.cloud_init_url, &config.advertise_url) {
        (Some(url), _) => url.clone(),
        // BSS writes an address there, with no scheme (recording `bss-script-010`).
        (None, Some(url)) => format!("{}/", url.split_once("://").map_or(url.as_str(), |(_, it)| it)),
        // A node has no CA of ours before cloud-init: over TLS it is sent to the plain port.
        (None, None) if secure => format!("{}/cloud-init/", plain.as_ref().unwrap_or(&base)),
        (None, None) => format!("{base}/cloud-init/"),
    };
    Origin { base, cloud_init }
}

/// Whether a Host header can stand in a script: a name or address with, perhaps, a port. `localhost` alone is
/// what clients of the UNIX socket send; no node could follow it.
fn is_host(text: &str) -> bool {
    let fits = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'-' | b':' | b'[' | b']');
    (1..=255).contains(&text.len()) && text.bytes().all(fits) && text != "localhost" && !text.starts_with('-')
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use axum::http::HeaderMap;
    use domain::{Document, Scopes};
    use web::{Caller, TokenError};

    use super::{Config, origin};

    fn at(table: &str, uid: u32, headers: &[(&'static str, &'static str)]) -> (String, String) {
        let plane = "[[network.planes]]\nname = \"n\"\nkind = \"nodes\"\naddresses = [\"172.16.0.254/24\"]\n";
        let head = format!("version = 1\n[cluster]\nname = \"d\"\ndomain = \"e\"\n{plane}{table}");
        let config = Config::parse(&Document::parse(&head).unwrap()).unwrap();
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let caller = Caller {
            subject: String::new(),
            scopes: Scopes::new(),
            address: "172.16.0.1".parse().ok(),
            uid: Some(uid),
            node: None,
            token: Err(TokenError::Missing),
        };
        let origin = origin(&config, &caller, &headers);
        (origin.base, origin.cloud_init)
    }

    #[test]
    fn the_way_back_is_the_way_it_came() {
        let gateway = domain::Service::Gateway.uid();
        let plain = "http://172.16.0.254:8081".to_owned();
        let plain_ci = "http://172.16.0.254:8081/cloud-init/".to_owned();
        assert_eq!(at("", 1000, &[]), (plain.clone(), plain_ci.clone()));
        assert_eq!(at("", 1000, &[("host", "localhost")]), (plain.clone(), plain_ci.clone()));
        assert_eq!(at("", 1000, &[("host", "a b\u{7f}".trim_end_matches('\u{7f}'))]).0, plain);
        let headers = [("host", "demo.example:8443"), ("x-forwarded-proto", "https")];
        assert_eq!(at("", gateway, &headers), ("https://demo.example:8443".to_owned(), plain_ci.clone()));
        assert_eq!(at("", 1000, &headers).0, "http://demo.example:8443");
        let (base, cloud_init) = at("[boot]\nadvertise_url = \"https://demo.example\"", gateway, &headers);
        assert_eq!((base.as_str(), cloud_init.as_str()), ("https://demo.example", "demo.example/"));
        let both =
            "[boot]\nadvertise_url = \"https://demo.example\"\ncloud_init_url = \"http://h/cloud-init\"";
        assert_eq!(at(both, gateway, &headers).1, "http://h/cloud-init/");
    }
}
