//! `/pins`: what keeps an image from being removed.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use web::{Json, Path};

use super::Shared;
use crate::catalog::Reference;
use crate::error::Error;
use crate::store;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pin {
    image: String,
}

pub(super) async fn list(State(floor): Shared) -> Result<Json<Vec<Value>>, Error> {
    let pins = store::list_pins(floor.database.pool()?).await?;
    let pin = |(service, id, image)| json!({"service": service, "id": id, "image": image});
    Ok(Json(pins.into_iter().map(pin).collect()))
}

pub(super) async fn create(
    State(floor): Shared,
    Path((service, id)): Path<(String, String)>,
    Json(pin): Json<Pin>,
) -> Result<StatusCode, Error> {
    let db = floor.database.pool()?;
    let reference = Reference::parse(&pin.image).ok_or_else(|| Error::BadReference(pin.image.clone()))?;
    // A clean-up waits, or sees the pin.
    let _writing = floor.writing.lock().await;
    let manifests = floor.catalog.read(|it| it.manifests_of(&reference));
    store::insert_pin(db, (&service, &id), &pin.image, &manifests).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn remove(
    State(floor): Shared,
    Path((service, id)): Path<(String, String)>,
) -> Result<StatusCode, Error> {
    match store::delete_pin(floor.database.pool()?, &service, &id).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Error::NoPin { service, id }),
    }
}
