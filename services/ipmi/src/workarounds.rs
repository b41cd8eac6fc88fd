//! What to do otherwise for BMCs that do not keep to the specification, by the names that FreeIPMI's tools
//! use.

use std::fmt;
use std::ops::BitOr;
use std::str::FromStr;

/// Workarounds for one BMC; parsed from names with commas between them, `none` or nothing for none.
///
/// All names of FreeIPMI's tools are taken, so that what a site found out can be used again. Those with
/// "nothing" in the table have no effect, because what they switch off is not done here in the first place.
///
/// | name | effect |
/// | --- | --- |
/// | `authcap` | what the BMC says of its capabilities is not believed, nor is it asked |
/// | `ipmiping` | [`ping`](crate::ping) asks for the capabilities instead of sending an RMCP ping |
/// | `opensesspriv` | the privilege level of Open Session is the one that the codes are made with |
/// | `intel20` | user names are filled up to 16 bytes, but not in the proof of RAKP 3 |
/// | `supermicro20` | packets of the handshake may be a byte shorter than they say, and codes a byte longer |
/// | `sun20` | as `opensesspriv` |
/// | `nochecksumcheck` | the check sums inside of IPMI messages are not looked at |
/// | `solpayloadsize` | the payload size that the BMC names is not believed |
/// | `solstatus` | the BMC is not asked who has the line |
/// | `solpacketseq` | a repeated packet to the line gets a new number |
/// | `serialalertsdeferred` | serial alerts are deferred while the line is active, not failed |
/// | `assumebmcowner` | sensors are read from the BMC whoever their record names as owner |
/// | `ignorescanningdisabled` | readings are shown of sensors said to be off |
/// | `discretereading` | numbers are read of sensors said to have states only |
/// | `idzero`, `unexpectedauth`, `forcepermsg`, `endianseq`, `noauthcodecheck` | nothing: IPMI 1.5 sessions |
/// | `integritycheckvalue` | nothing: cipher suite 0 |
/// | `solport`, `solchannelsupport`, `solchannelassumelanchannel` | nothing |
/// | `assumeio`, `spinpoll`, `assumesystemevent`, `assumemaxsdrrecordcount` | nothing |
/// | `ignoreauthcode`, `malformedack`, `guidformat`, `slowcommit`, `veryslowcommit`, `skipchecks` | nothing |
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Workarounds(u32);

/// The names, each at the place of its bit.
const NAMES: [&str; 32] = [
    "authcap",
    "ipmiping",
    "opensesspriv",
    "intel20",
    "supermicro20",
    "sun20",
    "nochecksumcheck",
    "solpayloadsize",
    "solstatus",
    "solpacketseq",
    "serialalertsdeferred",
    "assumebmcowner",
    "ignorescanningdisabled",
    "discretereading",
    "idzero",
    "unexpectedauth",
    "forcepermsg",
    "endianseq",
    "noauthcodecheck",
    "integritycheckvalue",
    "solport",
    "solchannelsupport",
    "solchannelassumelanchannel",
    "assumeio",
    "spinpoll",
    "assumesystemevent",
    "assumemaxsdrrecordcount",
    "ignoreauthcode",
    "malformedack",
    "guidformat",
    "slowcommit",
    "veryslowcommit",
];

/// One more name, without an effect and without a bit.
const SKIP_CHECKS: &str = "skipchecks";

impl Workarounds {
    /// None.
    pub const NONE: Self = Self(0);
    /// `authcap`.
    pub const AUTH_CAP: Self = Self(1);
    /// `ipmiping`.
    pub const IPMI_PING: Self = Self(1 << 1);
    /// `opensesspriv`.
    pub const OPEN_SESS_PRIV: Self = Self(1 << 2);
    /// `intel20`.
    pub const INTEL_20: Self = Self(1 << 3);
    /// `supermicro20`.
    pub const SUPERMICRO_20: Self = Self(1 << 4);
    /// `sun20`.
    pub const SUN_20: Self = Self(1 << 5);
    /// `nochecksumcheck`.
    pub const NO_CHECKSUM_CHECK: Self = Self(1 << 6);
    /// `solpayloadsize`.
    pub const SOL_PAYLOAD_SIZE: Self = Self(1 << 7);
    /// `solstatus`.
    pub const SOL_STATUS: Self = Self(1 << 8);
    /// `solpacketseq`.
    pub const SOL_PACKET_SEQ: Self = Self(1 << 9);
    /// `serialalertsdeferred`.
    pub const SERIAL_ALERTS_DEFERRED: Self = Self(1 << 10);
    /// `assumebmcowner`.
    pub const ASSUME_BMC_OWNER: Self = Self(1 << 11);
    /// `ignorescanningdisabled`.
    pub const IGNORE_SCANNING_DISABLED: Self = Self(1 << 12);
    /// `discretereading`.
    pub const DISCRETE_READING: Self = Self(1 << 13);

