//! The audit of requests: whoever changes something is written down once, with what became of it, by the server and
//! not by each handler. [`scoped`](crate::scoped) knows which routes change something; a handler may say in better
//! words what it does. Bodies and queries are never written.

use std::cell::RefCell;
use std::fmt::Display;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{Method, StatusCode};
use axum::response::Response;
use domain::{Scope, Service, Xname};
use nix::unistd::{Uid, User};
use prometheus_client::metrics::counter::Counter;

use crate::{Caller, TokenError, counter};

/// The longest path that is written.
const PATH_MAX: usize = 256;
/// Refusals of callers that nobody knows, so many in [`STRANGERS_EVERY`]: anybody on the network can ask for more.
const STRANGERS_MAX: u32 = 60;
const STRANGERS_EVERY: Duration = Duration::from_secs(60);

static LEFT_OUT: LazyLock<Counter> = LazyLock::new(|| {
    counter("audit_left_out", "Refused requests of strangers that are not in the audit: there were too many")
});

tokio::task_local! {
    /// Of the request under way.
    static LEDGER: Ledger;
}

/// What a request does, once that is known.
#[derive(Debug, Default)]
struct Ledger(RefCell<Option<Deed>>);

#[derive(Debug)]
struct Deed {
    actor: String,
    whence: String,
    what: String,
    node: Option<Xname>,
    is_stranger: bool,
}

/// Says what the request under way does, in place of its method and path. A request that only looks is written down
/// too, if it says so.
pub fn deed(caller: &Caller, what: impl Display) {
    note(caller, None, what.to_string());
}

/// The same of one node.
pub fn deed_at(caller: &Caller, node: &Xname, what: impl Display) {
    note(caller, Some(node.clone()), what.to_string());
}

/// Leaves the request under way out: it is one of many parts, and the last of them is written down.
pub fn no_deed() {
    // Outside a request there is nothing to leave out.
    if LEDGER.try_with(|it| it.0.take()).is_err() {
        tracing::trace!("no request is under way");
    }
}

/// Who asks, in words: the account's name is there with a uid.
#[must_use]
pub fn actor(caller: &Caller) -> String {
    let uid = caller.uid.filter(|it| caller.subject == format!("uid:{it}"));
    uid.map_or_else(|| caller.subject.clone(), account)
}

/// A uid in words: `alice (uid:1000)`.
#[must_use]
pub fn account(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| format!("uid:{uid}"), |it| format!("{} (uid:{uid})", it.name))
}

/// Where they are: `local` is a socket of this head.
#[must_use]
pub fn whence(caller: &Caller) -> String {
    caller.address.map_or_else(|| "local".to_owned(), |it| it.to_string())
}

/// Whether a route with this right changes something. What a node reports of itself is no deed.
pub(crate) fn changes(scope: Scope, method: &Method) -> bool {
    !matches!(scope, Scope::Read(_) | Scope::MetricsRead | Scope::Node) && !method.is_safe()
}

/// Writes down that a request changes something; what becomes of it comes later.
pub(crate) fn begin(caller: &Caller, method: &Method, path: &str) {
    if !is_service(caller) {
        let path: String = path.chars().take(PATH_MAX).collect();
        note(caller, None, format!("{method} {path}"));
    }
}

/// A service asks because someone asked it, and that is written down where they did.
fn is_service(caller: &Caller) -> bool {
    let service = caller.uid.and_then(Service::of_uid);
    service.is_some() && caller.token == Err(TokenError::Missing) && caller.subject != "anonymous"
}

fn note(caller: &Caller, node: Option<Xname>, what: String) {
    if is_service(caller) {
        tracing::info!("{what}: asked by {}", actor(caller));
        return;
    }
    let is_stranger = caller.subject == "anonymous";
    let deed = Deed { actor: actor(caller), whence: whence(caller), what, node, is_stranger };
    if LEDGER.try_with(|it| it.0.replace(Some(deed))).is_err() {
        tracing::debug!("a deed outside of a request");
    }
}

/// Answers a request, and writes down what it did.
pub(crate) async fn watched<E>(answering: impl Future<Output = Result<Response, E>>) -> Result<Response, E> {
    let noted = async {
        let answered = answering.await;
        let result = answered.as_ref().map_or_else(|_| "failed".to_owned(), |it| result_of(it.status()));
        LEDGER.with(|it| it.close(&result));
        answered
    };
    LEDGER.scope(Ledger::default(), noted).await
}

impl Ledger {
    fn close(&self, result: &str) {
        if let Some(deed) = self.0.take() {
            deed.write(result);
        }
    }
}

/// A client that leaves takes its request with it, wherever that stood.
impl Drop for Ledger {
    fn drop(&mut self) {
        self.close("cut off");
    }
}

impl Deed {
    fn write(&self, result: &str) {
        if self.is_stranger && !has_room_for_strangers() {
            LEFT_OUT.inc();
            return;
        }
        let Self { actor, whence, what, node, .. } = self;
        match node {
            Some(node) => {
                daemon::audit!(actor = actor, whence = whence, result = result, node = node, "{what}");
            }
            None => daemon::audit!(actor = actor, whence = whence, result = result, "{what}"),
        }
    }
}

fn has_room_for_strangers() -> bool {
    static TAKEN: Mutex<Option<(Instant, u32)>> = Mutex::new(None);
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    has_room(&mut taken, Instant::now())
}

fn has_room(taken: &mut Option<(Instant, u32)>, now: Instant) -> bool {
    let (since, count) = taken.filter(|it| now.duration_since(it.0) < STRANGERS_EVERY).unwrap_or((now, 0));
    *taken = Some((since, count.saturating_add(1)));
    count < STRANGERS_MAX
}

fn result_of(status: StatusCode) -> String {
    match status.as_u16() {
        ..400 => "ok".to_owned(),
        code @ 400..500 => format!("refused {code}"),
        code => format!("failed {code}"),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{Method, StatusCode};
    use domain::{Scope, Service};

    use super::{STRANGERS_EVERY, STRANGERS_MAX, changes, has_room, result_of};

    #[test]
    fn what_only_looks_is_no_deed() {
        let (read, write) = (Scope::Read(Service::Inventory), Scope::Write(Service::Inventory));
        assert!(changes(write, &Method::PUT) && changes(Scope::PowerControl, &Method::DELETE));
        assert!(!changes(write, &Method::GET) && !changes(read, &Method::POST));
        assert!(!changes(Scope::Node, &Method::POST) && !changes(Scope::MetricsRead, &Method::POST));
    }

    #[test]
    fn results_are_told_apart_by_a_word() {
        for (status, text) in [
            (StatusCode::SWITCHING_PROTOCOLS, "ok"),
            (StatusCode::CREATED, "ok"),
            (StatusCode::FORBIDDEN, "refused 403"),
            (StatusCode::SERVICE_UNAVAILABLE, "failed 503"),
        ] {
            assert_eq!(result_of(status), text);
        }
    }

    #[test]
    fn strangers_fill_no_table() {
        let (mut taken, now) = (None, std::time::Instant::now());
        let written = (0..10 * STRANGERS_MAX).filter(|_| has_room(&mut taken, now)).count();
        assert_eq!(written, STRANGERS_MAX as usize);
        assert!(has_room(&mut taken, now + STRANGERS_EVERY));
    }
}
