//! The walk through a BMC's resources: systems with their cards and boot order, managers, chassis with their adapters.

use std::net::IpAddr;

use redfish::{Client, Error};
use serde_json::{Value, json};

use super::cards::{self, some, text};
use super::reader::{Reader, link};
use crate::client::{Bmc, Nic, Protocol, System};
use crate::model::nic::{Boot, BootOption, Wanted, choose};
use crate::model::tidy;

/// More systems than any BMC has.
const SYSTEMS_MAX: usize = 64;
/// Entries of a boot order that are looked at for the first one of a network card.
const OPTIONS_MAX: usize = 32;

/// Where cards are that some BMCs have and no collection names.
const ODD_PORTS: [(&str, &str); 2] = [
    ("Nic259", "/redfish/v1/Chassis/FCP_Baseboard/NetworkAdapters/Nic259/NetworkPorts/NICChannel0"),
    ("Nic259", "/redfish/v1/Chassis/FCP_Baseboard/NetworkAdapters/Nic259/NetworkPorts/NICChannel1"),
];
/// Where a BMC's own card is that names it nowhere.
const ODD_MANAGERS: [&str; 3] = [
    "/redfish/v1/Managers/bmc/EthernetInterfaces/eth0",
    "/redfish/v1/Managers/BMC/EthernetInterfaces/eth0",
    "/redfish/v1/Managers/1/EthernetInterfaces/1",
];

/// A walk; what was seen stays when it is given up.
#[derive(Default)]
pub(super) struct Walk {
    bmc: Bmc,
    boots: Vec<Boot>,
    /// Cards of adapters, each with the system that its chassis belongs to.
    loose: Vec<(Option<String>, Nic)>,
    is_cut: bool,
}

impl Walk {
    /// Sees all there is.
    pub(super) async fn run(&mut self, client: &Client, address: IpAddr) -> Result<(), Error> {
        let root = client.root();
        let mut reader = Reader::new(client);
        self.bmc.speaks = Some(Protocol::Redfish);
        self.bmc.maker = text(root, "Vendor");
        self.bmc.uuid = some(root, "UUID");
        let done = self.go(&mut reader, root, address).await;
        self.is_cut = reader.is_exhausted();
        done
    }

    async fn go(&mut self, reader: &mut Reader<'_>, root: &Value, address: IpAddr) -> Result<(), Error> {
        // First what is needed most, in case that it is cut short.
        for path in reader.members(&or(&root["Systems"], "/redfish/v1/Systems")).await? {
            if self.bmc.systems.len() < SYSTEMS_MAX {
                self.system(reader, path).await?;
            }
        }
        self.managers(reader, root, address).await?;
        for path in reader.members(&or(&root["Chassis"], "/redfish/v1/Chassis")).await? {
            self.chassis(reader, &path).await?;
        }
        if self.loose.is_empty() && self.bmc.systems.iter().all(|it| it.nics.is_empty()) {
            for (adapter, path) in ODD_PORTS {
                let port = reader.get(path).await?;
                self.loose.extend(cards::of_port(adapter, &port).into_iter().map(|it| (None, it)));
            }
        }
        Ok(())
    }

