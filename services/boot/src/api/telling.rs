//! What the journal and the timeline hear of an answer.

use daemon::BootEvent;
use domain::inventory::Inventory;
use domain::{BootStage, Service, StageResult};
use web::Caller;

use super::Boot;
use super::script::{Answer, now};
use crate::model::Outcome;
use crate::wire::LineError;

/// What is told of an answer.
pub(super) struct Telling<'a> {
    pub(super) boot: &'a Boot,
    pub(super) answer: &'a Answer<'a>,
    pub(super) inventory: &'a Inventory,
    pub(super) caller: &'a Caller,
}

impl Telling<'_> {
    fn event(&self, stage: BootStage, detail: String) -> BootEvent {
        let node = self.answer.node.map(|it| &it.id);
        let event = BootEvent::new(Service::Boot, stage, detail).node(node).mac(self.answer.again().mac());
        if let Some(ip) = self.caller.address { event.ip(ip) } else { event }
    }

    fn name(&self) -> String {
        let stranger = || self.answer.asked.value().escape_default().take(64).collect();
        self.answer.node.map_or_else(stranger, |it| self.inventory.name_of(it, &self.boot.config.node_name))
    }

    /// The step of the boot before that did not succeed, as the machine's own script tells it.
    pub(super) fn failed(&self, step: Option<&str>, arch: Option<&str>) -> Option<BootEvent> {
        let (Outcome::Boot(found) | Outcome::Ask(found)) = &self.answer.outcome else { return None };
        let image = found.settings.image(self.answer.architecture(arch));
        let name = self.name();
        let (stage, detail, file) = match step? {
            "kernel" => (
                BootStage::Kernel,
                format!("{name} could not load its kernel {}", image.kernel),
                image.kernel,
            ),
            "initrd" => (
                BootStage::Initrd,
                format!("{name} could not load its initrd {}", image.initrd),
                image.initrd,
            ),
            "join" => (BootStage::Join, format!("{name} could not load its nonce"), ""),
            "boot" => {
                let why = "its firmware may be of another architecture, or lack memory";
                (BootStage::Script, format!("{name} could not start {}; {why}", image.kernel), image.kernel)
            }
            "disk" => (BootStage::Script, format!("{name} could not boot from its own disk"), image.kernel),
            // What the head itself refused is told where it did so.
            _ => return None,
        };
        Some(self.event(stage, detail).image(file).result(StageResult::Failed))
    }

    /// The answer, if it is news: in the history it is always.
    pub(super) fn answered(&self, refused: Option<LineError>) -> Option<BootEvent> {
        let Self { boot, answer, .. } = self;
        let Outcome::Boot(found) = &answer.outcome else { return self.waits() };
        if let Some(error) = refused {
            let id = self.name();
            let detail = format!("{id} is told to wait: {error}");
            let news = boot.seen.is_news(&id);
            return news.then(|| self.event(BootStage::Script, detail).result(StageResult::Failed));
        }
        if let Some(node) = answer.node {
            boot.seen.note_access(&node.id, now());
        }
        let value = answer.again().value();
        let key = answer.node.map_or(&*value, |it| it.id.as_str());
        if !boot.seen.is_new_boot(key, &found.settings) {
            return None;
        }
        let (kernel, image) = (found.settings.kernel(), found.settings.reference());
        let what = if image.is_empty() { kernel } else { image };
        let detail = format!("{} boots {what} (by {})", self.name(), found.source);
        Some(self.event(BootStage::Script, detail).image(what))
    }

    fn waits(&self) -> Option<BootEvent> {
        let Self { boot, answer, .. } = self;
        if let Some(node) = answer.node {
            boot.seen.note_life(&node.id, now());
        }
        let detail = match (&answer.outcome, answer.node) {
            // The next request asks by something else, and may well boot.
            (Outcome::Wait, Some(_)) if answer.mac.is_some() => return None,
            (Outcome::Wait, Some(node)) if boot.seen.is_news(node.id.as_str()) => {
                let name = self.name();
                format!("{name} waits: nothing is set for it; pilotctl boot set {name} --kernel URL")
            }
            (Outcome::Wait, None) => {
                let (key, name) = (answer.asked.key(), self.name());
                if !boot.seen.is_news(&name) {
                    return None;
                }
                format!("{key} {name} waits: it is in no inventory; add it: pilotctl nodes import nodes.yaml")
            }
            _ => return None,
        };
        Some(self.event(BootStage::Script, detail).result(StageResult::Failed))
    }
}
