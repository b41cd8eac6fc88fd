//! One line: its SOL is opened, what comes is logged and published, and it is opened again when it is lost.

use std::sync::Arc;
use std::time::Duration;

use daemon::BootEvent;
use domain::inventory::Endpoint;
use domain::{BootStage, Service, StageResult, event};
use futures_util::FutureExt;
use ipmi::{Deactivation, Session, Sol, SolEvent, SolOptions};
use power::Bmcs;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::hub::Console;
use crate::log::Log;
use crate::model::{MARK, Scribe, Sight, Watch, mark_line};

/// The first wait after a line was lost; it doubles.
const WAIT_FIRST: Duration = Duration::from_millis(500);
/// The longest wait: a dead BMC is asked this often.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// Waits after a refused account, which BMCs lock after a few failures; a changed account ends them.
const REFUSED_FIRST: Duration = Duration::from_secs(30);
const REFUSED_MAX: Duration = Duration::from_secs(300);
/// A line that lasted this long was a good one, and the waits start over.
const GOOD: Duration = Duration::from_secs(30);
/// How long a BMC may take to confirm the end.
const GIVE_BACK_MAX: Duration = Duration::from_secs(2);
/// Different reasons that are told while a line is lost; a BMC that finds more is told of no more.
const REASONS_MAX: usize = 8;

/// One line.
pub(crate) struct Line {
    console: Arc<Console>,
    bmcs: Bmcs,
    name: String,
    endpoint: Box<Endpoint>,
    /// The version of the BMC's account.
    account: watch::Receiver<i64>,
    take_over: bool,
    log: Log,
    scribe: Scribe,
    watch: Watch,
    /// Since when nothing was logged; none if nothing ever was.
    since: Option<OffsetDateTime>,
    /// Why the line is lost, as far as it was told.
    reasons: Vec<String>,
    /// Bytes that could not be written to the log.
    unwritten: usize,
    /// Kept for its room.
    text: String,
}

/// Why a line could not be opened, or was lost.
struct Loss {
    reason: String,
    /// The BMC does not take the account.
    refused: bool,
}

impl Loss {
    fn of(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { reason: format!("{:#}", anyhow::Error::new(error)), refused: false }
    }
}

impl Line {
    pub(crate) fn new(
        config: &Config,
        console: Arc<Console>,
        bmcs: Bmcs,
        name: &str,
        endpoint: Box<Endpoint>,
        account: watch::Receiver<i64>,
    ) -> Self {
        let log = Log::new(config, name, &console.node);
        let since = log.last_written();
        Self {
            console,
            bmcs,
            name: name.to_owned(),
            endpoint,
            account,
            take_over: config.take_over,
            log,
            scribe: Scribe::default(),
            watch: Watch::default(),
            since,
            reasons: Vec::new(),
            unwritten: 0,
            text: String::new(),
        }
    }

