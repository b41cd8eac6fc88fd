//! The resources of BMCs after DMTF's schemas, as different makers lay them out.

use serde_json::{Value, json};

use super::tree::Resources;

const ROOT: &str = "/redfish/v1";

/// Puts a resource in, with its own path.
pub fn put(into: &mut Resources, path: &str, mut body: Value) {
    let path = format!("{ROOT}{path}");
    body["@odata.id"] = json!(path);
    into.insert(path, body);
}

/// Puts a collection in.
pub fn collection(into: &mut Resources, path: &str, members: &[&str]) {
    let member = |it: &&str| link(&format!("{path}/{it}"));
    let members: Vec<Value> = members.iter().map(member).collect();
    put(into, path, json!({"Members@odata.count": members.len(), "Members": members}));
}

/// A link to a resource.
#[must_use]
pub fn link(path: &str) -> Value {
    json!({"@odata.id": format!("{ROOT}{path}")})
}

fn root(vendor: &str) -> Resources {
    let mut all = Resources::new();
    put(
        &mut all,
        "",
        json!({"RedfishVersion": "1.9.0", "Vendor": vendor, "Systems": link("/Systems"),
            "Managers": link("/Managers"), "Chassis": link("/Chassis")}),
    );
    all
}

fn manager(into: &mut Resources, id: &str, card: &str, mac: &str) {
    let path = format!("/Managers/{id}");
    collection(into, "/Managers", &[id]);
    let cards = format!("{path}/EthernetInterfaces");
    put(
        into,
        &path,
        json!({"Id": id, "FirmwareVersion": "2.81", "UUID": "5a-1", "EthernetInterfaces": link(&cards)}),
    );
    collection(into, &cards, &[card]);
    let card_path = format!("{cards}/{card}");
    put(into, &card_path, json!({"Id": card, "MACAddress": mac, "InterfaceEnabled": true}));
}

fn system(into: &mut Resources, id: &str, more: Value) {
    let reset = json!({"target": "/x", "ResetType@Redfish.AllowableValues": ["On", "ForceOff"]});
    let mut body = json!({"Id": id, "Name": id, "PowerState": "On", "UUID": format!("uuid-{id}"),
        "Actions": {"#ComputerSystem.Reset": reset}});
    if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
        body.extend(more.clone());
    }
    put(into, &format!("/Systems/{id}"), body);
}

/// The bootcamp's: the node's card is where no collection names it.
#[must_use]
pub fn baseboard(nic: &str, bmc: &str) -> Resources {
    let mut all = root("Intel Corporation");
    collection(&mut all, "/Systems", &["FC1"]);
    system(&mut all, "FC1", json!({"Manufacturer": "Intel", "Model": "S9248W", "SerialNumber": "BQ1"}));
    manager(&mut all, "bmc", "eth0", bmc);
    collection(&mut all, "/Chassis", &[]);
    let port = "/Chassis/FCP_Baseboard/NetworkAdapters/Nic259/NetworkPorts/NICChannel0";
    put(&mut all, port, json!({"Id": "NICChannel0", "AssociatedNetworkAddresses": [nic]}));
    all
}

/// A rack server with two cards, whose boot order names the second one.
#[must_use]
pub fn rack(first: &str, second: &str, bmc: &str) -> Resources {
    let mut all = root("Dell");
    let base = "/Systems/System.Embedded.1";
    let (cards, options) = (format!("{base}/EthernetInterfaces"), format!("{base}/BootOptions"));
    collection(&mut all, "/Systems", &["System.Embedded.1"]);
    let boot = json!({"BootOrder": ["Boot0001", "Boot0003"], "BootOptions": link(&options)});
    let more = json!({"Manufacturer": "Dell Inc.", "Model": "PowerEdge R650", "SKU": "7XKLM", "Boot": boot,
        "EthernetInterfaces": link(&cards)});
    system(&mut all, "System.Embedded.1", more);
    collection(&mut all, &cards, &["NIC.Embedded.1-1-1", "NIC.Slot.3-1-1"]);
    for (id, mac, state) in [("NIC.Embedded.1-1-1", first, "LinkUp"), ("NIC.Slot.3-1-1", second, "LinkUp")] {
        let body = json!({"Id": id, "MACAddress": mac, "PermanentMACAddress": mac, "LinkStatus": state});
        put(&mut all, &format!("{cards}/{id}"), body);
    }
    collection(&mut all, &options, &["Boot0001", "Boot0003"]);
    let digits = second.replace(':', "").to_ascii_uppercase();
    let path = format!("PciRoot(0x1)/Pci(0x2,0x0)/MAC({digits},0x1)/IPv4(0.0.0.0)");
    let disk =
        json!({"BootOptionReference": "Boot0001", "DisplayName": "Disk", "UefiDevicePath": "Sata(0x0)"});
    put(&mut all, &format!("{options}/Boot0001"), disk);
    let pxe = json!({"BootOptionReference": "Boot0003", "DisplayName": "PXE Slot 3", "UefiDevicePath": path});
    put(&mut all, &format!("{options}/Boot0003"), pxe);
    manager(&mut all, "iDRAC.Embedded.1", "NIC.1", bmc);
    collection(&mut all, "/Chassis", &[]);
    all
}

