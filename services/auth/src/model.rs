//! What a token says, who a client is, and how both are checked: pure.

use std::collections::HashMap;
use std::time::Duration;

use aws_lc_rs::{constant_time, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::feed::{Change, View};
use domain::{Role, Scope, Scopes};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

/// The audience of our tokens (INTERFACES 5).
const AUDIENCE: &str = "pilothouse";
/// A client's secret before it is written as text: too long to be guessed, so that a plain digest keeps it.
const SECRET_BYTES: usize = 32;

/// The claims of a token, in the order they are written.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Claims {
    iss: String,
    sub: String,
    aud: [&'static str; 1],
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: Uuid,
    scope: String,
    /// The client, when it was one that asked (RFC 9068 section 2.2).
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
}

/// Who is given a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bearer {
    pub(crate) subject: String,
    pub(crate) is_client: bool,
}

impl Claims {
    /// A token's claims; `now` in seconds since 1970.
    pub(crate) fn new(
        issuer: &str,
        bearer: Bearer,
        scopes: &Scopes,
        now: i64,
        life: Duration,
        jti: Uuid,
    ) -> Self {
        let words: Vec<String> = scopes.iter().map(ToString::to_string).collect();
        Self {
            iss: issuer.to_owned(),
            aud: [AUDIENCE],
            iat: now,
            nbf: now,
            exp: now.saturating_add_unsigned(life.as_secs()),
            jti,
            scope: words.join(" "),
            client_id: bearer.is_client.then(|| bearer.subject.clone()),
            sub: bearer.subject,
        }
    }

    pub(crate) fn scope(&self) -> &str {
        &self.scope
    }
}

/// The highest role whose every right is among these.
pub(crate) fn role_of(scopes: &Scopes) -> Option<Role> {
    [Role::Admin, Role::Operator, Role::Viewer].into_iter().find(|it| it.scopes().is_subset(scopes))
}

/// The word of a role, in the database and on the wire.
pub(crate) fn role_word(role: Role) -> &'static str {
    match role {
        Role::Viewer => "viewer",
        Role::Operator => "operator",
        Role::Admin => "admin",
    }
}

/// What a client asks for out of what it may have; all of it if it names nothing. None: a word it may not
/// have.
pub(crate) fn narrow(allowed: &Scopes, asked: Option<&str>) -> Option<Scopes> {
    // OpenID Connect's own word, which libraries send unasked; it adds no right.
    let mut words =
        asked.unwrap_or_default().split(' ').filter(|it| !it.is_empty() && *it != "openid").peekable();
    if words.peek().is_none() {
        return Some(*allowed);
    }
    words.map(|it| it.parse::<Scope>().ok().filter(|it| allowed.contains(it))).collect()
}

/// Whether the text may be a client's identifier: letters, digits, `.`, `_` and `-`, at most 64.
pub(crate) fn is_client_id(text: &str) -> bool {
    let inner = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'_' | b'-');
    (1..=64).contains(&text.len()) && text.bytes().all(inner)
}

/// A service client as the Mirror holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) role: String,
    pub(crate) description: String,
    /// RFC 3339.
    pub(crate) created: String,
    /// SHA-256 of the secret, in base64url.
    pub(crate) secret_sha256: String,
}

/// The clients by identifier.
#[derive(Debug, Default)]
pub(crate) struct Clients(HashMap<String, Client>);

impl View for Clients {
    fn apply(&mut self, change: &Change) -> Result<(), serde_json::Error> {
        if change.kind == "client" {
            self.0.remove(&change.id);
            if !change.row.is_null() {
                self.0.insert(change.id.clone(), Client::deserialize(&change.row)?);
            }
        }
        Ok(())
    }
}

impl Clients {
    /// Every client, by identifier.
    pub(crate) fn list(&self) -> Vec<Client> {
        let mut all: Vec<Client> = self.0.values().cloned().collect();
        all.sort_by(|one, other| one.id.cmp(&other.id));
        all
    }

    /// The role of the client with this identifier and secret. It takes as long for one that is not there.
    pub(crate) fn role(&self, id: &str, secret: &str) -> Option<Role> {
        let given = digest_of(secret);
        let client = self.0.get(id);
        let kept = client.map_or(given.as_str(), |it| it.secret_sha256.as_str());
        let same = constant_time::verify_slices_are_equal(given.as_bytes(), kept.as_bytes()).is_ok();
        client.filter(|_| same)?.role.parse().ok()
    }
}

/// A new secret as text.
pub(crate) fn new_secret() -> Result<Zeroizing<String>, aws_lc_rs::error::Unspecified> {
    let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
    aws_lc_rs::rand::fill(&mut *bytes)?;
    Ok(Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes)))
}

/// What is kept of a secret.
pub(crate) fn digest_of(secret: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, secret.as_bytes()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{Clients, digest_of, is_client_id, narrow, new_secret, role_of};
    use domain::feed::{Change, View};
    use domain::{Role, Scope, Service};

    #[test]
    fn a_role_is_known_by_its_rights() {
        for role in [Role::Viewer, Role::Operator, Role::Admin] {
            assert_eq!(role_of(&role.scopes()), Some(role));
        }
        assert_eq!(role_of(&[Scope::Read(Service::Auth)].into()), None);
    }

    #[test]
    fn a_client_gets_no_right_beyond_its_role() {
        let viewer = Role::Viewer.scopes();
        assert_eq!(narrow(&viewer, None), Some(viewer));
        assert_eq!(narrow(&viewer, Some("openid")), Some(viewer));
        assert_eq!(narrow(&viewer, Some("boot:read")), Some([Scope::Read(Service::Boot)].into()));
        assert_eq!(narrow(&viewer, Some("boot:read boot:write")), None);
        assert_eq!(narrow(&viewer, Some("root")), None);
    }

    #[test]
    fn a_client_is_known_by_its_secret_alone() {
        let secret = new_secret().unwrap();
        let row = serde_json::json!({"id": "ci", "role": "operator", "description": "", "created": "",
            "secret_sha256": digest_of(&secret)});
        let mut clients = Clients::default();
        clients.apply(&Change::put("client", "ci", row)).unwrap();
        assert_eq!(clients.role("ci", &secret), Some(Role::Operator));
        assert_eq!(clients.role("ci", "wrong"), None);
        assert_eq!(clients.role("nobody", &secret), None);
        clients.apply(&Change::delete("client", "ci")).unwrap();
        assert_eq!(clients.role("ci", &secret), None);
        assert!(
            is_client_id("ci-runner.1") && !is_client_id("") && !is_client_id("a b") && !is_client_id("a:b")
        );
    }
}
