//! What an import leaves behind beside the inventory: nodes without boot parameters get those of the newest
//! image, groups without cloud-init data get the administrators' keys, as the bootcamp's playbook does it.

use std::collections::BTreeSet;

use axum::http::{Method, StatusCode};
use domain::document::PlaneKind;
use domain::{Document, Service};
use serde_json::{Value, json};
use web::ClientError;

use crate::Head;
use crate::error::Failure;
use crate::output::text;

/// Parameters of a live root over HTTP (dracut.cmdline(7), livenet) on a diskless node.
const PARAMETERS: &str = "rd.live.image rd.live.overlay.overlayfs=1 ip=dhcp rd.neednet=1 \
    console=ttyS0,115200 quiet audit=0 apparmor=0 selinux=0 net.ifnames=0";

/// Sets what is not set yet; tells what it did.
pub(crate) async fn apply(head: &Head) -> Result<Vec<String>, Failure> {
    let document = head.document()?;
    let nodes: Value = head.client(Service::Inventory).get("/pilothouse/v1/nodes").await?;
    let empty = Vec::new();
    let nodes = nodes.as_array().unwrap_or(&empty);
    let mut notes = Vec::new();
    notes.extend(boot_newest_image(head, &document, nodes).await?);
    let labels = |node: &Value| node["groups"].as_array().cloned().unwrap_or_default();
    let groups: BTreeSet<String> =
        nodes.iter().flat_map(labels).filter_map(|it| it.as_str().map(str::to_owned)).collect();
    for group in groups {
        notes.extend(give_keys(head, &document, &group).await?);
    }
    Ok(notes)
}

/// Sets parameters for the MACs of nodes that have none.
async fn boot_newest_image(
    head: &Head,
    document: &Document,
    nodes: &[Value],
) -> Result<Option<String>, Failure> {
    let boot = head.client(Service::Boot);
    let known: Value = match boot.get("/boot/v1/bootparameters").await {
        Ok(known) => known,
        Err(ClientError::Status { status: StatusCode::NOT_FOUND, .. }) => Value::Null,
        Err(error) => return Err(error.into()),
    };
    let members = ["macs", "hosts", "nids"];
    let taken: BTreeSet<String> = known
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|entry| members.into_iter().flat_map(|it| entry[it].as_array().into_iter().flatten()))
        .map(|it| it.as_str().map_or_else(|| it.to_string(), str::to_owned))
        .collect();
    let macs: Vec<String> = nodes
        .iter()
        .filter(|node| !["xname", "name", "nid"].iter().any(|it| taken.contains(&text(node, it))))
        .flat_map(|node| node["interfaces"].as_array().into_iter().flatten())
        .map(|interface| text(interface, "mac"))
        .filter(|mac| !mac.is_empty() && !taken.contains(mac))
        .collect();
    if macs.is_empty() {
        return Ok(None);
    }
    let images: Value = head.client(Service::Images).get("/pilothouse/v1/images").await?;
    let Some(image) = images.as_array().and_then(|it| it.first()) else {
        let note = "no image is there yet: put one under /data/domain-images and import again, \
            or set boot parameters";
        return Ok(Some(note.to_owned()));
    };
    let Some((_, plane)) = document.network.first(PlaneKind::Nodes) else {
        return Err(Failure::failed("the document has no plane of nodes with an address"));
    };
    let address = plane.addr();
    let own =
        document.network.planes.iter().filter(|it| it.kind == PlaneKind::Nodes && !it.addresses.is_empty());
    // With several planes paths: boot puts the head's address on each machine's own plane before them.
    let several = own.count() > 1;
    let place = if several { String::new() } else { format!("http://{address}:8080") };
    let url = |member: &str| format!("{place}/{}", text(image, member).trim_start_matches('/'));
    let root = match (image["root"].is_null(), several) {
        (true, _) => String::new(),
        (false, false) => format!("root=live:{} ", url("root")),
        (false, true) => format!("root=live:/images/{}/{}/root ", text(image, "name"), text(image, "tag")),
    };
    let seed =
        if several { String::new() } else { format!(" ds=nocloud;s=http://{address}:8081/cloud-init/") };
    let params = format!("{root}{PARAMETERS}{seed}");
    let count = macs.len();
    let body = json!({"macs": macs, "kernel": url("kernel"), "initrd": url("initrd"), "params": params});
    boot.text(Method::PUT, "/boot/v1/bootparameters", Some(&body)).await?;
    Ok(Some(format!("{count} interfaces boot the image {}", text(image, "name"))))
}

/// Gives a group the administrators' keys, unless it has data.
async fn give_keys(head: &Head, document: &Document, group: &str) -> Result<Option<String>, Failure> {
    let client = head.client(Service::CloudInit);
    // Where the present API alone answers there are no entries.
    let current = document.cloud_init.get("api").and_then(|it| it.as_str()) == Some("current");
    for place in [Some("/pilothouse/v1/groups"), (!current).then_some("/cloud-init")].into_iter().flatten() {
        match client.text(Method::GET, &format!("{place}/{group}"), None::<&()>).await {
            Ok(_) => return Ok(None),
            Err(ClientError::Status { status: StatusCode::NOT_FOUND, .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let keys: Vec<&String> = document.admins.values().flat_map(|it| &it.ssh_keys).collect();
    if keys.is_empty() {
        return Ok(None);
    }
    let content = keys.iter().map(|it| format!("{it}\n")).collect::<String>();
    let file = json!({"path": "/root/.ssh/authorized_keys", "permissions": "0600", "content": content});
    let data = json!({"disable_root": false, "ssh_deletekeys": false, "write_files": [file]});
    if current {
        // JSON is YAML.
        let body = json!({"file": {"content": format!("#cloud-config\n{data}\n"), "encoding": "plain"}});
        let path = format!("/pilothouse/v1/groups/{group}");
        client.text(Method::PUT, &path, Some(&body)).await?;
    } else {
        // No meta-data: with an instance-id of its own each node is known by its xname and given its name.
        let body = json!({"name": group, "cloud-init": {"userdata": data}});
        client.text(Method::POST, "/cloud-init/", Some(&body)).await?;
    }
    Ok(Some(format!("group {group} has the keys of {} administrators", document.admins.len())))
}
