//! YAML as the ecosystem's tools print it: four columns an indent, lists indented below their key, and every
//! word in quotes that some reader would take for something other than text.

use serde_json::{Map, Value};

/// A document, members in the order they have.
pub(super) fn write(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(members) if !members.is_empty() => mapping(&mut text, members, 0),
        Value::Array(items) if !items.is_empty() => sequence(&mut text, items, 0),
        other => {
            scalar(&mut text, other, 0);
            text.push('\n');
        }
    }
    text
}

/// The next stop of four columns.
const fn deeper(indent: usize) -> usize {
    (indent + 4) / 4 * 4
}

fn mapping(text: &mut String, members: &Map<String, Value>, indent: usize) {
    for (index, (name, value)) in members.iter().enumerate() {
        if index > 0 {
            pad(text, indent);
        }
        key(text, name);
        text.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                text.push('\n');
                pad(text, deeper(indent));
                mapping(text, inner, deeper(indent));
            }
            Value::Array(items) if !items.is_empty() => {
                text.push('\n');
                pad(text, deeper(indent));
                sequence(text, items, deeper(indent));
            }
            other => {
                text.push(' ');
                scalar(text, other, indent);
                text.push('\n');
            }
        }
    }
}

fn sequence(text: &mut String, items: &[Value], indent: usize) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            pad(text, indent);
        }
        text.push_str("- ");
        match item {
            Value::Object(members) if !members.is_empty() => mapping(text, members, indent + 2),
            Value::Array(inner) if !inner.is_empty() => sequence(text, inner, indent + 2),
            other => {
                scalar(text, other, indent);
                text.push('\n');
            }
        }
    }
}

fn pad(text: &mut String, indent: usize) {
    text.extend(std::iter::repeat_n(' ', indent));
}

fn key(text: &mut String, name: &str) {
    if name.contains('\n') { double(text, name) } else { words(text, name) }
}

fn scalar(text: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(_) => text.push_str("{}"),
        Value::Array(_) => text.push_str("[]"),
        Value::String(words_) if words_.contains('\n') => lines(text, words_, indent),
        Value::String(words_) => words(text, words_),
        other => text.push_str(&other.to_string()),
    }
}

/// Text of more than one line.
fn lines(text: &mut String, value: &str, indent: usize) {
    let unfit = |it: &str| it.ends_with(' ') || it.chars().any(|it| it.is_control() && it != '\t');
    if value.lines().any(unfit) || value.trim().is_empty() {
        return double(text, value);
    }
    text.push('|');
    if value.starts_with([' ', '\n']) {
        text.push_str(&(deeper(indent) - indent).to_string());
    }
    match value.strip_suffix('\n') {
        None => text.push('-'),
        Some(rest) if rest.ends_with('\n') => text.push('+'),
        Some(_) => {}
    }
    let body = value.strip_suffix('\n').unwrap_or(value);
    for line in body.split('\n') {
        text.push('\n');
        if !line.is_empty() {
            pad(text, deeper(indent));
            text.push_str(line);
        }
    }
}

/// Text of one line.
fn words(text: &mut String, value: &str) {
    if value.chars().any(|it| it.is_control() && it != '\t') || is_other_than_text(value) {
        double(text, value);
    } else if !is_plain(value) {
        text.push('\'');
        text.push_str(&value.replace('\'', "''"));
        text.push('\'');
    } else {
        text.push_str(value);
    }
}

fn double(text: &mut String, value: &str) {
    text.push('"');
    for letter in value.chars() {
        match letter {
            '"' | '\\' => text.extend(['\\', letter]),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\r' => text.push_str("\\r"),
            it if it.is_control() => text.push_str(&format!("\\x{:02x}", it as u32)),
            it => text.push(it),
        }
    }
    text.push('"');
}

/// Whether no sign in it means something in a block of YAML.
fn is_plain(value: &str) -> bool {
    let first = value.chars().next();
    let second_is_space = value.chars().nth(1).is_none_or(char::is_whitespace);
    let starts_badly = match first {
        None => true,
        Some('-' | '?' | ':') => second_is_space,
        Some(it) => "#,[]{}&*!|>'\"%@`".contains(it) || it.is_whitespace(),
    };
    !(starts_badly
        || value.ends_with([' ', '\t', ':'])
        || value.contains(": ")
        || value.contains(" #")
        || value.contains('\t')
        || value.starts_with("---")
        || value.starts_with("..."))
}

