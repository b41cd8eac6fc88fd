//! One boot of one machine: its steps, what was noticed, and where it stands.

use std::net::IpAddr;

use domain::{BootStage, MacAddr, StageResult};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::cause::Cause;
use super::place::{Client, Place};
use super::rule;
use crate::wire::Event;

/// Notes of one boot at most: a machine that is refused over and over says nothing new.
const FINDINGS_MAX: usize = 16;

/// How it stands with a boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It is under way.
    Running,
    /// It has come to its end.
    Good,
    /// It was refused something, or broke.
    Failed,
    /// It stands still.
    Stopped,
}

/// What a finding rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Something was refused or broke off; withdrawn when the boot gets past it.
    Refusal,
    /// Nothing came in time; withdrawn when it comes.
    Silence,
    /// A sign of something wrong that does not stop the boot.
    Sign,
}

/// One thing that is wrong with a boot: at which stage, the likely cause, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The stage that was not reached.
    pub stage: BootStage,
    /// The likely cause, as a word.
    pub cause: Cause,
    /// What it rests on.
    pub kind: Kind,
    /// The cause as a sentence.
    pub detail: String,
    /// What to do.
    pub next: String,
    /// When it was noticed.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// The place that the boot has to reach for it to be withdrawn; none: it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Place>,
}

/// A stage, when it was first reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Which.
    pub stage: BootStage,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Since the step before it.
    pub took_ms: u64,
    /// How often it was reached.
    pub times: u32,
    /// `sha256:…` of the file that was served there, the last time that it was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// Where a script leads; none of a member: there is none, or it was not told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Script {
    /// The image, with the digests of what it stood for: `compute:latest@sha256:…`; else the kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The kernel's URL; `disk`: the machine boots its own.
    pub kernel: Option<String>,
    /// The initrd's URL.
    pub initrd: Option<String>,
    /// The root file system's URL.
    pub root: Option<String>,
    /// Where cloud-init looks.
    pub seed: Option<String>,
    /// Whether the members were told at all.
    pub told: bool,
}

/// A transfer under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// The place that its end reaches.
    pub place: Place,
    /// When it began.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// What is transferred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

/// What the rules remember of a boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// How far it has got.
    pub place: Place,
    /// When it got there.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// The client architecture (DHCP option 93).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<u16>,
    /// The boot file that the firmware was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The loader that it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loader: Option<String>,
    /// Where the script leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<Script>,
    /// What is on its way to the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<Transfer>,
    /// How long each place took to reach, in milliseconds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub took: Vec<(Place, u64)>,
}

/// One boot of one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// The xname, else the MAC address, else the address.
    pub node: String,
    /// What it is called; filled in when it is shown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The NIC it boots by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddr>,
    /// Its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// When it began.
    #[serde(with = "time::serde::rfc3339")]
    pub started: OffsetDateTime,
    /// When it was last heard of.
    #[serde(with = "time::serde::rfc3339")]
    pub updated: OffsetDateTime,
    /// The stage it has reached.
    pub stage: BootStage,
    /// How it stands.
    pub result: Outcome,
    /// Counts the tries since power-on, or since the last good boot.
    pub attempt: u32,
    /// Its steps.
    pub steps: Vec<Step>,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// What the rules remember.
    pub evidence: Evidence,
}

impl Boot {
    /// A boot that begins with this step.
    pub(crate) fn new(node: &str, event: &Event) -> Self {
        // What failed was not reached.
        let reached = event.result == StageResult::Ok;
        let place = if reached { Place::of(event, None) } else { Place::Power };
        let evidence = Evidence {
            place,
            since: event.time,
            arch: None,
            file: None,
            loader: None,
            script: None,
            transfer: None,
            took: Vec::new(),
        };
        Self {
            node: node.to_owned(),
            name: String::new(),
            mac: event.mac,
            ip: event.ip,
            started: event.time,
            updated: event.time,
            stage: event.stage,
            result: Outcome::Running,
            attempt: 1,
            steps: Vec::new(),
            findings: Vec::new(),
            evidence,
        }
    }

    /// Goes on from a boot that came to nothing: what was wrong with that one counts until this one is past it.
    pub(crate) fn follows(&mut self, before: &Self) {
        self.attempt = before.attempt.saturating_add(1);
        self.findings.extend(before.findings.iter().filter(|it| it.until.is_some()).cloned());
        self.settle();
    }

    /// Whether it has come to its end, as far as the head can see.
    pub(crate) fn is_finished(&self) -> bool {
        rule::awaited(self).is_none()
    }

    pub(crate) fn script(&self) -> Option<&Script> {
        self.evidence.script.as_ref()
    }

    /// Takes the begin of a transfer: it was asked for, and takes its time.
    pub(crate) fn begin(&mut self, event: &Event) {
        let place = Place::of(event, Some(self.evidence.place));
        self.updated = self.updated.max(event.time);
        if place <= self.evidence.place {
            return;
        }
        let image = event.image.clone();
        self.evidence.transfer = Some(Transfer { place, since: event.time, image });
        self.findings.retain(|it| it.kind != Kind::Silence || it.until > Some(place));
        self.settle();
    }

