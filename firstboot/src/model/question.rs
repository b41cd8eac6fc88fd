//! Each question: its text, its default, what its answer changes, and what comes next.

use std::net::{IpAddr, Ipv4Addr};

use domain::document::{Pool, is_account, is_label, is_ssh_key};
use ipnet::Ipv4Net;
use zeroize::Zeroizing;

use super::draft::{Draft, Site};
use crate::machine::Machine;

/// More than these are surely a mistake (resolv.conf(5) takes three).
const SERVERS_MAX: usize = 8;
/// What a BMC takes (IPMI 2.0 sections 22.28 and 22.30).
const BMC_USER_MAX: usize = 16;
const BMC_PASSWORD_MAX: usize = 20;

/// A question. Their order is `next`'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    Cluster,
    Domain,
    Head,
    NodesInterface,
    NodesAddress,
    NodesRange,
    BmcInterface,
    BmcAddress,
    Site,
    SiteInterface,
    SiteAddress,
    SiteRouter,
    NameServers,
    TimeServers,
    Admin,
    SshKey,
    BmcUser,
    BmcPassword,
    BmcPasswordAgain,
    Confirm,
}

impl Question {
    pub(super) const FIRST: Self = Self::Cluster;

    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Cluster => "Cluster name",
            Self::Domain => "Domain",
            Self::Head => "Name of the head",
            Self::NodesInterface => "Nodes network, interface",
            Self::NodesAddress => "Nodes network, address of the head",
            Self::NodesRange => "Nodes network, range for unknown machines",
            Self::BmcInterface => "BMC network, same or an interface",
            Self::BmcAddress => "BMC network, address of the head",
            Self::Site => "Site network, none, dhcp or static",
            Self::SiteInterface => "Site network, interface",
            Self::SiteAddress => "Site network, address of the head",
            Self::SiteRouter => "Site network, router",
            Self::NameServers => "Name servers",
            Self::TimeServers => "Time servers",
            Self::Admin => "Administrator, account",
            Self::SshKey => "Administrator, SSH public key",
            Self::BmcUser => "BMC account, user",
            Self::BmcPassword => "BMC account, password (not shown)",
            Self::BmcPasswordAgain => "BMC account, password again (not shown)",
            Self::Confirm => "Apply this? yes, no or a number to change",
        }
    }

    pub(super) fn is_hidden(self) -> bool {
        matches!(self, Self::BmcPassword | Self::BmcPasswordAgain)
    }

    /// The line of the summary that the answer shows in, from 1; 0: none.
    pub(super) fn item(self) -> usize {
        match self {
            Self::Cluster => 1,
            Self::Domain => 2,
            Self::Head => 3,
            Self::NodesInterface | Self::NodesAddress | Self::NodesRange => 4,
            Self::BmcInterface | Self::BmcAddress => 5,
            Self::Site | Self::SiteInterface | Self::SiteAddress | Self::SiteRouter => 6,
            Self::NameServers => 7,
            Self::TimeServers => 8,
            Self::Admin | Self::SshKey => 9,
            Self::BmcUser | Self::BmcPassword | Self::BmcPasswordAgain => 10,
            Self::Confirm => 0,
        }
    }

    /// The first question of a line of the summary.
    pub(super) fn first_of(item: usize) -> Option<Self> {
        const FIRSTS: [Question; 10] = [
            Question::Cluster,
            Question::Domain,
            Question::Head,
            Question::NodesInterface,
            Question::BmcInterface,
            Question::Site,
            Question::NameServers,
            Question::TimeServers,
            Question::Admin,
            Question::BmcUser,
        ];
        FIRSTS.get(item.checked_sub(1)?).copied()
    }

    /// What is asked after this was answered.
    pub(super) fn next(self, draft: &Draft) -> Self {
        match self {
            Self::Cluster => Self::Domain,
            Self::Domain => Self::Head,
            Self::Head => Self::NodesInterface,
            Self::NodesInterface => Self::NodesAddress,
            Self::NodesAddress => Self::NodesRange,
            Self::NodesRange => Self::BmcInterface,
            Self::BmcInterface if draft.bmc_interface.is_some() => Self::BmcAddress,
            Self::BmcInterface | Self::BmcAddress => Self::Site,
            Self::Site if draft.site != Site::None => Self::SiteInterface,
            Self::SiteInterface if draft.site == Site::Static => Self::SiteAddress,
            Self::SiteAddress => Self::SiteRouter,
            Self::Site | Self::SiteInterface | Self::SiteRouter => Self::NameServers,
            Self::NameServers => Self::TimeServers,
            Self::TimeServers => Self::Admin,
            Self::Admin => Self::SshKey,
            Self::SshKey => Self::BmcUser,
            Self::BmcUser if draft.bmc_user.is_some() => Self::BmcPassword,
            Self::BmcPassword => Self::BmcPasswordAgain,
            Self::BmcUser | Self::BmcPasswordAgain | Self::Confirm => Self::Confirm,
        }
    }

    /// The answer of an empty line: the answer so far, or what is honest to propose.
    pub(super) fn default(self, draft: &Draft, machine: &Machine) -> Option<String> {
        let or_none = |it: Option<String>| Some(it.unwrap_or_else(|| "none".to_owned()));
        match self {
            Self::Cluster => Some(draft.cluster().to_owned()),
            Self::Domain => Some(draft.domain().to_owned()),
            Self::Head => Some(draft.head.clone().unwrap_or_else(|| draft.usual_head())),
            Self::NodesInterface => {
                let proposed = || {
                    let linked = machine.nics.iter().find(|it| it.link == Some(true));
                    linked.or(machine.nics.first()).map(|it| it.name.clone())
                };
                draft.nodes_interface.clone().or_else(proposed)
            }
            Self::NodesAddress => {
                Some(draft.nodes_address.map_or_else(|| "172.16.0.254/24".to_owned(), |it| it.to_string()))
            }
            Self::NodesRange => or_none(draft.nodes_range.map(String::from)),
            Self::BmcInterface => Some(draft.bmc_interface.clone().unwrap_or_else(|| "same".to_owned())),
            Self::BmcAddress => draft.bmc_address.map(|it| it.to_string()),
            Self::Site => Some(site_word(draft.site).to_owned()),
            Self::SiteInterface => draft.site_interface.clone().or_else(|| free_nic(draft, machine)),
            Self::SiteAddress => draft.site_address.map(|it| it.to_string()),
            Self::SiteRouter => or_none(draft.site_router.map(|it| it.to_string())),
            Self::NameServers => {
                let words: Vec<String> = draft.dns.iter().map(Ipv4Addr::to_string).collect();
                or_none((!words.is_empty()).then(|| words.join(" ")))
            }
            Self::TimeServers => or_none((!draft.ntp.is_empty()).then(|| draft.ntp.join(" "))),
            Self::Admin => Some(draft.admin.clone().unwrap_or_else(|| "admin".to_owned())),
            Self::SshKey => draft.ssh_key.clone(),
            Self::BmcUser => or_none(draft.bmc_user.clone()),
            Self::BmcPassword | Self::BmcPasswordAgain | Self::Confirm => None,
        }
    }

    /// Enters the answer, or says why it does not hold by itself; the document's own rules come after.
    pub(super) fn answer(self, draft: &mut Draft, text: &str, machine: &Machine) -> Result<(), String> {
        let optional = (text != "none").then_some(text);
        match self {
            Self::Cluster => draft.cluster = Some(text.to_owned()),
            Self::Domain => draft.domain = Some(text.to_owned()),
            Self::Head if text == draft.usual_head() && is_label(text) => draft.head = None,
            Self::Head => draft.head = Some(text.to_owned()),
            Self::NodesInterface => draft.nodes_interface = Some(interface(text, machine)?),
            Self::NodesAddress => set_nodes_address(draft, address(text)?),
            Self::NodesRange => draft.nodes_range = optional.map(str::parse::<Pool>).transpose()?,
            Self::BmcInterface if text == "same" => {
                (draft.bmc_interface, draft.bmc_address) = (None, None);
            }
            Self::BmcInterface => draft.bmc_interface = Some(interface(text, machine)?),
            Self::BmcAddress => draft.bmc_address = Some(address(text)?),
            Self::Site => set_site(draft, text)?,
            Self::SiteInterface => draft.site_interface = Some(interface(text, machine)?),
            Self::SiteAddress => {
                let net = address(text)?;
                draft.site_router = draft.site_router.filter(|it| net.contains(it));
                draft.site_address = Some(net);
            }
            Self::SiteRouter => draft.site_router = optional.map(router).transpose()?,
            Self::NameServers => draft.dns = servers(optional, name_server)?,
            Self::TimeServers => draft.ntp = servers(optional, time_server)?,
            Self::Admin => draft.admin = Some(account(text, machine)?),
            Self::SshKey => draft.ssh_key = Some(ssh_key(text)?),
            Self::BmcUser => draft.bmc_user = optional.map(bmc_user).transpose()?,
            Self::BmcPassword => draft.bmc_password = bmc_password(text)?,
            Self::BmcPasswordAgain if *draft.bmc_password != text => {
                return Err("The two are not the same; type both again.".to_owned());
            }
            Self::BmcPasswordAgain | Self::Confirm => {}
        }
        if draft.bmc_user.is_none() {
            draft.bmc_password = Zeroizing::default();
        }
        check_site(draft, machine)
    }
}

