//! Network cards as makers describe them: EthernetInterface, NetworkPort, Port, NetworkDeviceFunction, and what was
//! before these.

use domain::MacAddr;
use serde_json::Value;

use crate::client::Nic;
use crate::model::tidy;

/// The most cards of one BMC.
const NICS_MAX: usize = 256;

/// A member as text; numbers too, which some makers write so.
pub(super) fn text(value: &Value, member: &str) -> String {
    match &value[member] {
        Value::String(it) => tidy(it),
        Value::Number(it) => it.to_string(),
        _ => String::new(),
    }
}

/// A member as text, if it says something.
pub(super) fn some(value: &Value, member: &str) -> Option<String> {
    Some(text(value, member)).filter(|it| !it.is_empty())
}

/// An address that a card can have; makers fill gaps with zeros, ones and words.
pub(super) fn mac(value: &Value) -> Option<MacAddr> {
    let mac = MacAddr::parse_bare(value.as_str()?.trim()).ok()?;
    let octets = mac.octets();
    let is_nobody =
        octets.iter().all(|it| *it == 0) || octets.first().is_some_and(|it| octets.len() == 6 && it & 1 == 1);
    (!is_nobody).then_some(mac)
}

/// A card of this address and name of which nothing else is known.
pub(super) fn bare(mac: MacAddr, name: String) -> Nic {
    let internal = is_internal(&name);
    Nic { mac, name, link: None, enabled: None, boot_mode: None, uefi_path: None, internal }
}

/// Cards between the BMC and its own computer, which lead nowhere else.
fn is_internal(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["usb", "hostinterface", "host interface", "tomanager", "tohost", "ipmi"]
        .iter()
        .any(|it| name.contains(it))
}

/// An EthernetInterface of a system.
pub(super) fn of_interface(body: &Value) -> Option<Nic> {
    let mac = mac(&body["MACAddress"]).or_else(|| mac(&body["PermanentMACAddress"]))?;
    let name = some(body, "Id").or_else(|| some(body, "Name")).unwrap_or_default();
    let known = [&name, &text(body, "Name"), &text(body, "Description")].iter().any(|it| is_internal(it));
    Some(Nic {
        link: link_state(body),
        enabled: body["InterfaceEnabled"].as_bool(),
        uefi_path: some(body, "UefiDevicePath"),
        internal: known,
        ..bare(mac, name)
    })
}

/// A NetworkPort, or a Port of an adapter: a card for each of its addresses.
pub(super) fn of_port(adapter: &str, body: &Value) -> Vec<Nic> {
    let lists = [
        &body["AssociatedNetworkAddresses"],
        &body["Ethernet"]["AssociatedMACAddresses"],
        &body["AssociatedMACAddresses"],
    ];
    let listed = lists.iter().flat_map(|it| it.as_array()).flatten().filter_map(mac);
    let name = format!("{adapter} {}", text(body, "Id")).trim().to_owned();
    let link = link_state(body);
    listed.map(|it| Nic { link, ..bare(it, name.clone()) }).collect()
}

/// A NetworkDeviceFunction, if it is one of Ethernet.
pub(super) fn of_function(adapter: &str, body: &Value) -> Option<Nic> {
    let kind = text(body, "NetDevFuncType");
    if !matches!(kind.as_str(), "" | "Ethernet" | "InfiniBand" | "Disabled") {
        return None;
    }
    let own = &body["Ethernet"];
    let mac = mac(&own["MACAddress"]).or_else(|| mac(&own["PermanentMACAddress"]))?;
    let enabled = body["DeviceEnabled"].as_bool();
    let boot_mode = some(body, "BootMode").or_else(|| some(own, "BootMode"));
    let name = format!("{adapter} {}", text(body, "Id")).trim().to_owned();
    Some(Nic { enabled, boot_mode, ..bare(mac, name) })
}

