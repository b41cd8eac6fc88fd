//! /Inventory/EthernetInterfaces (recording `smd-ethernet`).

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use domain::MacAddr;
use domain::inventory::Interface;
use serde::Deserialize;
use time::OffsetDateTime;
use web::{Json, Path};

use super::{App, Raw, created_one, decode, deleted};
use crate::error::{Error, MAC_TAKEN};
use crate::model::filter::Params;
use crate::model::interface::{
    AddressJson, InterfaceBody, InterfaceFilter, set_addresses, show as json_of, show_address, take_address,
};
use crate::store::{Insert, Origin};

const BASE: &str = "/hsm/v2/Inventory/EthernetInterfaces";
const NO_INTERFACE: &str = "no such component ethernet interface.";

fn unknown(id: &str) -> Error {
    Error::missing(format!("No such component ethernet interface: {}", id.to_ascii_lowercase()))
}

/// The id in a path. The CLI puts a MAC address there when it deletes (`ochami-seed-046`).
fn parse_id(text: &str) -> String {
    MacAddr::parse_bare(text).map_or_else(|_| text.to_ascii_lowercase(), MacAddr::bare)
}

pub(super) async fn list(State(app): State<App>, RawQuery(query): RawQuery) -> Result<Response, Error> {
    let filter = InterfaceFilter::parse(&Params::of_query(query.as_deref())).map_err(Error::bad)?;
    Ok(app.store.catalog.read(|it| {
        let passed = it.inventory.interfaces().filter(|it| filter.admits(it));
        Json(passed.map(json_of).collect::<Vec<_>>()).into_response()
    }))
}

/// By id in any case, not by an address with separators (`smd-ethernet-054`, `-055`).
pub(super) async fn show(State(app): State<App>, Path(id): Path<String>) -> Result<Response, Error> {
    app.store.catalog.read(|it| {
        let found = it.inventory.interface(&id.to_ascii_lowercase()).ok_or_else(|| unknown(&id))?;
        Ok(Json(json_of(found)).into_response())
    })
}

/// Adds an interface. One that an endpoint's POST made is taken over once: clients of both generations end
/// well.
pub(super) async fn create(State(app): State<App>, Raw(body): Raw) -> Result<Response, Error> {
    let body: InterfaceBody = decode(&body)?;
    let new = body.parse(OffsetDateTime::now_utc()).map_err(Error::bad)?;
    let mut write = app.store.write().await?;
    let rows = std::slice::from_ref(&new);
    if write.read(|it| it.inventory.interface(&new.id).is_some()) {
        if !write.take_over_interface(&new).await? {
            return Err(Error::Conflict(MAC_TAKEN));
        }
        write.put_interfaces(rows, |_| Origin::Api, Insert::OrReplace).await?;
    } else {
        write.put_interfaces(rows, |_| Origin::Api, Insert::New).await?;
    }
    write.commit().await?;
    Ok(created_one(&format!("{BASE}/{}", new.id)))
}

pub(super) async fn update(
    State(app): State<App>,
    Path(id): Path<String>,
    Raw(body): Raw,
) -> Result<Response, Error> {
    let body: InterfaceBody = decode(&body)?;
    let now = OffsetDateTime::now_utc();
    let new =
        edit(&app, &id, || Error::missing(NO_INTERFACE), |old| body.patch(old, now).map_err(Error::bad))
            .await?;
    Ok(Json(json_of(&new)).into_response())
}

/// Changes one interface.
async fn edit(
    app: &App,
    id: &str,
    missing: impl FnOnce() -> Error,
    change: impl FnOnce(&Interface) -> Result<Interface, Error>,
) -> Result<Interface, Error> {
    let mut write = app.store.write().await?;
    let old = write.read(|it| it.inventory.interface(&parse_id(id)).cloned()).ok_or_else(missing)?;
    let new = change(&old)?;
    if new != old {
        write.put_interfaces(std::slice::from_ref(&new), |_| Origin::Api, Insert::OrReplace).await?;
    }
    write.commit().await?;
    Ok(new)
}

