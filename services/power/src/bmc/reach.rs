//! BMCs that nobody can reach, or that refuse their account: a health issue for each of the two, however many they are.
//!
//! A log-in that fails puts a BMC on the list, one that does not takes it off. One that was silent is asked again from
//! time to time by a question that needs no account; one that refuses is left alone, since asking may lock it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use daemon::{Context, Issue, Severity};
use domain::Xname;
use domain::event;
use domain::inventory::{Endpoint, Inventory};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::Instant;
use web::mirror::Mirror;

use super::{OpenError, PORT};

/// The issues are brought up to date so often.
const TELL: Duration = Duration::from_secs(2);
/// A silent BMC is asked again so often.
const ASK: Duration = Duration::from_secs(20);
/// So many at a time; the rest waits for the next time.
const ASKED_MAX: usize = 64;
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// An issue names so many.
const NAMED_MAX: usize = 20;
/// The port of Redfish.
const HTTPS: u16 = 443;
/// Get Channel Authentication Capabilities, outside of any session (IPMI 2.0 section 22.13).
const QUESTION: [u8; 23] =
    [6, 0, 0xff, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0x20, 0x18, 0xc8, 0x81, 0, 0x38, 0x8e, 4, 0xb5];

/// Why there is no log-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    Silent,
    Refused,
}

/// One that cannot be logged in at.
#[derive(Clone, Debug)]
struct Failing {
    why: Why,
    endpoint: Endpoint,
    asked: Instant,
}

/// All that cannot be logged in at; the inventory bounds their number.
#[derive(Debug, Default)]
pub(crate) struct Reach(Mutex<BTreeMap<Xname, Failing>>);

impl Reach {
    /// What came of a log-in.
    pub(super) fn note(&self, endpoint: &Endpoint, error: Option<&OpenError>) {
        let why = match error {
            Some(error) if error.is_refusal() => Some(Why::Refused),
            Some(error) if error.is_silence() => Some(Why::Silent),
            // It answers, whatever else is wrong with it.
            _ => None,
        };
        let mut failing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match why {
            None if failing.is_empty() => {}
            None => drop(failing.remove(&endpoint.id)),
            Some(why) => {
                let entry = Failing { why, endpoint: endpoint.clone(), asked: Instant::now() };
                failing.insert(endpoint.id.clone(), entry);
            }
        }
    }

    /// Keeps the issues up to date until the context's stop.
    pub(crate) async fn watch(&self, context: &Context, inventory: &Mirror<Inventory>) {
        let mut told = (Vec::new(), Vec::new());
        let mut tick = tokio::time::interval(TELL);
        loop {
            tokio::select! {
                () = context.stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            self.forget_removed(inventory);
            self.ask_silent().await;
            let now = (self.names(Why::Silent), self.names(Why::Refused));
            if now.0 != told.0 {
                tell(context, Why::Silent, &now.0, told.0.is_empty());
            }
            if now.1 != told.1 {
                tell(context, Why::Refused, &now.1, told.1.is_empty());
            }
            told = now;
        }
    }

    fn names(&self, why: Why) -> Vec<Xname> {
        let failing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failing.iter().filter(|it| it.1.why == why).map(|it| it.0.clone()).collect()
    }

    /// Those that the inventory has no more, or has elsewhere.
    fn forget_removed(&self, inventory: &Mirror<Inventory>) {
        let mut failing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !failing.is_empty() {
            inventory.read(|it| failing.retain(|bmc, kept| it.endpoint(bmc) == Some(&kept.endpoint)));
        }
    }

    async fn ask_silent(&self) {
        let mut asks = JoinSet::new();
        {
            let mut failing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let due = failing.values_mut().filter(|it| it.why == Why::Silent && it.asked.elapsed() >= ASK);
            for it in due.take(ASKED_MAX) {
                it.asked = Instant::now();
                let endpoint = it.endpoint.clone();
                asks.spawn(async move { answers(&endpoint).await.then_some(endpoint.id) });
            }
        }
        while let Some(asked) = asks.join_next().await {
            if let Ok(Some(bmc)) = asked {
                self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&bmc);
            }
        }
    }
}

