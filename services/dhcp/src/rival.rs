//! Other DHCP servers on the head's own wires. Their OFFERs and ACKs are heard where they reach the head: as
//! broadcasts, and as frames that a hub or an unlearned switch passes to all. What it does not hear shows in
//! the clients' REQUESTs, which are broadcast and name the server they took (`model::Alarm::Rival`). The head
//! asks for no address itself to find out: that would take one from a server that may be meant to be there.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio_util::sync::CancellationToken;

use crate::alarm::{Alarms, Rival};
use crate::net::{Heard, Links, Sniffer};
use crate::state::{State, now};

/// Interfaces are looked at again so often.
const LINKS_EVERY: Duration = Duration::from_secs(60);
/// So many frames a turn.
const TURN: usize = 64;

/// Listens until `stop`.
pub(crate) async fn listen(
    state: Arc<State>,
    alarms: Arc<Alarms>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let opened = Sniffer::open().and_then(|it| {
        #[expect(unsafe_code, reason = "the sniffer owns its descriptor and keeps it until it is dropped")]
        let registered = unsafe { AsyncFd::register_with_interest(it, Interest::READABLE) };
        registered.map_err(Into::into)
    });
    let sniffer = match opened {
        Ok(sniffer) => sniffer,
        Err(error) => {
            tracing::warn!(%error, "no packet socket (CAP_NET_RAW): other DHCP servers are not heard");
            return Ok(());
        }
    };
    let mut links = Links::find(&state.config.planes)?;
    let mut found = Instant::now();
    loop {
        let mut ready = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            ready = sniffer.readable() => ready?,
        };
        if found.elapsed() >= LINKS_EVERY {
            found = Instant::now();
            links = Links::find(&state.config.planes)?;
        }
        for _ in 0..TURN {
            match ready.try_io(|it| it.get_ref().next()) {
                Ok(Ok((index, Some(heard)))) => note(&state, &alarms, &links, index, heard),
                Ok(Ok((_, None))) => {}
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                // An interface went down; the socket stays good.
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a frame cannot be received");
                    break;
                }
                Err(_) => break,
            }
        }
        tokio::task::yield_now().await;
    }
}

fn note(state: &State, alarms: &Alarms, links: &Links, index: u32, heard: Heard) {
    let planes = links.planes_of(index).iter().map(|it| &state.config.planes[*it]);
    let mut own = planes.clone().filter(|it| !it.shared);
    let Some(plane) = own.next() else { return };
    if planes.clone().any(|it| it.shared) || state.config.is_head(heard.server) || is_own(links, index, heard)
    {
        return;
    }
    let rival = Rival { server: heard.server, mac: Some(heard.mac), plane: &plane.name, client: None };
    alarms.raise_rival(rival, now());
}

fn is_own(links: &Links, index: u32, heard: Heard) -> bool {
    links.link(index).mac == Some(heard.mac)
}
