//! What nodes fetch: the NoCloud files, by their own address or by id.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use daemon::BootEvent;
use domain::{BootStage, Service, StageResult};
use web::{Caller, Path};

use super::answers::{Answers, Vendor};
use super::{Side, typed};
use crate::config::{Api, Config};
use crate::error::Error;
use crate::model::{Merged, NOTHING, facts_of, subject_at, subject_of};
use crate::wire::{to_yaml, user_data, with_roots};

const TEXT: &str = "text/plain; charset=utf-8";
const YAML: &str = "text/yaml";

/// What the machine at the caller's address is given.
fn by_address(side: &Side, caller: &Caller) -> Result<Arc<Answers>, Error> {
    let found = caller.address.and_then(|it| side.answers(it));
    side.check_read(caller, found.as_ref().map(|it| &it.node.xname))?;
    found.ok_or(Error::UnknownAddress)
}

fn by_id(side: &Side, caller: &Caller, id: &str) -> Result<Merged, Error> {
    let config = &side.service.config;
    let subject = side.service.inventory.read(|it| subject_of(it, id, &config.host_pattern));
    side.check_read(caller, subject.node.as_ref().map(|it| &it.xname))?;
    side.service.entries.read(|it| it.merge(side.store, &subject, config.merge)).ok_or(Error::NotFound)
}

fn note(stage: BootStage, answers: &Answers, caller: &Caller, (bytes, took): (usize, Duration)) {
    let Answers { node, from, .. } = answers;
    let detail = format!("{} was given {stage} ({from})", node.name);
    let event = BootEvent::new(Service::CloudInit, stage, detail);
    let event = event.node(Some(&node.xname)).mac(node.mac).sent(bytes as u64, took);
    match caller.address {
        Some(ip) => event.ip(ip).send(),
        None => event.send(),
    }
}

/// The stage of a booting node that reads this, and the file.
pub(super) fn asked(method: &Method, path: &str) -> Option<(BootStage, &'static str)> {
    let (folder, file) = path.rsplit_once('/')?;
    let stage = match file {
        "user-data" => (BootStage::Userdata, "user-data"),
        "meta-data" => (BootStage::Metadata, "meta-data"),
        "network-config" => (BootStage::Metadata, "network-config"),
        _ => return None,
    };
    (method == Method::GET && folder.starts_with("/cloud-init")).then_some(stage)
}

/// Tells the timeline that a machine on the network was not given what it asked for. One without a token yet, and one
/// that may not read a secret, asks again with it.
pub(super) fn note_refusal((stage, file): (BootStage, &'static str), caller: &Caller, status: StatusCode) {
    let denied = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    let Some(ip) = caller.address.filter(|_| status.as_u16() >= 400 && !denied) else { return };
    let detail = format!("{file} was answered with {status}");
    let event = BootEvent::new(Service::CloudInit, stage, detail).ip(ip).result(StageResult::Failed);
    event.fact("why", format!("http-{}", status.as_u16())).fact("file", file).send();
}

/// user-data of the node that asks, known by its address. By the present API `#cloud-config` for everybody;
/// by the legacy one the entries of its groups and its own in one.
#[utoipa::path(get, path = "/user-data", tag = "nodes",
    responses((status = 200, description = "user-data", body = String, content_type = "text/plain"),
        (status = 422, description = "Nobody is known at the caller's address")))]
pub(super) async fn user_by_address(State(side): State<Side>, caller: Caller) -> Result<Response, Error> {
    let began = Instant::now();
    let answers = match by_address(&side, &caller) {
        Err(Error::UnknownAddress) if side.api() != Api::Legacy => return Ok(typed(TEXT, NOTHING)),
        found => found?,
    };
    note(BootStage::Userdata, &answers, &caller, (answers.user.len(), began.elapsed()));
    Ok(typed(TEXT, answers.user.clone()))
}

/// meta-data of the node that asks.
#[utoipa::path(get, path = "/meta-data", tag = "nodes",
    responses((status = 200, description = "meta-data",
        content((serde_json::Value = "application/x-yaml"), (serde_json::Value = "text/yaml"))),
        (status = 404, description = "The address is that of a component that is not there",
            body = String, content_type = "text/plain"),
        (status = 422, description = "Nobody is known at the caller's address")))]