/// Whether some reader takes it for null, a truth, a number, a time.
fn is_other_than_text(value: &str) -> bool {
    const WORDS: [&str; 14] =
        ["", "~", "null", "true", "false", "y", "yes", "on", "n", "no", "off", ".nan", ".inf", "<<"];
    let lower = value.to_ascii_lowercase();
    let cased = value == lower || value == lower.to_ascii_uppercase() || {
        let mut letters = value.chars();
        letters.next().is_some_and(char::is_uppercase) && letters.all(|it| !it.is_uppercase())
    };
    (cased && WORDS.contains(&lower.as_str())) || is_number(value) || is_sexagesimal(value) || is_date(value)
}

fn is_number(value: &str) -> bool {
    let plain = value.replace('_', "");
    let digits = plain.strip_prefix(['-', '+']).unwrap_or(&plain);
    let radix = |prefix: &str, radix| {
        digits.strip_prefix(prefix).is_some_and(|it| u64::from_str_radix(it, radix).is_ok())
    };
    digits.starts_with(|it: char| it.is_ascii_digit() || it == '.')
        && (digits.parse::<f64>().is_ok() || radix("0x", 16) || radix("0o", 8) || radix("0b", 2))
}

/// Numbers to the base of sixty, which some MAC addresses look like.
fn is_sexagesimal(value: &str) -> bool {
    let mut parts = value.strip_prefix(['-', '+']).unwrap_or(value).split(':');
    let digits = |it: &str| !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit() || it == b'_');
    value.contains(':')
        && parts.next().is_some_and(|it| digits(it) && !it.starts_with('_'))
        && parts.all(|it| {
            let it = it.split('.').next().unwrap_or_default();
            digits(it) && it.len() <= 2 && it.parse::<u8>().is_ok_and(|it| it < 60)
        })
}

fn is_date(value: &str) -> bool {
    let bytes = value.as_bytes();
    let digits =
        |range: std::ops::Range<usize>| bytes.get(range).is_some_and(|it| it.iter().all(u8::is_ascii_digit));
    let date = digits(0..4) && bytes.get(4) == Some(&b'-') && digits(5..7) && bytes.get(7) == Some(&b'-');
    date && digits(8..10) && matches!(bytes.get(10), None | Some(b'T' | b't' | b' '))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    #[test]
    fn a_document_is_laid_out_as_the_bootcamp_shows_it() {
        let value = json!({"log": {"format": "basic"}, "clusters": [
            {"name": "demo", "cluster": {"base-uri": "https://demo:8443", "smd": {"uri": "/hsm"}}},
        ], "none": [], "nothing": {}});
        assert_eq!(
            super::write(&value),
            "log:\n    format: basic\nclusters:\n    - name: demo\n      cluster:\n        \
             base-uri: https://demo:8443\n        smd:\n            uri: /hsm\nnone: []\nnothing: {}\n"
        );
    }

    #[test]
    fn whatever_it_writes_reads_as_it_was() {
        for text in [
            "On",
            "true",
            "no",
            "NULL",
            "1",
            "0x1f",
            "1e3",
            "52:54:00:10:00:01",
            "ec:e7:a7:05:a1:fc",
            "- a",
            "a: b",
            "a #b",
            "#a",
            "'a",
            "\"",
            "",
            " a",
            "a ",
            "2026-11-22",
            "2026-11-22T11:19:39Z",
            "a\nb",
            "a\nb\n",
            "a\n\n",
            " a\nb",
            "\n",
            "a \nb",
            "a\tb",
            "x\u{1b}y",
            "%a",
            "@a",
            "é",
            "a:",
            "---",
            "*a",
            "{a}",
            "a,b",
            "172.16.0.1",
        ] {
            for value in [json!(text), json!({"a": [{"b": text, "c": 1}]}), json!([[text]])] {
                let written = super::write(&value);
                let read: Value =
                    serde_saphyr::from_str(&written).unwrap_or_else(|it| panic!("{written:?}: {it}"));
                assert_eq!(read, value, "{written}");
            }
        }
    }
}
