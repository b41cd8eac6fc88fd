//! The heads of answers that are files.

use super::Ask;
use crate::floor::Found;
use crate::model::{Plan, Span, http_date};
use crate::wire::Head;

/// What stands between the parts of multipart/byteranges; nothing for one part.
pub(super) struct Parts {
    pub(super) before: Vec<String>,
    pub(super) after: String,
}

/// Writes the head of an answer that brings bytes.
pub(super) fn begin(out: &mut Vec<u8>, planned: &Plan, spans: &[Span], found: &Found, ask: &Ask) -> Parts {
    let whole = found.opened.known.length;
    let range = |it: &Span| format!("bytes {}-{}/{whole}", it.first, it.last);
    let status = if *planned == Plan::Whole { 200 } else { 206 };
    let mut head = Head::begin(out, status);
    let mut parts = Parts { before: Vec::new(), after: String::new() };
    let mut length: u64 = spans.iter().map(|it| it.length()).sum();
    if spans.len() > 1 {
        // A boundary that a file holds by chance is as likely as two equal digests.
        let boundary = uuid::Uuid::new_v4().simple().to_string();
        let before = |it: &Span| {
            format!(
                "\r\n--{boundary}\r\ncontent-type: application/octet-stream\r\ncontent-range: {}\r\n\r\n",
                range(it)
            )
        };
        parts.before = spans.iter().map(before).collect();
        parts.after = format!("\r\n--{boundary}--\r\n");
        length += (parts.before.iter().map(String::len).sum::<usize>() + parts.after.len()) as u64;
        head.field("content-type", format_args!("multipart/byteranges; boundary={boundary}"));
    } else {
        head.field("content-type", "application/octet-stream");
        if let (206, Some(span)) = (status, spans.first()) {
            head.field("content-range", range(span));
        }
    }
    describe(&mut head, found).field("content-length", length).end(ask.keeps, ask.is_old);
    parts
}

/// Adds what the file is known by.
pub(super) fn describe<'h, 'o>(head: &'h mut Head<'o>, found: &Found) -> &'h mut Head<'o> {
    let known = &found.opened.known;
    if let Some(tag) = known.tags.first() {
        head.field("etag", tag);
    }
    head.field("last-modified", http_date(known.modified)).field("accept-ranges", "bytes")
}