pub(super) async fn meta_by_address(State(side): State<Side>, caller: Caller) -> Result<Response, Error> {
    let began = Instant::now();
    let answers = by_address(&side, &caller)?;
    let Some(meta) = answers.meta.clone() else {
        return Err(Error::NoNode(answers.node.xname.to_string()));
    };
    note(BootStage::Metadata, &answers, &caller, (meta.len(), began.elapsed()));
    Ok(typed(answers.meta_type, meta))
}

/// vendor-data of the node that asks: by the present API the list of its groups' files.
#[utoipa::path(get, path = "/vendor-data", tag = "nodes",
    responses((status = 200, description = "vendor-data",
        content((String = "text/plain"), (serde_json::Value = "text/yaml"))),
        (status = 422, description = "Nobody is known at the caller's address")))]
pub(super) async fn vendor_by_address(
    State(side): State<Side>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let answers = by_address(&side, &caller)?;
    let config = &side.service.config;
    // Who came over https trusts us already.
    let by_http = caller.uid == Some(Service::Gateway.uid())
        && headers.get("x-forwarded-proto").is_some_and(|it| it == "http");
    let roots = if by_http { config.roots() } else { None };
    let beside_roots = |kind: &str, text: &str| with_roots(roots.as_deref()?, kind, text);
    Ok(match &answers.vendor {
        // cloud-init makes nothing of this kind, alone or as a part.
        Vendor::Yaml(text) => match beside_roots("text/plain", &String::from_utf8_lossy(text)) {
            Some(parts) => typed(TEXT, parts),
            None => typed(YAML, text.clone()),
        },
        Vendor::Include { base, groups } => {
            let base = base.clone().unwrap_or_else(|| base_url(config, &caller, &headers));
            let list = includes(&base, groups);
            typed(TEXT, beside_roots("text/x-include-url", &list).unwrap_or(list))
        }
    })
}

/// cloud-init's list of files, one for each group.
pub(super) fn includes(base: &str, groups: &[String]) -> String {
    let lines = groups.iter().map(|it| format!("{base}/{it}.yaml\n"));
    std::iter::once("#include\n".to_owned()).chain(lines).collect()
}

/// Where the caller came from to here, or else the head as the caller would reach it.
pub(super) fn base_url(config: &Config, caller: &Caller, headers: &HeaderMap) -> String {
    let text = |name: &str| headers.get(name).and_then(|it| it.to_str().ok());
    // Only the gateway and root may say how their client came (INTERFACES 5).
    let trusted = matches!(caller.uid, Some(0)) || caller.uid == Some(Service::Gateway.uid());
    let secure = trusted && text("x-forwarded-proto") == Some("https");
    let scheme = if secure { "https" } else { "http" };
    let fetched = text("host").filter(|it| is_host(it)).map(|it| format!("{scheme}://{it}"));
    let base = fetched.or_else(|| config.plain_base(caller.address));
    format!("{}/cloud-init", base.as_deref().unwrap_or("http://localhost:8081"))
}

/// Whether a Host header can stand in a URL; `localhost` alone is what clients of the socket send, and no
/// node could follow it.
fn is_host(text: &str) -> bool {
    let fits = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'-' | b':' | b'[' | b']');
    (1..=255).contains(&text.len()) && text.bytes().all(fits) && text != "localhost"
}

/// user-data of a group or node of the legacy API.
#[utoipa::path(get, path = "/{id}/user-data", tag = "legacy",
    params(("id" = String, Path, description = "A group's label, an xname, a node's name or a MAC address")),
    responses((status = 200, description = "user-data", body = String, content_type = "text/plain"),
        (status = 404, description = "There is no entry", body = String, content_type = "text/plain")))]
