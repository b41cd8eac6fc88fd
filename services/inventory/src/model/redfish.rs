//! Redfish endpoints and what follows from them: the body of `ochami discover`, magellan and older clients
//! becomes an endpoint, its component endpoints, components and interfaces (recording `smd-redfish-2.20`).

use std::collections::BTreeSet;
use std::net::IpAddr;

use domain::inventory::{Component, Interface, InterfaceAddress};
use domain::{MacAddr, Nid, Xname};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::component::bare;
use super::interface;

/// An endpoint as it is stored; `endpoint` in the feed has these members too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RedfishEndpoint {
    pub(crate) id: Xname,
    pub(crate) name: Option<String>,
    pub(crate) hostname: String,
    pub(crate) domain: String,
    pub(crate) fqdn: String,
    pub(crate) enabled: bool,
    pub(crate) uuid: Option<String>,
    /// A user without a password; with one, both are a sealed credential.
    pub(crate) username: Option<String>,
    pub(crate) mac: Option<MacAddr>,
    pub(crate) ip_address: Option<String>,
    pub(crate) rediscover_on_update: bool,
    pub(crate) template_id: Option<String>,
    pub(crate) protocol: String,
    pub(crate) port: Option<u16>,
    pub(crate) cipher_suites: Option<Vec<u8>>,
    pub(crate) workarounds: Vec<String>,
    pub(crate) class: Option<String>,
    pub(crate) credential_version: i64,
}

/// A component endpoint: what an endpoint says of a node or of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ComponentEndpoint {
    pub(crate) id: Xname,
    pub(crate) endpoint: Xname,
    /// `ComputerSystem` or `Manager`.
    pub(crate) redfish_type: String,
    pub(crate) redfish_subtype: String,
    pub(crate) uuid: Option<String>,
    pub(crate) odata_id: String,
    pub(crate) enabled: bool,
    pub(crate) name: String,
    pub(crate) actions: Option<Vec<String>>,
    pub(crate) command_shell: Option<Vec<String>>,
    pub(crate) nics: Vec<NicBody>,
}

/// An endpoint as a client writes it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct EndpointBody {
    #[serde(rename = "ID")]
    pub(crate) id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) hostname: Option<String>,
    pub(crate) domain: Option<String>,
    #[serde(rename = "FQDN")]
    pub(crate) fqdn: Option<String>,
    pub(crate) enabled: Option<bool>,
    #[serde(rename = "UUID")]
    pub(crate) uuid: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    #[serde(rename = "MACAddr")]
    pub(crate) mac: Option<String>,
    #[serde(rename = "IPAddress")]
    pub(crate) ip_address: Option<String>,
    pub(crate) rediscover_on_update: Option<bool>,
    #[serde(rename = "TemplateID")]
    pub(crate) template_id: Option<String>,
    /// 1 and above: `Systems` and `Managers` count.
    pub(crate) schema_version: Option<i64>,
    pub(crate) systems: Option<Vec<DetailBody>>,
    pub(crate) managers: Option<Vec<DetailBody>>,
}

/// A system or a manager as a client writes it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct DetailBody {
    pub(crate) uri: Option<String>,
    pub(crate) uuid: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) system_type: Option<String>,
    pub(crate) actions: Option<Vec<String>>,
    pub(crate) command_shell: Option<Vec<String>>,
    pub(crate) ethernet_interfaces: Option<Vec<NicBody>>,
}

/// A network card as a client writes it, and as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct NicBody {
    pub(crate) mac: String,
    pub(crate) ip: String,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) enabled: bool,
}

/// What an endpoint's body makes besides the endpoint.
#[derive(Debug, Default)]
pub(crate) struct Derived {
    /// Those that are there already stay as they are, but for a name they lack.
    pub(crate) components: Vec<Component>,
    pub(crate) component_endpoints: Vec<ComponentEndpoint>,
    pub(crate) interfaces: Vec<Interface>,
}

fn text(it: Option<&String>) -> Option<String> {
    it.filter(|it| !it.is_empty()).cloned()
}

fn trimmed(it: Option<&String>) -> String {
    it.map_or("", String::as_str).trim_matches(['.', '/', ' ']).to_owned()
}

/// A name that may stand in the hosts file: one DNS label.
pub(crate) fn is_label(name: &str) -> bool {
    let sound = name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-');
    sound && (1..=63).contains(&name.len()) && !name.starts_with('-') && !name.ends_with('-')
}

