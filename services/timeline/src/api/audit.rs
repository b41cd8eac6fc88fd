//! `/pilothouse/v1/audit`: who did what, and whether the records are those that were written.

use axum::extract::State;
use serde::Deserialize;
use time::OffsetDateTime;
use web::{Json, Query};

use super::instant;
use crate::Timeline;
use crate::error::Error;
use crate::model::{Record, Verdict};
use crate::store::{self, AuditFilter};

/// Records of one answer, if it is not said how many.
const LIST: i64 = 1000;
/// Records of one answer at most.
const LIST_MAX: i64 = 100_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// An instant, or how long ago.
    since: Option<String>,
    /// An instant, or how long ago.
    until: Option<String>,
    /// A part of the name of who did it.
    actor: Option<String>,
    /// A part of what was done.
    what: Option<String>,
    /// `ok`, `refused`, `failed`.
    result: Option<String>,
    /// A node's name or xname.
    node: Option<String>,
    limit: Option<i64>,
}

/// The newest first.
pub(super) async fn list(
    State(timeline): State<Timeline>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Vec<Record>>, Error> {
    let now = OffsetDateTime::now_utc();
    let parse = |it: &Option<String>| it.as_deref().map(|it| instant(it, now)).transpose();
    let filter = AuditFilter {
        since: parse(&query.since)?,
        until: parse(&query.until)?,
        node: query.node.as_deref().map(|it| timeline.find(it)).transpose()?,
        actor: query.actor,
        what: query.what,
        result: query.result,
        limit: query.limit.unwrap_or(LIST).clamp(1, LIST_MAX),
    };
    Ok(Json(store::list_records(timeline.database.pool()?, &filter).await?))
}

/// Each head's chain.
pub(super) async fn verify(State(timeline): State<Timeline>) -> Result<Json<Vec<Verdict>>, Error> {
    Ok(Json(timeline.verify_audit().await?))
}
