//! The powerman protocol, so that `pm` and `powerman` of Debian switch the nodes of the inventory.
//!
//! What a client sees is what powermand 2.4.4 shows for nodes of one `ipmipower` device, but that a node which was not
//! switched is named, and the command then has failed: powermand says that it completed successfully.
//!
//! The protocol knows no accounts. Whoever connects over the loopback is known by their uid and has the rights of their
//! groups, as on the service's own socket.

mod hostlist;
mod talk;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use domain::{Scope, Scopes, Service};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use web::Peer;

use crate::command::{Report, Switchboard, Task};
use crate::model::{Action, State};
use talk::{Command, Verb};

/// Clients at once; more wait in the kernel's queue.
const CLIENTS_MAX: usize = 64;
/// The longest command, as powermand has it.
const LINE_MAX: usize = 64 << 10;
/// What is read of one line, before the client is left.
const READ_MAX: u64 = 1 << 20;

/// The daemon that clients see.
pub(crate) struct Powerman {
    board: Arc<Switchboard>,
    /// What the device did, beginning with its log-in.
    actions: AtomicU64,
}

impl Powerman {
    pub(crate) fn new(board: Arc<Switchboard>) -> Arc<Self> {
        Arc::new(Self { board, actions: AtomicU64::new(1) })
    }

    /// Takes clients until the stop.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener, stop: CancellationToken) {
        let room = Arc::new(Semaphore::new(CLIENTS_MAX));
        loop {
            let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                it = listener.accept() => it,
            };
            let (stream, from) = match accepted {
                Ok(it) => it,
                Err(error) => {
                    tracing::warn!(%error, "a powerman client could not be taken");
                    // Too many open files, most likely, and they do not go by asking again at once.
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (powerman, stop) = (Arc::clone(&self), stop.clone());
            self.board.spawn(async move {
                let served = stop.run_until_cancelled(powerman.talk(stream, from)).await;
                if let Some(Err(error)) = served {
                    tracing::debug!("a powerman client was lost: {error}");
                }
                drop(place);
            });
        }
    }

    async fn talk(&self, stream: TcpStream, from: SocketAddr) -> io::Result<()> {
        let Peer { uid, role, .. } = Peer::of_loopback(from, stream.local_addr()?)?;
        let scopes = role.map(domain::Role::scopes).unwrap_or_default();
        let (reader, mut writer) = stream.into_split();
        let greeting = format!("001 {}\r\n{}", talk::VERSION, talk::PROMPT);
        writer.write_all(greeting.as_bytes()).await?;
        let mut client = Client { powerman: self, scopes, uid, telemetry: false, expanded: false };
        let mut lines = BufReader::new(reader);
        let mut job: Option<Job> = None;
        let mut line = Vec::new();
        loop {
            let mut part = (&mut lines).take(READ_MAX);
            tokio::select! {
                report = next(&mut job) => {
                    let (text, is_done) = client.take(job.as_mut(), report);
                    writer.write_all(text.as_bytes()).await?;
                    if is_done {
                        job = None;
                    }
                }
                read = part.read_until(b'\n', &mut line) => {
                    if read? == 0 || !line.ends_with(b"\n") {
                        return Ok(());
                    }
                    let text = String::from_utf8_lossy(&line).into_owned();
                    line.clear();
                    let answer = match &job {
                        // Without a prompt: that comes with the command's end.
                        Some(_) => talk::BUSY.to_owned(),
                        None => match client.answer(&text) {
                            Answer::Text(text) => text + talk::PROMPT,
                            Answer::End => {
                                writer.write_all(talk::GOODBYE.as_bytes()).await?;
                                return Ok(());
                            }
                            Answer::Job(it, text) => {
                                job = Some(it);
                                text
                            }
                        },
                    };
                    writer.write_all(answer.as_bytes()).await?;
                }
            }
        }
    }
}

/// The next report of the job; waits for ever without one.
async fn next(job: &mut Option<Job>) -> Option<Report> {
    match job {
        Some(job) => job.reports.recv().await,
        None => std::future::pending().await,
    }
}

/// What a client gets for a line.
enum Answer {
    Text(String),
    Job(Job, String),
    End,
}

/// A command under way.
struct Job {
    verb: Verb,
    /// As they were named, with what is known of each.
    nodes: Vec<(String, Option<State>)>,
    reports: mpsc::Receiver<Report>,
    is_bad: bool,
    /// Who asked for what, until that is written down.
    deed: Option<(String, String)>,
}

impl Job {
    fn tell(&mut self, result: &str) {
        if let Some((who, what)) = self.deed.take() {
            daemon::audit!(actor = who, whence = "local", result = result, "{what}");
        }
    }
}

/// A client that leaves does not wait for the end.
impl Drop for Job {
    fn drop(&mut self) {
        self.tell("cut off");
    }
}

/// Who is connected, and how they want to be told.
struct Client<'a> {
    powerman: &'a Powerman,
    scopes: Scopes,
    uid: Option<u32>,
    telemetry: bool,
    expanded: bool,
}