impl EndpointBody {
    /// The endpoint, or the recorded sentence on what is wrong (`smd-redfish-2.20-046` to `-048`).
    pub(crate) fn parse(&self) -> Result<RedfishEndpoint, String> {
        let (hostname, domain, fqdn_given) = self.names();
        let id = text(self.id.as_ref()).map_or_else(|| hostname.clone(), |it| trimmed(Some(&it)));
        if id.is_empty() {
            return Err("No xname ID found".to_owned());
        }
        let id: Xname = id.parse().map_err(|_| format!("{id} is not a valid locational xname ID"))?;
        let kind = id.kind().name();
        if !id.is_controller() && !matches!(kind, "MgmtSwitch" | "MgmtHLSwitch" | "CDUMgmtSwitch") {
            return Err(format!("xname ID {id} has wrong type for RF endpoint: {kind}"));
        }
        let host = if hostname.is_empty() { id.as_str() } else { &hostname };
        let is_address = host.parse::<IpAddr>().is_ok();
        let fqdn = if domain.is_empty() || is_address { host.to_owned() } else { format!("{host}.{domain}") };
        if let Some(given) = fqdn_given.filter(|it| *it != fqdn) {
            return Err(format!("host/domain conflicts with FQDN: '{fqdn}' != '{given}'"));
        }
        let mac = text(self.mac.as_ref()).map(|it| MacAddr::parse_bare(&it));
        Ok(RedfishEndpoint {
            name: text(self.name.as_ref()),
            hostname,
            domain,
            fqdn,
            enabled: self.enabled.unwrap_or(true),
            uuid: text(self.uuid.as_ref()),
            username: text(self.user.as_ref()).filter(|_| text(self.password.as_ref()).is_none()),
            mac: mac.transpose().map_err(|it| it.to_string())?,
            ip_address: text(self.ip_address.as_ref()),
            rediscover_on_update: self.rediscover_on_update.unwrap_or(false),
            template_id: text(self.template_id.as_ref()),
            ..bare_endpoint(id)
        })
    }

    /// Host name and domain, out of the FQDN where they are not given; and the FQDN as given.
    fn names(&self) -> (String, String, Option<String>) {
        let (mut hostname, mut domain) = (trimmed(self.hostname.as_ref()), trimmed(self.domain.as_ref()));
        let fqdn = text(self.fqdn.as_ref());
        if let Some(fqdn) = &fqdn {
            let whole = fqdn.parse::<IpAddr>().is_ok();
            let (host, rest) =
                if whole { (fqdn.as_str(), "") } else { fqdn.split_once('.').unwrap_or((fqdn, "")) };
            if hostname.is_empty() {
                hostname = host.to_owned();
            }
            if domain.is_empty() && hostname == host {
                domain = rest.trim_matches(['.', '/', ' ']).to_owned();
            }
        }
        (hostname, domain, fqdn)
    }

    /// The endpoint after a PATCH, which also fills the host name from the FQDN.
    pub(crate) fn patch(&self, old: &RedfishEndpoint) -> Result<RedfishEndpoint, String> {
        let mut new = old.clone();
        let keep = |new: &mut Option<String>, it: &Option<String>| {
            if it.is_some() {
                *new = text(it.as_ref());
            }
        };
        let body = Self {
            id: Some(old.id.to_string()),
            hostname: self.hostname.clone().or_else(|| Some(old.hostname.clone())),
            domain: self.domain.clone().or_else(|| Some(old.domain.clone())),
            fqdn: self.fqdn.clone(),
            mac: self.mac.clone(),
            ..Self::default()
        };
        let parsed = body.parse()?;
        (new.hostname, new.domain, new.fqdn) = (parsed.hostname, parsed.domain, parsed.fqdn);
        if new.hostname.is_empty() {
            new.hostname = new.fqdn.split('.').next().unwrap_or_default().to_owned();
        }
        if self.mac.is_some() {
            new.mac = parsed.mac;
        }
        keep(&mut new.name, &self.name);
        keep(&mut new.uuid, &self.uuid);
        keep(&mut new.ip_address, &self.ip_address);
        keep(&mut new.template_id, &self.template_id);
        keep(&mut new.username, &self.user);
        new.enabled = self.enabled.unwrap_or(new.enabled);
        new.rediscover_on_update = self.rediscover_on_update.unwrap_or(new.rediscover_on_update);
        Ok(new)
    }

    /// What the systems and managers make. Nodes are counted in order, except that a URI which ends in the
    /// xname of a node says which it is, as static discovery writes it.
    pub(crate) fn derive(&self, endpoint: &RedfishEndpoint, now: OffsetDateTime) -> Derived {
        let mut derived = Derived::default();
        if self.schema_version.unwrap_or(0) < 1 {
            return derived;
        }
        for manager in self.managers.iter().flatten() {
            // Nothing was heard of its state: no State, no Flag (`smd-redfish-2.20-042`).
            derived.components.push(Component { flag: None, ..bare(endpoint.id.clone()) });
            derived.add(manager, &endpoint.id, endpoint, now);
        }
        let (mut known, mut count) = (BTreeSet::new(), 0);
        for system in self.systems.iter().flatten() {
            let uuid = text(system.uuid.as_ref());
            if uuid.is_some_and(|it| !known.insert(it)) {
                continue;
            }
            let last = system.uri.as_deref().and_then(|it| it.rsplit('/').next());
            let named = last.and_then(|it| it.parse::<Xname>().ok());
            let named = named.filter(Xname::is_node);
            let Some(node) = named.clone().or_else(|| endpoint.id.child('n', count).ok()) else { continue };
            count += 1;
            // Static discovery names the node; what real hardware calls a system is no name of a node.
            let name = system.name.clone().filter(|it| named.is_some() && is_label(it));
            derived.components.push(Component {
                state: Some("On".to_owned()),
                nid: Some(Nid(i64::from(count))),
                name,
                ..bare(node.clone())
            });
            derived.add(system, &node, endpoint, now);
        }
        derived
    }
}

