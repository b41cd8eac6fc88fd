//! What the present API needs to know of a node.

use domain::Xname;
use domain::inventory::Inventory;

/// What the inventory knows of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) xname: Xname,
    /// What it is called.
    pub(crate) name: String,
    pub(crate) nid: i64,
    /// The first address of its interfaces; empty if it has none.
    pub(crate) address: String,
    pub(crate) groups: Vec<String>,
}

/// What cloud-init knows a node by while nobody says otherwise: `i-` and 8 digits, made from the xname
/// (FNV-1a), so that it is the same after a restart and on every head.
pub(crate) fn instance_id(xname: &Xname) -> String {
    let hash = xname
        .as_str()
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("i-{hash:08x}")
}

/// What the inventory knows of a component; None if it does not know it.
pub(crate) fn facts_of(inventory: &Inventory, xname: &Xname, pattern: &str) -> Option<Facts> {
    let component = inventory.component(xname)?;
    let mut addresses = inventory.interfaces_of(xname).flat_map(|it| &it.addresses);
    Some(Facts {
        xname: xname.clone(),
        name: inventory.name_of(component, pattern),
        nid: component.nid.map_or(0, |it| it.0),
        address: addresses
            .find(|it| !it.address.is_empty())
            .map_or_else(String::new, |it| it.address.clone()),
        groups: inventory.groups_of(xname).map(str::to_owned).collect(),
    })
}
