//! Who is known here, as the Mirror holds it: clients, people, and what was revoked.

use std::collections::{BTreeMap, HashMap};

use domain::Role;
use domain::feed::{Change, View};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use web::Revoked;
use web::jwt::Algorithm;

use super::{digest_of, same, same_redirect};

/// The client that pilotctl is, on every machine: public, so it proves itself by nothing.
pub(crate) const PILOTCTL: &str = "pilotctl";
/// Where pilotctl waits for the browser.
const CALLBACK: &str = "http://127.0.0.1/callback";

/// A client as the Mirror holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Client {
    pub(crate) id: String,
    /// What it may itself, and the most that it may for someone.
    pub(crate) role: String,
    pub(crate) description: String,
    /// RFC 3339.
    pub(crate) created: String,
    /// SHA-256 of the secret, in base64url; empty for one without.
    pub(crate) secret_sha256: String,
    /// Where people are sent back to.
    #[serde(default)]
    pub(crate) redirect_uris: Vec<String>,
    /// Its public keys, if it signs its requests.
    #[serde(default)]
    pub(crate) jwks: Option<Value>,
    /// How its tokens are signed; the setting, if it does not say.
    #[serde(default)]
    pub(crate) algorithm: Option<Algorithm>,
}

impl Client {
    pub(crate) fn pilotctl() -> Self {
        Self {
            id: PILOTCTL.to_owned(),
            role: super::role_word(Role::Admin).to_owned(),
            description: "pilotctl login".to_owned(),
            created: String::new(),
            secret_sha256: String::new(),
            redirect_uris: vec![CALLBACK.to_owned()],
            jwks: None,
            algorithm: None,
        }
    }

    /// Whether it has nothing to prove itself by.
    pub(crate) fn is_public(&self) -> bool {
        self.secret_sha256.is_empty() && self.jwks.is_none()
    }

    pub(crate) fn role(&self) -> Option<Role> {
        self.role.parse().ok()
    }

    pub(crate) fn may_redirect(&self, to: &str) -> bool {
        self.redirect_uris.iter().any(|it| same_redirect(it, to))
    }
}

/// A person as the Mirror holds them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) role: Role,
    /// RFC 3339.
    pub(crate) created: String,
    /// Argon2's digest, in PHC's form.
    pub(crate) password: String,
}

/// What was revoked, and until when that matters, in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RevokedRow {
    pub(crate) revoked: Revoked,
    pub(crate) expires: i64,
}

/// Everyone and everything, by name.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    clients: HashMap<String, Client>,
    accounts: BTreeMap<String, Account>,
    revoked: HashMap<String, RevokedRow>,
}

fn put<K, T>(place: &mut impl Extend<(K, T)>, key: K, row: T) {
    place.extend([(key, row)]);
}

impl View for Directory {
    fn apply(&mut self, change: &Change) -> Result<(), serde_json::Error> {
        let (id, row) = (change.id.clone(), &change.row);
        match (change.kind.as_str(), row.is_null()) {
            ("client", true) => drop(self.clients.remove(&id)),
            ("client", false) => put(&mut self.clients, id, Client::deserialize(row)?),
            ("account", true) => drop(self.accounts.remove(&id)),
            ("account", false) => put(&mut self.accounts, id, Account::deserialize(row)?),
            ("revoked", true) => drop(self.revoked.remove(&id)),
            ("revoked", false) => put(&mut self.revoked, id, RevokedRow::deserialize(row)?),
            _ => {}
        }
        Ok(())
    }
}

impl Directory {
    /// Every client, by identifier.
    pub(crate) fn clients(&self) -> Vec<Client> {
        let mut all: Vec<Client> = self.clients.values().cloned().collect();
        all.sort_by(|one, other| one.id.cmp(&other.id));
        all
    }

    /// Our own among them.
    pub(crate) fn client(&self, id: &str) -> Option<Client> {
        if id == PILOTCTL { Some(Client::pilotctl()) } else { self.clients.get(id).cloned() }
    }

    /// The client with this identifier and secret. It takes as long for one that is not there.
    pub(crate) fn client_by_secret(&self, id: &str, secret: &str) -> Option<Client> {
        let given = digest_of(secret);
        let client = self.clients.get(id).filter(|it| !it.secret_sha256.is_empty());
        let right = same(&given, client.map_or(given.as_str(), |it| it.secret_sha256.as_str()));
        client.filter(|_| right).cloned()
    }

    pub(crate) fn accounts(&self) -> Vec<Account> {
        self.accounts.values().cloned().collect()
    }

    pub(crate) fn account(&self, name: &str) -> Option<Account> {
        self.accounts.get(name).cloned()
    }

    /// What was revoked and has not ended by itself.
    pub(crate) fn revoked(&self, now: i64) -> Vec<Revoked> {
        let mut all: Vec<(&String, &RevokedRow)> =
            self.revoked.iter().filter(|it| it.1.expires > now).collect();
        all.sort_by_key(|it| it.0);
        all.into_iter().map(|it| it.1.revoked.clone()).collect()
    }

    /// Whether one of these is revoked, or everything of this subject up to then.
    pub(crate) fn is_revoked(&self, claims: &web::Claims) -> bool {
        self.revoked.values().any(|it| match &it.revoked {
            Revoked::Token { id } => *id == claims.jti,
            Revoked::Session { id } => claims.sid.as_deref() == Some(id),
            Revoked::Subject { id, before } => *id == claims.sub && claims.iat <= *before,
        })
    }

    /// Up to when everything of this subject is revoked, if it is.
    pub(crate) fn revoked_before(&self, subject: &str) -> Option<i64> {
        let row = self.revoked.get(&format!("subject:{subject}"))?;
        if let Revoked::Subject { before, .. } = row.revoked { Some(before) } else { None }
    }

    pub(crate) fn revoked_count(&self) -> usize {
        self.revoked.len()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::{digest_of, new_secret};
    use super::Directory;
    use domain::Role;
    use domain::feed::{Change, View};

    #[test]
    fn a_client_is_known_by_its_secret_alone() {
        let secret = new_secret().unwrap();
        let row = |digest: &str| {
            serde_json::json!({"id": "ci", "role": "operator", "description": "", "created": "",
            "secret_sha256": digest})
        };
        let mut known = Directory::default();
        known.apply(&Change::put("client", "ci", row(&digest_of(&secret)))).unwrap();
        let found = known.client_by_secret("ci", &secret).unwrap();
        assert_eq!(found.role(), Some(Role::Operator));
        assert!(known.client_by_secret("ci", "wrong").is_none());
        assert!(known.client_by_secret("nobody", &secret).is_none());
        assert!(known.client_by_secret("pilotctl", "").is_none());
        known.apply(&Change::put("client", "ci", row(""))).unwrap();
        assert!(
            known.client_by_secret("ci", "").is_none(),
            "a public client has no secret, not an empty one"
        );
        known.apply(&Change::delete("client", "ci")).unwrap();
        assert!(known.client("ci").is_none());
    }
}
