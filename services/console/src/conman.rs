//! conman's protocol, so that Debian's `conman` works here as with its own daemon: two lines of text each
//! way, then bytes, with escapes of two bytes. The protocol knows no log-in: over the loopback the kernel
//! tells who asks.

mod keys;
mod names;
mod session;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use domain::Scope;
use nix::unistd::{Uid, User};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use web::Peer;

use crate::hub::{Console, Hub, Who};
use session::Session;
use wire::{Command, Fault, Kind, LINE_BYTES_MAX};

/// Clients at once.
const CLIENTS_MAX: usize = 512;
/// How long a client may take to say what it wants.
const ASK_MAX: Duration = Duration::from_secs(30);

/// A console and its name, which may change meanwhile.
type Named = (String, Arc<Console>);

/// Answers until the stop.
pub(crate) async fn serve(listeners: Vec<TcpListener>, hub: Arc<Hub>, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(CLIENTS_MAX));
    let accept = async |listener: TcpListener| loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let stream = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match stream {
            Ok((stream, _)) => {
                let (asked, stopped) = (Arc::clone(&hub), stop.clone());
                hub.attachments.spawn(async move {
                    tokio::select! {
                        () = stopped.cancelled() => {}
                        talked = talk(stream, &asked) => if let Err(error) = talked {
                            tracing::debug!(%error, "a client of conman's protocol left");
                        }
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a client of conman's protocol");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    };
    futures_util::future::join_all(listeners.into_iter().map(accept)).await;
}

async fn talk(stream: TcpStream, hub: &Arc<Hub>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (theirs, ours) = (stream.peer_addr()?, stream.local_addr()?);
    // Before anything is read: who has closed its end is nobody any more.
    let peer = tokio::task::spawn_blocking(move || Peer::of_loopback(theirs, ours))
        .await
        .map_err(std::io::Error::other)??;
    let mut stream = BufReader::new(stream);
    let Some(line) = read_line(&mut stream).await? else { return Ok(()) };
    let greeting = wire::parse_greeting(&line);
    let Some(user) = greeting.user else {
        return answer(&mut stream, &wire::error(&Fault::NoUser)).await;
    };
    let who = Who { user: name_of(&peer, user), host: host_of(&peer), tty: greeting.tty };
    let scopes = peer.role.map(domain::Role::scopes).unwrap_or_default();
    if !scopes.contains(&Scope::ConsoleAttach) {
        daemon::event!(
            domain::event::ACCESS_DENIED,
            "conman's protocol by {}@{}: no operator",
            who.user,
            who.host
        );
        return answer(&mut stream, &wire::error(&Fault::Denied(who.user))).await;
    }
    answer(&mut stream, &wire::ok(&[], false)).await?;
    let Some(line) = read_line(&mut stream).await? else { return Ok(()) };
    let Some(command) = wire::parse_command(&line) else { return Ok(()) };
    let may_reset = scopes.contains(&Scope::PowerControl);
    match select(hub, command) {
        Ok((command, consoles)) => {
            let names: Vec<&str> = consoles.iter().map(|it| it.0.as_str()).collect();
            let reply = wire::ok(&names, may_reset);
            if reply.len() >= LINE_BYTES_MAX {
                return answer(&mut stream, &wire::error(&Fault::TooLong(names.len()))).await;
            }
            if command.kind == Kind::Query {
                return answer(&mut stream, &reply).await;
            }
            let session = Session::new(Arc::clone(hub), who, command, consoles, may_reset);
            session.run(stream, reply).await
        }
        Err(fault) => answer(&mut stream, &wire::error(&fault)).await,
    }
}

/// The consoles that a command is about, if it can be carried out.
fn select(hub: &Hub, mut command: Command) -> Result<(Command, Vec<Named>), Fault> {
    let all: Vec<Named> =
        hub.all().into_iter().map(|it| (it.name(), it)).filter(|it| !it.0.is_empty()).collect();
    let mut consoles = match names::Matcher::new(&command)? {
        Some(matcher) => all.into_iter().filter(|it| matcher.matches(&it.0)).collect(),
        None => Vec::new(),
    };
    consoles.sort_by(|a, b| names::compare(&a.0, &b.0));
    if consoles.len() == 1 {
        command.broadcast = false;
    }
    if consoles.is_empty() {
        return Err(Fault::NoConsoles);
    }
    let many = command.kind != Kind::Query && consoles.len() > 1;
    if many && !(command.kind == Kind::Connect && command.broadcast) {
        return Err(Fault::TooMany(consoles.into_iter().map(|it| it.0).collect()));
    }
    if command.kind == Kind::Connect && !command.force && !command.join {
        let now = Instant::now();
        let busy: Vec<Vec<String>> =
            consoles.iter().map(|it| it.1.shown_writers(now)).filter(|it| !it.is_empty()).collect();
        if !busy.is_empty() {
            return Err(Fault::Busy { consoles: busy.len(), writers: busy.concat() });
        }
    }
    Ok((command, consoles))
}

/// A line with its end; none: the client has left.
async fn read_line(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let mut bounded = stream.take(LINE_BYTES_MAX as u64);
    let read = timeout(ASK_MAX, bounded.read_until(b'\n', &mut line)).await;
    let late = || std::io::Error::other("the client says nothing");
    let count = read.map_err(|_| late())??;
    Ok((count > 0).then_some(line))
}

async fn answer(stream: &mut BufReader<TcpStream>, text: &[u8]) -> std::io::Result<()> {
    stream.get_mut().write_all(text).await
}

/// The name of the uid at the other end; the one it gives itself where the uid has none.
fn name_of(peer: &Peer, given: String) -> String {
    let known = peer.uid.and_then(|it| User::from_uid(Uid::from_raw(it)).ok().flatten());
    known.map_or(given, |it| it.name)
}

fn host_of(peer: &Peer) -> String {
    match peer.address {
        Some(address) if !address.is_loopback() => address.to_string(),
        _ => "localhost".to_owned(),
    }
}
