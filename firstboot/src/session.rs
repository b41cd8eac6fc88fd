//! The set-up from its beginning to its end, on all consoles: an answer that is there, or the questions.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use domain::document::{Answer, PlaneKind};
use domain::{Document, event};
use tokio::time::{MissedTickBehavior, interval};

use crate::apply::apply;
use crate::console::{Consoles, Event};
use crate::log::event;
use crate::machine::Machine;
use crate::model::{Interview, Turn};
use crate::seed::{Found, Sources};

/// How often a volume that was plugged in is looked for, and the marker.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The gateway's TLS port.
const HTTPS_PORT: u16 = 8443;
const BEGIN: &str = "Press Enter to answer the questions on this console: ";

/// What a set-up needs to know.
#[derive(Debug)]
pub(crate) struct Session {
    /// Where answers may be.
    pub(crate) sources: Sources,
    /// The mark that the head is set up.
    pub(crate) marker: PathBuf,
    /// /sys
    pub(crate) sys: PathBuf,
    /// /etc/passwd
    pub(crate) passwd: PathBuf,
}

/// Who answers.
#[derive(Debug)]
struct Owner {
    console: usize,
    interview: Interview,
}

/// How the questions ended.
#[derive(Debug)]
enum End {
    /// An answer was left for us meanwhile.
    Found(Found),
    /// The answers are in force.
    Done(Box<Document>),
    /// The head was set up without us.
    Elsewhere,
}

impl Session {
    /// Sets the head up.
    ///
    /// # Errors
    ///
    /// If an answer that was left for us does not hold or cannot be applied. Nobody is asked then.
    pub(crate) async fn run(&self, consoles: &mut Consoles) -> anyhow::Result<()> {
        let found = match self.sources.find() {
            Some(found) => found,
            None => match self.ask(consoles).await? {
                End::Found(found) => found,
                End::Done(document) => return self.finish(consoles, &document).await,
                End::Elsewhere => {
                    consoles.write_all("\nThe head is set up.\n").await;
                    return Ok(());
                }
            },
        };
        self.take(consoles, found).await
    }

    /// Applies an answer that was left for us.
    async fn take(&self, consoles: &mut Consoles, found: Found) -> anyhow::Result<()> {
        let Found { place, text } = found;
        log::info!("the answers are taken from {place}");
        consoles.write_all(&format!("\nPilothouse: the answers are taken from {place}.\n")).await;
        let parsed = text.and_then(|text| Answer::parse(&text).map(|it| (it.document, text)));
        let (document, text) = match parsed {
            Ok(parsed) => parsed,
            Err(error) => {
                event!(event::CONFIG_REFUSED, PILOTHOUSE_LINE = error.line, PILOTHOUSE_COLUMN = error.column;
                    "{place} does not hold: {error}");
                refuse(consoles, &place, &error.to_string()).await;
                anyhow::bail!("nothing was changed, as {place} does not hold");
            }
        };
        if let Err(error) = apply(&text, consoles).await {
            // The supervisor wrote the event when it was its decision.
            let reason = format!("{error:#}");
            refuse(consoles, &place, &reason).await;
            return Err(error).with_context(|| format!("{place} could not be applied"));
        }
        self.finish(consoles, &document).await
    }

