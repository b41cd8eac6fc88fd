//! Entries of the journal as `journalctl --output=json` prints them: the audit's own, and sshd's log-ins. Fields that
//! begin with `_` are the journal's word on who wrote an entry; nothing else of it is believed (systemd.journal-fields(7)).

use std::net::IpAddr;

use domain::Service;
use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::model::Deed;

/// The longest text of a part; what comes from the network is cut there.
const PART_MAX: usize = 256;
/// And of what was done, which may name nodes.
const WHAT_MAX: usize = 2048;
/// The supervisor and the set-up have uids of their own (INTERFACES 8).
const SUPERVISOR: u32 = 800;
const FIRSTBOOT: u32 = 831;

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Where it stands.
    pub(crate) cursor: String,
    /// What somebody did, if that is what it tells.
    pub(crate) deed: Option<Deed>,
}

/// Reads a line; none: it is no entry.
pub(crate) fn read(line: &[u8]) -> Option<Entry> {
    let fields: Map<String, Value> = serde_json::from_slice(line).ok()?;
    let cursor = text(&fields, "__CURSOR")?;
    Some(Entry { cursor, deed: deed(&fields) })
}

fn deed(fields: &Map<String, Value>) -> Option<Deed> {
    let micros: i128 = text(fields, "__REALTIME_TIMESTAMP")?.parse().ok()?;
    let time = OffsetDateTime::from_unix_timestamp_nanos(micros.checked_mul(1000)?).ok()?;
    let uid: u32 = text(fields, "_UID")?.parse().ok()?;
    let message = text(fields, "MESSAGE").unwrap_or_default();
    let is_sshd = text(fields, "_COMM").is_some_and(|it| it == "sshd" || it == "sshd-session");
    let deed = if text(fields, "PILOTHOUSE_AUDIT").is_some_and(|it| it == "1") {
        let part = |name| text(fields, name).filter(|it| !it.is_empty());
        let known = |name| part(name).unwrap_or_else(|| "unknown".to_owned());
        Deed {
            time,
            source: source(uid, fields)?,
            actor: known("PILOTHOUSE_ACTOR"),
            whence: known("PILOTHOUSE_WHENCE"),
            what: message,
            result: known("PILOTHOUSE_RESULT"),
            node: part("PILOTHOUSE_NODE").map(|it| cut(&it, PART_MAX)),
        }
    } else if is_sshd && uid == 0 {
        log_in(time, &message)?
    } else {
        return None;
    };
    Some(Deed {
        source: cut(&deed.source, PART_MAX),
        actor: cut(&deed.actor, PART_MAX),
        whence: cut(&deed.whence, PART_MAX),
        what: cut(&deed.what, WHAT_MAX),
        result: cut(&deed.result, PART_MAX),
        ..deed
    })
}

/// Who of the head may write audit records; whoever else writes one is not believed.
fn source(uid: u32, fields: &Map<String, Value>) -> Option<String> {
    match uid {
        SUPERVISOR => Some("supervisor".to_owned()),
        FIRSTBOOT => Some("firstboot".to_owned()),
        0 => {
            let named = text(fields, "SYSLOG_IDENTIFIER");
            let named = named.as_deref().and_then(|it| it.strip_prefix("pilothouse-"));
            Some(named.unwrap_or("root").to_owned())
        }
        other => Service::of_uid(other).map(|it| it.name().to_owned()),
    }
}

/// A field's text; one that is no UTF-8 comes as numbers, one that is written twice as a list.
fn text(fields: &Map<String, Value>, name: &str) -> Option<String> {
    fn of(value: &Value) -> Option<String> {
        match value {
            Value::String(text) => Some(text.clone()),
            Value::Array(items) => match items.first()? {
                Value::Number(_) => {
                    let bytes = items.iter().map(|it| u8::try_from(it.as_u64()?).ok());
                    Some(String::from_utf8_lossy(&bytes.collect::<Option<Vec<_>>>()?).into_owned())
                }
                Value::String(text) => Some(text.clone()),
                _ => None,
            },
            _ => None,
        }
    }
    of(fields.get(name)?)
}

/// One line that PostgreSQL can hold.
fn cut(text: &str, most: usize) -> String {
    text.chars().map(|it| if it.is_control() { ' ' } else { it }).take(most).collect()
}