    /// Whether one of these is among them.
    #[must_use]
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Every name that is taken.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.into_iter().chain([SKIP_CHECKS])
    }

    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    pub(crate) fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

impl BitOr for Workarounds {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A name that FreeIPMI's tools do not know either.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no workaround {0:?}; there are {list}", list = list())]
pub struct UnknownWorkaround(pub String);

fn list() -> String {
    Workarounds::names().collect::<Vec<_>>().join(", ")
}

impl FromStr for Workarounds {
    type Err = UnknownWorkaround;

    fn from_str(text: &str) -> Result<Self, UnknownWorkaround> {
        let mut found = Self::NONE;
        for name in text.split(',').map(str::trim).filter(|it| !it.is_empty()) {
            let known = NAMES.iter().position(|it| it.eq_ignore_ascii_case(name));
            match known.and_then(|at| u32::try_from(at).ok()) {
                Some(at) => found.0 |= 1 << at,
                None if name.eq_ignore_ascii_case("none") => found = Self::NONE,
                None if name.eq_ignore_ascii_case(SKIP_CHECKS) => {}
                None => return Err(UnknownWorkaround(name.to_owned())),
            }
        }
        Ok(found)
    }
}

/// The names, as they are parsed.
impl fmt::Display for Workarounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = (0_u32..).zip(NAMES);
        let set: Vec<_> = bits.filter(|(at, _)| self.0 & (1 << at) != 0).map(|(_, name)| name).collect();
        f.write_str(if set.is_empty() { "none" } else { "" })?;
        f.write_str(&set.join(","))
    }
}

impl fmt::Debug for Workarounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Workarounds({self})")
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_taken_and_shown_again() {
        for name in Workarounds::names() {
            let parsed: Workarounds = name.parse().unwrap();
            let shown = parsed.to_string();
            assert_eq!(shown, if name == SKIP_CHECKS { "none" } else { name });
        }
        let two: Workarounds = "opensesspriv, SolPayloadSize".parse().unwrap();
        assert_eq!(two, Workarounds::OPEN_SESS_PRIV | Workarounds::SOL_PAYLOAD_SIZE);
        assert_eq!(two.to_string(), "opensesspriv,solpayloadsize");
        for none in ["", "none", "authcap,none"] {
            assert_eq!(none.parse(), Ok(Workarounds::NONE));
        }
    }

    #[test]
    fn the_constants_have_the_bits_of_their_names() {
        for (constant, name) in [
            (Workarounds::AUTH_CAP, "authcap"),
            (Workarounds::IPMI_PING, "ipmiping"),
            (Workarounds::OPEN_SESS_PRIV, "opensesspriv"),
            (Workarounds::INTEL_20, "intel20"),
            (Workarounds::SUPERMICRO_20, "supermicro20"),
            (Workarounds::SUN_20, "sun20"),
            (Workarounds::NO_CHECKSUM_CHECK, "nochecksumcheck"),
            (Workarounds::SOL_PAYLOAD_SIZE, "solpayloadsize"),
            (Workarounds::SOL_STATUS, "solstatus"),
            (Workarounds::SOL_PACKET_SEQ, "solpacketseq"),
            (Workarounds::SERIAL_ALERTS_DEFERRED, "serialalertsdeferred"),
            (Workarounds::ASSUME_BMC_OWNER, "assumebmcowner"),
            (Workarounds::IGNORE_SCANNING_DISABLED, "ignorescanningdisabled"),
            (Workarounds::DISCRETE_READING, "discretereading"),
        ] {
            assert_eq!(constant.to_string(), name);
        }
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_list() {
        let error = "authcap,wizardry".parse::<Workarounds>().unwrap_err().to_string();
        assert!(error.contains("\"wizardry\"") && error.contains("supermicro20"), "{error}");
    }
}
