//! /Inventory/RedfishEndpoints and /Inventory/ComponentEndpoints (recording `smd-redfish-2.20`).

use std::collections::{BTreeMap, HashSet};

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use domain::Xname;
use domain::inventory::{Component, Interface};
use serde_json::{Value, json};
use time::OffsetDateTime;
use web::{Json, Path};

use super::{App, Raw, created, decode, deleted, no_content};
use crate::client::Credential;
use crate::error::Error;
use crate::model::catalog::Catalog;
use crate::model::filter::Params;
use crate::model::redfish::{ComponentEndpoint, Derived, EndpointBody};
use crate::model::redfish_json::{EndpointFilter, show as json_of, show_component_endpoint};
use crate::store::{Insert, Origin, SealedCredential, Write};

const BASE: &str = "/hsm/v2/Inventory/RedfishEndpoints";
const NO_XNAME: &str = "no such xname.";
const NOTHING: &str = "no entries to delete";

fn filter(query: Option<&str>) -> Result<EndpointFilter, Error> {
    let parsed = EndpointFilter::parse(&Params::of_query(query));
    parsed.map_err(|it| Error::bad(format!("bad query param: {it}")))
}

fn parse_known(name: &str) -> Result<Xname, Error> {
    name.parse().map_err(|_| Error::missing(NO_XNAME))
}

pub(super) async fn list(State(app): State<App>, RawQuery(query): RawQuery) -> Result<Response, Error> {
    let filter = filter(query.as_deref())?;
    Ok(app.store.catalog.read(|it| {
        let passed: Vec<_> = it.endpoints().filter(|it| filter.admits(it)).collect();
        let shown: Vec<_> = passed.iter().map(json_of).collect();
        Json(json!({"RedfishEndpoints": shown})).into_response()
    }))
}

pub(super) async fn show(State(app): State<App>, Path(name): Path<String>) -> Result<Response, Error> {
    let id = parse_known(&name)?;
    app.store.catalog.read(|it| {
        let found = it.endpoint(&id).ok_or_else(|| Error::missing(NO_XNAME))?;
        Ok(Json(json_of(&found)).into_response())
    })
}

/// The original never had it (`smd-redfish-2.20-033`).
pub(super) async fn query() -> Error {
    Error::bad("not yet implemented")
}

/// One endpoint, or a list of them below `RedfishEndpoints`.
pub(super) async fn create(State(app): State<App>, Raw(body): Raw) -> Result<Response, Error> {
    let value: Value = decode(&body)?;
    let list = value.get("RedfishEndpoints").filter(|it| !it.is_null()).cloned();
    let single = list.is_none();
    let bodies: Vec<EndpointBody> = match list {
        Some(list) => serde_json::from_value(list)?,
        None if value.as_object().is_some_and(serde_json::Map::is_empty) => return Ok(no_content()),
        None => vec![serde_json::from_value(value)?],
    };
    let now = OffsetDateTime::now_utc();
    let mut endpoints = Vec::new();
    for (at, body) in bodies.iter().enumerate() {
        let place = if single { String::new() } else { format!(" at idx {at}") };
        let parsed = body.parse();
        endpoints
            .push(parsed.map_err(|it| Error::bad(format!("couldn't validate endpoint data{place}: {it}")))?);
    }
    let mut write = app.store.write().await?;
    write.put_endpoints(&endpoints, Insert::New).await?;
    for (body, endpoint) in bodies.iter().zip(&endpoints) {
        store_derived(&mut write, body.derive(endpoint, now), false).await?;
    }
    let mut accounts = Vec::new();
    for (body, endpoint) in bodies.iter().zip(&endpoints) {
        accounts.extend(store_credential(&app, &mut write, body, &endpoint.id).await?);
    }
    write.commit().await?;
    app.vault.accept(accounts);
    let uris: Vec<String> = endpoints.iter().map(|it| format!("{BASE}/{}", it.id)).collect();
    Ok(created(BASE, &uris))
}

/// Replaces an endpoint, or makes it; one that was made answers `null` (`smd-redfish-2.20-036`).
pub(super) async fn replace(
    State(app): State<App>,
    Path(name): Path<String>,
    Raw(body): Raw,
) -> Result<Response, Error> {
    let mut body: EndpointBody = decode(&body)?;
    match &body.id {
        Some(id) if !id.is_empty() && !id.eq_ignore_ascii_case(&name) => {
            return Err(Error::bad("xname in URL and PUT body do not match"));
        }
        _ => body.id = Some(name),
    }
    let new = body.parse().map_err(|it| Error::bad(format!("couldn't validate endpoint data: {it}")))?;
    let mut write = app.store.write().await?;
    let old = write.read(|it| it.endpoint(&new.id));
    let merged = old.as_ref().map_or_else(|| new.clone(), |old| old.replaced_by(new.clone()));
    let insert = if old.is_some() { Insert::OrReplace } else { Insert::New };
    write.put_endpoints(std::slice::from_ref(&merged), insert).await?;
    store_derived(&mut write, body.derive(&merged, OffsetDateTime::now_utc()), true).await?;
    let account = store_credential(&app, &mut write, &body, &merged.id).await?;
    write.commit().await?;
    app.vault.accept(account);
    Ok(answer(&app, &merged.id, old.is_some()))
}

