//! Nodes as an operator sees them: import of nodes.yaml, list, show, change, remove.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::Xname;
use domain::inventory::{Component, Group};
use serde::Deserialize;
use time::OffsetDateTime;
use web::{Json, Path, Query};

use super::{App, Raw, no_content};
use crate::client::{Imported, Node, NodePatch};
use crate::error::Error;
use crate::model::group::parse_label;
use crate::model::import::{Plan, plan};
use crate::model::node::show as node_of;
use crate::model::nodes_file;
use crate::model::redfish::is_label;
use crate::store::{Insert, Origin, Write};

#[derive(Debug, Deserialize)]
pub(super) struct ImportQuery {
    #[serde(default)]
    dry_run: bool,
}

pub(super) async fn list(State(app): State<App>) -> Response {
    app.store.catalog.read(|it| {
        let nodes = it.inventory.components().filter(|it| it.id.is_node());
        Json(nodes.map(|one| node_of(&it.inventory, one, &app.host_pattern)).collect::<Vec<_>>())
            .into_response()
    })
}

pub(super) fn find(app: &App, word: &str) -> Result<(Component, Node), Error> {
    app.store.catalog.read(|it| {
        let found = it.inventory.find(word, &app.host_pattern).filter(|it| it.id.is_node());
        let missing =
            || Error::missing(format!("the inventory has no node {word}; pilotctl nodes list shows them"));
        let found = found.ok_or_else(missing)?;
        Ok((found.clone(), node_of(&it.inventory, found, &app.host_pattern)))
    })
}

pub(super) async fn show(State(app): State<App>, Path(word): Path<String>) -> Result<Json<Node>, Error> {
    find(&app, &word).map(|it| Json(it.1))
}

/// Imports a nodes.yaml whole, in one transaction, or says what that would change.
pub(super) async fn import(
    State(app): State<App>,
    Query(query): Query<ImportQuery>,
    Raw(body): Raw,
) -> Result<Json<Imported>, Error> {
    let text = std::str::from_utf8(&body);
    let text =
        text.map_err(|it| Error::Refused("bad-nodes-file", format!("the file is no UTF-8 text: {it}")))?;
    let file = nodes_file::parse(text).map_err(Error::Nodes)?;
    let mut write = app.store.write().await?;
    let origins = write.find_origins().await?;
    let plan = write.read(|it| plan(it, &origins, &file, OffsetDateTime::now_utc())).map_err(Error::Nodes)?;
    let report = Imported { dry_run: query.dry_run, ..plan.report.clone() };
    if !query.dry_run {
        store_plan(&mut write, &plan).await?;
        write.commit().await?;
        let (added, changed) = (report.added.len(), report.changed.len());
        daemon::event!(
            domain::event::NODES_IMPORTED,
            "imported nodes: {added} added, {changed} changed, {} as they were",
            report.unchanged
        );
    }
    Ok(Json(report))
}

async fn store_plan(write: &mut Write, plan: &Plan) -> Result<(), Error> {
    if !plan.dropped_interfaces.is_empty() {
        write.delete_interfaces(&plan.dropped_interfaces).await?;
    }
    write.put_components(&plan.components).await?;
    if !plan.endpoints.is_empty() {
        write.put_endpoints(&plan.endpoints, Insert::OrReplace).await?;
    }
    write.put_component_endpoints(&plan.component_endpoints).await?;
    write.put_interfaces(&plan.interfaces, |_| Origin::Import, Insert::OrReplace).await?;
    if !plan.groups.is_empty() {
        write.insert_groups(&plan.groups).await?;
    }
    if !plan.leaves.is_empty() {
        write.delete_members(&plan.leaves).await?;
    }
    if !plan.joins.is_empty() {
        write.insert_members(&plan.joins, true).await?;
    }
    Ok(())
}

pub(super) async fn update(
    State(app): State<App>,
    Path(word): Path<String>,
    Json(patch): Json<NodePatch>,
) -> Result<Json<Node>, Error> {
    if let Some(name) = patch.name.as_ref().filter(|it| !is_label(it)) {
        let text = format!("{name:?} is no host name; write letters, digits and -");
        return Err(Error::Refused("bad-name", text));
    }
    let (old, _) = find(&app, &word)?;
    let mut write = app.store.write().await?;
    let old = write.read(|it| it.inventory.component(&old.id).cloned());
    let old = old.ok_or_else(|| Error::missing(format!("the node {word} was removed meanwhile")))?;
    let new = Component {
        name: patch.name.or_else(|| old.name.clone()),
        nid: patch.nid.or(old.nid),
        enabled: patch.enabled.or(old.enabled),
        ..old.clone()
    };
    check_free(&write, &old, &new)?;
    if new != old {
        write.put_components(&[new]).await?;
    }
    if let Some(groups) = patch.groups {
        set_groups(&mut write, &old.id, groups).await?;
    }
    write.commit().await?;
    find(&app, old.id.as_str()).map(|it| Json(it.1))
}

