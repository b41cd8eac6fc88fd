//! OpenCHAMI's component names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A component name such as `x1000c1s7b1n0`, in lower case, of a known kind.
///
/// # Errors
///
/// Parsing takes either case and refuses whatever is not in the table of kinds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Xname(Box<str>);

/// Text that names no component.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an xname; a node's looks like x1000c1s7b1n0, its BMC's like x1000c1s7b1")]
pub struct XnameError(String);

/// What an xname names, as SMD's `Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct XnameKind {
    /// The letters of the xname in order, `xcsbn` for a node.
    letters: &'static str,
    /// SMD's word, `Node`.
    name: &'static str,
}

/// Letters of the name → SMD's type, after HMS' published xname grammar.
const KINDS: [(&str, &str); 49] = [
    ("xcsbn", "Node"),
    ("xcsb", "NodeBMC"),
    ("xcs", "ComputeModule"),
    ("xc", "Chassis"),
    ("x", "Cabinet"),
    ("s", "System"),
    ("d", "CDU"),
    ("dw", "CDUMgmtSwitch"),
    ("xd", "CabinetCDU"),
    ("xe", "CEC"),
    ("xm", "CabinetPDUController"),
    ("xmi", "CabinetPDUNic"),
    ("xmp", "CabinetPDU"),
    ("xmpj", "CabinetPDUOutlet"),
    ("xmpv", "CabinetPDUPowerConnector"),
    ("xcb", "ChassisBMC"),
    ("xcbi", "ChassisBMCNic"),
    ("xct", "CMMRectifier"),
    ("xcf", "CMMFpga"),
    ("xcw", "MgmtSwitch"),
    ("xcwj", "MgmtSwitchConnector"),
    ("xch", "MgmtHLSwitchEnclosure"),
    ("xchs", "MgmtHLSwitch"),
    ("xcr", "RouterModule"),
    ("xcrb", "RouterBMC"),
    ("xcrbi", "RouterBMCNic"),
    ("xcrf", "RouterFpga"),
    ("xcrt", "RouterTOR"),
    ("xcrtf", "RouterTORFpga"),
    ("xcra", "HSNAsic"),
    ("xcral", "HSNLink"),
    ("xcrj", "HSNConnector"),
    ("xcrjp", "HSNConnectorPort"),
    ("xcre", "HSNBoard"),
    ("xcrv", "RouterPowerConnector"),
    ("xcsbi", "NodeBMCNic"),
    ("xcse", "NodeEnclosure"),
    ("xcset", "NodeEnclosurePowerSupply"),
    ("xcsbf", "NodeFpga"),
    ("xcsv", "NodePowerConnector"),
    ("xcsbni", "NodeNic"),
    ("xcsbnh", "NodeHsnNic"),
    ("xcsbnp", "Processor"),
    ("xcsbnd", "Memory"),
    ("xcsbna", "NodeAccel"),
    ("xcsbnr", "NodeAccelRiser"),
    ("xcsbng", "StorageGroup"),
    ("xcsbngk", "Drive"),
    ("p", "Partition"),
];

/// The longest number after a letter; more is no machine room.
const DIGITS_MAX: usize = 9;

impl XnameKind {
    /// The kind with SMD's word in any case, if there is one.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let (letters, name) = KINDS.iter().find(|(_, known)| known.eq_ignore_ascii_case(name))?;
        Some(Self { letters, name })
    }

    /// SMD's word, `NodeBMC`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.name
    }

    /// Every word SMD's `/service/values/type` lists of those we parse.
    pub fn all() -> impl Iterator<Item = &'static str> {
        KINDS.iter().map(|(_, name)| *name)
    }
}

impl Xname {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it names.
    #[must_use]
    pub fn kind(&self) -> XnameKind {
        let letters: String = self.0.chars().filter(char::is_ascii_lowercase).collect();
        let (letters, name) = KINDS.iter().find(|(known, _)| *known == letters).unwrap_or(&KINDS[5]);
        XnameKind { letters, name }
    }

    /// Whether it names a node.
    #[must_use]
    pub fn is_node(&self) -> bool {
        self.kind().name == "Node"
    }

