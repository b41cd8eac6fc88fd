//! Datagrams of the services (INTERFACES 2), parsed.

pub(crate) mod journal;

use std::collections::BTreeMap;
use std::net::IpAddr;

use domain::{BootStage, MacAddr, Service, StageResult, Xname};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

/// A datagram is at most this long.
pub(crate) const DATAGRAM_MAX: usize = 2048;
/// What is further from now was told by a clock that is wrong; partitions are there for some days alone.
const ASTRAY_MAX: Duration = Duration::hours(1);

/// One step of a boot, as a service told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub time: OffsetDateTime,
    /// Who says so.
    pub service: Service,
    /// Which step.
    pub stage: BootStage,
    /// The node, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Xname>,
    /// Its NIC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddr>,
    /// Its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// How it ended.
    pub result: StageResult,
    /// How much was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// How long it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// The image or file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// What the rules look at.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, String>,
    /// A sentence.
    #[serde(default)]
    pub detail: String,
}

/// Why a datagram is dropped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("it is of uid {0}, which is no service's")]
    Stranger(u32),
    #[error("{0} speaks for {1}")]
    Impostor(Service, Service),
    #[error("it has the version {0}")]
    Version(u64),
    #[error("it is no event: {0}")]
    Malformed(#[from] serde_json::Error),
}

#[derive(Deserialize)]
struct Versioned {
    v: u64,
    #[serde(flatten)]
    event: Event,
}

impl Event {
    /// A word that the rules look at.
    pub(crate) fn fact(&self, name: &str) -> Option<&str> {
        self.facts.get(name).map(String::as_str)
    }
}

/// Reads a datagram of a process with this uid.
pub(crate) fn read(datagram: &[u8], uid: u32, now: OffsetDateTime) -> Result<Event, Refused> {
    let sender = Service::of_uid(uid).ok_or(Refused::Stranger(uid))?;
    let Versioned { v, mut event } = serde_json::from_slice(datagram)?;
    if v != 1 {
        return Err(Refused::Version(v));
    }
    if event.service != sender {
        return Err(Refused::Impostor(sender, event.service));
    }
    if (event.time - now).abs() > ASTRAY_MAX {
        event.time = now;
    }
    event.time = micros(event.time);
    // Text in PostgreSQL holds no NUL.
    for text in [&mut event.detail].into_iter().chain(&mut event.image).chain(event.facts.values_mut()) {
        text.retain(|it| it != '\0');
    }
    Ok(event)
}

/// As exact as PostgreSQL keeps it, so that an instant is the same before and after.
pub(crate) fn micros(time: OffsetDateTime) -> OffsetDateTime {
    time.replace_nanosecond(time.nanosecond() / 1000 * 1000).unwrap_or(time)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use domain::{BootStage, Service, StageResult};
    use time::OffsetDateTime;
    use time::macros::datetime;

    use super::{Refused, read};

    const NOW: OffsetDateTime = datetime!(2026-11-22 20:00 UTC);
    const GOOD: &str = r#"{"v":1,"time":"2026-11-22T19:59:59.000123Z","service":"dhcp","stage":"dhcp-ack",
        "node":"x1000c0s0b0n0","mac":"52:54:00:00:00:01","ip":"172.16.0.1","result":"ok","detail":"has\u0000 it",
        "facts":{"client":"firmware"},"later":[1]}"#;

    #[test]
    fn a_datagram_is_taken_from_the_service_it_names() {
        let dhcp = Service::Dhcp.uid();
        let event = read(GOOD.as_bytes(), dhcp, NOW).unwrap();
        assert_eq!((event.stage, event.result), (BootStage::DhcpAck, StageResult::Ok));
        assert_eq!((event.fact("client"), event.detail.as_str()), (Some("firmware"), "has it"));
        assert_eq!(event.time, datetime!(2026-11-22 19:59:59.000123 UTC));
        assert!(matches!(read(GOOD.as_bytes(), 0, NOW), Err(Refused::Stranger(0))));
        let boot = Service::Boot.uid();
        assert!(matches!(
            read(GOOD.as_bytes(), boot, NOW),
            Err(Refused::Impostor(Service::Boot, Service::Dhcp))
        ));
        let newer = GOOD.replace("\"v\":1", "\"v\":2");
        assert!(matches!(read(newer.as_bytes(), dhcp, NOW), Err(Refused::Version(2))));
        let nonsense = GOOD.replace("dhcp-ack", "dhcp-nak");
        assert!(matches!(read(nonsense.as_bytes(), dhcp, NOW), Err(Refused::Malformed(_))));
    }

    #[test]
    fn a_clock_that_is_wrong_is_not_believed() {
        let old = GOOD.replace("2026-11-22", "1970-01-01");
        assert_eq!(read(old.as_bytes(), Service::Dhcp.uid(), NOW).unwrap().time, NOW);
    }
}
