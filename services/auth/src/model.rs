//! The decisions: what a token says, who a client or a person is, what they may: pure.

mod assertion;
mod directory;
mod redirect;
mod secret;
mod throttle;

use domain::{Role, Scope, Scopes, Xname};
use serde::Serialize;
use uuid::Uuid;

pub(crate) use assertion::check_assertion;
pub(crate) use directory::{Account, Client, Directory, PILOTCTL, RevokedRow};
pub(crate) use redirect::{check_redirect, is_challenge, proves, same_redirect};
pub(crate) use secret::{digest_of, new_secret, new_user_code, normal_user_code, same};
pub(crate) use throttle::{Source, Throttle};

/// OpenID Connect's own words, which add no right.
const OPENID: [&str; 3] = ["openid", "profile", "offline_access"];
/// Stands for all the rights that someone has.
pub(crate) const ALL: &str = "pilothouse";

/// The claims of an access token (RFC 9068 section 2.2), in the order they are written.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct AccessClaims<'a> {
    pub(crate) iss: &'a str,
    pub(crate) sub: &'a str,
    pub(crate) aud: [&'static str; 1],
    pub(crate) iat: i64,
    pub(crate) nbf: i64,
    pub(crate) exp: i64,
    pub(crate) jti: Uuid,
    pub(crate) scope: &'a str,
    /// The client that asked, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_id: Option<&'a str>,
    /// The log-in it comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sid: Option<Uuid>,
    /// The node, of a node's token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) xname: Option<&'a Xname>,
}

/// The claims of an identity token (OpenID Connect Core 1.0 section 2).
#[derive(Clone, Debug, Serialize)]
pub(crate) struct IdClaims<'a> {
    pub(crate) iss: &'a str,
    pub(crate) sub: &'a str,
    pub(crate) aud: &'a str,
    pub(crate) iat: i64,
    pub(crate) exp: i64,
    pub(crate) auth_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nonce: Option<&'a str>,
    pub(crate) sid: Uuid,
    pub(crate) preferred_username: &'a str,
    pub(crate) role: &'static str,
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

/// Rights as a token has them.
pub(crate) fn scope_text(scopes: &Scopes) -> String {
    scopes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// What a client asks for out of what it may have; all of it if it names nothing. None: a word it may not
/// have.
pub(crate) fn narrow(allowed: &Scopes, asked: Option<&str>) -> Option<Scopes> {
    let mut words = words(asked.unwrap_or_default()).filter(|it| !OPENID.contains(it)).peekable();
    if words.peek().is_none() {
        return Some(*allowed);
    }
    let mut scopes = Scopes::new();
    for word in words {
        if word == ALL {
            scopes = *allowed;
        } else {
            scopes.insert(word.parse::<Scope>().ok().filter(|it| allowed.contains(it))?);
        }
    }
    Some(scopes)
}

/// Whether each word asked for someone is one: a right, one of OpenID Connect's, or all.
pub(crate) fn is_scope(asked: &str) -> bool {
    words(asked).all(|it| it == ALL || OPENID.contains(&it) || it.parse::<Scope>().is_ok_and(is_a_persons))
}

/// What someone gets of what was asked for: what their role has and no more, and nothing unasked.
pub(crate) fn scope_for(role: Role, asked: &str) -> String {
    let allowed = role.scopes();
    let mut scopes = Scopes::new();
    let mut kept: Vec<&str> = Vec::new();
    for word in words(asked) {
        match word.parse::<Scope>() {
            _ if word == ALL => scopes = allowed,
            Ok(scope) if allowed.contains(&scope) => drop(scopes.insert(scope)),
            _ if OPENID.contains(&word) && !kept.contains(&word) => kept.push(word),
            _ => {}
        }
    }
    let rights = scope_text(&scopes);
    kept.into_iter().chain((!rights.is_empty()).then_some(&*rights)).collect::<Vec<_>>().join(" ")
}

fn is_a_persons(scope: Scope) -> bool {
    scope != Scope::Node
}

pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ').filter(|it| !it.is_empty())
}

/// Whether the text may be a client's or a person's name: letters, digits, `.`, `_` and `-`, at most 64; not one
/// that is our own.
pub(crate) fn is_name(text: &str) -> bool {
    let inner = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'_' | b'-');
    (1..=64).contains(&text.len()) && text.bytes().all(inner) && ![PILOTCTL, web::AUDIENCE].contains(&text)
}

#[cfg(test)]
mod tests {
    use super::{is_name, is_scope, narrow, role_of, scope_for};
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
        assert_eq!(narrow(&viewer, Some("pilothouse")), Some(viewer));
        assert_eq!(narrow(&viewer, Some("boot:read")), Some([Scope::Read(Service::Boot)].into()));
        for asked in ["boot:read boot:write", "root", "node"] {
            assert_eq!(narrow(&viewer, Some(asked)), None);
        }
    }

    #[test]
    fn a_person_gets_what_they_have_of_what_was_asked() {
        assert_eq!(scope_for(Role::Viewer, "openid boot:read boot:write"), "openid boot:read");
        assert_eq!(scope_for(Role::Viewer, "openid  openid"), "openid");
        assert!(scope_for(Role::Admin, "openid pilothouse").contains("boot:write"));
        assert!(!scope_for(Role::Admin, "pilothouse node").contains("node"));
        assert!(is_scope("openid pilothouse boot:read") && !is_scope("root") && !is_scope("node"));
    }

    #[test]
    fn names_are_plain() {
        assert!(is_name("ci-runner.1"));
        for name in ["", "a b", "a:b", "pilotctl", "pilothouse", &"a".repeat(65)] {
            assert!(!is_name(name), "{name}");
        }
    }
}
