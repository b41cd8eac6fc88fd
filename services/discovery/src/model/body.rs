//! A BMC as magellan posts it to `/hsm/v2/Inventory/RedfishEndpoints`.

use serde_json::{Value, json};

use crate::client::{Bmc, Discovery, Interface, Node, Protocol, System};

/// The body (SchemaVersion 1) of a BMC that speaks Redfish and has a place; none of the others, which have no resources
/// to tell of.
#[must_use]
pub fn endpoint_body(discovery: &Discovery, bmc: &Bmc) -> Option<Value> {
    let id = bmc.xname.as_ref().filter(|_| bmc.speaks == Some(Protocol::Redfish))?;
    let nodes: Vec<&Node> = discovery.nodes.iter().filter(|it| it.bmc == *id).collect();
    let address = bmc.address.map(|it| it.to_string()).unwrap_or_default();
    let description = format!("Interface for BMC {id}");
    let own = bmc.mac.map(
        |mac| json!({"mac": mac, "ip": address, "name": id, "description": description, "enabled": true}),
    );
    let systems = bmc.systems.iter().enumerate().map(|(at, system)| {
        // The systems of a BMC are its nodes, in this order.
        let node = nodes.iter().find(|it| it.xname.ordinal() as usize == at);
        system_body(system, node.map(|it| it.interfaces.as_slice()).unwrap_or_default())
    });
    let mut body = json!({
        "ID": id,
        "Type": id.kind().name(),
        "Name": nodes.first().map_or(id.as_str(), |it| it.name.as_str()),
        "FQDN": id,
        "Enabled": true,
        "RediscoverOnUpdate": false,
        "IPAddress": address,
        "SchemaVersion": 1,
        "Systems": systems.collect::<Vec<_>>(),
        "Managers": [{
            "uri": bmc.path, "uuid": bmc.uuid, "name": id, "type": "BMC", "firmware_version": bmc.firmware,
            "ethernet_interfaces": own.into_iter().collect::<Vec<_>>(),
        }],
    });
    if let Some(mac) = bmc.mac {
        body["MACAddr"] = json!(mac);
    }
    if let Some(uuid) = &bmc.uuid {
        body["UUID"] = json!(uuid);
    }
    Some(body)
}

fn system_body(system: &System, interfaces: &[Interface]) -> Value {
    let nics = system.nics.iter().filter(|it| !it.internal).map(|nic| {
        let ip = interfaces.iter().find(|it| it.mac == nic.mac).and_then(|it| it.ip);
        json!({
            "mac": nic.mac, "ip": ip.map(|it| it.to_string()).unwrap_or_default(), "name": nic.name,
            "description": nic.name, "enabled": nic.enabled.unwrap_or(true),
        })
    });
    json!({
        "uri": system.path, "uuid": system.uuid, "name": system.name, "manufacturer": system.maker,
        "model": system.model, "serial": system.serial, "power_state": system.power, "actions": system.resets,
        "ethernet_interfaces": nics.collect::<Vec<_>>(),
    })
}
