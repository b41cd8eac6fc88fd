//! Ethernet interfaces (recording `smd-ethernet`).

use domain::inventory::{Interface, InterfaceAddress};
use domain::{MacAddr, Xname, XnameKind};
use serde::{Deserialize, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::filter::Params;

/// An interface as a client writes it; `ID` and `Type` follow from the address and the component.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct InterfaceBody {
    #[serde(rename = "MACAddress")]
    mac: Option<String>,
    #[serde(rename = "ComponentID")]
    component: Option<String>,
    #[serde(rename = "Description")]
    description: Option<String>,
    #[serde(rename = "IPAddresses")]
    addresses: Option<Vec<AddressJson>>,
}

/// An address as it is written and shown.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct AddressJson {
    #[serde(rename = "IPAddress")]
    pub(crate) address: String,
    #[serde(rename = "Network", skip_serializing_if = "String::is_empty")]
    pub(crate) network: String,
}

/// An interface as the SMD API shows it.
#[derive(Debug, Serialize)]
pub(crate) struct InterfaceJson<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    #[serde(rename = "Description")]
    description: &'a str,
    #[serde(rename = "MACAddress")]
    mac: MacAddr,
    #[serde(rename = "LastUpdate")]
    last_update: &'a str,
    #[serde(rename = "ComponentID")]
    component: &'a str,
    #[serde(rename = "Type")]
    kind: &'a str,
    #[serde(rename = "IPAddresses")]
    #[serde(serialize_with = "write_addresses")]
    addresses: &'a [InterfaceAddress],
}

/// An address of an interface that is shown; nothing is copied, for there are 30,000 of them in a list.
#[derive(Serialize)]
struct AddressRef<'a> {
    #[serde(rename = "IPAddress")]
    address: &'a str,
    #[serde(rename = "Network", skip_serializing_if = "str::is_empty")]
    network: &'a str,
}

fn write_addresses<S: Serializer>(list: &[InterfaceAddress], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(list.iter().map(|it| AddressRef { address: &it.address, network: &it.network }))
}

const BAD_COMPONENT: &str = "Invalid CompEthInterface component ID";

/// The instant as `LastUpdate` has it: microseconds, which is what the table keeps.
pub(crate) fn stamp(now: OffsetDateTime) -> String {
    let micros = now.nanosecond() / 1000 * 1000;
    now.replace_nanosecond(micros).unwrap_or(now).format(&Rfc3339).unwrap_or_default()
}

/// An address: any text is taken and shown again, and what is no address serves nobody (`smd-ethernet-048`).
pub(crate) fn take_address(it: AddressJson) -> InterfaceAddress {
    InterfaceAddress { address: it.address, network: it.network }
}

fn take_addresses(list: Vec<AddressJson>) -> Vec<InterfaceAddress> {
    list.into_iter().filter(|it| !it.address.is_empty()).map(take_address).collect()
}

/// What is wrong with a MAC address, in the recorded words (`smd-ethernet-047`).
fn parse_mac(text: &str) -> Result<MacAddr, String> {
    MacAddr::parse_bare(text).map_err(|error| {
        let digits = text.chars().filter(|it| !matches!(it, ':' | '-' | '.')).count();
        if matches!(digits, 12 | 40) { error.to_string() } else { "MAC string has invalid length".to_owned() }
    })
}

/// A new interface of a component.
pub(crate) fn build(
    mac: MacAddr,
    component: Option<Xname>,
    description: String,
    addresses: Vec<InterfaceAddress>,
    now: OffsetDateTime,
) -> Interface {
    let kind = component.as_ref().map(|it| it.kind().name().to_owned());
    Interface { id: mac.bare(), mac, component, kind, description, addresses, last_update: stamp(now) }
}

impl InterfaceBody {
    fn component(text: &str) -> Result<Option<Xname>, String> {
        if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(|_| BAD_COMPONENT.to_owned()) }
    }

    /// A new interface.
    pub(crate) fn parse(self, now: OffsetDateTime) -> Result<Interface, String> {
        let mac = parse_mac(&self.mac.unwrap_or_default())?;
        let component = Self::component(&self.component.unwrap_or_default())?;
        let addresses = take_addresses(self.addresses.unwrap_or_default());
        Ok(build(mac, component, self.description.unwrap_or_default(), addresses, now))
    }

    /// The interface after a PATCH; `LastUpdate` follows the addresses alone.
    pub(crate) fn patch(self, old: &Interface, now: OffsetDateTime) -> Result<Interface, String> {
        if self.component.is_none() && self.description.is_none() && self.addresses.is_none() {
            return Err("Request must have at least one patch field.".to_owned());
        }
        let mut new = old.clone();
        if let Some(text) = self.component {
            new.component = Self::component(&text)?;
            new.kind = new.component.as_ref().map(|it| it.kind().name().to_owned());
        }
        if let Some(text) = self.description {
            new.description = text;
        }
        if let Some(list) = self.addresses {
            set_addresses(&mut new, take_addresses(list), now);
        }
        Ok(new)
    }
}