impl Client<'_> {
    fn answer(&mut self, line: &str) -> Answer {
        if line.trim().len() >= LINE_MAX {
            return Answer::Text(talk::TOO_LONG.to_owned());
        }
        let toggled = |it: bool| if it { "ON" } else { "OFF" };
        let command = talk::read(line);
        if let Some(refusal) = self.refusal(&command) {
            return Answer::Text(refusal);
        }
        Answer::Text(match command {
            Command::Help => talk::help(),
            Command::Unknown => talk::UNKNOWN.to_owned(),
            Command::Quit => return Answer::End,
            Command::Telemetry => {
                self.telemetry = !self.telemetry;
                format!("104 Telemetry {}\r\n", toggled(self.telemetry))
            }
            Command::Exprange => {
                self.expanded = !self.expanded;
                format!("105 Hostrange expansion {}\r\n", toggled(self.expanded))
            }
            Command::Nodes => talk::nodes(&self.names(), self.expanded),
            Command::Device(asked) => {
                let actions = self.powerman.actions.load(Ordering::Relaxed);
                talk::device(&self.names(), asked.as_deref(), actions)
            }
            Command::Do(verb, list) => return self.begin(verb, list.as_deref()),
        })
    }

    /// Why they may not, if so.
    fn refusal(&self, command: &Command) -> Option<String> {
        let (scope, what) = match command {
            Command::Do(verb, _) if verb.switches() => (Scope::PowerControl, "switch nodes"),
            Command::Do(..) | Command::Nodes | Command::Device(_) => {
                (Scope::Read(Service::Power), "look at nodes")
            }
            _ => return None,
        };
        if self.scopes.contains(&scope) {
            return None;
        }
        if let Command::Do(verb, list) = command
            && verb.switches()
        {
            let list: String = list.as_deref().unwrap_or("all nodes").chars().take(256).collect();
            let who = self.who();
            daemon::audit!(actor = who, whence = "local", result = "refused", "powerman {verb:?} of {list}");
        }
        let who = self.uid.map_or("nobody knows who you are, who".to_owned(), |it| format!("uid {it}"));
        Some(talk::refused(&format!("{who} may not {what}; be root or in the group pilothouse-operator")))
    }

    fn who(&self) -> String {
        self.uid.map_or_else(|| "nobody".to_owned(), web::account)
    }

    fn begin(&self, verb: Verb, list: Option<&str>) -> Answer {
        let known = self.names();
        let names = match list.map(hostlist::expand) {
            None => known.clone(),
            Some(Ok(names)) => names,
            Some(Err(hostlist::Unreadable)) => return Answer::Text(talk::HOSTLIST.to_owned()),
        };
        let exists: std::collections::HashSet<&String> = known.iter().collect();
        let unknown: Vec<String> = names.iter().filter(|it| !exists.contains(it)).cloned().collect();
        if !unknown.is_empty() {
            return Answer::Text(talk::no_such(&unknown));
        }
        if names.is_empty() || verb == Verb::Temperature {
            return Answer::Text(talk::UNHANDLED.to_owned());
        }
        let power = |action| Task::Power { action: Some(action), boot: None };
        let task = match verb {
            Verb::On => power(Action::On),
            Verb::Off => power(Action::Off),
            Verb::Cycle => power(Action::Cycle),
            Verb::Reset => power(Action::Reset),
            Verb::Flash => Task::Light(true),
            Verb::Unflash => Task::Light(false),
            Verb::Status | Verb::Beacon | Verb::Temperature => Task::Look,
        };
        let what = || format!("powerman {verb:?} of {}", hostlist::fold(&names));
        let deed = verb.switches().then(|| (self.who(), what()));
        let mut once = names.clone();
        hostlist::sort(&mut once);
        once.dedup();
        let reports = Arc::clone(&self.powerman.board).begin(once, task, None);
        let nodes = names.into_iter().map(|it| (it, None)).collect();
        let text = if self.telemetry { talk::sent(verb) } else { String::new() };
        Answer::Job(Job { verb, nodes, reports, is_bad: false, deed }, text)
    }

    /// Takes what became of a node, or the end; whether it was that.
    fn take(&self, job: Option<&mut Job>, report: Option<Report>) -> (String, bool) {
        let Some(job) = job else { return (String::new(), true) };
        let Some((name, result)) = report else { return (self.end(job), true) };
        let mut text = String::new();
        if self.telemetry {
            let said = result.as_ref().map_or_else(String::clone, |it| it.state.name().to_owned());
            text += &talk::received(&name, &said);
        }
        match result {
            Ok(seen) => {
                let light = seen.light.map(|it| if it { State::On } else { State::Off });
                let state = if job.verb == Verb::Beacon { light } else { Some(seen.state) };
                job.nodes.iter_mut().filter(|it| it.0 == name).for_each(|it| it.1 = state);
            }
            Err(reason) if job.verb.switches() => {
                job.is_bad = true;
                text += &talk::error(&name, &reason);
            }
            // As powermand says it: not known.
            Err(_) => {}
        }
        (text, false)
    }

    fn end(&self, job: &mut Job) -> String {
        self.powerman.actions.fetch_add(1, Ordering::Relaxed);
        job.tell(if job.is_bad { "failed" } else { "ok" });
        let text = match job.verb {
            Verb::Status | Verb::Beacon | Verb::Temperature => {
                talk::states(std::mem::take(&mut job.nodes), self.expanded)
            }
            _ if job.is_bad => talk::FAILED.to_owned(),
            _ => talk::COMPLETE.to_owned(),
        };
        text + talk::PROMPT
    }

    /// The nodes that have a BMC, in order.
    fn names(&self) -> Vec<String> {
        let board = &self.powerman.board;
        let mut names: Vec<String> = board.mirror.read(|inventory| {
            let nodes = inventory.components().filter(|it| it.id.is_node());
            let switched = nodes.filter(|it| inventory.controller_of(&it.id).is_some());
            switched.map(|it| inventory.name_of(it, board.pattern())).collect()
        });
        hostlist::sort(&mut names);
        names
    }
}
