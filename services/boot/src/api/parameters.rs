//! `/boot/v1/bootparameters`.

use std::collections::HashMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use domain::feed::Change;
use domain::inventory::Inventory;
use domain::{MacAddr, Nid};
use serde::Deserialize;
use utoipa::IntoParams;
use web::{Problem, Query};

use super::Boot;
use super::reply::{Body, done, json};
use crate::error::Error;
use crate::model::{Host, KIND, Selected, Settings, SettingsError, Target, node_named};
use crate::store;
use crate::wire::{Entry, ShownEntry, Write, WriteBody, parse_selection, parse_write};

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(super) struct Words {
    /// MAC addresses, with commas between
    mac: Option<String>,
    /// Host words, with commas between: xnames, names, labels of groups, `Default`
    name: Option<String>,
    /// Node numbers, with commas between
    nid: Option<String>,
}

fn words(list: Option<&String>) -> impl Iterator<Item = &str> {
    list.into_iter().flat_map(|it| it.split(',')).map(str::trim).filter(|it| !it.is_empty())
}

#[utoipa::path(
    get, path = "/boot/v1/bootparameters", params(Words),
    description = "Entries of machines, or those asked for; null if there are none at all. What is asked for may \
        stand in a body too: {\"macs\", \"hosts\", \"nids\"}.",
    responses(
        (status = 200, body = Option<Vec<ShownEntry>>, content_type = "application/json; charset=UTF-8"),
        (status = 400, body = Problem, content_type = "application/problem+json",
            description = "No such number, or a body that is none"),
        (status = 404, body = Problem, content_type = "application/problem+json",
            description = "None of those asked for has an entry"),
    )
)]
pub(super) async fn list(
    State(boot): State<Boot>,
    Query(query): Query<Words>,
    Body(body): Body,
) -> Result<Response, Error> {
    let mut asked = parse_selection(&body)?;
    asked.macs.extend(words(query.mac.as_ref()).map(str::to_owned));
    asked.hosts.extend(words(query.name.as_ref()).map(str::to_owned));
    for word in words(query.nid.as_ref()) {
        asked.nids.push(word.parse::<Nid>().map_err(|_| Error::BadNid(word.to_owned()))?);
    }
    let kinds =
        [("MACs", asked.macs.is_empty()), ("Hosts", asked.hosts.is_empty()), ("NIDs", asked.nids.is_empty())];
    let kind = kinds.into_iter().find(|(_, empty)| !empty).map(|(kind, _)| kind);
    // What is no address and no word has no parameters either.
    let macs = asked.macs.iter().filter_map(|it| it.parse::<MacAddr>().ok()).map(Target::Mac);
    let hosts = asked.hosts.iter().filter_map(|it| Host::parse(it)).map(Target::Host);
    let targets: Vec<Target> = macs.chain(hosts).chain(asked.nids.into_iter().map(Target::Nid)).collect();
    let of = if kind.is_some() { Selected::These(&targets) } else { Selected::Machines };
    let entries: Vec<ShownEntry> = boot.parameters.read(|it| {
        it.entries(of).iter().map(|(targets, settings)| Entry::of(targets, settings).shown()).collect()
    });
    match kind {
        Some(kind) if entries.is_empty() => Err(Error::NotFound(kind)),
        None if entries.is_empty() => Ok(json(&())),
        _ => Ok(json(&entries)),
    }
}

/// POST: for targets that have nothing yet; those that do are passed over, unless all do.
#[utoipa::path(
    post, path = "/boot/v1/bootparameters",
    description = "Sets what machines boot that have nothing set yet; those that have are passed over, unless all have.",
    request_body = WriteBody,
    responses(
        (status = 201, description = "Set"),
        (status = 400, body = Problem, content_type = "application/problem+json",
            description = "A body that cannot be taken, with the place; or nothing to set"),
        (status = 409, body = Problem, content_type = "application/problem+json",
            description = "Somebody locked a node that is named: who, since when and why"),
    )
)]
pub(super) async fn create(State(boot): State<Boot>, Body(body): Body) -> Result<Response, Error> {
    let Write { targets, edit } = parse_write(&body, true)?;
    if targets.is_empty() {
        return Err(if edit.kernel.is_none() { Error::Nothing } else { Error::Exists });
    }
    let settings = edit.apply(None).ok_or(Error::NoKernel)??;
    boot.refuse_locked(&targets)?;
    let mut tx = boot.database.begin().await?;
    let stored = store::insert_new(&mut tx, &targets, &settings).await?;
    if stored.is_empty() {
        return Err(Error::Exists);
    }
    let changes: Vec<Change> = stored.iter().map(|it| put(it, &settings)).collect();
    web::feed::commit(tx, &changes, &boot.parameters).await?;
    Ok(done(StatusCode::CREATED))
}

/// PUT: makes or changes; what the body leaves out stays as it was.
#[utoipa::path(
    put, path = "/boot/v1/bootparameters",
    description = "Sets or changes what machines boot; members that are left out stay as they are.",
    request_body = WriteBody,
    responses(
        (status = 200, description = "Set"),
        (status = 400, body = Problem, content_type = "application/problem+json",
            description = "A body that cannot be taken, with the place; or no kernel for a new target"),
        (status = 409, body = Problem, content_type = "application/problem+json",
            description = "Somebody locked a node that is named: who, since when and why"),
    )
)]
pub(super) async fn replace(State(boot): State<Boot>, Body(body): Body) -> Result<Response, Error> {
    let write = parse_write(&body, false)?;
    if write.targets.is_empty() {
        return Err(if write.edit.is_empty() { Error::NoData } else { Error::NoTargets });
    }
    let Write { targets, edit } = write;
    apply(&boot, targets, true, |old| edit.apply(old)).await
}

