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
        let event = self.event(stage, detail).image(file).result(StageResult::Failed);
        Some(event.fact("why", if stage == BootStage::Script { "not-started" } else { "not-loaded" }))
    }

    /// The answer, if it is news: in the history it is always.
    pub(super) fn answered(&self, script: &str, refused: Option<LineError>) -> Option<BootEvent> {
        let Self { boot, answer, .. } = self;
        let Outcome::Boot(found) = &answer.outcome else { return self.waits() };
        if let Some(error) = refused {
            let id = self.name();
            let detail = format!("{id} is told to wait: {error}");
            let news = boot.seen.is_news(&id);
            let event = || self.event(BootStage::Script, detail).result(StageResult::Failed);
            return news.then(|| event().fact("why", "not-bootable"));
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
        let event = self.event(BootStage::Script, detail).image(what);
        Some(facts(script).into_iter().fold(event, |event, (name, url)| event.fact(name, url)))
    }

    fn waits(&self) -> Option<BootEvent> {
        let Self { boot, answer, .. } = self;
        if let Some(node) = answer.node {
            boot.seen.note_life(&node.id, now());
        }
        let (why, detail) = match (&answer.outcome, answer.node) {
            // The next request asks by something else, and may well boot.
            (Outcome::Wait, Some(_)) if answer.mac.is_some() => return None,
            (Outcome::Wait, Some(node)) if boot.seen.is_news(node.id.as_str()) => {
                let name = self.name();
                let next = format!("pilotctl boot set {name} --kernel URL");
                ("no-parameters", format!("{name} waits: nothing is set for it; {next}"))
            }
            (Outcome::Wait, None) => {
                let (key, name) = (answer.asked.key(), self.name());
                if !boot.seen.is_news(&name) {
                    return None;
                }
                let next = "pilotctl nodes import nodes.yaml";
                ("unknown-machine", format!("{key} {name} waits: it is in no inventory; add it: {next}"))
            }
            _ => return None,
        };
        Some(self.event(BootStage::Script, detail).result(StageResult::Failed).fact("why", why))
    }
}

/// What a script has the machine fetch: who knows that can say what is missing later.
fn facts(script: &str) -> Vec<(&'static str, &str)> {
    let line = |command: &str| script.lines().find_map(|it| it.strip_prefix(command));
    let Some(kernel) = line("kernel --name kernel ") else { return vec![("kernel", "disk")] };
    let mut words = kernel.split(' ');
    let mut facts: Vec<_> = words.next().map(|it| ("kernel", it)).into_iter().collect();
    facts.extend(line("initrd --name initrd ").and_then(|it| it.split(' ').next()).map(|it| ("initrd", it)));
    for word in words {
        let root = word.strip_prefix("root=live:").filter(|it| it.starts_with("http"));
        let seed = ["ds=nocloud;s=", "ds=nocloud-net;s="].iter().find_map(|it| word.strip_prefix(it));
        facts.extend(root.map(|it| ("root", it)).or(seed.map(|it| ("seed", it))));
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::facts;

    #[test]
    fn a_script_tells_what_it_has_the_machine_fetch() {
        let script = "#!ipxe\nset step kernel\n\
            kernel --name kernel http://h/k initrd=initrd root=live:http://h/r ds=nocloud-net;s=http://h/c/ || goto a\n\
            initrd --name initrd http://h/i || goto a\n";
        let all = [
            ("kernel", "http://h/k"),
            ("initrd", "http://h/i"),
            ("root", "http://h/r"),
            ("seed", "http://h/c/"),
        ];
        assert_eq!(facts(script), all);
        assert_eq!(facts("#!ipxe\nsanboot\n"), [("kernel", "disk")]);
        assert_eq!(facts("kernel --name kernel k root=nfs:h:/x || goto a\n"), [("kernel", "k")]);
    }
}