/// Gives an interface other addresses.
pub(crate) fn set_addresses(it: &mut Interface, addresses: Vec<InterfaceAddress>, now: OffsetDateTime) {
    if it.addresses != addresses {
        it.addresses = addresses;
        it.last_update = stamp(now);
    }
}

/// How an address is shown.
pub(crate) fn show_address(it: &InterfaceAddress) -> AddressJson {
    AddressJson { address: it.address.clone(), network: it.network.clone() }
}

/// How an interface is shown.
pub(crate) fn show(it: &Interface) -> InterfaceJson<'_> {
    InterfaceJson {
        id: &it.id,
        description: &it.description,
        mac: it.mac,
        last_update: &it.last_update,
        component: it.component.as_ref().map_or("", Xname::as_str),
        kind: it.kind.as_deref().unwrap_or_default(),
        addresses: &it.addresses,
    }
}

/// What an interface must be like.
#[derive(Debug, Default)]
pub(crate) struct InterfaceFilter {
    ids: Vec<String>,
    macs: Vec<String>,
    addresses: Vec<String>,
    networks: Vec<String>,
    components: Vec<String>,
    kinds: Vec<&'static str>,
    older: Option<OffsetDateTime>,
    newer: Option<OffsetDateTime>,
}

impl InterfaceFilter {
    /// Reads the parameters; the error is the recorded sentence.
    pub(crate) fn parse(params: &Params) -> Result<Self, &'static str> {
        let lower = |name| params.all(name).iter().map(|it| it.to_ascii_lowercase()).collect();
        let instant = |name: &str| {
            let text = params.all(name).first();
            let wrong = "bad query param: Argument was not in a valid RFC3339 time format";
            text.map(|it| OffsetDateTime::parse(it, &Rfc3339).map_err(|_| wrong)).transpose()
        };
        let mut components = Vec::new();
        for text in params.all("componentid") {
            let id: Result<Xname, _> = text.parse();
            match id {
                Ok(id) => components.push(id.to_string()),
                Err(_) if text.is_empty() => components.push(String::new()),
                Err(_) => return Err("Invalid CompID."),
            }
        }
        let mut kinds = Vec::new();
        for text in params.all("type") {
            kinds.push(XnameKind::named(text).ok_or("Invalid HMS type.")?.name());
        }
        Ok(Self {
            ids: lower("id"),
            macs: params.all("macaddress").iter().map(|it| parse_filter(it)).collect(),
            addresses: params.all("ipaddress").to_vec(),
            networks: params.all("network").to_vec(),
            components,
            kinds,
            older: instant("olderthan")?,
            newer: instant("newerthan")?,
        })
    }

    /// Whether an interface passes.
    pub(crate) fn admits(&self, it: &Interface) -> bool {
        let component = it.component.as_ref().map_or("", Xname::as_str);
        let address =
            |it: &InterfaceAddress| holds(&self.addresses, &it.address) && holds(&self.networks, &it.network);
        let by_address = self.addresses.is_empty() && self.networks.is_empty();
        let updated = || OffsetDateTime::parse(&it.last_update, &Rfc3339).ok();
        holds(&self.ids, &it.id)
            && (self.macs.is_empty() || self.macs.contains(&it.mac.to_string()))
            && (by_address || it.addresses.iter().any(address))
            && holds(&self.components, component)
            && (self.kinds.is_empty() || it.kind.as_deref().is_some_and(|kind| self.kinds.contains(&kind)))
            && self.older.is_none_or(|limit| updated().is_some_and(|it| it < limit))
            && self.newer.is_none_or(|limit| updated().is_some_and(|it| it > limit))
    }
}

/// An address as a filter has it: with separators, in any case; the bare digits find nothing (`smd-ethernet-017`).
fn parse_filter(text: &str) -> String {
    text.parse::<MacAddr>().map_or_else(|_| text.to_ascii_lowercase(), |it| it.to_string())
}

/// Whether the list is empty or has the value.
fn holds(list: &[String], value: &str) -> bool {
    list.is_empty() || list.iter().any(|it| it == value)
}