    /// Asks on every console until the answers are in force.
    async fn ask(&self, consoles: &mut Consoles) -> anyhow::Result<End> {
        log::info!("no answer was left for us; the questions are asked on the consoles");
        consoles.write_all(&format!("\nPilothouse: this head is not set up yet.\n{BEGIN}")).await;
        let mut owner: Option<Owner> = None;
        let mut tick = interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let (console, event) = tokio::select! {
                next = consoles.next() => next,
                _ = tick.tick() => {
                    if self.marker.exists() {
                        return Ok(End::Elsewhere);
                    }
                    match self.sources.find_seed().filter(|_| owner.is_none()) {
                        Some(found) => return Ok(End::Found(found)),
                        None => continue,
                    }
                }
            };
            match &mut owner {
                None => owner = self.begin(consoles, console, &event).await,
                Some(it) if it.console != console => it.move_to(consoles, console, &event).await,
                Some(it) => match it.hear(consoles, event).await {
                    Heard::Asked => {}
                    Heard::Over => {
                        owner = None;
                        consoles.write_all(&format!("\n{BEGIN}")).await;
                    }
                    Heard::Applied(document) => return Ok(End::Done(document)),
                },
            }
        }
    }

    /// The first line anywhere begins the interview there.
    async fn begin(&self, consoles: &mut Consoles, console: usize, event: &Event) -> Option<Owner> {
        match event {
            Event::Gone => return None,
            Event::Interrupt => {
                consoles.write(console, &format!("\n{BEGIN}")).await;
                return None;
            }
            Event::Line(_) | Event::Unusable(_) => {}
        }
        let name = consoles.name(console).to_owned();
        log::info!("the questions are answered on {name}");
        let text = format!("\nThe questions are answered on {name}. To go on here instead, type: here\n");
        consoles.write_others(console, &text).await;
        let (interview, lines) = Interview::begin(Machine::read(&self.sys, &self.passwd));
        let mut owner = Owner { console, interview };
        owner.ask(consoles, &lines).await;
        Some(owner)
    }

    /// Tells how to go on.
    async fn finish(&self, consoles: &mut Consoles, document: &Document) -> anyhow::Result<()> {
        log::info!("the head is set up");
        let mut text = String::from("\nThe head is set up.\n");
        let network = &document.network;
        let address = network.first(PlaneKind::Site).or_else(|| network.first(PlaneKind::Nodes));
        let name = document.cluster.service_name();
        let host = address.map_or_else(|| name.clone(), |(_, it)| it.addr().to_string());
        text.push_str(&format!("  APIs:    https://{name}:{HTTPS_PORT} (the head answers on {host})\n"));
        if let Some(admin) = document.admins.keys().next() {
            text.push_str(&format!("  Log in:  ssh {admin}@{host}\n"));
        }
        text.push_str("  Then:    pilotctl status\n");
        if self.sources.seed_holds_secrets() {
            text.push_str("The volume PH_SEED cannot be written and still holds secrets; keep it safe.\n");
        }
        consoles.write_all(&text).await;
        Ok(())
    }
}

/// What came of a line.
enum Heard {
    Asked,
    /// The answers are forgotten.
    Over,
    Applied(Box<Document>),
}

impl Owner {
    /// Shows lines and the prompt; the prompt is written in one piece.
    async fn ask(&mut self, consoles: &mut Consoles, lines: &[String]) {
        let prompt = self.interview.prompt();
        consoles.set_echo(self.console, !prompt.hidden);
        let mut text = String::new();
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
        consoles.write(self.console, &text).await;
        consoles.write(self.console, &prompt.text).await;
    }

    /// Somebody typed elsewhere: `here` brings the questions there.
    async fn move_to(&mut self, consoles: &mut Consoles, console: usize, event: &Event) {
        let Event::Line(line) = event else { return };
        if line.trim() == "here" {
            let name = consoles.name(console).to_owned();
            consoles.set_echo(self.console, true);
            let text = format!("\nThe questions go on on {name}. To go on here instead, type: here\n");
            consoles.write(self.console, &text).await;
            self.console = console;
            self.ask(consoles, &[]).await;
        } else {
            let text = format!(
                "The questions are answered on {}. To go on here instead, type: here\n",
                consoles.name(self.console)
            );
            consoles.write(console, &text).await;
        }
    }

    async fn hear(&mut self, consoles: &mut Consoles, event: Event) -> Heard {
        let line = match event {
            Event::Line(line) => line,
            Event::Unusable(why) => {
                self.ask(consoles, &[format!("  ! {why}")]).await;
                return Heard::Asked;
            }
            Event::Interrupt => {
                consoles.set_echo(self.console, true);
                consoles.write_all("\nThe answers are forgotten.\n").await;
                return Heard::Over;
            }
            Event::Gone => {
                consoles
                    .write_all("\nThe console with the questions is gone; its answers are forgotten.\n")
                    .await;
                return Heard::Over;
            }
        };
        match self.interview.take(&line) {
            Turn::Ask(lines) => {
                self.ask(consoles, &lines).await;
                Heard::Asked
            }
            Turn::Apply => match self.apply(consoles).await {
                Ok(document) => Heard::Applied(Box::new(document)),
                Err(error) => {
                    log::error!("the answers could not be applied: {error:#}");
                    consoles.forget_typed();
                    let reason = format!("The answers could not be applied: {error:#}\n");
                    consoles.write_all(&reason).await;
                    let lines = self.interview.summary();
                    self.ask(consoles, &lines).await;
                    Heard::Asked
                }
            },
        }
    }

    async fn apply(&self, consoles: &mut Consoles) -> anyhow::Result<Document> {
        let answer = self.interview.answer();
        let document = Answer::parse(&answer).context("read the answers")?.document;
        apply(&answer, consoles).await?;
        Ok(document)
    }
}

/// Says on every console why an answer that was left for us is not in force.
async fn refuse(consoles: &mut Consoles, place: &str, reason: &str) {
    let text = format!(
        "\nPilothouse: {place} is refused.\n  ! {reason}\nCorrect it, then plug the volume in again or \
         restart the machine. The journal has this too: journalctl -u pilothouse-firstboot\n"
    );
    consoles.write_all(&text).await;
}
