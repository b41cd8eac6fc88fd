//! The cluster that is measured: nodes of three interfaces, half of them with legacy cloud-init data.

use std::fmt::Write;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

/// A node of the bench.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node(pub(super) u32);

impl Node {
    pub(super) fn xname(self) -> String {
        let (n, s) = (self.0 / 64, self.0 % 64);
        format!("x{}c{}s{s}b0n0", 1000 + n / 8, n % 8)
    }

    pub(super) fn bmc(self) -> String {
        self.xname().trim_end_matches("n0").to_owned()
    }

    /// Of one of its three interfaces, 0 to 2; 3 is the controller's.
    pub(super) fn mac(self, interface: u32) -> String {
        let [_, a, b, c] = self.0.to_be_bytes();
        format!("52:54:{:02x}:{a:02x}:{b:02x}:{c:02x}", 0x10 + interface)
    }

    /// On loopback, where relayed packets are answered to where they came from.
    pub(super) fn address(self, interface: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 16, 0, 1)) + (interface << 18) + self.0)
    }

    /// Nodes with an odd number have legacy data, the others present.
    pub(super) fn group(self) -> &'static str {
        if self.0 % 2 == 1 { "legacy" } else { "current" }
    }
}

/// As `ochami smd component add` would send them all.
pub(super) fn components(count: u32) -> Value {
    let one = |it: u32| {
        json!({"ID": Node(it).xname(), "State": "On", "Flag": "OK", "Enabled": true, "Role": "Compute", "NID": it,
            "NetType": "Sling", "Arch": "X86", "Class": "River"})
    };
    json!({"Components": (1..=count).map(one).collect::<Vec<_>>()})
}

/// `nodes.yaml` of the cluster. Its nodes are named by the pattern, so that a new number shows as a new name.
pub(super) fn nodes_yaml(count: u32) -> String {
    let mut text = String::from("nodes:\n");
    for node in (1..=count).map(Node) {
        let written = writeln!(
            text,
            "- xname: {}\n  nid: {}\n  group: {}\n  bmc_mac: {}\n  bmc_ip: {}\n  interfaces:",
            node.xname(),
            node.0,
            node.group(),
            node.mac(3),
            node.address(3),
        );
        let each = (0..3).try_for_each(|it| {
            writeln!(
                text,
                "  - mac_addr: {}\n    ip_addrs:\n    - name: net{it}\n      ip_addr: {}",
                node.mac(it),
                node.address(it)
            )
        });
        written.and(each).expect("a string takes what is written");
    }
    text
}

/// One set of parameters for all.
pub(super) fn boot_parameters(count: u32) -> Value {
    json!({
        "hosts": (1..=count).map(|it| Node(it).xname()).collect::<Vec<_>>(),
        "kernel": "http://127.0.0.1:8080/images/compute/latest/kernel",
        "initrd": "http://127.0.0.1:8080/images/compute/latest/initrd",
        "params": "nomodeset ro root=live:http://127.0.0.1:8080/images/compute/latest/root ip=dhcp \
            overlayroot=tmpfs overlayroot_cfgdisk=disabled apparmor=0 selinux=0 console=ttyS0,115200 \
            ip6=off cloud-init=enabled ds=nocloud-net;s=http://127.0.0.1:8081/cloud-init/",
    })
}

/// Data of the bootcamp's kind, for the legacy API.
pub(super) fn legacy_entry() -> Value {
    let file = |it: usize| json!({"path": format!("/etc/site/{it}"), "content": "x".repeat(200)});
    json!({"name": "legacy", "cloud-init": {
        "metadata": {"cluster": "demo", "role": "compute"},
        "userdata": {
            "ssh_deletekeys": false,
            "ssh_authorized_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMkK1vB7nQvJ3p7yq0o3Yl0m5yqO6y3m7m8m9n0p1q2r"],
            "write_files": (0..4).map(file).collect::<Vec<_>>(),
            "runcmd": ["systemctl restart munge", "systemctl restart slurmd"],
        },
        "vendordata": {},
    }})
}

/// Data of the present API's kind.
pub(super) fn current_group() -> Value {
    json!({"name": "current", "description": "the other half",
        "meta-data": {"cluster": "demo", "role": "compute", "syslog": "172.16.0.254"},
        "file": {"encoding": "plain", "content": "## template: jinja\n#cloud-config\nhostname: {{ ds.meta_data.hostname }}\n"}})
}

/// As `ochami discover static` sends a controller, with its node beneath.
pub(super) fn redfish_endpoint(node: Node) -> Value {
    let (bmc, xname) = (node.bmc(), node.xname());
    let uuid = |kind: u32| format!("00000000-0000-4000-8{kind:03}-{:012}", node.0);
    let address = |it| node.address(it).to_string();
    json!({"ID": bmc, "Type": "NodeBMC", "Name": bmc, "UUID": uuid(1), "MACAddr": node.mac(3),
        "IPAddress": address(3), "DiscoveryInfo": {"LastAttempt": "0001-01-01T00:00:00Z"}, "SchemaVersion": 1,
        "Systems": [{"uri": format!("https://head/redfish/v1/Systems/{xname}"), "uuid": uuid(2), "name": xname,
            "ethernet_interfaces": (0..3).map(|it| json!({"mac": node.mac(it), "ip": address(it),
                "name": xname, "description": format!("Interface {it}")})).collect::<Vec<_>>()}],
        "Managers": [{"uri": format!("https://head/redfish/v1/Managers/{bmc}"), "uuid": uuid(1), "name": bmc,
            "ethernet_interfaces": [{"mac": node.mac(3), "ip": address(3), "name": bmc,
                "description": "Interface for the controller"}], "description": "", "type": "NodeBMC"}]})
}
