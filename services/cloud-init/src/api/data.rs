//! What nodes fetch: the NoCloud files, by their own address or by id.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use daemon::BootEvent;
use domain::{BootStage, Service};
use web::{Caller, Path};

use super::{CloudInit, Side};
use crate::error::Error;
use crate::model::{Merged, Node, Part, subject_at, subject_of};
use crate::wire::{to_yaml, user_data};

fn yaml(part: &Part) -> Response {
    ([(header::CONTENT_TYPE, "text/yaml")], to_yaml(part)).into_response()
}

/// What the machine at the caller's address is given: what is known of it, and what cloud-init cannot do
/// without.
fn by_address(side: &Side, caller: &Caller) -> Result<(Merged, Node, IpAddr), Error> {
    let pattern = &side.service.config.host_pattern;
    let found = caller.address.and_then(|it| {
        let subject = side.service.inventory.read(|inventory| subject_at(inventory, it, pattern))?;
        Some((subject, it))
    });
    side.check_read(caller, found.as_ref().map(|(subject, _)| subject))?;
    let (subject, address) = found.ok_or(Error::UnknownAddress)?;
    let node = subject.node.clone().ok_or(Error::UnknownAddress)?;
    let merged = side.service.entries.read(|it| it.merge(side.store, &subject)).unwrap_or_default();
    Ok((merged.complete(&node), node, address))
}

fn by_id(side: &Side, caller: &Caller, id: &str) -> Result<Merged, Error> {
    let pattern = &side.service.config.host_pattern;
    let subject = side.service.inventory.read(|it| subject_of(it, id, pattern));
    side.check_read(caller, Some(&subject))?;
    side.service.entries.read(|it| it.merge(side.store, &subject)).ok_or(Error::NotFound)
}

fn note(stage: BootStage, node: &Node, ip: IpAddr, sources: &[String], (bytes, took): (usize, Duration)) {
    let from = if sources.is_empty() { "nothing set".to_owned() } else { sources.join(", ") };
    let event =
        BootEvent::new(Service::CloudInit, stage, format!("{} was given {stage} ({from})", node.name));
    event.node(Some(&node.xname)).mac(node.mac).ip(ip).sent(bytes as u64, took).send();
}

pub(super) async fn user_by_address(State(side): State<Side>, caller: Caller) -> Result<Response, Error> {
    let began = Instant::now();
    let (merged, node, ip) = by_address(&side, &caller)?;
    let text = user_data(&merged.userdata);
    note(BootStage::Userdata, &node, ip, &merged.sources, (text.len(), began.elapsed()));
    Ok(text.into_response())
}

pub(super) async fn meta_by_address(State(side): State<Side>, caller: Caller) -> Result<Response, Error> {
    let began = Instant::now();
    let (merged, node, ip) = by_address(&side, &caller)?;
    let text = to_yaml(&merged.metadata);
    note(BootStage::Metadata, &node, ip, &merged.sources, (text.len(), began.elapsed()));
    Ok(([(header::CONTENT_TYPE, "text/yaml")], text).into_response())
}

pub(super) async fn vendor_by_address(State(side): State<Side>, caller: Caller) -> Result<Response, Error> {
    Ok(yaml(&by_address(&side, &caller)?.0.vendordata))
}

pub(super) async fn user_by_id(
    State(side): State<Side>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Error> {
    Ok(user_data(&by_id(&side, &caller, &id)?.userdata).into_response())
}

pub(super) async fn meta_by_id(
    State(side): State<Side>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Error> {
    Ok(yaml(&by_id(&side, &caller, &id)?.metadata))
}

pub(super) async fn vendor_by_id(
    State(side): State<Side>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Error> {
    Ok(yaml(&by_id(&side, &caller, &id)?.vendordata))
}

/// Nothing: the network is as the image and DHCP made it. cloud-init asks for this file before all others,
/// and eleven times a second apart if it is refused.
pub(super) async fn no_network() -> Response {
    ([(header::CONTENT_TYPE, "text/yaml")], "").into_response()
}

/// The end of a node's cloud-init. Who is meant follows from the address; the id is the sender's own word.
pub(super) async fn phone_home(
    State(service): State<CloudInit>,
    caller: Caller,
    Path(id): Path<String>,
) -> StatusCode {
    let pattern = &service.config.host_pattern;
    let found = caller.address.and_then(|it| {
        let subject = service.inventory.read(|inventory| subject_at(inventory, it, pattern))?;
        Some((subject.node?, it))
    });
    match found {
        Some((node, ip)) => {
            let detail = format!("{} finished cloud-init", node.name);
            let event = BootEvent::new(Service::CloudInit, BootStage::PhoneHome, detail);
            event.node(Some(&node.xname)).mac(node.mac).ip(ip).send();
        }
        None => {
            let id: String = id.escape_default().take(64).collect();
            tracing::debug!("a machine in no inventory finished cloud-init; it calls itself {id}");
        }
    }
    StatusCode::OK
}
