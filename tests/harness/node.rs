//! The nodes of the demo cluster.

use std::net::Ipv4Addr;

use crate::vm::Firmware;

/// A node: a virtual machine behind a simulated BMC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its number, 1 to 99.
    pub nid: u8,
    /// By which firmware it boots.
    pub firmware: Firmware,
    /// Its group.
    pub group: &'static str,
    /// Whether it has a TPM.
    pub tpm: bool,
}

impl Node {
    /// nid001 boots by BIOS, nid002 by UEFI PXE, the others by BIOS.
    #[must_use]
    pub fn demo(nid: u8) -> Self {
        let firmware = if nid == 2 { Firmware::Uefi } else { Firmware::Bios };
        Self { nid, firmware, group: "compute", tpm: false }
    }

    /// The same in another group.
    #[must_use]
    pub fn in_group(self, group: &'static str) -> Self {
        Self { group, ..self }
    }

    /// The same with a TPM.
    #[must_use]
    pub fn with_tpm(self) -> Self {
        Self { tpm: true, ..self }
    }

    /// `nid001`
    #[must_use]
    pub fn name(&self) -> String {
        format!("nid{:03}", self.nid)
    }

    /// `x1000c1s7b1n0`
    #[must_use]
    pub fn xname(&self) -> String {
        format!("x1000c1s7b{}n0", self.nid)
    }

    /// The boot NIC's address, of QEMU's own range.
    #[must_use]
    pub fn mac(&self) -> String {
        format!("52:54:00:10:00:{:02x}", self.nid)
    }

    /// The BMC's NIC, which is on no wire here.
    #[must_use]
    pub fn bmc_mac(&self) -> String {
        format!("52:54:00:b0:00:{:02x}", self.nid)
    }

    /// Where the node is once it has its address.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(172, 16, 0, self.nid)
    }

    /// Where its BMC is.
    #[must_use]
    pub fn bmc_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(172, 16, 0, 100 + self.nid)
    }

    /// Its tap on the bridge.
    #[must_use]
    pub fn tap(&self) -> String {
        format!("tap{}", self.nid)
    }
}

/// The `nodes.yaml` of these nodes, in the flat shape.
#[must_use]
pub fn nodes_yaml(nodes: &[Node]) -> String {
    let entry = |node: &Node| {
        format!(
            "- name: {}\n  nid: {}\n  xname: {}\n  group: {}\n  mac: {}\n  ipaddr: {}\n  bmc_mac: {}\n  bmc_ipaddr: {}\n",
            node.name(),
            node.nid,
            node.xname(),
            node.group,
            node.mac(),
            node.address(),
            node.bmc_mac(),
            node.bmc_address(),
        )
    };
    format!("nodes:\n{}", nodes.iter().map(entry).collect::<String>())
}
