//! Who is told when something is wrong with the head.

use serde::{Deserialize, Serialize};

/// Who is told of health issues, and from which severity on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// What is less bad is shown and not told.
    pub least: Least,
    /// By mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mail: Option<Mail>,
    /// By a POST of JSON to each of these addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub webhooks: Vec<String>,
}

/// How bad an issue is, at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Least {
    /// Everything.
    Info,
    /// What someone should look at.
    #[default]
    Warning,
    /// What does not work.
    Error,
    /// What keeps the head from its work.
    Critical,
}

/// Mail over the site's server, which takes it from the head without a log-in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mail {
    /// `smtp://mail.site.example` or `smtps://…`, with a port if it is not the usual one.
    pub server: String,
    /// The head's own address.
    pub from: String,
    /// Who gets it, at least one.
    pub to: Vec<String>,
}

/// At most so many addresses of each kind.
const ADDRESSES_MAX: usize = 20;

impl Health {
    /// Whether anybody is told.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.mail.is_none() && self.webhooks.is_empty()
    }

    /// What does not hold: the path below `health`, and why.
    pub(super) fn wrong(&self) -> Option<(Vec<String>, String)> {
        let at = |path: &[&str], text: String| Some((path.iter().map(|it| (*it).to_owned()).collect(), text));
        if let Some(index) = self.webhooks.iter().position(|it| !is_address(it, &["https://", "http://"])) {
            let text =
                format!("{:?} is no address; write https://chat.site.example/hook", self.webhooks[index]);
            return at(&["webhooks", &index.to_string()], text);
        }
        if self.webhooks.len() > ADDRESSES_MAX {
            return at(&["webhooks"], format!("at most {ADDRESSES_MAX} are told"));
        }
        let mail = self.mail.as_ref()?;
        if !is_address(&mail.server, &["smtp://", "smtps://"]) {
            let text = format!("{:?} is no mail server; write smtp://mail.site.example", mail.server);
            return at(&["mail", "server"], text);
        }
        if !is_mailbox(&mail.from) {
            return at(&["mail", "from"], format!("{:?} is no mail address", mail.from));
        }
        if let Some(index) = mail.to.iter().position(|it| !is_mailbox(it)) {
            return at(
                &["mail", "to", &index.to_string()],
                format!("{:?} is no mail address", mail.to[index]),
            );
        }
        if mail.to.is_empty() || mail.to.len() > ADDRESSES_MAX {
            return at(&["mail", "to"], format!("write one to {ADDRESSES_MAX} mail addresses"));
        }
        None
    }
}

fn is_address(text: &str, schemes: &[&str]) -> bool {
    let rest = schemes.iter().find_map(|it| text.strip_prefix(it));
    rest.is_some_and(|it| !it.is_empty() && it.bytes().all(is_plain))
}

fn is_mailbox(text: &str) -> bool {
    let parts = text.split_once('@');
    let sound = |it: &str| !it.is_empty() && it.bytes().all(|it| is_plain(it) && !b"<>@,;:".contains(&it));
    text.len() <= 254 && parts.is_some_and(|(name, host)| sound(name) && sound(host))
}

/// What needs no quotation marks anywhere.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\"'\\`".contains(&byte)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::Least;
    use crate::Document;

    fn read(health: &str) -> Result<Document, crate::document::DocumentError> {
        let text = format!("version = 1\n[cluster]\nname = \"demo\"\ndomain = \"a.b\"\n[health]\n{health}");
        Document::parse(&text)
    }

    #[test]
    fn who_is_told_is_checked_at_its_place() {
        let mail = "mail = { server = \"smtp://mail:25\", from = \"head@a.b\", to = [\"ops@a.b\"] }\n";
        let told =
            read(&format!("least = \"error\"\nwebhooks = [\"https://a.b/x?y=z\"]\n{mail}")).unwrap().health;
        assert_eq!((told.least, told.webhooks.len()), (Least::Error, 1));
        assert!(!told.is_silent() && read("").unwrap().health.is_silent());
        for wrong in ["ftp://a.b", "https://", "https://a.b/\\\"x", "https://a b"] {
            let error = read(&format!("webhooks = [\"{wrong}\"]\n")).unwrap_err();
            assert_eq!((error.line, error.column), (6, 13), "{wrong}: {error}");
        }
        for (right, wrong) in [("smtp://", "http://"), ("head@a.b", "head"), ("ops@a.b", "ops@a.b\\n")] {
            assert!(read(&mail.replace(right, wrong)).is_err(), "{wrong}");
        }
        assert!(read("least = \"bad\"\n").is_err());
    }
}