/// One whose cards are where they were before there was a schema for them.
#[must_use]
pub fn older(first: &str, second: &str, bmc: &str) -> Resources {
    let mut all = root("HPE");
    collection(&mut all, "/Systems", &["1"]);
    let adapters =
        json!({"Hp": {"links": {"NetworkAdapters": {"href": "/redfish/v1/Systems/1/NetworkAdapters"}}}});
    system(
        &mut all,
        "1",
        json!({"Manufacturer": "HPE", "Model": "ProLiant", "SerialNumber": "CZ1", "Oem": adapters}),
    );
    collection(&mut all, "/Systems/1/NetworkAdapters", &["1"]);
    let ports =
        json!([{"MacAddress": first, "LinkStatus": "Link Down"}, {"MacAddress": second, "LinkStatus": "OK"}]);
    put(&mut all, "/Systems/1/NetworkAdapters/1", json!({"Name": "331FLR", "PhysicalPorts": ports}));
    manager(&mut all, "1", "1", bmc);
    collection(&mut all, "/Chassis", &[]);
    all
}

/// One whose cards are adapters of its chassis alone: ports that say whether there is a link, functions that boot.
#[must_use]
pub fn adapters(first: &str, second: &str, bmc: &str) -> Resources {
    let mut all = root("Supermicro");
    collection(&mut all, "/Systems", &["1"]);
    // The collection that it names is not there.
    let missing = link("/Systems/1/EthernetInterfaces");
    let more = json!({"Manufacturer": "Supermicro", "Model": "SYS-1", "SerialNumber": 1234,
        "EthernetInterfaces": missing});
    system(&mut all, "1", more);
    manager(&mut all, "1", "1", bmc);
    collection(&mut all, "/Chassis", &["1"]);
    put(&mut all, "/Chassis/1", json!({"NetworkAdapters": link("/Chassis/1/NetworkAdapters")}));
    collection(&mut all, "/Chassis/1/NetworkAdapters", &["AOC"]);
    let base = "/Chassis/1/NetworkAdapters/AOC";
    let (ports, functions) = (format!("{base}/Ports"), format!("{base}/NetworkDeviceFunctions"));
    put(
        &mut all,
        base,
        json!({"Id": "AOC", "Ports": link(&ports), "NetworkDeviceFunctions": link(&functions)}),
    );
    collection(&mut all, &ports, &["1", "2"]);
    collection(&mut all, &functions, &["1", "2", "3"]);
    for (id, mac, link, mode) in [("1", first, "LinkDown", "Disabled"), ("2", second, "LinkUp", "PXE")] {
        let port = json!({"Id": id, "LinkStatus": link, "Ethernet": {"AssociatedMACAddresses": [mac]}});
        put(&mut all, &format!("{ports}/{id}"), port);
        let function = json!({"Id": id, "NetDevFuncType": "Ethernet", "BootMode": mode,
            "Ethernet": {"MACAddress": mac}});
        put(&mut all, &format!("{functions}/{id}"), function);
    }
    put(&mut all, &format!("{functions}/3"), json!({"Id": "3", "NetDevFuncType": "FibreChannel"}));
    all
}

/// A blade of two nodes behind one BMC, each with a card in its own chassis.
#[must_use]
pub fn blade(nodes: [&str; 2], bmc: &str) -> Resources {
    let mut all = root("Cray");
    collection(&mut all, "/Systems", &["Node0", "Node1"]);
    collection(&mut all, "/Chassis", &["Enclosure", "Node0", "Node1"]);
    put(&mut all, "/Chassis/Enclosure", json!({"Id": "Enclosure"}));
    for (id, mac) in ["Node0", "Node1"].into_iter().zip(nodes) {
        system(&mut all, id, json!({"Manufacturer": "Cray Inc", "SerialNumber": format!("HA-{id}")}));
        let (chassis, cards) = (format!("/Chassis/{id}"), format!("/Chassis/{id}/NetworkAdapters"));
        let links = json!({"ComputerSystems": [link(&format!("/Systems/{id}"))]});
        put(&mut all, &chassis, json!({"Id": id, "Links": links, "NetworkAdapters": link(&cards)}));
        collection(&mut all, &cards, &["HPCNet0"]);
        let ports = format!("{cards}/HPCNet0/NetworkPorts");
        put(&mut all, &format!("{cards}/HPCNet0"), json!({"Id": "HPCNet0", "NetworkPorts": link(&ports)}));
        collection(&mut all, &ports, &["0"]);
        let port = json!({"Id": "0", "LinkStatus": "Up", "AssociatedNetworkAddresses": [mac]});
        put(&mut all, &format!("{ports}/0"), port);
    }
    manager(&mut all, "BMC", "eth0", bmc);
    all
}
