//! YAML as Go's yaml.v2 writes it (recordings `cloud-init-legacy-017`, `-058`): block style, keys in natural
//! order, sequences not indented, strings quoted where YAML 1.1 would read something else, long ones folded.

use std::cmp::Ordering;
use std::iter::Peekable;
use std::str::Chars;

use serde_json::{Map, Number, Value};

use crate::model::Part;

/// A text on one line goes on in the next one at the first blank after this column.
const WIDTH: usize = 80;

/// A document that is one map.
pub(crate) fn to_yaml(part: &Part) -> String {
    let mut members: Vec<(&String, &Value)> = part.iter().collect();
    members.sort_by(|(a, _), (b, _)| natural(a, b));
    let members = members.into_iter().map(|(key, value)| (key.clone(), sorted(value.clone())));
    to_yaml_in_order(&members.collect())
}

/// A document that is one map, each map in its own order.
pub(crate) fn to_yaml_in_order(members: &Map<String, Value>) -> String {
    let mut out = String::new();
    if members.is_empty() {
        return "{}\n".to_owned();
    }
    write_map(&mut out, members, 0);
    out
}

/// The value with the keys of each of its maps in natural order.
pub(crate) fn sorted(value: Value) -> Value {
    match value {
        Value::Array(elements) => elements.into_iter().map(sorted).collect(),
        Value::Object(members) => {
            let mut members: Vec<(String, Value)> = members.into_iter().collect();
            members.sort_by(|(a, _), (b, _)| natural(a, b));
            Value::Object(members.into_iter().map(|(key, value)| (key, sorted(value))).collect())
        }
        other => other,
    }
}

/// Writes a map that is not empty; the first line's indent is there already.
fn write_map(out: &mut String, members: &Map<String, Value>, indent: usize) {
    for (index, (key, value)) in members.iter().enumerate() {
        if index > 0 {
            push_indent(out, indent);
        }
        out.push_str(&word(key));
        out.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                push_indent(out, indent + 2);
                write_map(out, inner, indent + 2);
            }
            Value::Array(inner) if !inner.is_empty() => {
                out.push('\n');
                push_indent(out, indent);
                write_sequence(out, inner, indent);
            }
            scalar => {
                out.push(' ');
                write_scalar(out, scalar, indent + 2);
            }
        }
    }
}

/// Writes a sequence that is not empty; the first line's indent is there already.
fn write_sequence(out: &mut String, elements: &[Value], indent: usize) {
    for (index, value) in elements.iter().enumerate() {
        if index > 0 {
            push_indent(out, indent);
        }
        out.push_str("- ");
        match value {
            Value::Object(inner) if !inner.is_empty() => write_map(out, inner, indent + 2),
            Value::Array(inner) if !inner.is_empty() => write_sequence(out, inner, indent + 2),
            scalar => write_scalar(out, scalar, indent + 2),
        }
    }
}

/// Writes a value that is no collection, or an empty one, and ends the line.
fn write_scalar(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(it) => out.push_str(if *it { "true" } else { "false" }),
        Value::Number(it) => out.push_str(&number(it)),
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
        Value::String(text) if text.contains('\n') && is_literal(text) => {
            return write_literal(out, text, indent);
        }
        Value::String(text) => {
            let word = word(text);
            let before = out.rfind('\n').map_or(out.as_str(), |it| &out[it + 1..]).chars().count();
            if before + word.len() > WIDTH { fold(out, &word, before, indent) } else { out.push_str(&word) }
        }
    }
    out.push('\n');
}

