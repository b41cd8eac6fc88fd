//! Where other services and pilotctl ask dhcp.

use std::net::Ipv4Addr;

use axum::http::Method;
use domain::{MacAddr, Xname};
use serde::{Deserialize, Serialize};
use web::ClientError;

/// An address in a machine's hands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The address.
    pub ip: Ipv4Addr,
    /// Whose it is.
    pub mac: MacAddr,
    /// The machine, if the inventory has it.
    pub node: Option<Xname>,
    /// The plane's name.
    pub plane: String,
    /// Until when, RFC 3339; none: the inventory's, and not asked for since dhcp started.
    pub expires: Option<String>,
}

/// A machine that asked and has no address of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownMachine {
    /// Its MAC.
    pub mac: MacAddr,
    /// When it was first seen, RFC 3339.
    pub first_seen: String,
    /// When it was last seen, RFC 3339.
    pub last_seen: String,
    /// The plane it asked on.
    pub plane: String,
    /// Its vendor class (option 60), what is printable of it.
    pub vendor_class: String,
    /// `not-in-inventory`, `no-address` or `other-plane`.
    pub reason: String,
    /// How many packets it sent.
    pub count: u64,
    /// What it was lent from the plane's pool.
    pub ip: Option<Ipv4Addr>,
}

/// Why a client gets what it gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// Sentence by sentence, in the order of the decision.
    pub rules: Vec<String>,
    /// The machine, if the inventory has it.
    pub node: Option<Xname>,
    /// The plane's name.
    pub plane: Option<String>,
    /// What it would be offered; none: no answer.
    pub answer: Option<Answer>,
}

/// What a client would be offered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The address; none: another server gives it.
    pub ip: Option<Ipv4Addr>,
    /// The head as the client reaches it.
    pub server: Ipv4Addr,
    /// For how long, in seconds.
    pub lease_s: Option<u32>,
    /// What it boots.
    pub file: Option<String>,
    /// Every option by its code, in hexadecimal digits.
    pub options: std::collections::BTreeMap<u8, String>,
}

/// A NIC of the head that carries a plane, and who was heard on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    /// The plane's name.
    pub plane: String,
    /// Whether that is a plane towards the site.
    pub site: bool,
    /// Whether another DHCP server may be there.
    pub shared: bool,
    /// Its name; as the document has it if it is not there.
    pub interface: String,
    /// Whether there is such a NIC.
    pub there: bool,
    /// Whether it has a link.
    pub carrier: bool,
    /// Its speed in Mbit/s, if it knows.
    pub mbps: Option<u32>,
    /// Whether it sends and receives by turns.
    pub half_duplex: bool,
    /// The largest IP packet it takes, in bytes.
    pub mtu: Option<u32>,
    /// The largest that machines on the plane are told to send, if they are told.
    pub subnet_mtu: Option<u16>,
    /// Other DHCP servers that were heard.
    pub servers: Vec<Server>,
    /// Bridges that speak spanning tree.
    pub bridges: Vec<Bridge>,
}

/// Another DHCP server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// What it calls itself (option 54).
    pub server: Ipv4Addr,
    /// Who sent the frame: the server, or a relay between.
    pub mac: MacAddr,
}

/// A bridge at the other end of a wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridge {
    /// Its port's MAC.
    pub mac: MacAddr,
    /// `stp`, `rstp` or `mstp`.
    pub protocol: String,
    /// A port that is no edge port passes frames twice so many seconds after its link is up.
    pub forward_delay_s: u16,
}

/// A client of dhcp.
#[derive(Clone, Debug)]
pub struct Client(web::Client);

impl Client {
    /// Asks over this connection.
    #[must_use]
    pub fn new(client: web::Client) -> Self {
        Self(client)
    }

    /// The machines that asked and have no address of their own, the last seen first.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn list_unknown(&self) -> Result<Vec<UnknownMachine>, ClientError> {
        self.0.get("/pilothouse/v1/unknown").await
    }

    /// Every address in a machine's hands, by address.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn list_leases(&self) -> Result<Vec<Lease>, ClientError> {
        self.0.get("/pilothouse/v1/leases").await
    }

    /// Who has this address.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn find_lease_by_ip(&self, ip: Ipv4Addr) -> Result<Option<Lease>, ClientError> {
        let found: Vec<Lease> = self.0.get(&format!("/pilothouse/v1/leases?ip={ip}")).await?;
        Ok(found.into_iter().next())
    }

    /// What this MAC has.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn find_lease_by_mac(&self, mac: MacAddr) -> Result<Option<Lease>, ClientError> {
        let found: Vec<Lease> = self.0.get(&format!("/pilothouse/v1/leases?mac={mac}")).await?;
        Ok(found.into_iter().next())
    }

    /// The NICs of the head, and who is heard on them within so many seconds: other DHCP servers, which are asked, and
    /// bridges.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn probe(&self, seconds: u8) -> Result<Vec<Nic>, ClientError> {
        let path = format!("/pilothouse/v1/probe?seconds={seconds}");
        self.0.call(Method::POST, &path, None::<&()>).await
    }

    /// Why a MAC gets what it gets, or nothing. `query` has what else is known of the client: `relay`, `plane`,
    /// `arch`, `ipxe`, `http`.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn explain(&self, mac: MacAddr, query: &[(&str, String)]) -> Result<Why, ClientError> {
        let more: String = query.iter().map(|(key, value)| format!("&{key}={value}")).collect();
        self.0.get(&format!("/pilothouse/v1/why?mac={mac}{more}")).await
    }
}