    /// Whether it names a controller: NodeBMC, RouterBMC, ChassisBMC or CabinetPDUController.
    #[must_use]
    pub fn is_controller(&self) -> bool {
        matches!(self.kind().name, "NodeBMC" | "RouterBMC" | "ChassisBMC" | "CabinetPDUController")
    }

    /// The name without its last part: a node's BMC, a BMC's blade. None for the outermost.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let at = self.0.rfind(|it: char| it.is_ascii_lowercase())?;
        self.0[..at].parse().ok()
    }

    /// Whether `self` is `outer` or stands inside it.
    #[must_use]
    pub fn is_within(&self, outer: &Self) -> bool {
        self.0.strip_prefix(&*outer.0).is_some_and(|rest| !rest.starts_with(|it: char| it.is_ascii_digit()))
    }

    /// The number after the last letter: 0 of `x1000c1s7b1n0`.
    #[must_use]
    pub fn ordinal(&self) -> u32 {
        let at = self.0.rfind(|it: char| it.is_ascii_lowercase()).map_or(0, |it| it + 1);
        self.0[at..].parse().unwrap_or(0)
    }

    /// The numbers in order: 1000, 1, 7, 1, 0 of `x1000c1s7b1n0`.
    pub fn numbers(&self) -> impl Iterator<Item = u64> {
        self.0
            .split(|it: char| it.is_ascii_lowercase())
            .filter(|it| !it.is_empty())
            .map(|it| it.parse().unwrap_or(0))
    }

    /// This name with one more part, `x1000c1s7b1` and `n`, 0 → `x1000c1s7b1n0`.
    ///
    /// # Errors
    ///
    /// If no such kind exists.
    pub fn child(&self, letter: char, number: u32) -> Result<Self, XnameError> {
        format!("{self}{letter}{number}").parse()
    }
}

impl FromStr for Xname {
    type Err = XnameError;
    fn from_str(text: &str) -> Result<Self, XnameError> {
        let fail = || XnameError(text.chars().take(64).collect());
        let name = text.to_ascii_lowercase();
        let mut letters = String::new();
        let mut digits = DIGITS_MAX; // A name does not start with a digit.
        for it in name.chars() {
            match it {
                'a'..='z' if digits > 0 => {
                    letters.push(it);
                    digits = 0;
                }
                '0'..='9' if digits < DIGITS_MAX && !letters.is_empty() => digits += 1,
                _ => return Err(fail()),
            }
        }
        let known = digits > 0 && KINDS.iter().any(|(known, _)| *known == letters);
        if known { Ok(Self(name.into())) } else { Err(fail()) }
    }
}

impl TryFrom<String> for Xname {
    type Error = XnameError;
    fn try_from(text: String) -> Result<Self, XnameError> {
        text.parse()
    }
}

impl From<Xname> for String {
    fn from(name: Xname) -> Self {
        name.0.into()
    }
}

impl fmt::Display for Xname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::Xname;

    #[test]
    fn a_name_tells_its_kind_and_its_parent() {
        let node: Xname = "X1000C1S7B1N0".parse().unwrap();
        assert_eq!(node.to_string(), "x1000c1s7b1n0");
        assert_eq!(node.kind().name(), "Node");
        let bmc = node.parent().unwrap();
        assert_eq!((bmc.as_str(), bmc.kind().name()), ("x1000c1s7b1", "NodeBMC"));
        assert_eq!(node.numbers().collect::<Vec<_>>(), [1000, 1, 7, 1, 0]);
    }

    #[test]
    fn what_is_in_no_table_is_refused() {
        for text in
            ["", "bogus", "x", "x1000c", "1000", "x1000c1s7b1n0q1", "x1.0", "xx1", "x9999999999", "é1"]
        {
            assert!(text.parse::<Xname>().is_err(), "{text}");
        }
    }

    #[test]
    fn within_counts_whole_numbers() {
        let parse = |text: &str| text.parse::<Xname>().unwrap();
        assert!(parse("x1000c1s7b1n0").is_within(&parse("x1000c1s7b1")));
        assert!(!parse("x1000c1s7b10n0").is_within(&parse("x1000c1s7b1")));
    }
}
