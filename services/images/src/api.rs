//! Routes and handlers.

use std::io;
use std::path::Path as FilePath;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use daemon::BootEvent;
use domain::inventory::Inventory;
use domain::{Scope, Service, StageResult};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use web::mirror::Mirror;
use web::{Caller, Database, Json, Path, Problem, scoped};

use crate::client::Image;
use crate::config::Config;
use crate::file::{self, Ended, Opened, Transfer};
use crate::model::{Parts, stage};
use crate::{scan, store};

/// How long a look at the folders is good for: an image that was just put there is seen this soon.
const SCAN_LIFE: Duration = Duration::from_secs(1);

struct Floor {
    config: Config,
    mirror: Mirror<Inventory>,
    database: Database,
    /// What was found last, and when: members of images are asked for by whole clusters at once.
    scanned: tokio::sync::Mutex<Option<(Instant, Vec<Image>)>>,
    parts: Mutex<Parts>,
}

type Shared = State<Arc<Floor>>;

pub(crate) fn router(config: Config, mirror: Mirror<Inventory>, database: Database) -> Router {
    let (read, write) = (Scope::Read(Service::Images), Scope::Write(Service::Images));
    Router::new()
        .route("/pilothouse/v1/images", scoped(get(list_images), read))
        .route("/pins", scoped(get(list_pins), read))
        .route("/pins/{service}/{id}", scoped(put(create_pin).delete(remove_pin), write))
        .route("/readyz", get(show_readiness))
        .fallback(get(show_file))
        .with_state(Arc::new(Floor {
            config,
            mirror,
            database,
            scanned: Default::default(),
            parts: Default::default(),
        }))
}

async fn show_readiness(State(floor): Shared) -> Response {
    let inventory = floor.mirror.freshness().to_string();
    let database = if floor.database.is_lost() { "lost" } else { "there" };
    Json(serde_json::json!({"ready": true, "inventory": inventory, "database": database})).into_response()
}

async fn list_images(State(floor): Shared) -> Result<Json<Vec<Image>>, Problem> {
    scan_images(&floor).await.map(Json)
}