    /// Logs until the stop, through every loss of the line.
    pub(crate) async fn keep(mut self, stop: CancellationToken) {
        let mut wait = WAIT_FIRST;
        loop {
            // Boxed, so that a line that waits takes no room for a session: thousands of BMCs may be off.
            let opened = tokio::select! {
                () = stop.cancelled() => break,
                opened = Box::pin(self.open()) => opened,
            };
            let loss = match opened {
                Ok((session, sol)) => {
                    let since = Instant::now();
                    let logged = Box::pin(self.log_until_lost(session, sol, &stop));
                    let Some(loss) = logged.await else { break };
                    if since.elapsed() > GOOD {
                        wait = WAIT_FIRST;
                    }
                    loss
                }
                Err(loss) => loss,
            };
            let (least, most) =
                if loss.refused { (REFUSED_FIRST, REFUSED_MAX) } else { (WAIT_FIRST, WAIT_MAX) };
            wait = wait.clamp(least, most);
            self.note_lost(&loss.reason);
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(jitter(wait)) => wait *= 2,
                Ok(()) = self.account.changed() => wait = WAIT_FIRST,
            }
        }
        self.mark("logging stops: the service stops, or the node changed in the inventory");
        self.console.disconnect("the line is closed");
    }

    async fn open(&mut self) -> Result<(Session, Sol), Loss> {
        self.endpoint.credential_version = *self.account.borrow_and_update();
        let session = self.bmcs.open(&self.endpoint).await.map_err(|error| {
            let refused = error.is_refusal();
            Loss { refused, ..Loss::of(error) }
        })?;
        let options = SolOptions { take_over: self.take_over, ..SolOptions::default() };
        match session.activate_sol(options).await {
            Ok(sol) => Ok((session, sol)),
            Err(error) => {
                close(&session).await;
                let Loss { reason, refused } = Loss::of(error);
                Err(Loss { reason: format!("BMC {}: {reason}", self.endpoint.id), refused })
            }
        }
    }

    /// Logs what comes; none: it was stopped.
    async fn log_until_lost(
        &mut self,
        session: Session,
        mut sol: Sol,
        stop: &CancellationToken,
    ) -> Option<Loss> {
        self.console.connect(sol.writer());
        self.note_open();
        let lost = loop {
            let event = tokio::select! {
                biased;
                event = sol.recv() => event,
                () = stop.cancelled() => break None,
            };
            if let Some(loss) = self.take(event) {
                break Some(loss);
            }
        };
        let (id, address) = (self.endpoint.id.clone(), session.address());
        // What has come was confirmed to the BMC, so nobody else has it.
        while lost.is_none()
            && let Some(Ok(event)) = tokio::task::unconstrained(sol.recv()).now_or_never()
            && self.take(Ok(event)).is_none()
        {}
        // Given back, so that the next to ask has the line at once: we ourselves after a restart, most likely.
        match tokio::time::timeout(GIVE_BACK_MAX, sol.deactivate()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "{id} at {address} did not take its line back"),
            Err(_) => tracing::debug!("{id} at {address} did not take its line back in time"),
        }
        close(&session).await;
        lost
    }

    /// Takes what came from the line; gives the reason if it was the last.
    fn take(&mut self, event: Result<SolEvent, ipmi::Error>) -> Option<Loss> {
        let reason = match event {
            Ok(SolEvent::Data(data)) => {
                self.write(&data);
                self.console.publish(data);
                return None;
            }
            Ok(SolEvent::Break) => {
                self.mark("serial break");
                return None;
            }
            Ok(SolEvent::Overflow) => {
                self.mark("the BMC lost characters here");
                return None;
            }
            Ok(SolEvent::Deactivated(Deactivation::Notice)) => {
                "it ended the line: another took it, or it restarts".to_owned()
            }
            Ok(SolEvent::Deactivated(Deactivation::TakenOver)) => "another session took the line".to_owned(),
            Ok(SolEvent::Deactivated(Deactivation::Inactive)) => {
                "it ended the line without notice".to_owned()
            }
            Err(error) => Loss::of(error).reason,
        };
        Some(Loss { reason: format!("BMC {}: {reason}", self.endpoint.id), refused: false })
    }

    fn write(&mut self, data: &[u8]) {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        let mut sight = None;
        let watch = &mut self.watch;
        let look = |line: &str| sight = watch.look(line).or(sight);
        self.scribe.write(data, OffsetDateTime::now_utc(), &mut text, look);
        self.append(&text);
        self.text = text;
        if let Some(sight) = sight {
            self.tell_sight(sight);
        }
    }

    /// Tells the timeline. The stage of what fails is where the line could be at the earliest; the timeline knows better.
    fn tell_sight(&self, sight: Sight) {
        let event = |stage, detail: &str| {
            let detail = format!("{detail} on the console of {}", self.name);
            BootEvent::new(Service::Console, stage, detail).node(Some(&self.console.node))
        };
        let failed = |stage, detail, why: &str| {
            event(stage, detail).result(StageResult::Failed).fact("why", why).send();
        };
        match sight {
            Sight::Stage(stage) => event(stage, "seen").send(),
            Sight::Disk => {
                failed(BootStage::DhcpDiscover, "a boot from disk, or from nothing, is seen", "boot-order")
            }
            Sight::NoName => {
                failed(BootStage::Kernel, "a name that is not resolved is seen", "name-resolution")
            }
        }
    }

    fn note_open(&mut self) {
        self.reasons.clear();
        let (node, name) = (self.console.node.clone(), &self.name);
        daemon::event!(event::CONSOLE_OPEN, node = node, "the console of {name} is logged");
        match self.since.take() {
            None => self.tell("console open"),
            Some(since) => self.tell(&format!("console open; nothing was logged since {}", text(since))),
        }
    }

    /// Notes why there is no line: each reason once in the journal, the first one in the log.
    fn note_lost(&mut self, reason: &str) {
        self.console.disconnect(reason);
        if self.reasons.len() < REASONS_MAX && !self.reasons.iter().any(|it| it == reason) {
            let (node, name) = (self.console.node.clone(), &self.name);
            daemon::event!(event::CONSOLE_LOST, node = node, "the console of {name} is not logged: {reason}");
            if self.reasons.is_empty() {
                self.tell(&format!("console lost: {reason}"));
            }
            self.reasons.push(reason.to_owned());
        }
        self.since.get_or_insert_with(OffsetDateTime::now_utc);
    }

    /// Says something to the log and to the readers.
    fn tell(&mut self, message: &str) {
        self.mark(message);
        self.console.publish(format!("\r\n{MARK} {message}\r\n").into_bytes());
    }

    /// Says something to the log.
    fn mark(&mut self, message: &str) {
        let text = self.scribe.mark(message, OffsetDateTime::now_utc());
        self.append(&text);
    }

    /// Appends to the log; a log that cannot be written keeps nobody from reading the console.
    fn append(&mut self, text: &str) {
        let mut written = Ok(());
        if self.unwritten > 0 {
            let note = format!("{} bytes could not be written to this log", self.unwritten);
            written = self.log.append(&format!("\n{}", mark_line(&note, OffsetDateTime::now_utc())));
            self.unwritten = if written.is_ok() { 0 } else { self.unwritten };
        }
        match written.and_then(|()| self.log.append(text)) {
            Ok(()) => {}
            Err(error) => {
                if self.unwritten == 0 {
                    let (node, name) = (&self.console.node, &self.name);
                    daemon::event!(
                        event::CONSOLE_LOST,
                        node = node,
                        "the log of {name} cannot be written: {error}"
                    );
                }
                self.unwritten += text.len();
            }
        }
    }
}

async fn close(session: &Session) {
    if let Err(error) = session.close().await {
        tracing::debug!(%error, "{} did not confirm the end of the session", session.address());
    }
}

/// Half to one and a half of a wait, so that a thousand lines lost at once do not come back at once.
fn jitter(wait: Duration) -> Duration {
    let random = u32::from(uuid::Uuid::new_v4().as_bytes()[0]);
    wait / 2 + wait * random / 256
}

fn text(time: OffsetDateTime) -> String {
    let format = time::macros::format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    time.format(&format).unwrap_or_default()
}
