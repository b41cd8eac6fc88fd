//! `POST /pilothouse/v1/probe`: who is on the head's wires.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use domain::Document;
use serde::Deserialize;
use time::OffsetDateTime;
use web::{Json, Problem, Query};

use crate::client::Nic;
use crate::probe;
use crate::state::State;

/// How long it may be listened: below the time that a service has to stop.
const SECONDS_MAX: u8 = 8;
/// Two messages of a bridge, which sends one every two seconds.
const SECONDS: u8 = 5;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    seconds: Option<u8>,
}

pub(super) async fn run(
    Shared(state): Shared<Arc<State>>,
    Extension(document): Extension<Arc<Document>>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Vec<Nic>>, Problem> {
    let seconds = wanted.seconds.unwrap_or(SECONDS);
    if !(1..=SECONDS_MAX).contains(&seconds) {
        let detail = format!("seconds: {seconds} is out of range; write 1 to {SECONDS_MAX}");
        return Err(Problem::own(StatusCode::BAD_REQUEST, "out-of-range", detail));
    }
    let Ok(_one) = state.probing.try_lock() else {
        let detail = "somebody is looking at the wires already; try again in some seconds";
        return Err(Problem::own(StatusCode::CONFLICT, "probe-under-way", detail));
    };
    // Only to tell an answer to this from one to another: any number will do.
    let number = OffsetDateTime::now_utc().nanosecond();
    let (shared, time) = (Arc::clone(&state), Duration::from_secs(seconds.into()));
    let probed = tokio::task::spawn_blocking(move || probe::run(&shared, &document, time, number)).await;
    match probed {
        Ok(Ok(nics)) => Ok(Json(nics)),
        Ok(Err(error)) => Err(Problem::internal(&error)),
        Err(error) => Err(Problem::internal(&error)),
    }
}