/// A name or a number that another node has is refused with that node's xname.
fn check_free(write: &Write, old: &Component, new: &Component) -> Result<(), Error> {
    write.read(|it| {
        let by_name = new.name.as_ref().and_then(|name| it.inventory.component_by_name(name));
        if let Some(other) = by_name.filter(|it| it.id != old.id) {
            let name = new.name.clone().unwrap_or_default();
            return Err(Error::Refused("name-taken", format!("{} is called {name} already", other.id)));
        }
        let by_nid =
            new.nid.filter(|nid| Some(*nid) != old.nid).and_then(|nid| it.inventory.component_by_nid(nid));
        match by_nid {
            Some(other) => Err(Error::Refused("nid-taken", format!("{} has that NID already", other.id))),
            None => Ok(()),
        }
    })
}

/// Makes a node a member of these groups and no others; a group that is not there is made.
async fn set_groups(write: &mut Write, id: &Xname, labels: Vec<String>) -> Result<(), Error> {
    let parse = |it: String| {
        parse_label(&it).ok_or_else(|| Error::Refused("bad-group", format!("{it:?} is no group label")))
    };
    let wanted = labels.into_iter().map(parse).collect::<Result<BTreeSet<_>, _>>()?;
    let (old, missing) = write.read(|it| {
        let old: BTreeSet<String> = it.inventory.groups_of(id).map(str::to_owned).collect();
        let missing = wanted.iter().filter(|label| it.inventory.group(label).is_none());
        let group = |label: &String| Group {
            label: label.clone(),
            description: format!("The {label} group"),
            tags: Vec::new(),
            exclusive_group: None,
            members: BTreeSet::new(),
        };
        (old, missing.map(group).collect::<Vec<_>>())
    });
    write.insert_groups(&missing).await?;
    let pair = |it: &String| (it.clone(), id.clone());
    write.delete_members(&old.difference(&wanted).map(pair).collect::<Vec<_>>()).await?;
    write.insert_members(&wanted.difference(&old).map(pair).collect::<Vec<_>>(), false).await
}

/// Removes a node with its interfaces and memberships; its controller too, if that has no other node.
pub(super) async fn remove(State(app): State<App>, Path(word): Path<String>) -> Result<Response, Error> {
    let (node, _) = find(&app, &word)?;
    if let Some(lock) = &node.lock {
        let text = format!("{word} is {lock}; unlock it first: pilotctl nodes unlock {word}");
        return Err(Error::Taken("locked", text));
    }
    let mut write = app.store.write().await?;
    let (controller, shared) = write.read(|it| {
        let controller = it.inventory.controller_of(&node.id).cloned();
        let others = |bmc: &Xname| {
            let within = |one: &Component| one.id != node.id && one.id.is_node() && one.id.is_within(bmc);
            it.inventory.components().any(within)
        };
        let shared = controller
            .as_ref()
            .is_none_or(|bmc| bmc.nodes.iter().any(|id| *id != node.id) || others(&bmc.id));
        (controller, shared)
    });
    let mut components = vec![node.id.clone()];
    if let Some(controller) = controller {
        let part = write.read(|it| it.component_endpoint(&node.id).is_some());
        if shared && part {
            write.delete_component_endpoints(std::slice::from_ref(&node.id), &[controller.id]).await?;
        } else if !shared {
            let parts = write.read(|it| {
                let own = it.parts().filter(|it| *it.1 == controller.id);
                own.map(|it| it.0.clone()).collect::<Vec<_>>()
            });
            write.delete_endpoints(std::slice::from_ref(&controller.id), &parts).await?;
            components.push(controller.id);
        }
    }
    let interfaces: Vec<String> = write.read(|it| {
        components.iter().flat_map(|id| it.inventory.interfaces_of(id)).map(|it| it.id.clone()).collect()
    });
    write.delete_interfaces(&interfaces).await?;
    write.delete_components(&components).await?;
    write.commit().await?;
    Ok(no_content())
}