/// Writes a text on one line, quoted where it must be, over as many lines as it takes: at a single blank
/// beyond the width the line is broken, which every reader turns into a blank again (YAML 1.1, section 9.1).
fn fold(out: &mut String, word: &str, mut column: usize, indent: usize) {
    let quote = word.chars().next().filter(|it| matches!(it, '"' | '\''));
    let last = word.chars().count() - 1;
    let mut before = None;
    let mut rest = word.chars().enumerate().peekable();
    while let Some((at, it)) = rest.next() {
        let next = rest.peek().map(|it| it.1);
        // A blank next to a quote has to stay where it is.
        let inner = quote.is_none() || (at > 1 && at + 1 < last);
        let single = next != Some(' ') || quote == Some('"');
        if it == ' ' && before != Some(' ') && column > WIDTH && inner && single {
            out.push('\n');
            push_indent(out, indent);
            column = indent;
            if next == Some(' ') {
                out.push('\\');
                column += 1;
            }
        } else {
            out.push(it);
            column += 1;
        }
        before = Some(it);
    }
}

fn push_indent(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// Integers stay integers (the original makes floats of large ones); a float has the point and the sign of
/// its exponent, without which YAML 1.1 reads a string.
fn number(number: &Number) -> String {
    let text = number.to_string();
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else { return text };
    let point = if mantissa.contains('.') { "" } else { ".0" };
    let sign = if exponent.starts_with(['-', '+']) { "" } else { "+" };
    format!("{mantissa}{point}e{sign}{exponent}")
}

/// Whether a text of several lines comes back whole from a literal block.
fn is_literal(text: &str) -> bool {
    !text.contains(is_special) && !text.contains(" \n") && !text.ends_with(' ')
}

/// A literal block: `|`, the indent if the text begins with blanks or breaks, `-` or `+` for how it ends.
fn write_literal(out: &mut String, text: &str, indent: usize) {
    out.push('|');
    if text.starts_with([' ', '\n']) {
        out.push('2');
    }
    if !text.ends_with('\n') {
        out.push('-');
    } else if text == "\n" || text.ends_with("\n\n") {
        out.push('+');
    }
    out.push('\n');
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        if !line.is_empty() {
            push_indent(out, indent);
            out.push_str(line);
        }
        out.push('\n');
    }
}

/// A string on one line: as it is, in single quotes, or in double quotes.
fn word(text: &str) -> String {
    if reads_otherwise(text) || text.contains(is_special) || text.contains('\n') {
        return double_quoted(text);
    }
    if is_plain(text) { text.to_owned() } else { format!("'{}'", text.replace('\'', "''")) }
}

/// Characters that only double quotes can hold. Line breaks other than LF are among them: readers turn those
/// into LF.
fn is_special(it: char) -> bool {
    (it.is_control() && it != '\n')
        || matches!(it, '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}')
}

/// Whether a text without line breaks can stand without quotes (YAML 1.1, section 9.1.3, as libyaml reads
/// it).
fn is_plain(text: &str) -> bool {
    let blank_or_end = |it: Option<char>| it.is_none_or(|it| it == ' ');
    if text.starts_with(' ') || text.ends_with(' ') || text.starts_with("---") || text.starts_with("...") {
        return false;
    }
    let mut before = ' ';
    let mut rest = text.chars();
    let mut first = true;
    while let Some(it) = rest.next() {
        let next = rest.clone().next();
        let indicator = match it {
            '#' if first || before == ' ' => true,
            ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' => first,
            '?' | '-' if first => blank_or_end(next),
            ':' => blank_or_end(next),
            _ => false,
        };
        if indicator {
            return false;
        }
        (before, first) = (it, false);
    }
    true
}

fn double_quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for it in text.chars() {
        match it {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\0' => out.push_str("\\0"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            '\u{1b}' => out.push_str("\\e"),
            '\u{85}' => out.push_str("\\N"),
            '\u{2028}' => out.push_str("\\L"),
            '\u{2029}' => out.push_str("\\P"),
            it if is_special(it) && u32::from(it) <= 0xff => {
                out.push_str(&format!("\\x{:02X}", u32::from(it)))
            }
            it if is_special(it) => out.push_str(&format!("\\u{:04X}", u32::from(it))),
            it => out.push(it),
        }
    }
    out.push('"');
    out
}