/// What OpenSSH's server says of a log-in, and PAM of its end.
fn log_in(time: OffsetDateTime, message: &str) -> Option<Deed> {
    let deed = |actor: &str, whence: &str, what: String, result: &str| {
        let [source, actor, whence, result] = ["ssh", actor, whence, result].map(str::to_owned);
        Some(Deed { time, source, actor, whence, what, result, node: None })
    };
    for (word, result) in [("Accepted ", "ok"), ("Failed ", "refused")] {
        let Some(rest) = message.strip_prefix(word) else { continue };
        let (method, rest) = rest.split_once(" for ")?;
        let (user, address, rest) = place(rest, " from ")?;
        let user = user.strip_prefix("invalid user ").unwrap_or(user);
        let key = rest.split_once(": ").map(|it| format!(", {}", it.1)).unwrap_or_default();
        return deed(user, address, format!("log-in by {method}{key}"), result);
    }
    for word in ["authenticating user ", "invalid user "] {
        for how in ["Connection closed by ", "Connection reset by ", "Disconnected from "] {
            let Some(rest) = message.strip_prefix(how).and_then(|it| it.strip_prefix(word)) else { continue };
            let (user, address, _) = place(rest, " ")?;
            return deed(user, address, "log-in given up".to_owned(), "refused");
        }
    }
    let user = message.strip_prefix("pam_unix(sshd:session): session closed for user ")?;
    deed(user, "unknown", "end of a log-in".to_owned(), "ok")
}

/// `alice from 10.0.0.1 port 5022 …`: a name may hold such words itself, so the last address counts.
fn place<'a>(text: &'a str, word: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let mut end = text.len();
    while let Some(at) = text[..end].rfind(word) {
        let rest = &text[at + word.len()..];
        if let Some((address, rest)) = rest.split_once(" port ")
            && address.parse::<IpAddr>().is_ok()
        {
            return Some((&text[..at], address, rest));
        }
        end = at;
    }
    None
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::{Value, json};

    use super::read;

    fn entry(fields: Value) -> String {
        let mut all = json!({"__CURSOR": "s=1;i=2", "__REALTIME_TIMESTAMP": "1764000000123456", "_UID": "0"});
        for (name, value) in fields.as_object().unwrap() {
            all[name] = value.clone();
        }
        all.to_string()
    }

    /// Who, whence, what, result.
    fn ssh(message: &str) -> Option<[String; 4]> {
        let line = entry(json!({"_COMM": "sshd-session", "MESSAGE": message}));
        let deed = read(line.as_bytes()).unwrap().deed?;
        Some([deed.actor, deed.whence, deed.what, deed.result])
    }

    #[test]
    fn only_the_heads_own_are_believed() {
        let audit = |uid: &str| {
            let fields = json!({"PILOTHOUSE_AUDIT": "1", "_UID": uid, "PILOTHOUSE_ACTOR": "alice",
                "PILOTHOUSE_WHENCE": "10.0.0.1", "PILOTHOUSE_RESULT": "ok", "MESSAGE": "PUT /x",
                "SYSLOG_IDENTIFIER": "pilothouse-power"});
            read(entry(fields).as_bytes()).unwrap().deed.map(|it| it.source)
        };
        assert_eq!(audit("801").as_deref(), Some("inventory"));
        assert_eq!(audit("800").as_deref(), Some("supervisor"));
        assert_eq!(audit("0").as_deref(), Some("power"));
        assert_eq!(audit("1000"), None);
        assert_eq!(read(b"-- No entries --"), None);
        let other = read(entry(json!({"MESSAGE": "x"})).as_bytes()).unwrap();
        assert!(other.deed.is_none() && other.cursor == "s=1;i=2");
    }

    #[test]
    fn text_is_one_line_and_bounded() {
        let bytes: Vec<u8> = b"power\n\xff\0off".to_vec();
        let long = "a".repeat(9999);
        let fields = json!({"PILOTHOUSE_AUDIT": ["1", "1"], "MESSAGE": bytes, "PILOTHOUSE_ACTOR": long});
        let deed = read(entry(fields).as_bytes()).unwrap().deed.unwrap();
        assert_eq!(deed.what, "power \u{fffd} off");
        assert_eq!((deed.actor.len(), deed.whence.as_str()), (256, "unknown"));
        assert_eq!(deed.time.microsecond(), 123_456);
    }

    #[test]
    fn log_ins_are_read() {
        for (message, told) in [
            (
                "Accepted publickey for alice from 10.0.0.9 port 51234 ssh2: ED25519 SHA256:abc",
                ["alice", "10.0.0.9", "log-in by publickey, ED25519 SHA256:abc", "ok"],
            ),
            (
                "Failed password for invalid user x from 1.2.3.4 port 1 ssh2 from fe80::1 port 22 ssh2",
                ["x from 1.2.3.4 port 1 ssh2", "fe80::1", "log-in by password", "refused"],
            ),
            (
                "Connection closed by authenticating user root 10.0.0.7 port 4022 [preauth]",
                ["root", "10.0.0.7", "log-in given up", "refused"],
            ),
            (
                "pam_unix(sshd:session): session closed for user alice",
                ["alice", "unknown", "end of a log-in", "ok"],
            ),
        ] {
            assert_eq!(ssh(message), Some(told.map(str::to_owned)));
        }
        assert_eq!(ssh("Server listening on 0.0.0.0 port 22."), None);
        let fields =
            json!({"_COMM": "sshd", "_UID": "1000", "MESSAGE": "Accepted none for x from ::1 port 1 ssh2"});
        assert_eq!(read(entry(fields).as_bytes()).unwrap().deed, None, "no word of root's");
    }
}
