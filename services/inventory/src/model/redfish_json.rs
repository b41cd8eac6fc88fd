//! How endpoints and component endpoints are shown (recording `smd-redfish-2.20`), and what filters take of
//! them.

use domain::{Xname, XnameKind};
use serde::Serialize;
use serde_json::{Value, json};

use super::filter::Params;
use super::redfish::{ComponentEndpoint, RedfishEndpoint};

/// An endpoint as the SMD API shows it. A password never comes back, nor the user it belongs to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct EndpointJson<'a> {
    #[serde(rename = "ID")]
    id: &'a Xname,
    #[serde(rename = "Type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    hostname: &'a str,
    domain: &'a str,
    #[serde(rename = "FQDN")]
    fqdn: &'a str,
    enabled: bool,
    #[serde(rename = "UUID", skip_serializing_if = "Option::is_none")]
    uuid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'static str>,
    #[serde(rename = "MACAddr", skip_serializing_if = "Option::is_none")]
    mac: Option<String>,
    #[serde(rename = "IPAddress", skip_serializing_if = "Option::is_none")]
    ip_address: Option<&'a str>,
    rediscover_on_update: bool,
    #[serde(rename = "TemplateID", skip_serializing_if = "Option::is_none")]
    template_id: Option<&'a str>,
    discovery_info: DiscoveryInfo,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct DiscoveryInfo {
    last_discovery_status: &'static str,
}

/// How an endpoint is shown.
pub(crate) fn show(it: &RedfishEndpoint) -> EndpointJson<'_> {
    // A version above 0 says that a credential was stored: its members are left out, not blank.
    let open = it.credential_version == 0 || it.username.is_some();
    EndpointJson {
        id: &it.id,
        kind: it.id.kind().name(),
        name: it.name.as_deref(),
        hostname: &it.hostname,
        domain: &it.domain,
        fqdn: &it.fqdn,
        enabled: it.enabled,
        uuid: it.uuid.as_deref(),
        user: open.then(|| it.username.as_deref().unwrap_or_default()),
        password: open.then_some(""),
        mac: it.mac.map(|it| it.to_string()),
        ip_address: it.ip_address.as_deref(),
        rediscover_on_update: it.rediscover_on_update,
        template_id: it.template_id.as_deref(),
        discovery_info: DiscoveryInfo { last_discovery_status: "NotYetQueried" },
    }
}

/// How a component endpoint is shown; `fqdn` is its endpoint's.
pub(crate) fn show_component_endpoint(it: &ComponentEndpoint, fqdn: &str) -> Value {
    let manager = it.redfish_type == "Manager";
    let mut out = json!({
        "ID": it.id,
        "Type": it.id.kind().name(),
        "RedfishType": it.redfish_type,
        "RedfishSubtype": it.redfish_subtype,
    });
    if let Some(uuid) = &it.uuid {
        out["UUID"] = json!(uuid);
    }
    out["OdataID"] = json!(it.odata_id);
    out["RedfishEndpointID"] = json!(it.endpoint);
    out["Enabled"] = json!(it.enabled);
    out["RedfishEndpointFQDN"] = json!(fqdn);
    out["RedfishURL"] = json!(format!("{fqdn}{}", it.odata_id));
    let action = if manager { "Manager.Reset" } else { "ComputerSystem.Reset" };
    let actions = json!({format!("#{action}"): {
        "ResetType@Redfish.AllowableValues": it.actions,
        "@Redfish.ActionInfo": format!("{}/ResetActionInfo", it.odata_id),
        "target": format!("{}/Actions/{action}", it.odata_id),
    }});
    let nics: Vec<Value> = it.nics.iter().map(|nic| show_nic(nic, manager)).collect();
    if manager {
        out["ComponentEndpointType"] = json!("ComponentEndpointManager");
        out["RedfishManagerInfo"] = json!({
            "Name": it.name,
            "Actions": actions,
            "EthernetNICInfo": nics,
            "CommandShell": {
                "ServiceEnabled": true,
                "MaxConcurrentSessions": 65536,
                "ConnectTypesSupported": it.command_shell.as_deref().unwrap_or_default(),
            },
        });
    } else {
        out["ComponentEndpointType"] = json!("ComponentEndpointComputerSystem");
        out["RedfishSystemInfo"] = json!({"Name": it.name, "Actions": actions, "EthernetNICInfo": nics});
    }
    out
}

fn show_nic(nic: &super::redfish::NicBody, manager: bool) -> Value {
    let mut out = json!({"RedfishId": "", "@odata.id": "", "Description": nic.description});
    if manager {
        out["Hostname"] = json!(nic.name);
        out["InterfaceEnabled"] = json!(nic.enabled);
        out["MACAddress"] = json!(nic.mac);
        out["PermanentMACAddress"] = json!(nic.mac);
    } else {
        out["InterfaceEnabled"] = json!(true);
        out["MACAddress"] = json!(nic.mac);
    }
    out
}

/// What an endpoint or a component endpoint must be like.
#[derive(Debug, Default)]
pub(crate) struct EndpointFilter {
    ids: Vec<String>,
    kinds: Vec<&'static str>,
    endpoints: Vec<String>,
    subtypes: Vec<String>,
    fqdns: Vec<String>,
    uuids: Vec<String>,
    macs: Vec<String>,
    addresses: Vec<String>,
}

impl EndpointFilter {
    /// Reads the parameters; the error is the recorded sentence after `bad query param: `.
    pub(crate) fn parse(params: &Params) -> Result<Self, &'static str> {
        let ids = |name: &str| {
            let parse = |it: &String| it.parse::<Xname>().map(|it| it.to_string());
            let parsed: Result<Vec<_>, _> = params.all(name).iter().map(parse).collect();
            parsed.map_err(|_| "Argument was not a valid xname ID")
        };
        let mut kinds = Vec::new();
        for text in params.all("type") {
            kinds.push(XnameKind::named(text).ok_or("Argument was not a valid HMS Type")?.name());
        }
        Ok(Self {
            ids: ids("id")?,
            kinds,
            endpoints: ids("redfish_ep")?,
            // Recorded so (`smd-redfish-2.20-025`): the name says type, the comparison is with the subtype.
            subtypes: params.all("redfish_type").to_vec(),
            fqdns: params.all("fqdn").to_vec(),
            uuids: params.all("uuid").to_vec(),
            macs: params.all("macaddr").iter().map(|it| it.to_ascii_lowercase()).collect(),
            addresses: params.all("ipaddress").to_vec(),
        })
    }

    fn admits_id(&self, id: &Xname) -> bool {
        holds(&self.ids, id.as_str()) && (self.kinds.is_empty() || self.kinds.contains(&id.kind().name()))
    }

    /// Whether an endpoint passes.
    pub(crate) fn admits(&self, it: &RedfishEndpoint) -> bool {
        self.admits_id(&it.id)
            && holds(&self.fqdns, &it.fqdn)
            && holds(&self.uuids, it.uuid.as_deref().unwrap_or_default())
            && (self.macs.is_empty() || it.mac.is_some_and(|mac| self.macs.contains(&mac.to_string())))
            && holds(&self.addresses, it.ip_address.as_deref().unwrap_or_default())
    }

    /// Whether a component endpoint passes.
    pub(crate) fn admits_component(&self, it: &ComponentEndpoint) -> bool {
        self.admits_id(&it.id)
            && holds(&self.endpoints, it.endpoint.as_str())
            && holds(&self.subtypes, &it.redfish_subtype)
    }
}

fn holds(list: &[String], value: &str) -> bool {
    list.is_empty() || list.iter().any(|it| it == value)
}
