//! The answers so far, and the text that they make.

use std::fmt::{self, Write as _};
use std::net::Ipv4Addr;

use domain::document::Pool;
use ipnet::Ipv4Net;
use zeroize::Zeroizing;

/// How the head reaches its site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Site {
    /// Not at all.
    #[default]
    None,
    /// The site gives it an address.
    Dhcp,
    /// It has an address.
    Static,
}

/// Answers; what was not answered yet is absent.
#[derive(Clone, Default)]
pub(crate) struct Draft {
    pub(crate) cluster: Option<String>,
    pub(crate) domain: Option<String>,
    /// None: the name that follows from the cluster's.
    pub(crate) head: Option<String>,
    pub(crate) nodes_interface: Option<String>,
    pub(crate) nodes_address: Option<Ipv4Net>,
    pub(crate) nodes_range: Option<Pool>,
    /// None: BMCs are on the nodes' network.
    pub(crate) bmc_interface: Option<String>,
    pub(crate) bmc_address: Option<Ipv4Net>,
    pub(crate) site: Site,
    pub(crate) site_interface: Option<String>,
    pub(crate) site_address: Option<Ipv4Net>,
    pub(crate) site_router: Option<Ipv4Addr>,
    pub(crate) dns: Vec<Ipv4Addr>,
    pub(crate) ntp: Vec<String>,
    pub(crate) admin: Option<String>,
    pub(crate) ssh_key: Option<String>,
    /// None: no account.
    pub(crate) bmc_user: Option<String>,
    pub(crate) bmc_password: Zeroizing<String>,
}

impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Draft(…)")
    }
}

impl Draft {
    /// The cluster's name, or the one that is proposed.
    pub(super) fn cluster(&self) -> &str {
        self.cluster.as_deref().unwrap_or("demo")
    }

    pub(super) fn domain(&self) -> &str {
        self.domain.as_deref().unwrap_or("openchami.cluster")
    }

    /// The head's name if nobody says another.
    pub(super) fn usual_head(&self) -> String {
        format!("{}-head", self.cluster())
    }

    /// The document of what was answered so far.
    pub(crate) fn document(&self) -> String {
        let mut text = String::from("version = 1\n\n[cluster]\n");
        set(&mut text, "name", self.cluster());
        set(&mut text, "domain", self.domain());
        if let Some(head) = &self.head {
            set(&mut text, "head", head);
        }
        if !self.dns.is_empty() || !self.ntp.is_empty() {
            text.push_str("\n[network]\n");
            set_list(&mut text, "dns", self.dns.iter());
            set_list(&mut text, "ntp", self.ntp.iter());
        }
        let range = self.nodes_range.map(|it| ("range", String::from(it)));
        plane(&mut text, "nodes", self.nodes_interface.as_ref(), self.nodes_address, range);
        plane(&mut text, "bmc", self.bmc_interface.as_ref(), self.bmc_address, None);
        match self.site {
            Site::None => {}
            Site::Static => {
                let router = self.site_router.map(|it| ("router", it.to_string()));
                plane(&mut text, "site", self.site_interface.as_ref(), self.site_address, router);
            }
            Site::Dhcp => {
                if let Some(interface) = &self.site_interface {
                    plane_head(&mut text, "site", interface);
                }
            }
        }
        if let (Some(admin), Some(key)) = (&self.admin, &self.ssh_key) {
            push(&mut text, format_args!("\n[admins.{admin}]\n"));
            set_list(&mut text, "ssh_keys", [key].into_iter());
        }
        text
    }

    /// The document with its secrets.
    pub(crate) fn answer(&self) -> Zeroizing<String> {
        let document = self.document();
        // Twice each secret: the most that quoting makes of it. It never grows, so no copy is left behind.
        let room = document.len() + 2 * self.bmc_password.len() + 256;
        let mut text = Zeroizing::new(String::with_capacity(room));
        text.push_str(&document);
        if let Some(user) = &self.bmc_user {
            text.push_str("\n[secrets.bmc]\n");
            set(&mut text, "user", user);
            set(&mut text, "password", &self.bmc_password);
        }
        text
    }

