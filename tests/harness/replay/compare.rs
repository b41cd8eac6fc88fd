//! When an answer is as recorded.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

use super::{Answered, Exchange};

const BLANK: &str = "<volatile>";

/// What differs, nothing if the answer is as recorded.
pub(super) fn differences(exchange: &Exchange, got: &Answered) -> Vec<String> {
    let want = &exchange.response;
    let mut found = Vec::new();
    if want.status != got.status {
        found.push(format!("status: want {} got {}", want.status, got.status));
    }
    match (canonical(&want.body, exchange), canonical(&got.body, exchange)) {
        (Ok(want), Ok(got)) => compare(&want, &got, "body", &mut found),
        (Err(error), _) | (_, Err(error)) => found.push(format!("mask: {error}")),
    }
    for (name, value) in want.headers.iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        let got =
            got.headers.as_ref().and_then(|it| it.get(name)).and_then(Value::as_str).unwrap_or_default();
        let alike = match name.as_str() {
            "content-type" => is_empty(&want.body) || media(got) == media(value),
            "allow" => words(got) == words(value),
            "location" | "www-authenticate" | "cache-control" => normal(got) == normal(value),
            _ => true,
        };
        if !alike {
            found.push(format!("header {name}: want {value:?} got {got:?}"));
        }
    }
    found
}

/// Host names, time stamps and the data source's host vary from place to place.
fn normal(text: &str) -> String {
    static RULES: LazyLock<[(Regex, &str); 3]> = LazyLock::new(|| {
        let rule = |pattern, to| (Regex::new(pattern).expect("a fixed pattern"), to);
        [
            rule(r"(https?)://[A-Za-z0-9.\-]+(:\d+)?", "$1://HOST"),
            rule(r"\bts=\d+", "ts=N"),
            rule(r"nocloud-net;s=[^\s/]+/", "nocloud-net;s=HOST/"),
        ]
    });
    let replaced =
        RULES.iter().fold(text.to_owned(), |text, (rule, to)| rule.replace_all(&text, *to).into_owned());
    replaced.trim_end_matches('\n').to_owned()
}

/// A body in the form that is compared: a text that is JSON as JSON, blanked as the exchange says.
fn canonical(body: &Value, exchange: &Exchange) -> Result<Value, regex::Error> {
    let mut document = match body {
        Value::String(text) if text.trim_start().starts_with(['{', '[']) => {
            serde_json::from_str(text).unwrap_or_else(|_| body.clone())
        }
        _ => body.clone(),
    };
    let unordered = |kind: &str| exchange.unordered.iter().any(|it| it == kind);
    if matches!(document, Value::String(_) | Value::Null) {
        let mut text = normal(document.as_str().unwrap_or_default());
        for mask in &exchange.mask {
            text = Regex::new(mask)?.replace_all(&text, BLANK).into_owned();
        }
        if unordered("lines") {
            let mut lines: Vec<&str> = text.split('\n').collect();
            lines.sort_unstable();
            text = lines.join("\n");
        }
        return Ok(Value::String(text));
    }
    for pointer in &exchange.volatile {
        drop_at(&mut document, &parts(pointer), false);
    }
    for pointer in &exchange.optional {
        drop_at(&mut document, &parts(pointer), true);
    }
    Ok(if unordered("**") { sorted(document) } else { document })
}

/// The parts of a JSON pointer (RFC 6901).
fn parts(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|it| it.replace("~1", "/").replace("~0", "~")).collect()
}

/// Blanks or takes out what a pointer leads to; `*` is every element or member.
fn drop_at(document: &mut Value, parts: &[String], remove: bool) {
    let Some((part, rest)) = parts.split_first() else { return };
    let every = part == "*";
    match document {
        Value::Array(all) => {
            let index = part.parse::<usize>().ok();
            let chosen = |it: usize| every || index == Some(it);
            if rest.is_empty() && remove {
                let mut at = 0;
                all.retain(|_| {
                    at += 1;
                    !chosen(at - 1)
                });
                return;
            }
            for (_, value) in all.iter_mut().enumerate().filter(|(it, _)| chosen(*it)) {
                blank_or_descend(value, rest, remove);
            }
        }
        Value::Object(all) => {
            if rest.is_empty() && remove {
                all.retain(|key, _| !every && key != part);
                return;
            }
            for (_, value) in all.iter_mut().filter(|(key, _)| every || *key == part) {
                blank_or_descend(value, rest, remove);
            }
        }
        _ => {}
    }
}

fn blank_or_descend(value: &mut Value, rest: &[String], remove: bool) {
    if rest.is_empty() {
        *value = Value::String(BLANK.to_owned());
    } else {
        drop_at(value, rest, remove);
    }
}