    async fn system(&mut self, reader: &mut Reader<'_>, path: String) -> Result<(), Error> {
        let body = reader.get(&path).await?;
        if !body.is_object() {
            return Ok(());
        }
        let actions = &body["Actions"]["#ComputerSystem.Reset"]["ResetType@Redfish.AllowableValues"];
        let words =
            |it: &Value| it.as_array().into_iter().flatten().filter_map(Value::as_str).map(tidy).collect();
        let resets: Vec<String> = words(actions);
        self.bmc.systems.push(System {
            path: tidy(&path),
            name: some(&body, "Name").unwrap_or_else(|| text(&body, "Id")),
            uuid: some(&body, "UUID"),
            maker: text(&body, "Manufacturer"),
            model: text(&body, "Model"),
            serial: some(&body, "SerialNumber").unwrap_or_else(|| text(&body, "SKU")),
            power: text(&body, "PowerState"),
            resets,
            ..System::default()
        });
        self.boots.push(Boot::default());
        let place = self.bmc.systems.len() - 1;
        for path in reader.members(&body["EthernetInterfaces"]).await? {
            let found = cards::of_interface(&reader.get(&path).await?);
            found.into_iter().for_each(|it| cards::add(&mut self.bmc.systems[place].nics, it));
        }
        for path in reader.members(&body["NetworkInterfaces"]).await? {
            let interface = reader.get(&path).await?;
            let adapter = link(&interface["Links"]["NetworkAdapter"]).map(str::to_owned);
            let mut found = Vec::new();
            functions(reader, &text(&interface, "Id"), &interface, &mut found).await?;
            if let Some(adapter) = adapter {
                self::adapter(reader, &adapter, &mut found).await?;
            }
            found.into_iter().for_each(|it| cards::add(&mut self.bmc.systems[place].nics, it));
        }
        self.older(reader, place, &body).await?;
        self.boots[place].target = some(&body["Boot"], "UefiTargetBootSourceOverride");
        self.boot_order(reader, place, &body["Boot"]).await
    }

    /// Adapters where HPE's BMCs of before 2019 have them.
    async fn older(&mut self, reader: &mut Reader<'_>, place: usize, body: &Value) -> Result<(), Error> {
        for (oem, links) in [("Hpe", "Links"), ("Hp", "Links"), ("Hp", "links")] {
            for name in ["BaseNetworkAdapters", "NetworkAdapters"] {
                let mut adapters = body["Oem"][oem][links][name].clone();
                if let Some(path) = adapters["href"].as_str() {
                    adapters = json!({"@odata.id": path});
                }
                for path in reader.members(&adapters).await? {
                    let ports = cards::of_physical_ports(&reader.get(&path).await?);
                    ports.into_iter().for_each(|it| cards::add(&mut self.bmc.systems[place].nics, it));
                }
            }
        }
        Ok(())
    }

    /// The boot order, up to the first entry of a network card.
    async fn boot_order(&mut self, reader: &mut Reader<'_>, place: usize, boot: &Value) -> Result<(), Error> {
        let order = boot["BootOrder"].as_array().into_iter().flatten().filter_map(Value::as_str);
        self.boots[place].order = order.take(OPTIONS_MAX).map(tidy).collect();
        let paths = reader.members(&boot["BootOptions"]).await?;
        let order = self.boots[place].order.clone();
        let name =
            |path: &String| path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
        for reference in order {
            let Some(path) = paths.iter().find(|it| name(it) == reference) else { continue };
            let body = reader.get(path).await?;
            let option = BootOption {
                reference: some(&body, "BootOptionReference").unwrap_or(reference),
                name: some(&body, "DisplayName").unwrap_or_else(|| text(&body, "Name")),
                // Longer than what is kept of other texts.
                uefi_path: body["UefiDevicePath"].as_str().unwrap_or_default().chars().take(512).collect(),
                is_off: body["BootOptionEnabled"] == false,
            };
            let is_network = option.uefi_path.contains("MAC(") && !option.is_off;
            self.boots[place].options.push(option);
            if is_network {
                break;
            }
        }
        Ok(())
    }

