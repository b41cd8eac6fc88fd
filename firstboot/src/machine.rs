//! What the questions need to know of this machine: its NICs, and the accounts that are taken.

use std::fs;
use std::path::Path;

use domain::MacAddr;

/// Below it Debian keeps the accounts of the system.
const FIRST_UID: u32 = 1000;
/// An Ethernet interface (linux/if_arp.h, ARPHRD_ETHER).
const ETHERNET: &str = "1";

/// What is known of this machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    /// The Ethernet NICs, by name.
    pub(crate) nics: Vec<Nic>,
    /// The accounts of the system, which no administrator can have.
    pub(crate) accounts: Vec<String>,
}

/// A NIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Nic {
    /// As Linux calls it.
    pub(crate) name: String,
    /// Its address.
    pub(crate) mac: MacAddr,
    /// Whether a cable with something at its other end is in; none: the interface is off, and nobody knows.
    pub(crate) link: Option<bool>,
    /// In Mb/s.
    pub(crate) speed: Option<u32>,
}

impl Machine {
    /// Looks at a /sys and an /etc/passwd.
    pub(crate) fn read(sys: &Path, passwd: &Path) -> Self {
        let folder = fs::read_dir(sys.join("class/net"));
        let entries = folder.into_iter().flatten().flatten();
        let mut nics: Vec<Nic> = entries.filter_map(|it| read_nic(&it.path())).collect();
        nics.sort_by(|one, other| one.name.cmp(&other.name));
        let accounts = fs::read_to_string(passwd).unwrap_or_default();
        let accounts = accounts.lines().filter_map(system_account).map(str::to_owned).collect();
        Self { nics, accounts }
    }

    /// The NIC of this name or MAC address.
    pub(crate) fn nic(&self, text: &str) -> Option<&Nic> {
        let mac = text.parse().ok();
        self.nics.iter().find(|it| it.name == text || Some(it.mac) == mac)
    }
}

/// The interface, if it is an Ethernet NIC with a device behind it (loopback, bridges and tunnels have none).
fn read_nic(path: &Path) -> Option<Nic> {
    let read = |name: &str| fs::read_to_string(path.join(name)).ok().map(|it| it.trim().to_owned());
    if read("type")? != ETHERNET || !path.join("device").exists() {
        return None;
    }
    Some(Nic {
        name: path.file_name()?.to_str()?.to_owned(),
        mac: read("address")?.parse().ok()?,
        // Reading it fails while the interface is off.
        link: read("carrier").map(|it| it == "1"),
        // -1 or an error where there is no link.
        speed: read("speed").and_then(|it| it.parse().ok()),
    })
}

fn system_account(line: &str) -> Option<&str> {
    let mut fields = line.split(':');
    let name = fields.next()?;
    let uid: u32 = fields.nth(1)?.parse().ok()?;
    (uid < FIRST_UID).then_some(name)
}

impl Nic {
    /// A line of the list: `ens3  52:54:00:12:34:56  link up, 1000 Mb/s`.
    pub(crate) fn line(&self) -> String {
        let link = match self.link {
            Some(true) => "link up",
            Some(false) => "no link",
            None => "link not known (interface is off)",
        };
        let speed = self.speed.filter(|_| self.link == Some(true));
        let speed = speed.map(|it| format!(", {it} Mb/s")).unwrap_or_default();
        format!("{:<15} {}  {link}{speed}", self.name, self.mac)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::fs;

    use super::Machine;

    #[test]
    fn nics_are_listed_with_their_link_and_loopback_is_not() {
        let sys = tempfile::tempdir().unwrap();
        let add = |name: &str, files: &[(&str, &str)]| {
            let folder = sys.path().join("class/net").join(name);
            fs::create_dir_all(&folder).unwrap();
            for (file, text) in files {
                fs::write(folder.join(file), text).unwrap();
            }
        };
        let mac = ("address", "52:54:00:00:00:01\n");
        add("ens4", &[("type", "1\n"), mac, ("device", ""), ("carrier", "0\n"), ("speed", "-1\n")]);
        add("ens3", &[("type", "1\n"), mac, ("device", ""), ("carrier", "1\n"), ("speed", "25000\n")]);
        add("ens5", &[("type", "1\n"), mac, ("device", "")]);
        add("br0", &[("type", "1\n"), mac]);
        add("lo", &[("type", "772\n"), ("address", "00:00:00:00:00:00\n")]);
        fs::write(sys.path().join("passwd"), "root:x:0:0::/:/bin/sh\nalice:x:1000:1000::/:/bin/sh\n")
            .unwrap();
        let machine = Machine::read(sys.path(), &sys.path().join("passwd"));
        let lines: Vec<String> = machine.nics.iter().map(super::Nic::line).collect();
        assert_eq!(
            lines,
            [
                "ens3            52:54:00:00:00:01  link up, 25000 Mb/s",
                "ens4            52:54:00:00:00:01  no link",
                "ens5            52:54:00:00:00:01  link not known (interface is off)",
            ]
        );
        assert_eq!(machine.accounts, ["root"]);
        assert_eq!(Machine::read("/nowhere".as_ref(), "/nowhere".as_ref()).nics, []);
    }
}
