//! What was found, into the inventory: nodes as a nodes.yaml brings them, BMCs as magellan posts them.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use discovery::client::{Discovery, Protocol, endpoint_body, import_yaml};
use domain::Service;
use inventory::client::{Imported, InventoryClient};
use power::client::trust_bmc;
use serde_json::{Map, Value, json};
use web::ClientError;

use crate::Head;
use crate::error::Failure;
use crate::nodes::apply_defaults;
use crate::output::{Format, progress};

/// How often power may have to be asked, in all, until it has heard of what was stored.
const TRIES_MAX: usize = 40;
const TRY_EVERY: Duration = Duration::from_millis(250);

/// Stores what was found. BMCs that told nothing, or not all, stay as they are.
pub(super) async fn store(head: &Head, found: &Discovery) -> Result<(), Failure> {
    let client = head.client(Service::Inventory);
    let yaml = import_yaml(found);
    let Some(yaml) = yaml else {
        return Err(Failure::some_nodes("nothing was stored: no BMC told of a node with a network card"));
    };
    let bar = progress("storing what was found");
    // First whole and in one piece, so that names and numbers fit; then what the BMCs told besides.
    let imported = InventoryClient::new(client.clone()).import_nodes(&yaml, false).await?;
    for bmc in &found.bmcs {
        let Some(id) = bmc.xname.as_ref().filter(|_| bmc.is_whole()) else { continue };
        if !found.nodes.iter().any(|it| it.bmc == *id && !it.is_made_up()) {
            continue;
        }
        if let Some(body) = endpoint_body(found, bmc) {
            let path = format!("/hsm/v2/Inventory/RedfishEndpoints/{id}");
            client.text(Method::PUT, &path, Some(&body)).await?;
        }
        let mut patch = Map::new();
        if let Some(port) = bmc.port {
            let protocol = if bmc.speaks == Some(Protocol::Ipmi) { "ipmi" } else { "redfish" };
            patch.extend([("port".to_owned(), json!(port)), ("protocol".to_owned(), json!(protocol))]);
        }
        patch.extend(found.request.class.as_ref().map(|it| ("class".to_owned(), json!(it))));
        if !patch.is_empty() {
            let path = format!("/pilothouse/v1/bmcs/{id}");
            client.text(Method::PATCH, &path, Some(&Value::Object(patch))).await?;
        }
    }
    bar.set_message("certificates of the BMCs");
    let unkept = vouch(head, found).await;
    bar.set_message("boot parameters and cloud-init of the groups");
    let notes = apply_defaults(head).await;
    bar.finish_and_clear();
    if head.format == Format::Json {
        println!("{:#}", json!({"discovery": found, "imported": imported}));
    } else {
        tell(&imported);
    }
    for note in notes?.into_iter().chain(unkept) {
        eprintln!("{note}");
    }
    Ok(())
}

/// Has power believe the certificates that the BMCs showed, and no others from now on; what is to be said if it does
/// not.
async fn vouch(head: &Head, found: &Discovery) -> Option<String> {
    let client = head.client(Service::Power);
    let whole = found.bmcs.iter().filter(|it| it.is_whole());
    let shown = whole.filter_map(|it| Some((it.xname.as_ref()?, it.certificate.as_ref()?)));
    let stored = shown.filter(|it| found.nodes.iter().any(|node| node.bmc == *it.0 && !node.is_made_up()));
    let mut tries = 0;
    for (bmc, sha256) in stored {
        while let Err(error) = trust_bmc(&client, bmc.as_str(), sha256).await {
            tries += 1;
            let is_unknown =
                matches!(&error, ClientError::Status { status, .. } if *status == StatusCode::NOT_FOUND);
            if !is_unknown || tries > TRIES_MAX {
                let hint = "it will believe the first ones that it meets";
                return Some(format!("power does not keep the certificates of the BMCs, {hint}: {error}"));
            }
            // It has not heard of the BMC yet.
            tokio::time::sleep(TRY_EVERY).await;
        }
    }
    None
}

fn tell(imported: &Imported) {
    for node in &imported.added {
        println!("added    {node}");
    }
    for node in &imported.changed {
        for field in &node.fields {
            let text = |it: &Option<String>| it.clone().unwrap_or_default();
            println!("changed  {} {}: {} -> {}", node.xname, field.field, text(&field.from), text(&field.to));
        }
    }
    println!("{} unchanged", imported.unchanged);
}
