//! Boot events of known machines, at a rate that a real cluster does not reach and a flood does not exceed.

use std::net::Ipv4Addr;
use std::sync::LazyLock;

use domain::{BootStage, MacAddr, Service, StageResult, Xname};
use prometheus_client::metrics::counter::Counter;

use crate::model;

/// So many may come at once: three steps of ten thousand nodes that are switched on together.
const BURST: f64 = 30_000.0;
/// And so many a second go on.
const RATE: f64 = 1_500.0;

static WITHHELD: LazyLock<Counter> =
    LazyLock::new(|| web::counter("dhcp_events_withheld", "Boot events over the rate that is told"));

/// A step of a boot.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) stage: BootStage,
    pub(crate) node: Option<Xname>,
    pub(crate) mac: MacAddr,
    pub(crate) ip: Option<Ipv4Addr>,
    pub(crate) what: What,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum What {
    /// What asked, for which architecture, how long it has been at it.
    Seen { client: &'static str, architecture: Option<u16>, secs: u16 },
    /// What it boots.
    Offered { file: Option<String> },
    /// What it boots.
    Given { file: Option<String> },
    /// It asked another server.
    Lost { server: Ipv4Addr },
    /// It gets no offer: a word for programs, and the reason.
    Refused { client: &'static str, why: &'static str, reason: String },
    /// Another machine uses what it was given.
    Declined,
    /// It is told no boot file, though it is firmware that boots.
    NoLoader { architecture: u16 },
}

impl Step {
    pub(crate) fn send(self) {
        let ip = self.ip.unwrap_or(Ipv4Addr::UNSPECIFIED);
        let boots =
            |file: &Option<String>| file.as_ref().map(|it| format!(", boots {it}")).unwrap_or_default();
        let mac = self.mac;
        let detail = match &self.what {
            What::Seen { .. } => format!("{mac} seen"),
            What::Offered { file } => format!("{mac} is offered {ip}{}", boots(file)),
            What::Given { file } => format!("{mac} has {ip}{}", boots(file)),
            What::Lost { server } => {
                format!("{mac} did not take the offer: it asked another server, {server}")
            }
            What::Refused { reason, .. } => format!("{mac} is offered nothing: {reason}"),
            What::Declined => format!("{mac} declined {ip}: another machine uses it"),
            What::NoLoader { architecture } => format!(
                "{mac} boots as {} (architecture {architecture}), for which there is no loader",
                model::architecture_name(*architecture)
            ),
        };
        let mut event = daemon::BootEvent::new(Service::Dhcp, self.stage, detail);
        event = event.node(self.node.as_ref()).mac(Some(mac));
        if !ip.is_unspecified() {
            event = event.ip(ip);
        }
        match self.what {
            What::Seen { client, architecture, secs } => {
                event = event.fact("client", client).fact("secs", secs);
                if let Some(architecture) = architecture {
                    event = event.fact("arch", architecture);
                }
            }
            What::Lost { server } => {
                event = event.result(StageResult::Failed).fact("why", "other-server").fact("server", server);
            }
            What::Refused { client, why, reason } => {
                event = event.result(StageResult::Failed).fact("client", client).fact("why", why);
                event = event.fact("reason", reason);
            }
            What::Declined => {
                event = event.result(StageResult::Failed).fact("why", "declined").fact("address", ip);
            }
            What::NoLoader { architecture } => {
                event = event.result(StageResult::Failed).fact("why", "no-loader").fact("arch", architecture);
            }
            What::Offered { file } | What::Given { file } => {
                if let Some(file) = file {
                    event = event.fact("file", file);
                }
            }
        }
        event.send();
    }
}

/// How many more may be told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    left: f64,
    at: std::time::Instant,
}

impl Allowance {
    pub(crate) fn new(now: std::time::Instant) -> Self {
        Self { left: BURST, at: now }
    }

    /// Adds what the time since the last call allows.
    pub(crate) fn refill(&mut self, now: std::time::Instant) {
        self.left = (self.left + now.duration_since(self.at).as_secs_f64() * RATE).min(BURST);
        self.at = now;
    }

    /// Whether one more may be told.
    pub(crate) fn take(&mut self) -> bool {
        let granted = self.left >= 1.0;
        if granted {
            self.left -= 1.0;
        } else {
            WITHHELD.inc();
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Allowance, BURST, RATE};

    #[test]
    fn a_burst_is_told_whole_and_then_the_rate() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        let mut take_all = |at| {
            allowance.refill(at);
            std::iter::from_fn(|| allowance.take().then_some(())).count()
        };
        assert_eq!(take_all(start), BURST as usize);
        assert_eq!(take_all(start), 0);
        assert_eq!(take_all(start + Duration::from_secs(2)), 2 * RATE as usize);
    }
}