/// Every array in one order, members too, so that equal multisets are equal values.
fn sorted(value: Value) -> Value {
    match value {
        Value::Array(all) => {
            let mut all: Vec<Value> = all.into_iter().map(sorted).collect();
            all.sort_by_cached_key(Value::to_string);
            Value::Array(all)
        }
        Value::Object(all) => {
            let mut members: Vec<(String, Value)> =
                all.into_iter().map(|(key, it)| (key, sorted(it))).collect();
            members.sort_by(|(a, _), (b, _)| a.cmp(b));
            Value::Object(Map::from_iter(members))
        }
        value => value,
    }
}

fn compare(want: &Value, got: &Value, path: &str, found: &mut Vec<String>) {
    match (want, got) {
        (Value::Object(want), Value::Object(got)) => {
            let mut keys: Vec<&String> =
                want.keys().chain(got.keys().filter(|it| !want.contains_key(*it))).collect();
            keys.sort_unstable();
            for key in keys {
                match (want.get(key), got.get(key)) {
                    (Some(want), Some(got)) => compare(want, got, &format!("{path}/{key}"), found),
                    (Some(want), None) => found.push(format!("{path}/{key}: missing, want {}", short(want))),
                    (None, Some(got)) => found.push(format!("{path}/{key}: unexpected {}", short(got))),
                    (None, None) => {}
                }
            }
        }
        (Value::Array(want), Value::Array(got)) if want.len() != got.len() => {
            found.push(format!("{path}: want {} elements got {}", want.len(), got.len()));
        }
        (Value::Array(want), Value::Array(got)) => {
            for (index, (want, got)) in want.iter().zip(got).enumerate() {
                compare(want, got, &format!("{path}/{index}"), found);
            }
        }
        // 1 and 1.0 are the same number.
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => {}
        (want, got) if want == got => {}
        (want, got) => found.push(format!("{path}: want {} got {}", short(want), short(got))),
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    let mut start: String = text.chars().take(300).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    start
}

fn is_empty(body: &Value) -> bool {
    body.is_null() || body.as_str() == Some("")
}

fn media(text: &str) -> String {
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn words(text: &str) -> Vec<&str> {
    let mut words: Vec<&str> = text.split(',').map(str::trim).collect();
    words.sort_unstable();
    words
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::{Value, json};

    use super::differences;
    use crate::replay::{Answered, Exchange};

    fn judge(want: Value, got: &str, marks: &Value) -> usize {
        let mut line = json!({"id": "t", "request": {"method": "GET", "path": "/"}, "response": {"status": 200, "body": want}});
        for (key, value) in marks.as_object().unwrap() {
            line[key] = value.clone();
        }
        let exchange: Exchange = serde_json::from_value(line).unwrap();
        let got = Answered { status: 200, headers: None, body: Value::String(got.to_owned()) };
        differences(&exchange, &got).len()
    }

    #[test]
    fn an_answer_is_compared_as_marked() {
        let none = json!({});
        assert_eq!(judge(json!({"a": [1, 2]}), "{\"a\":[1.0,2]}\n", &none), 0);
        assert_eq!(judge(json!({"a": [1, 2]}), "{\"a\":[2,1]}", &none), 2);
        assert_eq!(judge(json!({"a": [1, 2]}), "{\"a\":[2,1]}", &json!({"unordered": ["**"]})), 0);
        assert_eq!(judge(json!({"a": [1, 2]}), "{\"a\":[2,1,1]}", &json!({"unordered": ["**"]})), 1);
        assert_eq!(judge(json!([{"t": 1}]), "[{\"t\":2}]", &json!({"volatile": ["/*/t"]})), 0);
        assert_eq!(judge(json!([{"t": 1}]), "[{}]", &json!({"volatile": ["/*/t"]})), 1);
        assert_eq!(judge(json!([{"t": 1, "b": 2}]), "[{\"b\":2}]", &json!({"optional": ["/*/t"]})), 0);
        assert_eq!(judge(json!(null), "", &none), 0);
        assert_eq!(judge(json!("chain https://a.b:1/x?ts=1\n"), "chain https://127.0.0.1/x?ts=22", &none), 0);
        assert_eq!(judge(json!("chain https://a/x"), "chain http://a/x", &none), 1);
        assert_eq!(
            judge(json!("s=nocloud-net;s=localhost/ x"), "s=nocloud-net;s=127.0.0.1:8081/ x", &none),
            0
        );
        assert_eq!(
            judge(
                json!("id i-0123\nb"),
                "b\nid i-4567",
                &json!({"mask": ["i-[0-9]{4}"], "unordered": ["lines"]})
            ),
            0
        );
        assert_eq!(judge(json!({"a": 1}), "not JSON", &none), 1);
    }
}