/// PATCH: changes; every target must be there.
#[utoipa::path(
    patch, path = "/boot/v1/bootparameters",
    description = "Changes what machines boot; each must have an entry.",
    request_body = WriteBody,
    responses(
        (status = 200, description = "Changed"),
        (status = 400, body = Problem, content_type = "application/problem+json",
            description = "A body that cannot be taken, with the place"),
        (status = 404, body = Problem, content_type = "application/problem+json",
            description = "Nothing to change, or a target without an entry"),
        (status = 409, body = Problem, content_type = "application/problem+json",
            description = "Somebody locked a node that is named: who, since when and why"),
    )
)]
pub(super) async fn update(State(boot): State<Boot>, Body(body): Body) -> Result<Response, Error> {
    let write = parse_write(&body, false)?;
    if write.edit.is_empty() {
        return Err(Error::NoChange);
    }
    if write.targets.is_empty() {
        return Err(Error::NoTargets);
    }
    let Write { targets, edit } = write;
    apply(&boot, targets, false, |old| edit.apply(old)).await
}

/// Changes what targets boot; `edit` makes of the old settings the new ones, and of nothing nothing.
pub(super) async fn apply(
    boot: &Boot,
    targets: Vec<Target>,
    make: bool,
    edit: impl Fn(Option<&Settings>) -> Option<Result<Settings, SettingsError>>,
) -> Result<Response, Error> {
    boot.refuse_locked(&targets)?;
    let mut tx = boot.database.begin().await?;
    let mut old: HashMap<Target, Option<Settings>> =
        store::find_for_update(&mut tx, &targets).await?.into_iter().collect();
    let missing: Vec<&Target> = targets.iter().filter(|it| !old.contains_key(it)).collect();
    if !make && !missing.is_empty() {
        return Err(Error::UnknownTargets(missing_text(&missing)));
    }
    let mut rows = Vec::with_capacity(targets.len());
    for target in targets {
        let settings = edit(old.remove(&target).flatten().as_ref()).ok_or(Error::NoData)??;
        rows.push((target, settings));
    }
    store::upsert(&mut tx, &rows).await?;
    let changes: Vec<Change> = rows.iter().map(|(target, settings)| put(target, settings)).collect();
    web::feed::commit(tx, &changes, &boot.parameters).await?;
    boot.unpin_later();
    Ok(done(StatusCode::OK))
}

/// DELETE: targets; without any, the entry with exactly this kernel, initrd and parameters.
#[utoipa::path(
    delete, path = "/boot/v1/bootparameters",
    description = "Takes targets away; without any, every entry with exactly this kernel, initrd and parameters.",
    request_body = WriteBody,
    responses(
        (status = 200, description = "Taken away, or nothing was asked for"),
        (status = 400, body = Problem, content_type = "application/problem+json",
            description = "A body that cannot be taken, or no such target"),
        (status = 409, body = Problem, content_type = "application/problem+json",
            description = "Somebody locked a node that is named: who, since when and why"),
    )
)]
pub(super) async fn remove(State(boot): State<Boot>, Body(body): Body) -> Result<Response, Error> {
    let Write { targets, edit } = parse_write(&body, false)?;
    if targets.is_empty() && edit.is_empty() {
        return Ok(done(StatusCode::OK));
    }
    let mut tx = boot.database.begin().await?;
    let gone = if targets.is_empty() {
        let text = |it: &Option<String>| it.clone().unwrap_or_default();
        let (kernel, initrd, params) = (text(&edit.kernel), text(&edit.initrd), text(&edit.params));
        store::delete_entry(&mut tx, (&kernel, &initrd, &params)).await?
    } else {
        store::delete_targets(&mut tx, &targets).await?
    };
    if gone.is_empty() && !targets.is_empty() {
        return Err(Error::NothingDeleted);
    }
    boot.refuse_locked(&gone)?; // The transaction is dropped, and with it the deletion.
    let changes: Vec<Change> = gone.iter().map(|it| Change::delete(KIND, it.to_string())).collect();
    web::feed::commit(tx, &changes, &boot.parameters).await?;
    boot.unpin_later();
    Ok(done(StatusCode::OK))
}

impl Boot {
    /// Nothing is changed for a node that somebody wants left alone, if the change names the node; what its groups
    /// or `Default` boot may change.
    fn refuse_locked(&self, targets: &[Target]) -> Result<(), Error> {
        let pattern = &self.config.node_name;
        let locked = |inventory: &Inventory| {
            let mut nodes = targets.iter().filter_map(|it| node_named(inventory, it, pattern));
            nodes.find_map(|node| Some(Error::Locked(node.id.clone(), node.lock.clone()?)))
        };
        self.inventory.read(locked).map_or(Ok(()), Err)
    }
}

fn put(target: &Target, settings: &Settings) -> Change {
    let row = serde_json::to_value(settings).unwrap_or_default();
    Change::put(KIND, target.to_string(), row)
}

/// As recorded: `macs=[…] xnames=[] nids=[]`.
fn missing_text(missing: &[&Target]) -> String {
    let of = |kind: &str| {
        let keys: Vec<String> = missing.iter().filter(|it| it.kind() == kind).map(|it| it.key()).collect();
        keys.join(" ")
    };
    format!("macs=[{}] xnames=[{}] nids=[{}]", of("mac"), of("host"), of("nid"))
}