pub(super) async fn update(
    State(app): State<App>,
    Path(name): Path<String>,
    Raw(body): Raw,
) -> Result<Response, Error> {
    let body: EndpointBody = decode(&body)?;
    let id: Xname = name.parse().map_err(|_| Error::bad("xname in URL is not valid"))?;
    let mut write = app.store.write().await?;
    let old = write.read(|it| it.endpoint(&id));
    let old = old.ok_or_else(|| Error::missing(format!("No such entry: {id}")))?;
    let new = body.patch(&old).map_err(Error::bad)?;
    write.put_endpoints(std::slice::from_ref(&new), Insert::OrReplace).await?;
    let account = store_credential(&app, &mut write, &body, &id).await?;
    write.commit().await?;
    app.vault.accept(account);
    Ok(answer(&app, &id, true))
}

fn answer(app: &App, id: &Xname, known: bool) -> Response {
    let found = app.store.catalog.read(|it| it.endpoint(id)).filter(|_| known);
    Json(found.as_ref().map(json_of)).into_response()
}

/// Stores what an endpoint's body makes. Components that are there keep everything and get a name if they
/// have none; an interface that is there stays, unless the body replaces what an endpoint's body made of the
/// same component.
async fn store_derived(write: &mut Write, derived: Derived, replace: bool) -> Result<(), Error> {
    let (components, interfaces) = write.read(|it| {
        let mut components: BTreeMap<Xname, Component> = BTreeMap::new();
        let mut names = HashSet::new();
        for mut new in derived.components {
            let free = |it_is: &String| it.inventory.component_by_name(it_is).is_none();
            new.name = new.name.filter(|name| free(name) && names.insert(name.clone()));
            match it.inventory.component(&new.id) {
                None => drop(components.entry(new.id.clone()).or_insert(new)),
                Some(old) if old.name.is_none() && new.name.is_some() => {
                    components.insert(new.id, Component { name: new.name, ..old.clone() });
                }
                Some(_) => {}
            }
        }
        let mut interfaces: BTreeMap<String, Interface> = BTreeMap::new();
        for new in derived.interfaces {
            match it.inventory.interface(&new.id) {
                None => drop(interfaces.entry(new.id.clone()).or_insert(new)),
                Some(old) if replace && old.component == new.component && !same(old, &new) => {
                    interfaces.entry(new.id.clone()).or_insert(new);
                }
                Some(_) => {}
            }
        }
        (components, interfaces)
    });
    let components: Vec<Component> = components.into_values().collect();
    write.put_components(&components).await?;
    let mut parts: BTreeMap<Xname, ComponentEndpoint> = BTreeMap::new();
    for part in derived.component_endpoints {
        parts.insert(part.id.clone(), part);
    }
    write.put_component_endpoints(&parts.into_values().collect::<Vec<_>>()).await?;
    // A controller's own interface is nobody's to post again; a node's is, by older clients.
    let node = |it: &Interface| it.component.as_ref().is_some_and(Xname::is_node);
    let origin = |it: &Interface| if node(it) { Origin::Endpoint } else { Origin::Api };
    let interfaces: Vec<Interface> = interfaces.into_values().collect();
    write.put_interfaces(&interfaces, origin, Insert::OrReplace).await
}

fn same(old: &Interface, new: &Interface) -> bool {
    old.addresses == new.addresses && old.description == new.description
}

/// A user with a password is a secret: it goes to the sealed accounts, never back to a client.
async fn store_credential(
    app: &App,
    write: &mut Write,
    body: &EndpointBody,
    id: &Xname,
) -> Result<Option<SealedCredential>, Error> {
    let known = app.vault.open_own(id)?;
    let given = |it: &Option<String>| it.clone().filter(|it| !it.is_empty());
    let (user, password) = (given(&body.user), given(&body.password));
    // A user alone is no secret until a password is there; from then on it changes the account.
    let password =
        password.or_else(|| known.as_ref().filter(|_| user.is_some()).map(|it| it.password.clone()));
    let Some(password) = password else { return Ok(None) };
    let named = || write.read(|it| it.endpoint(id).and_then(|it| it.username));
    let user = user.or_else(|| known.as_ref().map(|it| it.user.clone())).or_else(named).unwrap_or_default();
    let kg = known.as_ref().and_then(|it| it.kg.clone());
    let row = app.vault.seal(id.as_str(), &Credential { user, password, kg })?;
    write.put_credential(&row).await?;
    Ok(Some(row))
}

