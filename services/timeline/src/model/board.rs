//! The present boot of each machine.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use domain::{BootStage, StageResult};
use time::{Duration, OffsetDateTime};

use super::boot::{Boot, Finding, Kind, Outcome};
use super::place::{Client, Place};
use super::rule;
use super::typical::Typical;
use crate::config::Limits;
use crate::wire::Event;

/// Machines in no inventory that are remembered: anyone on the wire can make up MAC addresses.
const STRANGERS_MAX: usize = 1000;
/// Known nodes at most; twice the largest cluster that is planned for.
const NODES_MAX: usize = 50_000;
/// Steps of a boot that has come to its end still belong to it for so long.
const AFTERWARDS: Duration = Duration::minutes(15);

/// Whose step it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// A node of the inventory, by its xname.
    Node(String),
    /// A machine in no inventory, by its MAC address or else its address.
    Stranger(String),
    /// Something that boots nothing from here, or nobody knows what.
    Other,
}

/// What a step did.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// When the boot began that the step belongs to.
    pub(crate) boot: Option<OffsetDateTime>,
    /// The boot that ended with it.
    pub(crate) before: Option<Boot>,
    /// What it showed to be wrong.
    pub(crate) found: Vec<Finding>,
}

/// The present boot of each machine.
#[derive(Debug)]
pub(crate) struct Board {
    boots: HashMap<String, Boot>,
    strangers: VecDeque<String>,
    by_ip: HashMap<IpAddr, String>,
    typical: Typical,
    limits: Limits,
}

impl Key {
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Node(name) | Self::Stranger(name) => Some(name),
            Self::Other => None,
        }
    }
}

impl Board {
    pub(crate) fn new(limits: Limits) -> Self {
        let (boots, by_ip) = (HashMap::new(), HashMap::new());
        Self { boots, strangers: VecDeque::new(), by_ip, typical: Typical::default(), limits }
    }

    /// Whose address it is, by the last ACK.
    pub(crate) fn machine_at(&self, ip: IpAddr) -> Option<&str> {
        self.by_ip.get(&ip).map(String::as_str)
    }

