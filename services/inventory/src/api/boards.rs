//! What happens to a node as a thing: another board in its place, and the lock that keeps it alone.

use axum::extract::State;
use domain::Xname;
use domain::inventory::{Component, Lock};
use time::OffsetDateTime;
use web::{Caller, Json, Path};

use super::App;
use super::nodes::find;
use crate::client::{LockRequest, Node, Replacement};
use crate::error::Error;
use crate::model::board::swap;
use crate::model::interface::stamp;
use crate::store::{Insert, Origin, Write};

/// A reason is one line of a table.
const REASON_MAX: usize = 200;

/// The node as it is under the turn of this write.
async fn begin(app: &App, word: &str) -> Result<(Write, Component), Error> {
    let id: Xname = find(app, word)?.0.id;
    let write = app.store.write().await?;
    let node = write.read(|it| it.inventory.component(&id).cloned());
    let node = node.ok_or_else(|| Error::missing(format!("the node {word} was removed meanwhile")))?;
    Ok((write, node))
}

/// Who asks, as people are called: the user of a process on the socket, else the subject of the token.
fn name_of(caller: &Caller) -> String {
    let uid = caller.subject.strip_prefix("uid:").and_then(|it| it.parse().ok());
    let user = uid.and_then(|it| nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(it)).ok().flatten());
    user.map_or_else(|| caller.subject.clone(), |it| it.name)
}

pub(super) async fn lock(
    State(app): State<App>,
    Path(word): Path<String>,
    caller: Caller,
    Json(request): Json<LockRequest>,
) -> Result<Json<Node>, Error> {
    let reason = request.reason.trim();
    if reason.is_empty() || reason.len() > REASON_MAX || reason.contains(char::is_control) {
        let text = format!("a reason is one line of 1 to {REASON_MAX} bytes");
        return Err(Error::Refused("bad-reason", text));
    }
    let (mut write, node) = begin(&app, &word).await?;
    let by = name_of(&caller);
    if let Some(lock) = node.lock.as_ref().filter(|it| it.by != by) {
        return Err(Error::Taken("locked", format!("{word} is {lock}; unlock it first")));
    }
    let lock = Lock { by, reason: reason.to_owned(), since: stamp(OffsetDateTime::now_utc()) };
    daemon::event!(domain::event::NODE_LOCKED, node = node.id, "{word} is {lock}");
    write.put_components(&[Component { lock: Some(lock), ..node.clone() }]).await?;
    write.commit().await?;
    find(&app, node.id.as_str()).map(|it| Json(it.1))
}

pub(super) async fn unlock(
    State(app): State<App>,
    Path(word): Path<String>,
    caller: Caller,
) -> Result<Json<Node>, Error> {
    let (mut write, node) = begin(&app, &word).await?;
    let Some(lock) = &node.lock else {
        return Err(Error::Taken("not-locked", format!("{word} is not locked")));
    };
    let by = name_of(&caller);
    daemon::event!(domain::event::NODE_UNLOCKED, node = node.id, "{by} unlocked {word}, which was {lock}");
    write.put_components(&[Component { lock: None, ..node.clone() }]).await?;
    write.commit().await?;
    find(&app, node.id.as_str()).map(|it| Json(it.1))
}

pub(super) async fn replace(
    State(app): State<App>,
    Path(word): Path<String>,
    Json(wanted): Json<Replacement>,
) -> Result<Json<Node>, Error> {
    if wanted.interfaces.is_empty() && wanted.bmc_mac.is_none() && wanted.bmc_address.is_none() {
        let text = "say what was replaced: interfaces, bmc_mac or bmc_address";
        return Err(Error::Refused("bad-replacement", text.to_owned()));
    }
    let (mut write, node) = begin(&app, &word).await?;
    let swap = write.read(|it| swap(it, &node, &wanted, OffsetDateTime::now_utc()));
    let swap = swap.map_err(|text| Error::Refused("bad-replacement", text))?;
    write.delete_interfaces(&swap.gone).await?;
    write.put_components(&swap.components).await?;
    if let Some(row) = &swap.endpoint {
        write.put_endpoints(std::slice::from_ref(row), Insert::OrReplace).await?;
    }
    write.put_component_endpoints(&swap.component_endpoints).await?;
    write.put_interfaces(&swap.interfaces, |_| Origin::Import, Insert::OrReplace).await?;
    write.commit().await?;
    daemon::event!(domain::event::BOARD_REPLACED, node = node.id, "another board stands in for {word}");
    find(&app, node.id.as_str()).map(|it| Json(it.1))
}