    /// The BMC's own card: the one with the address that it was asked at, else the first.
    async fn managers(
        &mut self,
        reader: &mut Reader<'_>,
        root: &Value,
        address: IpAddr,
    ) -> Result<(), Error> {
        let mut found: Vec<(bool, Nic)> = Vec::new();
        let asked = address.to_string();
        for path in reader.members(&or(&root["Managers"], "/redfish/v1/Managers")).await? {
            let body = reader.get(&path).await?;
            if self.bmc.path.is_empty() {
                self.bmc.path = tidy(&path);
                self.bmc.firmware = text(&body, "FirmwareVersion");
                self.bmc.uuid = some(&body, "UUID").or(self.bmc.uuid.take());
            }
            for path in reader.members(&body["EthernetInterfaces"]).await? {
                let body = reader.get(&path).await?;
                let addresses = ["IPv4Addresses", "IPv6Addresses", "IPv4StaticAddresses"];
                let own = addresses.iter().flat_map(|it| body[*it].as_array()).flatten();
                let is_it = own.into_iter().any(|it| it["Address"] == asked.as_str());
                found.extend(cards::of_interface(&body).map(|it| (is_it, it)));
            }
        }
        let by_address = found.iter().find(|it| it.0);
        let first =
            || found.iter().find(|it| !it.1.internal && it.1.enabled != Some(false)).or(found.first());
        self.bmc.mac = by_address.or_else(first).map(|it| it.1.mac);
        for path in ODD_MANAGERS {
            if self.bmc.mac.is_none() {
                self.bmc.mac = cards::of_interface(&reader.get(path).await?).map(|it| it.mac);
            }
        }
        Ok(())
    }

    async fn chassis(&mut self, reader: &mut Reader<'_>, path: &str) -> Result<(), Error> {
        let body = reader.get(path).await?;
        let system = link(&body["Links"]["ComputerSystems"][0]).map(|it| it.trim_end_matches('/').to_owned());
        for path in reader.members(&body["NetworkAdapters"]).await? {
            let mut found = Vec::new();
            adapter(reader, &path, &mut found).await?;
            self.loose.extend(found.into_iter().map(|it| (system.clone(), it)));
        }
        Ok(())
    }

    /// What was seen: cards are with their systems, and which of them each boots from is decided.
    pub(super) fn finish(mut self, wanted: Option<&Wanted>) -> Bmc {
        let count = self.bmc.systems.len();
        if count == 0 && !self.loose.is_empty() {
            self.bmc.systems.push(System::default());
            self.boots.push(Boot::default());
        }
        for (path, nic) in std::mem::take(&mut self.loose) {
            let has = |it: &System| it.nics.iter().any(|it| it.mac == nic.mac);
            let named = |it: &System| path.as_deref() == Some(it.path.trim_end_matches('/'));
            let systems = &mut self.bmc.systems;
            let place = systems.iter().position(has).or_else(|| systems.iter().position(named));
            // Of several systems a card that belongs to none could be anybody's.
            let place = place.or((systems.len() == 1).then_some(0));
            if let Some(place) = place {
                cards::add(&mut systems[place].nics, nic);
            }
        }
        let own = self.bmc.mac;
        for (system, boot) in self.bmc.systems.iter_mut().zip(&self.boots) {
            // Some list the BMC's own card among the node's.
            system.nics.retain(|it| Some(it.mac) != own);
            system.boot = choose(&system.nics, boot, wanted);
        }
        if self.is_cut {
            self.bmc.error =
                Some("it has more resources than are read of one BMC; the rest was left out".to_owned());
        }
        self.bmc
    }
}

/// The ports and functions of an adapter.
async fn adapter(reader: &mut Reader<'_>, path: &str, found: &mut Vec<Nic>) -> Result<(), Error> {
    let body = reader.get(path).await?;
    let name = text(&body, "Id");
    for collection in ["NetworkPorts", "Ports"] {
        for path in reader.members(&body[collection]).await? {
            let port = reader.get(&path).await?;
            cards::of_port(&name, &port).into_iter().for_each(|it| cards::add(found, it));
        }
    }
    functions(reader, &name, &body, found).await
}

async fn functions(
    reader: &mut Reader<'_>,
    name: &str,
    body: &Value,
    found: &mut Vec<Nic>,
) -> Result<(), Error> {
    for path in reader.members(&body["NetworkDeviceFunctions"]).await? {
        let function = cards::of_function(name, &reader.get(&path).await?);
        function.into_iter().for_each(|it| cards::add(found, it));
    }
    Ok(())
}

/// A link, or where it would lead.
fn or(named: &Value, usual: &str) -> Value {
    if link(named).is_some() { named.clone() } else { json!({"@odata.id": usual}) }
}