/// Whether it answers somebody without an account.
async fn answers(endpoint: &Endpoint) -> bool {
    let Some(host) = endpoint.address.as_deref() else { return false };
    let web = endpoint.protocol == "redfish";
    let port = endpoint.port.unwrap_or(if web { HTTPS } else { PORT });
    let ask = async {
        let address = tokio::net::lookup_host((host, port)).await.ok()?.next()?;
        if web { TcpStream::connect(address).await.ok().map(drop) } else { ask_ipmi(address).await }
    };
    tokio::time::timeout(ANSWER_MAX, ask).await.is_ok_and(|it| it.is_some())
}

async fn ask_ipmi(address: SocketAddr) -> Option<()> {
    let any: SocketAddr = if address.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
    let socket = UdpSocket::bind(any).await.ok()?;
    socket.connect(address).await.ok()?;
    socket.send(&QUESTION).await.ok()?;
    let mut buffer = [0; 256];
    let length = socket.recv(&mut buffer).await.ok()?;
    buffer[..length].starts_with(&QUESTION[..4]).then_some(())
}

fn tell(context: &Context, why: Why, bmcs: &[Xname], first: bool) {
    let (id, what, suggestion) = match why {
        Why::Silent => (
            "bmc-unreachable",
            "do not answer",
            "see whether they are on the network: pilotctl check --only bmcs; nodes that run go on running",
        ),
        Why::Refused => (
            "bmc-account-refused",
            "refuse their account",
            "set the right one: pilotctl bmc set; try it: pilotctl bmc test",
        ),
    };
    if bmcs.is_empty() {
        return context.issues().clear(id);
    }
    let mut names: Vec<_> = bmcs.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    if bmcs.len() > names.len() {
        names.push(format!("and {} more", bmcs.len() - names.len()));
    }
    let summary = format!("{} BMCs {what}: {}", bmcs.len(), names.join(", "));
    if first {
        daemon::event!(event::BMC_UNREACHABLE, node = bmcs[0], "{summary}; {suggestion}");
    }
    let named: Vec<_> = bmcs.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    context.issues().raise(Issue {
        id: id.to_owned(),
        kind: id.to_owned(),
        context: serde_json::json!({"count": bmcs.len(), "bmcs": named}),
        severity: Severity::Warning,
        since: String::new(),
        summary,
        suggestion: suggestion.to_owned(),
        fix: None,
        message_id: event::BMC_UNREACHABLE.id.to_owned(),
    });
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use domain::inventory::Endpoint;
    use tokio::net::{TcpListener, UdpSocket};

    use super::{OpenError, QUESTION, Reach, Why, answers};

    fn endpoint(port: u16, protocol: &str) -> Endpoint {
        let text =
            format!(r#"{{"id":"x0c0s0b0","address":"127.0.0.1","port":{port},"protocol":"{protocol}"}}"#);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_log_in_that_fails_is_noted_by_its_kind_and_one_that_does_not_ends_it() {
        let (reach, it) = (Reach::default(), endpoint(9, "ipmi"));
        let silent = OpenError::Neither { ipmi: "silent".into(), redfish: "silent".into() };
        reach.note(&it, Some(&silent));
        assert_eq!(reach.names(Why::Silent), std::slice::from_ref(&it.id));
        assert!(reach.names(Why::Refused).is_empty());
        reach.note(&it, Some(&OpenError::NoCredential(it.id.clone())));
        assert!(reach.names(Why::Silent).is_empty(), "it was not asked at all");
        reach.note(&it, Some(&silent));
        reach.note(&it, None);
        assert!(reach.names(Why::Silent).is_empty());
    }

    #[tokio::test]
    async fn a_bmc_is_asked_without_an_account() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let answer = tokio::spawn(async move {
            let mut buffer = [0; 64];
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            assert_eq!(buffer[..length], QUESTION);
            socket.send_to(&[6, 0, 0xff, 7, 0], from).await.unwrap();
        });
        assert!(answers(&endpoint(port, "ipmi")).await);
        answer.await.unwrap();
        assert!(!answers(&endpoint(port, "ipmi")).await, "nobody listens there any more");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(answers(&endpoint(port, "redfish")).await);
        drop(listener);
        assert!(!answers(&endpoint(port, "redfish")).await);
    }
}