    /// A step did not end well: what was on its way there comes no more.
    pub(crate) fn fail(&mut self, event: &Event) {
        let place = Place::of(event, Some(self.evidence.place));
        self.evidence.transfer.take_if(|it| it.place == place);
    }

    /// Takes a step that ended well; whether it is further than all before it.
    pub(crate) fn reach(&mut self, event: &Event) -> bool {
        let place = Place::of(event, Some(self.evidence.place));
        self.evidence.transfer.take_if(|it| it.place <= place);
        self.note_step(event);
        self.remember(event);
        self.findings.retain(|it| it.until.is_none_or(|until| place < until));
        let first = self.steps.len() == 1 && self.steps[0].times == 1;
        let further = place > self.evidence.place || first;
        if further {
            let took = millis(event.time - self.evidence.since);
            if !first {
                self.evidence.took.push((place, took));
            }
            self.evidence.place = place;
            self.evidence.since = self.evidence.since.max(event.time);
            self.stage = event.stage;
        }
        self.settle();
        further
    }

    fn note_step(&mut self, event: &Event) {
        self.updated = self.updated.max(event.time);
        self.mac = self.mac.or(event.mac);
        self.ip = event.ip.or(self.ip);
        let digest = event.fact("digest").map(str::to_owned);
        if let Some(known) = self.steps.iter_mut().find(|it| it.stage == event.stage) {
            known.times = known.times.saturating_add(1);
            known.digest = digest.or(known.digest.take());
            return;
        }
        let before = self.steps.iter().map(|it| it.at).max().unwrap_or(self.started);
        let took_ms = millis(event.time - before);
        self.steps.push(Step { stage: event.stage, at: event.time, took_ms, times: 1, digest });
    }

    /// What later rules look at.
    fn remember(&mut self, event: &Event) {
        let firmware = Client::of(event, Some(self.evidence.place)) == Client::Firmware;
        match event.stage {
            BootStage::DhcpDiscover if firmware || self.evidence.arch.is_none() => {
                self.evidence.arch = event.fact("arch").and_then(|it| it.parse().ok()).or(self.evidence.arch);
            }
            BootStage::DhcpAck if firmware => {
                self.evidence.file = event.fact("file").map(str::to_owned).or_else(|| event.image.clone());
            }
            // Some fetch autoexec.ipxe or a configuration after it.
            BootStage::TftpStart | BootStage::TftpEnd
                if self.evidence.place < Place::LoaderDiscover && self.evidence.loader.is_none() =>
            {
                self.evidence.loader = event.image.clone();
            }
            BootStage::Script => {
                let fact = |name: &str| event.fact(name).map(str::to_owned);
                let kernel = fact("kernel").or_else(|| event.image.clone());
                let (initrd, root, seed) = (fact("initrd"), fact("root"), fact("seed"));
                let (image, told) = (event.image.clone(), event.fact("kernel").is_some());
                self.evidence.script = Some(Script { image, kernel, initrd, root, seed, told });
            }
            _ => {}
        }
    }

    /// Notes what is wrong; whether that is new.
    pub(crate) fn find(&mut self, finding: Finding) -> bool {
        self.updated =
            if finding.kind == Kind::Silence { self.updated } else { self.updated.max(finding.since) };
        let same = |it: &Finding| it.stage == finding.stage && it.cause == finding.cause;
        if let Some(known) = self.findings.iter_mut().find(|it| same(it)) {
            // Since when it is wrong stays.
            known.detail = finding.detail;
            return false;
        }
        if finding.kind != Kind::Silence {
            // What was thought of as silence has its reason now.
            self.findings.retain(|it| it.kind != Kind::Silence || it.until < finding.until);
        }
        if self.findings.len() >= FINDINGS_MAX {
            self.findings.remove(0);
        }
        self.findings.push(finding);
        self.settle();
        true
    }

    /// Whether something of this kind is wrong.
    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.findings.iter().any(|it| it.kind == kind)
    }

    fn settle(&mut self) {
        self.result = if self.has(Kind::Refusal) {
            Outcome::Failed
        } else if self.has(Kind::Silence) {
            Outcome::Stopped
        } else if self.is_finished() {
            Outcome::Good
        } else {
            Outcome::Running
        };
    }

    /// From its begin to the last step that it has reached.
    #[must_use]
    pub fn total_ms(&self) -> u64 {
        let last = self.steps.iter().filter(|it| it.stage <= BootStage::Userdata).map(|it| it.at).max();
        millis(last.unwrap_or(self.started) - self.started)
    }
}

impl Outcome {
    /// The word of the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Good => "good",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }

    /// The outcome that a word means.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Running, Self::Good, Self::Failed, Self::Stopped].into_iter().find(|it| it.name() == word)
    }
}

/// Milliseconds, at least none.
pub(crate) fn millis(duration: time::Duration) -> u64 {
    u64::try_from(duration.whole_milliseconds()).unwrap_or(0)
}