/// The ports of an adapter as HPE told of them before there was a schema.
pub(super) fn of_physical_ports(body: &Value) -> Vec<Nic> {
    let adapter = some(body, "Name").unwrap_or_default();
    let ports = body["PhysicalPorts"].as_array().into_iter().flatten().enumerate();
    let port = |(at, port): (usize, &Value)| {
        let name = some(port, "Name").unwrap_or_else(|| format!("{adapter} {}", at + 1));
        let own = mac(&port["MacAddress"]).or_else(|| mac(&port["MACAddress"]))?;
        let uefi_path = some(port, "UEFIDevicePath").or_else(|| some(body, "UEFIDevicePath"));
        Some(Nic { link: link_state(port), uefi_path, ..bare(own, name) })
    };
    ports.filter_map(port).collect()
}

fn link_state(body: &Value) -> Option<bool> {
    let word = some(body, "LinkStatus").or_else(|| some(body, "LinkState"))?;
    match word.to_ascii_lowercase().replace([' ', '_'], "").as_str() {
        "linkup" | "up" | "ok" | "enabled" => Some(true),
        "linkdown" | "down" | "nolink" | "disabled" | "notlinked" => Some(false),
        _ => None,
    }
}

/// Takes a card in, or what is new of one that is there.
pub(super) fn add(nics: &mut Vec<Nic>, new: Nic) {
    let Some(old) = nics.iter_mut().find(|it| it.mac == new.mac) else {
        if nics.len() < NICS_MAX {
            nics.push(new);
        }
        return;
    };
    old.link = old.link.or(new.link);
    old.enabled = old.enabled.or(new.enabled);
    old.boot_mode = old.boot_mode.take().or(new.boot_mode);
    old.uefi_path = old.uefi_path.take().or(new.uefi_path);
    old.internal |= new.internal;
    if old.name.is_empty() {
        old.name = new.name;
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_maker_has_a_shape_of_its_own() {
        let plain = of_interface(&json!({"Id": "NIC.Integrated.1-1-1", "MACAddress": "EC:E7:A7:05:A1:FC",
            "LinkStatus": "LinkUp", "InterfaceEnabled": true}))
        .unwrap();
        assert_eq!(
            (plain.mac.to_string().as_str(), plain.link, plain.internal),
            ("ec:e7:a7:05:a1:fc", Some(true), false)
        );
        let channel =
            of_port("Nic259", &json!({"Id": "NICChannel0", "AssociatedNetworkAddresses": ["ece7a705a1fc"]}));
        assert_eq!((channel[0].name.as_str(), channel[0].link), ("Nic259 NICChannel0", None));
        let newer = of_port(
            "1",
            &json!({"Id": 1, "LinkStatus": "LinkDown",
            "Ethernet": {"AssociatedMACAddresses": ["ec:e7:a7:05:a1:fc", "00:00:00:00:00:00"]}}),
        );
        assert!(newer.len() == 1 && newer[0].link == Some(false), "{newer:?}");
        let function =
            of_function("1", &json!({"BootMode": "PXE", "Ethernet": {"MACAddress": "ec:e7:a7:05:a1:fc"}}));
        assert_eq!(function.unwrap().boot_mode.as_deref(), Some("PXE"));
        assert!(of_function("1", &json!({"NetDevFuncType": "FibreChannel"})).is_none());
        let older = of_physical_ports(&json!({"Name": "HPE 631", "PhysicalPorts": [
            {"MacAddress": "ec:e7:a7:05:a1:fc", "LinkStatus": "Link Up"}, {"MacAddress": null}]}));
        assert!(older.len() == 1 && older[0].name == "HPE 631 1" && older[0].link == Some(true), "{older:?}");
        assert!(of_interface(&json!({"Id": "usb0", "MACAddress": "ee:e7:a7:05:a1:fc"})).unwrap().internal);
    }

    #[test]
    fn an_address_of_nobody_is_none() {
        for text in ["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "N/A", "", "01:00:5e:00:00:01"] {
            assert_eq!(mac(&json!(text)), None, "{text}");
        }
        assert_eq!(mac(&json!(17)), None);
    }
}