pub(super) async fn remove_all(State(app): State<App>) -> Result<Response, Error> {
    let mut write = app.store.write().await?;
    let ids: Vec<String> = write.read(|it| it.inventory.interfaces().map(|it| it.id.clone()).collect());
    if ids.is_empty() {
        return Err(Error::missing("no entries to delete"));
    }
    write.delete_interfaces(&ids).await?;
    write.commit().await?;
    Ok(deleted(ids.len()))
}

pub(super) async fn remove(State(app): State<App>, Path(id): Path<String>) -> Result<Response, Error> {
    let mut write = app.store.write().await?;
    let id = parse_id(&id);
    if write.read(|it| it.inventory.interface(&id).is_none()) {
        return Err(Error::missing(NO_INTERFACE));
    }
    write.delete_interfaces(&[id]).await?;
    write.commit().await?;
    Ok(deleted(1))
}

pub(super) async fn list_addresses(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Response, Error> {
    app.store.catalog.read(|it| {
        let found = it.inventory.interface(&id.to_ascii_lowercase()).ok_or_else(|| unknown(&id))?;
        Ok(Json(found.addresses.iter().map(show_address).collect::<Vec<_>>()).into_response())
    })
}

pub(super) async fn create_address(
    State(app): State<App>,
    Path(id): Path<String>,
    Raw(body): Raw,
) -> Result<Response, Error> {
    let address = take_address(decode::<AddressJson>(&body)?);
    if address.address.is_empty() {
        return Err(Error::bad("IP Address string is empty."));
    }
    let text = address.address.clone();
    let taken = "operation would conflict with an existing IP Address on the same ethernet interface.";
    let new = edit(
        &app,
        &id,
        || unknown(&id),
        |old| {
            if old.addresses.iter().any(|it| it.address == address.address) {
                return Err(Error::Conflict(taken));
            }
            let mut new = old.clone();
            let list = old.addresses.iter().cloned().chain([address]).collect();
            set_addresses(&mut new, list, OffsetDateTime::now_utc());
            Ok(new)
        },
    );
    let new = new.await?;
    Ok(created_one(&format!("{BASE}/{}/IPAddresses/{text}", new.id)))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct NetworkBody {
    network: Option<String>,
}

const NO_ADDRESS: &str = "component ethernet interface has no such ip address.";

pub(super) async fn update_address(
    State(app): State<App>,
    Path((id, ip)): Path<(String, String)>,
    Raw(body): Raw,
) -> Result<Response, Error> {
    let network = decode::<NetworkBody>(&body)?.network;
    let network = network.ok_or_else(|| Error::bad("Request must have at least one patch field."))?;
    let new = edit(
        &app,
        &id,
        || unknown(&id),
        |old| {
            let mut list = old.addresses.clone();
            let found =
                list.iter_mut().find(|it| it.address == ip).ok_or_else(|| Error::missing(NO_ADDRESS))?;
            found.network = network;
            let mut new = old.clone();
            set_addresses(&mut new, list, OffsetDateTime::now_utc());
            Ok(new)
        },
    );
    let new = new.await?;
    let found = new.addresses.iter().find(|it| it.address == ip).ok_or_else(|| Error::missing(NO_ADDRESS))?;
    Ok(Json(show_address(found)).into_response())
}

pub(super) async fn remove_address(
    State(app): State<App>,
    Path((id, ip)): Path<(String, String)>,
) -> Result<Response, Error> {
    let removed = edit(
        &app,
        &id,
        || unknown(&id),
        |old| {
            if !old.addresses.iter().any(|it| it.address == ip) {
                return Err(Error::missing(NO_ADDRESS));
            }
            let mut new = old.clone();
            let list = old.addresses.iter().filter(|it| it.address != ip).cloned().collect();
            set_addresses(&mut new, list, OffsetDateTime::now_utc());
            Ok(new)
        },
    );
    removed.await?;
    Ok(deleted(1))
}
