//! /State/Components (recording `smd-components`).

use std::collections::HashSet;

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use domain::inventory::Component;
use domain::{Nid, Xname};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use web::{Json, Path};

use super::{App, Raw, decode, deleted, no_content};
use crate::error::Error;
use crate::model::component::{
    ComponentBody, ComponentJson, Fields, PatchBody, PatchKind, force, patched_nid, show as json_of,
};
use crate::model::filter::{Filter, Params};

const NO_XNAME: &str = "no such xname.";

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Listed<'a> {
    components: Vec<ComponentJson<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ManyBody {
    components: Option<Vec<ComponentBody>>,
    force: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct OneBody {
    component: ComponentBody,
    force: bool,
}

fn bad_param(text: &str) -> Error {
    Error::bad(format!("bad query param: {text}"))
}

/// The components that pass, written while the view is held still.
fn answer(app: &App, filter: &Filter, fields: Fields, within: Option<&HashSet<Xname>>) -> Response {
    app.store.catalog.read(|it| {
        let inside = |id: &Xname| within.is_none_or(|it| is_within(id, it));
        let all = it.inventory.components();
        let passed = all.filter(|one| inside(&one.id) && filter.admits(one, &it.inventory));
        Json(Listed { components: passed.map(|it| json_of(it, fields)).collect() }).into_response()
    })
}

fn is_within(id: &Xname, outer: &HashSet<Xname>) -> bool {
    outer.contains(id) || id.ancestry().any(|it| outer.contains(&it))
}

pub(super) async fn list(State(app): State<App>, RawQuery(query): RawQuery) -> Result<Response, Error> {
    let params = Params::of_query(query.as_deref());
    let filter = Filter::parse(&params).map_err(bad_param)?;
    Ok(answer(&app, &filter, params.fields(), None))
}

pub(super) async fn query(State(app): State<App>, Raw(body): Raw) -> Result<Response, Error> {
    let body: Value = decode(&body)?;
    let params = Params::of_body(&body);
    let ids = params.all("componentids");
    if ids.is_empty() {
        return Err(Error::bad("Missing IDs"));
    }
    // `all` is the whole system, as SMD has it.
    let parse = |it: &String| {
        let id = if it.eq_ignore_ascii_case("all") { "s0" } else { it };
        id.parse::<Xname>().map_err(|_| bad_param("Argument was not a valid xname ID"))
    };
    let ids = ids.iter().map(parse).collect::<Result<HashSet<_>, _>>()?;
    let filter = Filter::parse(&params).map_err(bad_param)?;
    Ok(answer(&app, &filter, params.fields(), Some(&ids)))
}

/// One component and none of its children, as recorded (`smd-components-044`, `smd-redfish-2.20-052`).
pub(super) async fn query_one(
    State(app): State<App>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Error> {
    let id: Xname = name.parse().map_err(|_| bad_param("Argument was not a valid xname ID"))?;
    let params = Params::of_query(query.as_deref());
    let filter = Filter::parse(&params).map_err(bad_param)?;
    Ok(app.store.catalog.read(|it| {
        let found = it.inventory.component(&id).filter(|one| filter.admits(one, &it.inventory));
        let shown = found.into_iter().map(|it| json_of(it, params.fields()));
        Json(Listed { components: shown.collect() }).into_response()
    }))
}

pub(super) async fn query_nids(State(app): State<App>, Raw(body): Raw) -> Result<Response, Error> {
    let body: Value = decode(&body)?;
    let params = Params::of_body(&body);
    let ranges = params.all("nidranges");
    if ranges.is_empty() {
        return Err(Error::bad("Missing NID ranges"));
    }
    let mut filter = Filter::parse(&params).map_err(bad_param)?;
    filter.set_nid_ranges(ranges).map_err(bad_param)?;
    Ok(answer(&app, &filter, params.fields(), None))
}

pub(super) async fn show(State(app): State<App>, Path(name): Path<String>) -> Result<Response, Error> {
    let id: Xname = name.parse().map_err(|_| Error::missing(NO_XNAME))?;
    app.store.catalog.read(|it| {
        let found = it.inventory.component(&id).ok_or_else(|| Error::missing(NO_XNAME))?;
        Ok(Json(json_of(found, Fields::All)).into_response())
    })
}

pub(super) async fn show_by_nid(State(app): State<App>, Path(nid): Path<String>) -> Result<Response, Error> {
    let nid: Nid = nid.parse().map_err(|_| Error::bad("a required argument was not an integer"))?;
    app.store.catalog.read(|it| {
        let found = it.inventory.component_by_nid(nid).ok_or_else(|| Error::missing("no such NID."))?;
        Ok(Json(json_of(found, Fields::All)).into_response())
    })
}

pub(super) async fn create(State(app): State<App>, Raw(body): Raw) -> Result<Response, Error> {
    let body: ManyBody = decode(&body)?;
    let given = body.components.unwrap_or_default();
    if given.first().is_none_or(|it| it.id.is_empty()) {
        return Err(Error::bad("Missing Components"));
    }
    let parsed: Result<Vec<Component>, String> = given.into_iter().map(ComponentBody::parse).collect();
    let parsed = parsed.map_err(|it| Error::bad(format!("couldn't validate components: {it}")))?;
    store(&app, parsed, body.force).await
}

pub(super) async fn replace(
    State(app): State<App>,
    Path(name): Path<String>,
    Raw(body): Raw,
) -> Result<Response, Error> {
    let OneBody { mut component, force } = decode(&body)?;
    if component.id.is_empty() {
        component.id = name;
    } else if !component.id.eq_ignore_ascii_case(&name) {
        return Err(Error::bad("ID in URL and POST body do not match"));
    }
    let parsed = component.parse().map_err(|it| Error::bad(format!("couldn't validate component: {it}")))?;
    store(&app, vec![parsed], force).await
}

/// Adds what is new; changes what is there only if forced. Of a repeated id the first counts.
async fn store(app: &App, given: Vec<Component>, forced: bool) -> Result<Response, Error> {
    let mut write = app.store.write().await?;
    let rows: Vec<Component> = write.read(|it| {
        let mut seen = HashSet::new();
        let mut rows = Vec::with_capacity(given.len());
        for new in given {
            if !seen.insert(new.id.clone()) {
                continue;
            }
            match it.inventory.component(&new.id) {
                None => rows.push(new),
                Some(old) if forced => rows.push(force(old, new)),
                Some(_) => {}
            }
        }
        rows
    });
    write.put_components(&rows).await?;
    write.commit().await?;
    Ok(no_content())
}

pub(super) async fn remove_all(State(app): State<App>) -> Result<Response, Error> {
    let mut write = app.store.write().await?;
    let ids: Vec<Xname> = write.read(|it| it.inventory.components().map(|it| it.id.clone()).collect());
    if ids.is_empty() {
        return Err(Error::missing("no entries to delete"));
    }
    write.delete_components(&ids).await?;
    write.commit().await?;
    Ok(deleted(ids.len()))
}

pub(super) async fn remove(State(app): State<App>, Path(name): Path<String>) -> Result<Response, Error> {
    let id: Xname = name.parse().map_err(|_| Error::bad("invalid xname"))?;
    let mut write = app.store.write().await?;
    if write.read(|it| it.inventory.component(&id).is_none()) {
        return Err(Error::missing(NO_XNAME));
    }
    write.delete_components(&[id]).await?;
    write.commit().await?;
    Ok(deleted(1))
}

pub(super) async fn patch_one(
    kind: PatchKind,
    State(app): State<App>,
    Path(name): Path<String>,
    Raw(body): Raw,
) -> Result<Response, Error> {
    let mut body: PatchBody = decode(&body)?;
    if body.id.as_ref().is_some_and(|it| !it.is_empty() && *it != name) {
        return Err(Error::bad("ID in URL and PATCH body do not match"));
    }
    body.ids = vec![name];
    change(&app, kind, body).await
}

pub(super) async fn patch_many(
    kind: PatchKind,
    State(app): State<App>,
    Raw(body): Raw,
) -> Result<Response, Error> {
    change(&app, kind, decode(&body)?).await
}

/// Changes those that are there; the others are passed over (`smd-components-055`).
async fn change(app: &App, kind: PatchKind, mut body: PatchBody) -> Result<Response, Error> {
    if body.ids.is_empty() {
        return Err(Error::bad("Missing IDs"));
    }
    let parse = |it: String| it.parse::<Xname>().map_err(|_| Error::bad("invalid xname ID"));
    let ids = std::mem::take(&mut body.ids).into_iter().map(parse).collect::<Result<HashSet<_>, _>>()?;
    let patch = body.parse(kind).map_err(Error::bad)?;
    let mut write = app.store.write().await?;
    let rows: Vec<Component> =
        write.read(|it| ids.iter().filter_map(|id| patch.apply(it.inventory.component(id)?)).collect());
    write.put_components(&rows).await?;
    write.commit().await?;
    Ok(no_content())
}

pub(super) async fn patch_nids(State(app): State<App>, Raw(body): Raw) -> Result<Response, Error> {
    let given = decode::<ManyBody>(&body)?.components.unwrap_or_default();
    if given.first().is_none_or(|it| it.id.is_empty()) {
        return Err(Error::bad("Missing Components"));
    }
    let failed = |text: &str| Error::bad(format!("operation 'Bulk Update NID' failed: {text}"));
    let mut wanted = std::collections::BTreeMap::new();
    for it in given {
        let id: Xname = it.id.parse().map_err(|_| failed("Argument was not a valid xname ID"))?;
        let nid = it.nid.ok_or_else(|| failed("NID value missing.  Use NID < 0 to unset."))?;
        wanted.insert(id, patched_nid(nid));
    }
    let mut write = app.store.write().await?;
    let rows: Vec<Component> = write.read(|it| {
        let known = wanted.iter().filter_map(|(id, nid)| Some((it.inventory.component(id)?, *nid)));
        known.filter(|it| it.0.nid != it.1).map(|(old, nid)| Component { nid, ..old.clone() }).collect()
    });
    write.put_components(&rows).await?;
    write.commit().await?;
    Ok(no_content())
}