pub(super) async fn user_by_id(
    State(side): State<Side>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Error> {
    Ok(user_data(&by_id(&side, &caller, &id)?.userdata).into_response())
}

/// meta-data of a group or node of the legacy API.
#[utoipa::path(get, path = "/{id}/meta-data", tag = "legacy",
    params(("id" = String, Path, description = "A group's label, an xname, a node's name or a MAC address")),
    responses((status = 200, description = "meta-data", body = serde_json::Value, content_type = "text/yaml"),
        (status = 404, description = "There is no entry", body = String, content_type = "text/plain")))]
pub(super) async fn meta_by_id(
    State(side): State<Side>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Error> {
    Ok(typed(YAML, to_yaml(&by_id(&side, &caller, &id)?.metadata)))
}

/// vendor-data of a group or node of the legacy API.
#[utoipa::path(get, path = "/{id}/vendor-data", tag = "legacy",
    params(("id" = String, Path, description = "A group's label, an xname, a node's name or a MAC address")),
    responses(
        (status = 200, description = "vendor-data", body = serde_json::Value, content_type = "text/yaml"),
        (status = 404, description = "There is no entry", body = String, content_type = "text/plain")))]
pub(super) async fn vendor_by_id(
    State(side): State<Side>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Error> {
    Ok(typed(YAML, to_yaml(&by_id(&side, &caller, &id)?.vendordata)))
}

/// Nothing: the network is as the image and DHCP made it. cloud-init asks for this file before all others,
/// and eleven times a second apart if it is refused.
#[utoipa::path(get, path = "/network-config", tag = "nodes",
    responses((status = 200, description = "Nothing", body = serde_json::Value, content_type = "text/yaml")))]
pub(super) async fn no_network() -> Response {
    typed(YAML, "")
}

/// Nothing, for a group or node.
#[utoipa::path(get, path = "/{id}/network-config", tag = "legacy", params(("id" = String, Path)),
    responses((status = 200, description = "Nothing", body = serde_json::Value, content_type = "text/yaml")))]
pub(super) async fn no_network_by_id() -> Response {
    no_network().await
}

/// The file of a group, as it was set, for a node that is a member.
#[utoipa::path(get, path = "/{file}", tag = "nodes",
    params(("file" = String, Path, description = "A group's label and .yaml")),
    responses((status = 200, description = "The file", body = String, content_type = "text/plain"),
        (status = 404, description = "The node is no member", body = String, content_type = "text/plain"),
        (status = 500, description = "Nobody is known at the caller's address",
            body = String, content_type = "text/plain")))]
pub(super) async fn group_file(
    State(side): State<Side>,
    caller: Caller,
    Path(file): Path<String>,
) -> Result<Response, Error> {
    let group = file.strip_suffix(".yaml").filter(|it| !it.is_empty()).ok_or(Error::NoPage)?;
    file_by_address(&side, &caller, group)
}

/// Any other method: the file is there to be read, and nothing else is there at all.
pub(super) async fn no_group_file(Path(file): Path<String>) -> Response {
    if file.ends_with(".yaml") {
        StatusCode::METHOD_NOT_ALLOWED.into_response()
    } else {
        Error::NoPage.into_response()
    }
}

/// What the node at the caller's address fetches of this group.
pub(super) fn file_by_address(side: &Side, caller: &Caller, group: &str) -> Result<Response, Error> {
    let pattern = &side.service.config.host_pattern;
    let node = caller.address.and_then(|address| {
        side.service.inventory.read(|it| subject_at(it, address, pattern)).and_then(|it| it.node)
    });
    let unknown = || Error::NoNodeAt(caller.address.map(|it| it.to_string()).unwrap_or_default());
    let xname = node.ok_or_else(unknown)?.xname;
    file_of(side, xname.as_str(), group)
}

/// The file of a group, if the node is a member.
pub(super) fn file_of(side: &Side, xname: &str, group: &str) -> Result<Response, Error> {
    let pattern = &side.service.config.host_pattern;
    let facts =
        xname.parse().ok().and_then(|it| side.service.inventory.read(|all| facts_of(all, &it, pattern)));
    if !facts.is_some_and(|it| it.groups.iter().any(|it| it == group)) {
        return Err(Error::NoMember { node: xname.to_owned(), group: group.to_owned() });
    }
    Ok(typed(TEXT, side.service.entries.read(|it| it.current.file(group))))
}
