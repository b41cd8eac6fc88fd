//! Recorded exchanges against a router, as uid 0. Lines of other services and those marked `quirk` are not
//! compared; cloud-init's tests use this file too. The whole head is replayed by the package `tests`.

use std::path::Path;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use http_body_util::BodyExt;
use regex::Regex;
use serde_json::Value;
use tower::ServiceExt;
use web::Peer;

/// Replays the lines whose path `ours` takes; gives back how many were compared.
pub(crate) async fn replay(router: &Router, file: &str, ours: fn(&str) -> bool) -> usize {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    let (mut compared, mut found) = (0, Vec::new());
    for line in text.lines() {
        let exchange: Value = serde_json::from_str(line).unwrap();
        let sent = &exchange["request"];
        if !ours(sent["path"].as_str().unwrap()) {
            continue;
        }
        let (status, headers, body) = send(router, sent).await;
        if exchange.get("quirk").is_some() {
            continue;
        }
        compared += 1;
        let differences = differences(&exchange, status, &headers, body);
        if !differences.is_empty() {
            found.push(format!(
                "{} {} {}\n  {}",
                exchange["id"],
                sent["method"],
                sent["path"],
                differences.join("\n  ")
            ));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    compared
}

async fn send(router: &Router, sent: &Value) -> (u16, HeaderMap, String) {
    let mut request =
        Request::builder().method(sent["method"].as_str().unwrap()).uri(sent["path"].as_str().unwrap());
    for (name, value) in sent["headers"].as_object().unwrap() {
        request = request.header(name, value.as_str().unwrap());
    }
    let body = match &sent["body"] {
        Value::Null => Body::empty(),
        Value::String(text) => text.clone().into(),
        other => other.to_string().into(),
    };
    let request = request.extension(Peer::of_uid(0)).body(body).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, headers, String::from_utf8(body.into()).unwrap())
}

fn differences(exchange: &Value, status: u16, headers: &HeaderMap, body: String) -> Vec<String> {
    let want = &exchange["response"];
    let mut found = Vec::new();
    if want["status"] != status {
        found.push(format!("status: want {} got {status}", want["status"]));
    }
    let (wanted, got) = (canonical(&want["body"], exchange), canonical(&Value::String(body), exchange));
    if wanted != got {
        found.push(format!("body: want {wanted}\n        got {got}"));
    }
    for (name, value) in want["headers"].as_object().unwrap() {
        let value = value.as_str().unwrap();
        let got = headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default();
        let media = |it: &str| it.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let alike = match name.as_str() {
            "content-type" => want["body"].is_null() || media(value) == media(got),
            "allow" | "location" | "cache-control" => value == got,
            _ => true,
        };
        if !alike {
            found.push(format!("{name}: want {value:?} got {got:?}"));
        }
    }
    found
}

fn canonical(body: &Value, exchange: &Value) -> Value {
    let mut value = match body {
        Value::String(text) if text.trim_start().starts_with(['{', '[']) => {
            serde_json::from_str(text).unwrap_or_else(|_| body.clone())
        }
        _ => body.clone(),
    };
    let texts = |key: &str| -> Vec<String> {
        let list = exchange.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        list.iter().map(|it| it.as_str().unwrap().to_owned()).collect()
    };
    if value.is_null() {
        value = "".into();
    }
    if let Value::String(text) = &value {
        let mut text = text.clone();
        for (pattern, to) in [
            (r"(https?)://[A-Za-z0-9.\-]+(:\d+)?", "$1://HOST"),
            (r"\bts=\d+", "ts=N"),
            (r"nocloud-net;s=[^\s/]+/", "nocloud-net;s=HOST/"),
        ] {
            text = Regex::new(pattern).unwrap().replace_all(&text, to).into_owned();
        }
        for pattern in texts("mask") {
            text = Regex::new(&pattern).unwrap().replace_all(&text, "<volatile>").into_owned();
        }
        return text.trim_end_matches('\n').into();
    }
    for (key, removes) in [("volatile", false), ("optional", true)] {
        for pointer in texts(key) {
            let parts: Vec<&str> = pointer.split('/').skip(1).collect();
            drop_at(&mut value, &parts, removes);
        }
    }
    if texts("unordered").iter().any(|it| it == "**") {
        sort(&mut value);
    }
    value
}

fn drop_at(value: &mut Value, parts: &[&str], removes: bool) {
    let Some((first, rest)) = parts.split_first() else { return };
    if let Value::Array(elements) = value {
        let index = first.parse::<usize>();
        let chosen = elements.iter_mut().enumerate().filter(|(at, _)| *first == "*" || index == Ok(*at));
        chosen
            .for_each(|(_, it)| if rest.is_empty() { *it = Value::Null } else { drop_at(it, rest, removes) });
    } else if let Value::Object(members) = value {
        if rest.is_empty() && removes {
            members.remove(*first);
        } else if let Some(member) = members.get_mut(*first) {
            if rest.is_empty() { *member = Value::Null } else { drop_at(member, rest, removes) }
        }
    }
}

fn sort(value: &mut Value) {
    match value {
        Value::Array(elements) => {
            elements.iter_mut().for_each(sort);
            elements.sort_by_key(ToString::to_string);
        }
        Value::Object(members) => {
            members.sort_keys();
            members.values_mut().for_each(sort);
        }
        _ => {}
    }
}
