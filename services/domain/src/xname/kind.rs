//! The kinds of components, and where each may stand.

use std::fmt;

/// What an xname names, as SMD's `Type`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct XnameKind(u8);

/// A kind: its letters in order, SMD's word for it, and the numbers that may follow its last letter.
struct Row {
    letters: &'static str,
    name: &'static str,
    low: u32,
    high: u32,
}

/// The largest number where the grammar has no limit of its own; more is no machine room.
const NUMBER_MAX: u32 = 999_999_999;

const fn row(letters: &'static str, name: &'static str, low: u32, high: u32) -> Row {
    Row { letters, name, low, high }
}

const fn any(letters: &'static str, name: &'static str) -> Row {
    row(letters, name, 0, NUMBER_MAX)
}

const fn ordinal(letters: &'static str, name: &'static str) -> Row {
    row(letters, name, 1, NUMBER_MAX)
}

/// The published grammar of HPE's hardware management services. Whatever stands before a row's last letter is a row
/// too, so that a name is walked from the outside in. The kinds met most come first.
const ROWS: [Row; 52] = [
    row("x", "Cabinet", 0, 9999),
    row("xc", "Chassis", 0, 7),
    any("xcs", "ComputeModule"),
    any("xcsb", "NodeBMC"),
    any("xcsbn", "Node"),
    row("s", "System", 0, 0),
    any("p", "Partition"), // Also `p1.2`, which the walk knows.
    any("sms", "SMSBox"),
    any("d", "CDU"),
    any("dw", "CDUMgmtSwitch"),
    row("xb", "CabinetBMC", 0, 0),
    row("xd", "CabinetCDU", 0, 1),
    row("xe", "CEC", 0, 1),
    row("xm", "CabinetPDUController", 0, 3),
    row("xmi", "CabinetPDUNic", 0, 3),
    row("xmp", "CabinetPDU", 0, 7),
    ordinal("xmpj", "CabinetPDUOutlet"),
    ordinal("xmpv", "CabinetPDUPowerConnector"),
    row("xcb", "ChassisBMC", 0, 0),
    row("xcbi", "ChassisBMCNic", 0, 3),
    row("xcf", "CMMFpga", 0, 0),
    row("xct", "CMMRectifier", 0, 9),
    ordinal("xcw", "MgmtSwitch"),
    ordinal("xcwj", "MgmtSwitchConnector"),
    ordinal("xch", "MgmtHLSwitchEnclosure"),
    row("xchs", "MgmtHLSwitch", 1, 9),
    any("xcr", "RouterModule"),
    any("xcrb", "RouterBMC"),
    row("xcrbi", "RouterBMCNic", 0, 3),
    row("xcrf", "RouterFpga", 0, 1),
    any("xcrt", "RouterTOR"),
    row("xcrtf", "RouterTORFpga", 0, 1),
    row("xcrv", "RouterPowerConnector", 1, 2),
    row("xcra", "HSNAsic", 0, 3),
    any("xcral", "HSNLink"),
    ordinal("xcrj", "HSNConnector"),
    row("xcrjp", "HSNConnectorPort", 0, 2),
    any("xcre", "HSNBoard"),
    row("xcsbi", "NodeBMCNic", 0, 3),
    row("xcsbf", "NodeFpga", 0, 0),
    any("xcse", "NodeEnclosure"),
    any("xcset", "NodeEnclosurePowerSupply"),
    row("xcsv", "NodePowerConnector", 1, 2),
    row("xcsj", "NodePowerConnector", 1, 2), // The older letter.
    row("xcsbni", "NodeNic", 0, 3),
    row("xcsbnh", "NodeHsnNic", 0, 3),
    row("xcsbnp", "Processor", 0, 3),
    any("xcsbnd", "Memory"),
    any("xcsbna", "NodeAccel"),
    row("xcsbnr", "NodeAccelRiser", 0, 7),
    any("xcsbng", "StorageGroup"),
    any("xcsbngk", "Drive"),
];

/// Kinds that are parsed and yet not told by `/service/values/type` (recording `smd-auth-009`).
const UNTOLD: [&str; 2] = ["RouterTOR", "MgmtHLSwitchEnclosure"];

impl XnameKind {
    /// The kind with SMD's word in any case, if there is one.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let same = |it: &Row| it.name.eq_ignore_ascii_case(name);
        ROWS.iter().position(same).and_then(Self::at)
    }

    /// SMD's word, `NodeBMC`.
    #[must_use]
    pub fn name(self) -> &'static str {
        ROWS[usize::from(self.0)].name
    }

    /// The kind one stands in: a node's is NodeBMC. None for what stands in nothing.
    #[must_use]
    pub fn parent(self) -> Option<Self> {
        match ROWS[usize::from(self.0)].letters {
            "x" | "d" => Self::of_letters("s"),
            "s" | "p" | "sms" => None,
            letters => Self::of_letters(&letters[..letters.len() - 1]),
        }
    }

    /// Whether it is a node.
    #[must_use]
    pub fn is_node(self) -> bool {
        self.name() == "Node"
    }

    /// Whether a Redfish service answers there: NodeBMC, RouterBMC, ChassisBMC or CabinetPDUController.
    #[must_use]
    pub fn is_controller(self) -> bool {
        matches!(self.name(), "NodeBMC" | "RouterBMC" | "ChassisBMC" | "CabinetPDUController")
    }

    /// Every word that SMD's `/service/values/type` lists and that is a kind of component.
    pub fn all() -> impl Iterator<Item = &'static str> {
        let told = |it: &&Row| it.letters != "xcsj" && !UNTOLD.contains(&it.name);
        ROWS.iter().filter(told).map(|it| it.name)
    }

    /// The kind with these letters.
    pub(super) fn of_letters(letters: &str) -> Option<Self> {
        let same = |it: &Row| it.letters == letters;
        ROWS.iter().position(same).and_then(Self::at)
    }

    /// Whether this number may follow its last letter.
    pub(super) fn admits(self, number: u32) -> bool {
        let row = &ROWS[usize::from(self.0)];
        (row.low..=row.high).contains(&number)
    }

    fn at(index: usize) -> Option<Self> {
        u8::try_from(index).ok().map(Self)
    }
}

impl fmt::Debug for XnameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