fn site_word(site: Site) -> &'static str {
    match site {
        Site::None => "none",
        Site::Dhcp => "dhcp",
        Site::Static => "static",
    }
}

/// The first NIC that no network of the head is on, those with a link first.
fn free_nic(draft: &Draft, machine: &Machine) -> Option<String> {
    let used = [&draft.nodes_interface, &draft.bmc_interface];
    let used = used.map(|it| it.as_deref().and_then(|it| machine.nic(it)));
    let mut free = machine.nics.iter().filter(|it| !used.contains(&Some(*it)));
    let linked = free.clone().find(|it| it.link == Some(true));
    linked.or_else(|| free.next()).map(|it| it.name.clone())
}

/// A NIC as it was named, by its name or its MAC address.
fn interface(text: &str, machine: &Machine) -> Result<String, String> {
    if let Some(nic) = machine.nic(text) {
        return Ok(if nic.name == text { nic.name.clone() } else { nic.mac.to_string() });
    }
    let names: Vec<&str> = machine.nics.iter().map(|it| it.name.as_str()).collect();
    Err(format!("{text:?} is no network interface of this machine; it has: {}.", names.join(" ")))
}

/// Where another DHCP server gives addresses, the head's own must not.
fn check_site(draft: &Draft, machine: &Machine) -> Result<(), String> {
    let Some(site) = draft.site_interface.as_ref().filter(|_| draft.site == Site::Dhcp) else {
        return Ok(());
    };
    let ours = [&draft.nodes_interface, &draft.bmc_interface];
    if ours.into_iter().flatten().any(|it| it == site || machine.nic(it) == machine.nic(site)) {
        return Err(format!("On {site} either the head gives the addresses or the site; take another one."));
    }
    Ok(())
}

