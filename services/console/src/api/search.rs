//! The search of the logs: lines as they are found, and at the end what there is to say of the whole.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use web::{Caller, Json, Problem};

use super::Floor;
use crate::client::{Found, SearchEnd, SearchRequest};
use crate::grep::Search;
use crate::log::all_kept;

/// Lines that wait for a reader.
const LINES_MAX: usize = 256;
/// Lines found at most, and if nothing is said of it.
const FOUND_MAX: usize = 1_000_000;
const FOUND_DEFAULT: usize = 10_000;
/// Consoles that cannot be searched are named up to this number.
const NAMED_MAX: usize = 50;

pub(super) async fn search(
    State(floor): State<Floor>,
    caller: Caller,
    Json(request): Json<SearchRequest>,
) -> Result<Response, Problem> {
    let bad = |slug, detail: String| Problem::own(StatusCode::BAD_REQUEST, slug, detail);
    let since = request.since_s.map(|it| OffsetDateTime::now_utc() - std::time::Duration::from_secs(it));
    let search = Search::new(&request.pattern, request.ignore_case, since)
        .map_err(|it| bad("bad-pattern", format!("{:?} is no pattern: {it}", request.pattern)))?;
    let names = names(&floor, &request.nodes).map_err(|it| bad("bad-nodes", it))?;
    let Ok(permit) = Arc::clone(&floor.searches).try_acquire_owned() else {
        let detail = "other searches are under way; try again when they have ended";
        return Err(Problem::own(StatusCode::TOO_MANY_REQUESTS, "too-many-searches", detail));
    };
    web::deed(&caller, format_args!("search in the logs of {} consoles", names.len()));
    let (lines, found) = mpsc::channel(LINES_MAX);
    let settings = Arc::clone(floor.hub.logs.settings());
    let max = request.max.unwrap_or(FOUND_DEFAULT).min(FOUND_MAX);
    tokio::task::spawn_blocking(move || {
        let kept = all_kept(&settings);
        let mut end = SearchEnd::default();
        for name in names {
            let take = |line: &[u8]| {
                if end.found >= max {
                    end.more = true;
                    return false;
                }
                end.found += 1;
                let found = Found { node: name.clone(), line: String::from_utf8_lossy(line).into_owned() };
                // An error means that the reader has left.
                put(&lines, &found)
            };
            match search.look_through(&settings, &kept, &name, take) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) if end.failed.len() < NAMED_MAX => end.failed.push(format!("{name}: {error}")),
                Err(_) => {}
            }
        }
        put(&lines, &serde_json::json!({ "end": end }));
        drop(permit);
    });
    let stream = futures_util::stream::unfold(found, async |mut found| {
        let line = found.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(line), found))
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(stream)).into_response())
}

/// The consoles that a list names, by the names of their logs; an empty list names all.
fn names(floor: &Floor, list: &str) -> Result<Vec<String>, String> {
    if list.is_empty() {
        let mut names: Vec<String> = floor.hub.all().iter().map(|it| it.name()).collect();
        names.sort();
        return Ok(names);
    }
    let words = domain::expand(list).map_err(|it| it.to_string())?;
    let name = |word: String| {
        let node = floor.mirror.read(|it| it.find(&word, &floor.hub.pattern).map(|it| it.id.clone()));
        let console = node.as_ref().and_then(|it| floor.hub.find(it));
        // The log of a node that has left the inventory stays.
        let left = || crate::log::is_name(&word).then(|| word.clone());
        console.map(|it| it.name()).or_else(left).ok_or_else(|| format!("no node is called {word:?}"))
    };
    words.into_iter().map(name).collect()
}

/// Whether the line was taken.
fn put(lines: &mpsc::Sender<Bytes>, line: &impl serde::Serialize) -> bool {
    let Ok(mut text) = serde_json::to_vec(line) else { return true };
    text.push(b'\n');
    lines.blocking_send(text.into()).is_ok()
}
