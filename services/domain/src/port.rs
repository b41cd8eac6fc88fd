//! The one table of what listens where: nftables, the docs and the test that reads `ss` are made from it.

use crate::Document;
use crate::document::PlaneKind;

/// TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
}

/// A port that faces a network or the loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The port's number.
    pub number: u16,
    /// The unit behind it.
    pub unit: &'static str,
    /// What it is, one phrase.
    pub purpose: &'static str,
    /// The planes it is opened to; none means loopback alone.
    pub planes: &'static [PlaneKind],
    /// The key of the service's table that opens it; none: it is open.
    pub setting: Option<&'static str>,
}

impl Port {
    /// Whether a document has it open.
    #[must_use]
    pub fn is_open(&self, document: &Document) -> bool {
        // The only one so far is the gateway's.
        self.setting.is_none_or(|it| document.gateway.get(it).and_then(toml::Value::as_bool) == Some(true))
    }
}

use PlaneKind::{Bmc, Nodes, Site};
use Protocol::{Tcp, Udp};

const fn port(
    protocol: Protocol,
    number: u16,
    unit: &'static str,
    purpose: &'static str,
    planes: &'static [PlaneKind],
) -> Port {
    Port { protocol, number, unit, purpose, planes, setting: None }
}

/// Every port of the head (INTERFACES 8), in the order of their numbers.
pub const TABLE: [Port; 11] = [
    port(Tcp, 22, "ssh", "administrators' log-in", &[Site, Nodes]),
    port(Udp, 67, "pilothouse-dhcp", "DHCP", &[Nodes, Bmc]),
    port(Udp, 69, "pilothouse-dhcp", "TFTP", &[Nodes]),
    port(Udp, 123, "chrony", "time for nodes and BMCs", &[Nodes, Bmc]),
    Port {
        setting: Some("public_https"),
        ..port(Tcp, 443, "pilothouse-gateway", "the APIs over TLS, where the world expects them", &[Site])
    },
    port(Udp, 4011, "pilothouse-dhcp", "boot files beside another DHCP server (proxyDHCP)", &[Nodes]),
    port(Tcp, 7890, "pilothouse-console", "conman's protocol", &[]),
    port(Tcp, 8080, "pilothouse-images", "images over HTTP", &[Nodes]),
    port(Tcp, 8081, "pilothouse-gateway", "boot scripts and cloud-init over HTTP", &[Nodes]),
    port(Tcp, 8443, "pilothouse-gateway", "the APIs over TLS", &[Site, Nodes]),
    port(Tcp, 10101, "pilothouse-power", "the powerman protocol", &[]),
];