fn address(text: &str) -> Result<Ipv4Net, String> {
    let hint = || format!("{text:?} is no address with a prefix; write it as 172.16.0.254/24.");
    let net: Ipv4Net = text.parse().map_err(|_| hint())?;
    if net.addr().is_loopback() || net.addr().is_multicast() || net.addr().is_unspecified() {
        return Err(format!("{net} cannot be the address of a machine on a network."));
    }
    Ok(net)
}

/// A range of before is kept where it still fits.
fn set_nodes_address(draft: &mut Draft, net: Ipv4Net) {
    let fits = |it: &Pool| net.contains(&it.first) && net.contains(&it.last) && !it.contains(net.addr());
    draft.nodes_range = draft.nodes_range.filter(fits);
    draft.nodes_address = Some(net);
}

fn set_site(draft: &mut Draft, text: &str) -> Result<(), String> {
    let kinds = [Site::None, Site::Dhcp, Site::Static];
    let kind = kinds.into_iter().find(|it| site_word(*it) == text.to_ascii_lowercase());
    draft.site = kind.ok_or("Type none, dhcp or static.")?;
    if draft.site == Site::None {
        draft.site_interface = None;
    }
    if draft.site != Site::Static {
        (draft.site_address, draft.site_router) = (None, None);
    }
    Ok(())
}

fn router(text: &str) -> Result<Ipv4Addr, String> {
    text.parse().map_err(|_| format!("{text:?} is no address; write it as 10.0.0.1, or none."))
}

fn servers<T>(text: Option<&str>, parse: fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    let words = text.unwrap_or_default().split([' ', ',']).filter(|it| !it.is_empty());
    let servers: Vec<T> = words.map(parse).collect::<Result<_, _>>()?;
    if servers.len() > SERVERS_MAX {
        return Err(format!("These are {}; at most {SERVERS_MAX} are taken.", servers.len()));
    }
    Ok(servers)
}

fn name_server(text: &str) -> Result<Ipv4Addr, String> {
    text.parse().map_err(|_| format!("{text:?} is no address; write them as 10.0.0.53 10.0.0.54, or none."))
}

fn time_server(text: &str) -> Result<String, String> {
    let numeric = text.parse::<IpAddr>().is_ok();
    let name = text.len() <= 253 && text.split('.').all(is_label);
    // What looks like an address and is none is a slip, not a name.
    let slip = text.bytes().all(|it| it.is_ascii_digit() || it == b'.');
    if numeric || (name && !slip) {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is no name and no address; write them as ntp.example 10.0.0.123, or none."))
}

fn account(text: &str, machine: &Machine) -> Result<String, String> {
    if !is_account(text) {
        return Err(format!("{text:?} is no account name; small letters, digits, - and _, a letter first."));
    }
    if machine.accounts.iter().any(|it| it == text) {
        return Err(format!("{text:?} is an account of the system; choose another name."));
    }
    Ok(text.to_owned())
}

fn ssh_key(text: &str) -> Result<String, String> {
    if text.contains("PRIVATE KEY") {
        return Err("This is a private key; it must stay where it is. Paste the .pub file's line.".to_owned());
    }
    if !is_ssh_key(text) {
        let start: String = text.chars().take(24).collect();
        return Err(format!("{start:?} is no OpenSSH public key; paste the line of ~/.ssh/id_ed25519.pub."));
    }
    Ok(text.to_owned())
}

fn bmc_user(text: &str) -> Result<String, String> {
    if text.len() > BMC_USER_MAX {
        return Err(format!("A BMC takes at most {BMC_USER_MAX} bytes of user name."));
    }
    Ok(text.to_owned())
}

fn bmc_password(text: &str) -> Result<Zeroizing<String>, String> {
    if text.len() > BMC_PASSWORD_MAX {
        return Err(format!("A BMC takes at most {BMC_PASSWORD_MAX} bytes of password."));
    }
    Ok(Zeroizing::new(text.to_owned()))
}
