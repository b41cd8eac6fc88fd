//! What can be wrong with a BMC.

use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// A fault. Most last until they are healed; those of a console happen once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// It answers nothing.
    Silent,
    /// Each of its packets comes so many milliseconds late.
    SlowMs(u32),
    /// It says that its node is on, whatever it is.
    SaysOn,
    /// It takes power commands, and nothing happens.
    IgnoresPower,
    /// So many of a hundred packets are lost, each way.
    DropsPercent(u8),
    /// It sends so many packets of nonsense a second to whoever spoke to it last.
    BabblesPerS(u32),
    /// It has no room for another session.
    Full,
    /// It has another password than it should have.
    WrongPassword,
    /// It takes nothing that is typed, and says so all the time.
    NackStorm,
    /// Another session has taken the console, which says so to who had it.
    SolStolen,
    /// Another session has taken the console, and nobody is told.
    SolStolenQuietly,
    /// It has ended the console, and nobody is told.
    SolDropped,
    /// It tells nonsense about its authentication (FreeIPMI's workaround `authcap`).
    Authcap,
    /// It makes its keys with the privilege asked for when the session was opened (`opensesspriv`).
    Opensesspriv,
    /// It wants user names filled up to 16 bytes, and knows suite 3 alone (`intel20`).
    Intel20,
    /// Its RAKP message 2 is a byte too long, and it knows suite 3 alone (`supermicro20`).
    Supermicro20,
    /// It names impossible sizes when a console is opened (`solpayloadsize`).
    Solpayloadsize,
    /// It does not answer RMCP's presence ping (`ipmiping`).
    Ipmiping,
    /// The check sums of its messages are wrong (`nochecksumcheck`).
    Nochecksumcheck,
}

/// `silent`, `slow_ms=500`: a name, and a number where one belongs to it.
impl FromStr for Fault {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let value = match text.split_once('=') {
            None => serde_json::Value::from(text),
            Some((name, number)) => {
                let number: u32 = number.parse().with_context(|| format!("{number:?} is no number"))?;
                serde_json::json!({ name: number })
            }
        };
        serde_json::from_value(value).with_context(|| format!("{text:?} is no fault"))
    }
}

/// What is wrong with one BMC now.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    pub(super) silent: bool,
    pub(super) slow: Duration,
    pub(super) says_on: bool,
    pub(super) ignores_power: bool,
    pub(super) drops_percent: u8,
    pub(super) babbles_per_s: u32,
    pub(super) full: bool,
    pub(super) wrong_password: bool,
    pub(super) nack_storm: bool,
    pub(super) authcap: bool,
    pub(super) opensesspriv: bool,
    pub(super) intel20: bool,
    pub(super) supermicro20: bool,
    pub(super) solpayloadsize: bool,
    pub(super) ipmiping: bool,
    pub(super) nochecksumcheck: bool,
}

impl Faults {
    /// Adds one that lasts; those that happen once are the console's.
    pub(super) fn add(&mut self, fault: Fault) {
        match fault {
            Fault::Silent => self.silent = true,
            Fault::SlowMs(late) => self.slow = Duration::from_millis(late.into()),
            Fault::SaysOn => self.says_on = true,
            Fault::IgnoresPower => self.ignores_power = true,
            Fault::DropsPercent(percent) => self.drops_percent = percent.min(100),
            Fault::BabblesPerS(rate) => self.babbles_per_s = rate,
            Fault::Full => self.full = true,
            Fault::WrongPassword => self.wrong_password = true,
            Fault::NackStorm => self.nack_storm = true,
            Fault::Authcap => self.authcap = true,
            Fault::Opensesspriv => self.opensesspriv = true,
            Fault::Intel20 => self.intel20 = true,
            Fault::Supermicro20 => self.supermicro20 = true,
            Fault::Solpayloadsize => self.solpayloadsize = true,
            Fault::Ipmiping => self.ipmiping = true,
            Fault::Nochecksumcheck => self.nochecksumcheck = true,
            Fault::SolStolen | Fault::SolStolenQuietly | Fault::SolDropped => {}
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::Fault;

    #[test]
    fn a_fault_is_named_as_text_and_as_json() {
        assert_eq!("silent".parse::<Fault>().unwrap(), Fault::Silent);
        assert_eq!("slow_ms=500".parse::<Fault>().unwrap(), Fault::SlowMs(500));
        assert_eq!(serde_json::to_string(&Fault::DropsPercent(5)).unwrap(), r#"{"drops_percent":5}"#);
        for bad in ["slow_ms", "silent=1", "asleep", "slow_ms=x"] {
            bad.parse::<Fault>().unwrap_err();
        }
    }
}