async fn scan_images(floor: &Arc<Floor>) -> Result<Vec<Image>, Problem> {
    let mut last = floor.scanned.lock().await;
    if let Some((_, images)) = last.as_ref().filter(|it| it.0.elapsed() < SCAN_LIFE) {
        return Ok(images.clone());
    }
    let root = floor.config.root.clone();
    let scanned = tokio::task::spawn_blocking(move || scan::scan(&root)).await;
    let scanned = scanned.map_err(|it| Problem::internal(&it))?;
    let images = scanned.map_err(|error| {
        let detail = format!("{} cannot be read: {error}", floor.config.root.display());
        Problem::own(StatusCode::INTERNAL_SERVER_ERROR, "no-images", detail)
    })?;
    *last = Some((Instant::now(), images.clone()));
    Ok(images)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pin {
    image: String,
}

async fn list_pins(State(floor): Shared) -> Result<Response, Response> {
    let db = floor.database.pool().map_err(IntoResponse::into_response)?;
    let pins = store::list_pins(db).await.map_err(unavailable)?;
    let pins = pins
        .into_iter()
        .map(|(service, id, image)| serde_json::json!({"service": service, "id": id, "image": image}));
    Ok(Json(pins.collect::<Vec<_>>()).into_response())
}

async fn create_pin(
    State(floor): Shared,
    Path((service, id)): Path<(String, String)>,
    Json(pin): Json<Pin>,
) -> Result<StatusCode, Response> {
    let db = floor.database.pool().map_err(IntoResponse::into_response)?;
    store::insert_pin(db, &service, &id, &pin.image).await.map_err(unavailable)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove_pin(
    State(floor): Shared,
    Path((service, id)): Path<(String, String)>,
) -> Result<StatusCode, Response> {
    let db = floor.database.pool().map_err(IntoResponse::into_response)?;
    let there = store::delete_pin(db, &service, &id).await.map_err(unavailable)?;
    let missing = || Problem::own(StatusCode::NOT_FOUND, "no-pin", format!("{service} has no pin {id}"));
    if there { Ok(StatusCode::NO_CONTENT) } else { Err(missing().into_response()) }
}

fn unavailable(error: sqlx::Error) -> Response {
    Problem::unavailable(format!("the database failed: {error}")).into_response()
}

/// A file below the root, a boot loader, or a member of an image.
async fn show_file(
    State(floor): Shared,
    method: Method,
    uri: Uri,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let missing = || Problem::new(StatusCode::NOT_FOUND, format!("there is no file {}", uri.path()));
    let path = percent_decode_str(uri.path()).decode_utf8().map_err(|_| missing())?.into_owned();
    let (opened, path) = match open(&floor, &path).await? {
        Some(opened) => (opened, path),
        None => {
            let member = find_member(&floor, &path).await?.ok_or_else(missing)?;
            let opened = open(&floor, &member).await?.ok_or_else(missing)?;
            (opened, member)
        }
    };
    let ended = ended(&floor, path, &caller);
    Ok(opened.answer(&method, &headers, ended).await)
}

async fn open(floor: &Arc<Floor>, path: &str) -> Result<Option<Opened>, Problem> {
    let name = path.to_owned();
    let (floor, path) = (Arc::clone(floor), path.to_owned());
    let opened = tokio::task::spawn_blocking(move || match path.strip_prefix("/ipxe/") {
        Some(loader) => file::open(&floor.config.loaders, loader),
        None => file::open(&floor.config.root, &path),
    });
    match opened.await.map_err(|it| Problem::internal(&it))? {
        Ok(opened) => Ok(Some(opened)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let detail = format!("{name} may not be read; `chmod o+r` on the head opens it to nodes");
            tracing::warn!("{detail}");
            Err(Problem::own(StatusCode::FORBIDDEN, "unreadable", detail))
        }
        Err(error) => Err(Problem::internal(&error)),
    }
}

/// The path of `/images/<name>/<tag>/{kernel,initrd,root}`.
async fn find_member(floor: &Arc<Floor>, path: &str) -> Result<Option<String>, Problem> {
    let Some((reference, member)) = path.strip_prefix("/images/").and_then(|it| it.rsplit_once('/')) else {
        return Ok(None);
    };
    let Some((name, tag)) = reference.rsplit_once('/') else { return Ok(None) };
    let images = scan_images(floor).await?;
    let Some(image) = images.into_iter().find(|it| it.name == name && it.tag == tag) else { return Ok(None) };
    let found = match member {
        "kernel" => Some(image.kernel),
        "initrd" => Some(image.initrd),
        "root" => image.root,
        _ => None,
    };
    Ok(found.map(|it| format!("/{it}")))
}

/// What is written of a transfer when it has ended, if a node made it.
fn ended(floor: &Arc<Floor>, path: String, caller: &Caller) -> Ended {
    let address = caller.address;
    let node = address.and_then(|address| {
        floor.mirror.read(|it| {
            let interface = it.interface_by_ip(address)?;
            Some((interface.component.clone()?, interface.mac))
        })
    });
    let floor = Arc::clone(floor);
    Box::new(move |transfer: Transfer| {
        let Some(stage) = stage(&path) else { return };
        let (Some((node, mac)), Some(address)) = (node, address) else { return };
        let broken = transfer.sent < transfer.asked;
        let (sent, started, result) = if broken {
            (transfer.sent, transfer.started, StageResult::Failed)
        } else {
            let mut parts = floor.parts.lock().unwrap_or_else(PoisonError::into_inner);
            let whole = parts.add((address, path.clone()), (transfer.sent, transfer.file), transfer.started);
            let Some((sent, started)) = whole else { return };
            (sent, started, StageResult::Ok)
        };
        let name = FilePath::new(&path).file_name().unwrap_or_default().to_string_lossy();
        let word = if broken { "broken off after" } else { "sent," };
        BootEvent::new(Service::Images, stage, format!("{name} {word} {sent} bytes to {node}"))
            .node(Some(&node))
            .mac(Some(mac))
            .ip(address)
            .image(path.trim_start_matches('/'))
            .sent(sent, started.elapsed())
            .result(result)
            .send();
    })
}
