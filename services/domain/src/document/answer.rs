//! Answer files: a document with secrets beside it.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use toml::Table;

use super::{Document, DocumentError, locate, syntax_error};

/// What an answer file may hold beside the document; it never enters the document.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    /// The account of the BMCs.
    #[serde(default)]
    pub bmc: Option<BmcSecret>,
    /// crypt(5) hashes by administrator, for log-in on a tty.
    #[serde(default)]
    pub password_hashes: BTreeMap<String, String>,
}

/// The account that opens the BMCs by default.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BmcSecret {
    /// The user's name.
    pub user: String,
    /// The password, at most 20 bytes (IPMI 2.0 section 22.30).
    pub password: String,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(…)")
    }
}

/// An answer file taken apart.
#[derive(Debug)]
pub struct Answer {
    /// The document.
    pub document: Document,
    /// The document's text, without the secrets, comments and order kept where nothing was taken out.
    pub text: String,
    /// The secrets.
    pub secrets: Secrets,
}

impl Answer {
    /// Reads an answer file: a document with, perhaps, `[secrets]`.
    ///
    /// # Errors
    ///
    /// As [`Document::parse`]; positions are the answer file's own. No message holds a secret.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        let mut table: Table = toml::from_str(text).map_err(|error| syntax_error(text, &error))?;
        let value = table.remove("secrets");
        let whole = value.is_none();
        let secrets = match value {
            None => Secrets::default(),
            Some(value) => Secrets::deserialize(value).map_err(|error| {
                let (line, column) = locate(text, &["secrets".to_owned()]);
                // Of serde's messages, these name a key; the others quote the value.
                let harmless = ["unknown field", "missing field"];
                let message = match error.message() {
                    text if harmless.iter().any(|it| text.starts_with(it)) => text.to_owned(),
                    _ => "a value in [secrets] is of the wrong kind; write strings in quotes".to_owned(),
                };
                DocumentError { line, column, message }
            })?,
        };
        let long = secrets.bmc.as_ref().is_some_and(|it| it.password.len() > 20 || it.user.len() > 16);
        if long || secrets.password_hashes.values().any(|it| !it.starts_with('$') || it.contains([':', '\n']))
        {
            let (line, column) = locate(text, &["secrets".to_owned()]);
            let message =
                "a BMC takes 16 bytes of user and 20 of password; hashes are crypt(5)'s, $y$…".to_owned();
            return Err(DocumentError { line, column, message });
        }
        if whole {
            // Kept byte for byte: a site has the same file in git.
            return Ok(Self { document: Document::parse(text)?, text: text.to_owned(), secrets });
        }
        // The lines stay where they are, so that an error's position is right in the file it came from.
        let text = without_secrets(text);
        let document = Document::parse(&text)?;
        Ok(Self { document, text: text.trim_end().to_owned() + "\n", secrets })
    }
}

/// Blanks the lines from a `[secrets…]` header to the next header of something else.
fn without_secrets(text: &str) -> String {
    let mut inside = false;
    let lines = text.lines().map(|line| {
        let header = line.trim_start();
        if header.starts_with('[') {
            let name = header.trim_start_matches('[').trim_start();
            inside = name.strip_prefix("secrets").is_some_and(|it| it.trim_start().starts_with(['.', ']']));
        }
        if inside { "" } else { line }
    });
    lines.collect::<Vec<_>>().join("\n")
}