/// Endpoints go with their component endpoints; the components stay, empty.
async fn remove_endpoints(write: &mut Write, ids: &[Xname]) -> Result<(), Error> {
    let parts: Vec<Xname> = write.read(|it| {
        let wanted: HashSet<&Xname> = ids.iter().collect();
        it.parts().filter(|it| wanted.contains(it.1)).map(|it| it.0.clone()).collect()
    });
    empty_components(write, &parts).await?;
    write.delete_endpoints(ids, &parts).await
}

async fn empty_components(write: &mut Write, ids: &[Xname]) -> Result<(), Error> {
    let rows: Vec<Component> = write.read(|it| {
        let known = ids.iter().filter_map(|id| it.inventory.component(id));
        let empty = |old: &Component| Component {
            state: Some("Empty".to_owned()),
            flag: Some("OK".to_owned()),
            ..old.clone()
        };
        known.map(empty).collect()
    });
    write.put_components(&rows).await
}

pub(super) async fn remove(State(app): State<App>, Path(name): Path<String>) -> Result<Response, Error> {
    let id = parse_known(&name)?;
    let mut write = app.store.write().await?;
    if write.read(|it| it.endpoint(&id).is_none()) {
        return Err(Error::missing(NO_XNAME));
    }
    remove_endpoints(&mut write, &[id]).await?;
    write.commit().await?;
    Ok(deleted(1))
}

pub(super) async fn remove_all(State(app): State<App>) -> Result<Response, Error> {
    let mut write = app.store.write().await?;
    let ids: Vec<Xname> = write.read(|it| it.endpoint_ids().cloned().collect());
    if ids.is_empty() {
        return Err(Error::missing(NOTHING));
    }
    remove_endpoints(&mut write, &ids).await?;
    write.commit().await?;
    Ok(deleted(ids.len()))
}

/// The name by which the endpoint of a part is reached.
fn fqdn(catalog: &Catalog, part: &ComponentEndpoint) -> String {
    catalog.endpoint(&part.endpoint).map(|it| it.fqdn).unwrap_or_default()
}

pub(super) async fn list_parts(State(app): State<App>, RawQuery(query): RawQuery) -> Result<Response, Error> {
    let filter = filter(query.as_deref())?;
    Ok(app.store.catalog.read(|it| {
        let passed = it.component_endpoints().filter(|it| filter.admits_component(it));
        let shown: Vec<Value> = passed.map(|part| show_component_endpoint(&part, &fqdn(it, &part))).collect();
        Json(json!({"ComponentEndpoints": shown})).into_response()
    }))
}

pub(super) async fn show_part(State(app): State<App>, Path(name): Path<String>) -> Result<Response, Error> {
    let id = parse_known(&name)?;
    app.store.catalog.read(|it| {
        let part = it.component_endpoint(&id).ok_or_else(|| Error::missing(NO_XNAME))?;
        Ok(Json(show_component_endpoint(&part, &fqdn(it, &part))).into_response())
    })
}

async fn remove_some_parts(app: &App, only: Option<Xname>, missing: &str) -> Result<Response, Error> {
    let mut write = app.store.write().await?;
    let parts: Vec<(Xname, Xname)> = write.read(|it| {
        let wanted = it.parts().filter(|it| only.as_ref().is_none_or(|id| id == it.0));
        wanted.map(|(id, endpoint)| (id.clone(), endpoint.clone())).collect()
    });
    if parts.is_empty() {
        return Err(Error::missing(missing));
    }
    let (ids, endpoints): (Vec<Xname>, Vec<Xname>) = parts.into_iter().unzip();
    empty_components(&mut write, &ids).await?;
    write.delete_component_endpoints(&ids, &endpoints).await?;
    write.commit().await?;
    Ok(deleted(ids.len()))
}

pub(super) async fn remove_part(State(app): State<App>, Path(name): Path<String>) -> Result<Response, Error> {
    let id = parse_known(&name)?;
    remove_some_parts(&app, Some(id), NO_XNAME).await
}

pub(super) async fn remove_parts(State(app): State<App>) -> Result<Response, Error> {
    remove_some_parts(&app, None, NOTHING).await
}