    /// The numbered lines that are confirmed; the numbers are `Question::item`'s.
    pub(super) fn summary(&self) -> Vec<String> {
        let none = || "none".to_owned();
        let words = |it: Vec<String>| if it.is_empty() { none() } else { it.join(" ") };
        let mut nodes = wired(self.nodes_interface.as_ref(), self.nodes_address);
        match self.nodes_range {
            Some(range) => push(&mut nodes, format_args!("; unknown machines {}", String::from(range))),
            None => nodes.push_str("; no addresses for unknown machines"),
        }
        let bmc = match self.bmc_interface {
            None => "same as the nodes network".to_owned(),
            Some(_) => wired(self.bmc_interface.as_ref(), self.bmc_address),
        };
        let site = match self.site {
            Site::None => none(),
            Site::Dhcp => format!("{} by DHCP", self.site_interface.as_deref().unwrap_or_default()),
            Site::Static => {
                let router =
                    self.site_router.map_or_else(|| "no router".to_owned(), |it| format!("router {it}"));
                format!("{}; {router}", wired(self.site_interface.as_ref(), self.site_address))
            }
        };
        let account = match &self.bmc_user {
            None => none(),
            Some(user) => format!("{user}, with a password"),
        };
        let (admin, key) =
            (self.admin.as_deref().unwrap_or_default(), self.ssh_key.as_deref().unwrap_or_default());
        let items = [
            ("Cluster name", self.cluster().to_owned()),
            ("Domain", self.domain().to_owned()),
            ("Name of the head", self.head.clone().unwrap_or_else(|| self.usual_head())),
            ("Nodes network", nodes),
            ("BMC network", bmc),
            ("Site network", site),
            ("Name servers", words(self.dns.iter().map(Ipv4Addr::to_string).collect())),
            ("Time servers", words(self.ntp.clone())),
            ("Administrator", format!("{admin}, {}", shorten(key))),
            ("BMC account", account),
        ];
        let mut lines = vec!["Summary:".to_owned()];
        let numbered = items.iter().zip(1..);
        lines.extend(numbered.map(|((name, value), number)| format!("  {number:>2}  {name:<17} {value}")));
        lines
    }
}

/// A key as people tell it apart: its type, its last characters and its comment.
fn shorten(key: &str) -> String {
    let mut words = key.splitn(3, ' ');
    let (kind, blob) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let end = blob.get(blob.len().saturating_sub(12)..).unwrap_or_default();
    format!("{kind} ...{end} {}", words.next().unwrap_or_default()).trim_end().to_owned()
}

fn wired(interface: Option<&String>, address: Option<Ipv4Net>) -> String {
    let interface = interface.map(String::as_str).unwrap_or_default();
    address.map_or_else(|| interface.to_owned(), |it| format!("{interface}, {it}"))
}

/// A plane, once its interface and address are known.
fn plane(
    text: &mut String,
    kind: &str,
    interface: Option<&String>,
    address: Option<Ipv4Net>,
    subnet: Option<(&str, String)>,
) {
    let (Some(interface), Some(address)) = (interface, address) else { return };
    plane_head(text, kind, interface);
    set_list(text, "addresses", [address].into_iter());
    if let Some((key, value)) = subnet {
        text.push_str("\n[[network.planes.subnets]]\n");
        set(text, "cidr", &address.trunc().to_string());
        set(text, key, &value);
    }
}

fn plane_head(text: &mut String, kind: &str, interface: &str) {
    text.push_str("\n[[network.planes]]\n");
    set(text, "name", kind);
    set(text, "kind", kind);
    set(text, "interface", interface);
}

fn set(text: &mut String, key: &str, value: &str) {
    push(text, format_args!("{key} = "));
    quote(text, value);
    text.push('\n');
}

fn set_list(text: &mut String, key: &str, values: impl ExactSizeIterator<Item = impl ToString>) {
    if values.len() == 0 {
        return;
    }
    push(text, format_args!("{key} = ["));
    for (index, value) in values.enumerate() {
        text.push_str(if index == 0 { "" } else { ", " });
        quote(text, &value.to_string());
    }
    text.push_str("]\n");
}

/// A basic string of TOML; answers hold no control characters, so these two are all there is to escape.
fn quote(text: &mut String, value: &str) {
    text.push('"');
    for letter in value.chars() {
        if matches!(letter, '"' | '\\') {
            text.push('\\');
        }
        text.push(letter);
    }
    text.push('"');
}

fn push(text: &mut String, arguments: fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a String takes all that is written");
}