/// Whether YAML 1.1 reads this text as something else than a string: null, a boolean, a number, a time, a
/// merge.
fn reads_otherwise(text: &str) -> bool {
    const WORDS: [&str; 10] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "~"];
    let cased = |word: &str| {
        let mut letters = text.chars();
        let head = letters.next().is_some_and(char::is_uppercase);
        let tail = letters.as_str();
        let title = head && text.eq_ignore_ascii_case(word) && tail == tail.to_lowercase();
        text == word || text == word.to_uppercase() || title
    };
    text.is_empty()
        || matches!(text, "<<" | "=")
        || WORDS.into_iter().any(cased)
        || is_number(text)
        || is_time(text)
}

fn is_number(text: &str) -> bool {
    let text = text.replace('_', "");
    let text = text.strip_prefix(['-', '+']).unwrap_or(&text);
    if matches!(text, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let all = |text: &str, fits: fn(&u8) -> bool| !text.is_empty() && text.as_bytes().iter().all(fits);
    for (prefix, fits) in [
        ("0x", u8::is_ascii_hexdigit as fn(&u8) -> bool),
        ("0X", u8::is_ascii_hexdigit),
        ("0o", u8::is_ascii_digit),
        ("0b", |it| matches!(it, b'0' | b'1')),
    ] {
        if text.strip_prefix(prefix).is_some_and(|it| all(it, fits)) {
            return true;
        }
    }
    let mut rest = text.chars().peekable();
    let whole = digits(&mut rest);
    // Base 60: 12:30, 1:02:03.4.
    if whole > 0 && rest.peek() == Some(&':') {
        let mut parts: Vec<&str> = text.split(':').skip(1).collect();
        let last = parts.pop().unwrap_or_default();
        let short = |it: &str| all(it, u8::is_ascii_digit) && it.len() <= 2;
        let (seconds, fraction) = last.split_once('.').unwrap_or((last, "0"));
        return parts.into_iter().all(short)
            && short(seconds)
            && fraction.bytes().all(|it| it.is_ascii_digit());
    }
    let fraction = rest.next_if_eq(&'.').map(|_| digits(&mut rest));
    if whole == 0 && fraction.unwrap_or(0) == 0 {
        return false;
    }
    if rest.next_if(|it| matches!(it, 'e' | 'E')).is_some() {
        rest.next_if(|it| matches!(it, '-' | '+'));
        return digits(&mut rest) > 0 && rest.next().is_none();
    }
    rest.next().is_none()
}

fn digits(rest: &mut Peekable<Chars<'_>>) -> usize {
    std::iter::from_fn(|| rest.next_if(char::is_ascii_digit)).count()
}

/// `2024-01-01`, alone or before a time of day.
fn is_time(text: &str) -> bool {
    let mut rest = text.chars().peekable();
    let year = digits(&mut rest) == 4 && rest.next() == Some('-');
    let month = year && (1..=2).contains(&digits(&mut rest)) && rest.next() == Some('-');
    month
        && (1..=2).contains(&digits(&mut rest))
        && rest.next().is_none_or(|it| matches!(it, 'T' | 't' | ' '))
}

/// Natural order: numbers by value, everything else before letters.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.chars().peekable(), b.chars().peekable());
    loop {
        match (a.peek().copied(), b.peek().copied()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(x), Some(y)) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let (x, y) = (take_number(&mut a), take_number(&mut b));
                let order = x.len().cmp(&y.len()).then_with(|| x.cmp(&y));
                if order != Ordering::Equal {
                    return order;
                }
            }
            (Some(x), Some(y)) if x == y => {
                a.next();
                b.next();
            }
            (Some(x), Some(y)) => {
                return x.is_alphabetic().cmp(&y.is_alphabetic()).then_with(|| x.cmp(&y));
            }
        }
    }
}

/// The digits of a number, without zeros before it.
fn take_number(rest: &mut Peekable<Chars<'_>>) -> String {
    let digits: String = std::iter::from_fn(|| rest.next_if(char::is_ascii_digit)).collect();
    digits.trim_start_matches('0').to_owned()
}

#[cfg(test)]
mod tests;
