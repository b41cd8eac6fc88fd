//! Reading every blob anew, with word of how far it is.

use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use daemon::{Issue, Severity};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;
use web::Query;

use super::Shared;
use crate::catalog::{File, Reference};
use crate::client::Verified;
use crate::digest::digest_of;
use crate::error::Error;
use crate::floor::Floor;

/// Lines that wait for their reader; the reading waits with them.
const LINES: usize = 16;
/// A line for each so many bytes.
const LINE_EVERY: u64 = 64 << 20;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Asked {
    reference: Option<String>,
}

/// Lines of [`Verified`].
pub(super) async fn verify(State(floor): Shared, Query(asked): Query<Asked>) -> Result<Response, Error> {
    let reference = match &asked.reference {
        Some(text) => Some(Reference::parse(text).ok_or_else(|| Error::BadReference(text.clone()))?),
        None => None,
    };
    let files: Vec<(File, Vec<String>)> =
        floor.catalog.read(|it| it.files(reference.as_ref())).into_values().collect();
    if files.is_empty()
        && let Some(text) = asked.reference
    {
        return Err(Error::NoImage(text));
    }
    let (sender, lines) = mpsc::channel(LINES);
    tokio::task::spawn_blocking(move || read_all(&floor, &files, &sender));
    let lines = futures_util::stream::unfold(lines, |mut lines| async move {
        let line: Bytes = lines.recv().await?;
        Some((io::Result::Ok(line), lines))
    });
    let kind = [(axum::http::header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, Body::from_stream(lines)).into_response())
}

/// Reads them one after the other; ends when nobody listens any more.
fn read_all(floor: &Arc<Floor>, files: &[(File, Vec<String>)], lines: &mpsc::Sender<Bytes>) {
    let all = files.iter().map(|it| it.0.bytes).sum();
    let mut before = 0;
    for (file, images) in files {
        let mut told = 0;
        let line = |done, sound: Option<bool>, reason: Option<String>| {
            let digest = format!("sha256:{}", file.digest);
            let line = Verified { digest, done, all, sound, reason, images: images.clone() };
            let Ok(mut text) = serde_json::to_vec(&line) else { return false };
            text.push(b'\n');
            lines.blocking_send(text.into()).is_ok()
        };
        let read = floor.blobs.open(&file.digest).and_then(|opened| {
            digest_of(&opened.file, |at| {
                if at < told + LINE_EVERY {
                    return !lines.is_closed();
                }
                told = at;
                line(before + at, None, None)
            })
        });
        let reason = match read {
            Ok((digest, _)) if digest == file.digest => None,
            Ok((digest, _)) => Some(format!("its content has the digest sha256:{digest}")),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return,
            Err(error) => Some(format!("it cannot be read: {error}")),
        };
        note(floor, file, images, reason.as_deref());
        before += file.bytes;
        if !line(before, Some(reason.is_none()), reason) {
            return;
        }
    }
}

/// The name of the health issue of a blob.
pub(super) fn issue_of(digest: &str) -> String {
    format!("image-damaged/{digest}")
}

fn note(floor: &Floor, file: &File, images: &[String], reason: Option<&str>) {
    let (issues, digest) = (floor.context.issues(), &file.digest);
    let Some(reason) = reason else { return issues.clear(&issue_of(digest)) };
    let summary = format!("a file of {} is damaged: {reason}", images.join(", "));
    daemon::event!(domain::event::IMAGE_DAMAGED, "{summary} (sha256:{digest})");
    issues.raise(Issue {
        id: issue_of(digest),
        kind: "image-damaged".to_owned(),
        context: json!({"digest": format!("sha256:{digest}"), "images": images}),
        severity: Severity::Error,
        since: String::new(),
        summary,
        suggestion: "import the image again, which puts a sound file in its place, and look at the disk"
            .to_owned(),
        fix: None,
        message_id: domain::event::IMAGE_DAMAGED.id.to_owned(),
    });
}
