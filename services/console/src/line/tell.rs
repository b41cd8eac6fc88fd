//! What a line says of itself and of its node: to the log, to the readers, to the journal, to the timeline.

use std::sync::{Arc, LazyLock};

use daemon::BootEvent;
use domain::{BootStage, Service, StageResult, event};
use time::OffsetDateTime;
use web::Counters;

use super::{Line, NOT_RUNNING, shown};
use crate::hub::Notice;
use crate::model::{Sight, stamp};

/// Different reasons that are told while a line is lost; a BMC that finds more is told of no more.
const REASONS_MAX: usize = 8;

static MATCHES: LazyLock<Counters> =
    LazyLock::new(|| web::counters("console_matches", "Lines of consoles that a pattern matches", "pattern"));

impl Line {
    /// Tells the timeline. The stage of what fails is where the line could be at the earliest; the timeline
    /// knows better.
    pub(super) fn tell_sight(&self, sight: Sight) {
        let (name, node) = (&self.name, &self.console.node);
        let event = |stage, detail: &str| {
            BootEvent::new(Service::Console, stage, format!("{detail} on the console of {name}"))
                .node(Some(node))
        };
        let failed = |stage, detail, why: &str| {
            event(stage, detail).result(StageResult::Failed).fact("why", why).send();
        };
        match sight {
            Sight::Stage(stage) => {
                MATCHES.inc(if stage == BootStage::Panic { "panic" } else { "login" });
                event(stage, "seen").send();
            }
            Sight::Disk => {
                failed(BootStage::DhcpDiscover, "a boot from disk, or from nothing, is seen", "boot-order");
            }
            Sight::NoName => {
                failed(BootStage::Kernel, "a name that is not resolved is seen", "name-resolution");
            }
            Sight::Match { index, first } => {
                let pattern = self.places.hub.patterns.name(index);
                MATCHES.inc(pattern);
                if first {
                    daemon::event!(
                        event::CONSOLE_PATTERN,
                        node = node,
                        "the console of {name} shows what [console.patterns] calls {pattern}"
                    );
                }
            }
        }
    }

    /// The line that the process before had is ours.
    pub(super) fn note_resumed(&mut self) {
        let since = self.since.take();
        self.resumed = true;
        // What was confirmed to the BMC and waited for the disk then is nowhere.
        if self.places.keeper.crashed() {
            let gap = since.map(|(since, _)| format!(", {}", gap(since))).unwrap_or_default();
            let cause = "the service had ended without a word, and what came last may be missing";
            self.tell(&format!("logging goes on; {cause}{gap}"), None);
        }
    }

    pub(super) fn note_open(&mut self) {
        self.reasons.clear();
        let (node, name) = (self.console.node.clone(), &self.name);
        daemon::event!(event::CONSOLE_OPEN, node = node, "the console of {name} is logged");
        let conman = Some(self.console.connected_to());
        if std::mem::take(&mut self.resumed) {
            return;
        }
        match self.since.take() {
            None => self.tell("console open", conman),
            Some((since, cause)) => {
                let (gap, cause) = (gap(since), cause.as_deref().unwrap_or(NOT_RUNNING));
                self.tell(&format!("console open; nothing was logged {gap}: {cause}"), conman);
            }
        }
    }

    /// Notes why there is no line: each reason once in the journal, the first one in the log.
    pub(super) fn note_lost(&mut self, reason: &str) {
        // Thousands of BMCs may be off for one reason: each keeps it once.
        let known = self.reasons.iter().find(|it| &***it == reason).cloned();
        let reason = known.clone().unwrap_or_else(|| reason.into());
        self.console.disconnect(Arc::clone(&reason));
        if known.is_none() && self.reasons.len() < REASONS_MAX {
            let (node, name) = (self.console.node.clone(), &self.name);
            daemon::event!(event::CONSOLE_LOST, node = node, "the console of {name} is not logged: {reason}");
            if self.reasons.is_empty() {
                // Many are lost together, and what opening them took is not needed for a while.
                daemon::trim_memory_soon();
                let conman = self.console.disconnected_from();
                self.tell(&format!("console lost: {reason}"), Some(conman));
            }
            self.reasons.push(Arc::clone(&reason));
        }
        match &mut self.since {
            Some((_, Some(cause))) => *cause = reason,
            // That the service did not run is why it began.
            Some((_, None)) => {}
            none => *none = Some((OffsetDateTime::now_utc(), Some(reason))),
        }
    }

    pub(super) fn note_end(&mut self) {
        self.mark("logging stops: the service stops, or the node changed in the inventory");
        self.console.disconnect("the line is closed");
    }

    /// Says something to the log and to the readers.
    fn tell(&mut self, message: &str, conman: Option<String>) {
        self.mark(message);
        let notice = Notice::new(message);
        let notice = if let Some(text) = conman { notice.with_conman(text) } else { notice };
        self.console.notify(&notice);
    }

    /// Says something to the log.
    pub(super) fn mark(&mut self, message: &str) {
        let text = self.scribe.mark(message, OffsetDateTime::now_utc());
        self.console.note(&text);
    }
}

/// `since 2026-11-22 13:05:47 UTC (34 s)`
fn gap(since: OffsetDateTime) -> String {
    let span = (OffsetDateTime::now_utc() - since).try_into().unwrap_or_default();
    format!("since {}UTC ({})", stamp(since), shown(span))
}