    pub(crate) fn get(&self, node: &str) -> Option<&Boot> {
        self.boots.get(node)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Boot> {
        self.boots.values()
    }

    /// Takes back what was kept, from before a restart.
    pub(crate) fn restore(&mut self, boot: Boot) {
        if boot.result == Outcome::Good {
            self.typical.learn(&boot);
        }
        let known = self.boots.get(&boot.node).is_some_and(|it| it.started >= boot.started);
        if !known && self.boots.len() < NODES_MAX {
            self.boots.insert(boot.node.clone(), boot);
        }
    }

    /// Takes a step.
    pub(crate) fn take(&mut self, key: &Key, event: &Event) -> Taken {
        let Some(name) = key.name() else { return Taken::default() };
        let mut taken = Taken::default();
        let present = self.boots.get(name);
        match begin(present, event) {
            Begin::None => return taken,
            Begin::Same => {}
            Begin::New => {
                let mut boot = Boot::new(name, event);
                let again =
                    present.filter(|it| event.stage != BootStage::PowerOn && it.result != Outcome::Good);
                if let Some(before) = again {
                    boot.follows(before);
                }
                taken.before = self.boots.remove(name);
                if taken.before.is_none() && !self.make_room(key) {
                    return taken;
                }
                self.boots.insert(name.to_owned(), boot);
            }
        }
        let Some(boot) = self.boots.get_mut(name) else { return taken };
        taken.boot = Some(boot.started);
        match event.result {
            StageResult::Ok => {
                let was_good = boot.result == Outcome::Good;
                boot.reach(event);
                taken.found.extend(rule::sign(boot, event));
                if boot.result == Outcome::Good && !was_good {
                    self.typical.learn(boot);
                }
            }
            StageResult::Begun => boot.begin(event),
            StageResult::Failed | StageResult::Timeout => {
                boot.fail(event);
                taken.found.extend(rule::refusal(boot, event));
            }
        }
        taken.found.retain(|it| boot.find(it.clone()));
        if let (BootStage::DhcpAck, StageResult::Ok, Some(ip)) = (event.stage, event.result, event.ip) {
            if self.by_ip.len() >= 2 * NODES_MAX {
                self.by_ip.clear();
            }
            self.by_ip.insert(ip, name.to_owned());
        }
        taken
    }

    /// Forgets the last boot of a machine, whatever is wrong with it.
    pub(crate) fn forget(&mut self, node: &str) -> Option<Boot> {
        self.strangers.retain(|it| it != node);
        self.boots.remove(node)
    }

    /// Names the boots that stand still, each once.
    pub(crate) fn look(&mut self, now: OffsetDateTime) -> Vec<(String, Finding)> {
        let mut found = Vec::new();
        for boot in self.boots.values_mut() {
            if boot.result != Outcome::Running {
                continue;
            }
            let finding = rule::silence(boot, now, &self.limits, &self.typical);
            if let Some(finding) = finding.filter(|it| boot.find(it.clone())) {
                found.push((boot.node.clone(), finding));
            }
        }
        found
    }

    /// Room for one more machine; strangers make room for strangers.
    fn make_room(&mut self, key: &Key) -> bool {
        let Key::Stranger(name) = key else { return self.boots.len() < NODES_MAX };
        if self.strangers.len() >= STRANGERS_MAX
            && let Some(oldest) = self.strangers.pop_front()
        {
            self.boots.remove(&oldest);
        }
        self.strangers.push_back(name.clone());
        true
    }
}

/// Whether a step begins a boot.
enum Begin {
    New,
    Same,
    /// It belongs to no boot.
    None,
}

/// A boot begins at power-on, or when firmware asks for an address after it was further than that.
fn begin(present: Option<&Boot>, event: &Event) -> Begin {
    use BootStage as Is;
    let over = present.is_none_or(|it| it.is_finished() && event.time - it.updated > AFTERWARDS);
    let at = present.map(|it| it.evidence.place);
    // The console's word on a machine that has not asked for an address.
    let hint = event.result != StageResult::Ok && event.stage == Is::DhcpDiscover;
    match (event.stage, at) {
        _ if event.result == StageResult::Begun => {
            if over {
                Begin::None
            } else {
                Begin::Same
            }
        }
        (Is::PowerOn, _) => Begin::New,
        (Is::DhcpDiscover, at) if hint => match at {
            Some(Place::Power) => Begin::Same,
            _ if over => Begin::New,
            _ => Begin::None,
        },
        (Is::DhcpDiscover, at) => {
            let finished = present.is_some_and(Boot::is_finished);
            match (Client::of(event, at), at) {
                (Client::Os, Some(_)) if !finished => Begin::Same,
                (Client::Os, _) => Begin::None,
                (_, None) => Begin::New,
                (Client::Firmware, Some(at)) if at >= Place::LoaderStart => Begin::New,
                (Client::Ipxe, Some(at)) if at >= Place::Kernel => Begin::New,
                _ if finished => Begin::New,
                _ => Begin::Same,
            }
        }
        // Without the DISCOVER before it, it may be a system's lease.
        (Is::DhcpOffer | Is::DhcpAck, _) if over && event.fact("client").is_none_or(|it| it == "os") => {
            Begin::None
        }
        (Is::DhcpOffer | Is::DhcpAck | Is::TftpStart | Is::TftpEnd | Is::Script | Is::Kernel, _) if over => {
            Begin::New
        }
        _ if over => Begin::None,
        _ => Begin::Same,
    }
}

/// The findings that health issues are made of, each with its machines.
pub(crate) fn group_findings<'a>(
    boots: impl Iterator<Item = &'a Boot>,
    now: OffsetDateTime,
) -> Vec<(&'a Finding, Vec<&'a Boot>)> {
    let mut groups: Vec<(&Finding, Vec<&Boot>)> = Vec::new();
    for boot in boots.filter(|it| now - it.updated < Duration::days(1)) {
        for finding in boot.findings.iter().filter(|it| it.kind != Kind::Sign) {
            let same = |it: &Finding| it.stage == finding.stage && it.cause == finding.cause;
            match groups.iter_mut().find(|it| same(it.0)) {
                Some(group) => group.1.push(boot),
                None => groups.push((finding, vec![boot])),
            }
        }
    }
    groups
}