impl Derived {
    fn add(&mut self, detail: &DetailBody, id: &Xname, endpoint: &RedfishEndpoint, now: OffsetDateTime) {
        let nics = detail.ethernet_interfaces.clone().unwrap_or_default();
        for nic in &nics {
            let Ok(mac) = MacAddr::parse_bare(&nic.mac) else { continue };
            let address = nic.ip.parse::<IpAddr>().is_ok();
            let address =
                address.then(|| InterfaceAddress { address: nic.ip.clone(), network: String::new() });
            let addresses = address.into_iter().collect();
            let description = nic.description.clone();
            self.interfaces.push(interface::build(mac, Some(id.clone()), description, addresses, now));
        }
        let manager = !id.is_node();
        self.component_endpoints.push(ComponentEndpoint {
            id: id.clone(),
            endpoint: endpoint.id.clone(),
            redfish_type: if manager { "Manager" } else { "ComputerSystem" }.to_owned(),
            redfish_subtype: detail.system_type.clone().unwrap_or_default(),
            uuid: text(detail.uuid.as_ref()).filter(|_| !manager),
            odata_id: path_of(detail.uri.as_deref().unwrap_or_default()),
            enabled: true,
            name: detail.name.clone().unwrap_or_default(),
            actions: detail.actions.clone(),
            command_shell: detail.command_shell.clone(),
            nics,
        });
    }
}

/// The path of a URI, or the path itself.
fn path_of(uri: &str) -> String {
    let Some((_, rest)) = uri.split_once("://") else { return uri.to_owned() };
    rest.find('/').map_or_else(String::new, |at| rest[at..].to_owned())
}

/// An endpoint of which only the xname is known.
pub(crate) fn bare_endpoint(id: Xname) -> RedfishEndpoint {
    RedfishEndpoint {
        name: None,
        hostname: String::new(),
        domain: String::new(),
        fqdn: id.to_string(),
        enabled: true,
        uuid: None,
        username: None,
        mac: None,
        ip_address: None,
        rediscover_on_update: false,
        template_id: None,
        protocol: "auto".to_owned(),
        port: None,
        cipher_suites: None,
        workarounds: Vec::new(),
        class: None,
        credential_version: 0,
        id,
    }
}

impl RedfishEndpoint {
    /// Takes what a PUT says; how to reach the controller is not its business.
    pub(crate) fn replaced_by(&self, new: Self) -> Self {
        let old = self.clone();
        Self {
            username: new.username.or(old.username),
            protocol: old.protocol,
            port: old.port,
            cipher_suites: old.cipher_suites,
            workarounds: old.workarounds,
            class: old.class,
            credential_version: old.credential_version,
            ..new
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use time::OffsetDateTime;

    use super::EndpointBody;

    fn body(text: &str) -> EndpointBody {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn host_and_domain_come_from_the_fqdn() {
        let parsed =
            body(r#"{"ID":"x1000c1s7b5","Hostname":"x1000c1s7b5","Domain":"local"}"#).parse().unwrap();
        assert_eq!(parsed.fqdn, "x1000c1s7b5.local");
        let parsed = body(r#"{"FQDN":"x1000c1s7b5.local"}"#).parse().unwrap();
        assert_eq!((parsed.id.as_str(), parsed.domain.as_str()), ("x1000c1s7b5", "local"));
        let error = body(r#"{"ID":"x1000c1s7b1n0","FQDN":"x1000c1s7b1n0"}"#).parse().unwrap_err();
        assert_eq!(error, "xname ID x1000c1s7b1n0 has wrong type for RF endpoint: Node");
    }

    #[test]
    fn a_system_is_the_node_its_uri_names_else_the_next_in_order() {
        let body = body(
            r#"{"ID":"x1000c1s7b1","SchemaVersion":1,"Systems":[
                {"uuid":"a","uri":"http://h/redfish/v1/Systems/x1000c1s7b1n3","name":"login1"},
                {"uuid":"a","uri":"/redfish/v1/Systems/again"},
                {"uuid":"b","uri":"/redfish/v1/Systems/System.Embedded.1","name":"System"}]}"#,
        );
        let endpoint = body.parse().unwrap();
        let derived = body.derive(&endpoint, OffsetDateTime::UNIX_EPOCH);
        let nodes: Vec<_> =
            derived.components.iter().map(|it| (it.id.as_str(), it.name.as_deref())).collect();
        assert_eq!(nodes, [("x1000c1s7b1n3", Some("login1")), ("x1000c1s7b1n1", None)]);
        assert_eq!(derived.component_endpoints[0].odata_id, "/redfish/v1/Systems/x1000c1s7b1n3");
    }
}
