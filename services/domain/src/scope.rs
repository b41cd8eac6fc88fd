//! Rights: scopes, roles, and what the services may ask of each other.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Service;

/// A right that a route asks for (a word of the `scope` claim, RFC 8693 section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// `<service>:read`
    Read(Service),
    /// `<service>:write`
    Write(Service),
    /// `power:control`: switch nodes on and off.
    PowerControl,
    /// `console:attach`: read and write consoles.
    ConsoleAttach,
    /// `metrics:read`: what Prometheus fetches.
    MetricsRead,
    /// `node`: a booting node, for its own data only.
    Node,
}

/// A set of rights.
pub type Scopes = BTreeSet<Scope>;

/// What a person or a service client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads everything that is no secret.
    Viewer,
    /// Viewer, and power and consoles.
    Operator,
    /// Everything.
    Admin,
}

impl Role {
    /// The rights of a role.
    #[must_use]
    pub fn scopes(self) -> Scopes {
        let mut scopes: Scopes = Service::ALL.into_iter().map(Scope::Read).collect();
        scopes.insert(Scope::MetricsRead);
        if self >= Self::Operator {
            scopes.extend([Scope::PowerControl, Scope::ConsoleAttach]);
        }
        if self == Self::Admin {
            scopes.extend(Service::ALL.into_iter().map(Scope::Write));
        }
        scopes
    }
}

impl FromStr for Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "viewer" => Ok(Self::Viewer),
            "operator" => Ok(Self::Operator),
            "admin" => Ok(Self::Admin),
            _ => Err(format!("{text:?} is no role; there are viewer, operator, admin")),
        }
    }
}

/// What a service may ask of another over its socket: the table caller → service → rights.
#[must_use]
pub fn service_scopes(caller: Service, callee: Service) -> Scopes {
    use Service::{Auth, Boot, Ca, CloudInit, Console, Dhcp, Gateway, Images, Inventory, Power};
    let rights: &[Scope] = match (caller, callee) {
        (_, Auth) => &[Scope::Read(Auth)],
        (Boot | CloudInit | Images | Dhcp | Power | Console, Inventory) => &[Scope::Read(Inventory)],
        (Boot, Images) => &[Scope::Read(Images), Scope::Write(Images)],
        (Images, Boot) => &[Scope::Read(Boot)],
        (Console, Power) => &[Scope::Read(Power), Scope::PowerControl],
        (CloudInit, Dhcp) => &[Scope::Read(Dhcp)],
        (Gateway, Ca) => &[Scope::Write(Ca)],
        _ => &[],
    };
    rights.iter().copied().collect()
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(service) => write!(f, "{service}:read"),
            Self::Write(service) => write!(f, "{service}:write"),
            Self::PowerControl => f.write_str("power:control"),
            Self::ConsoleAttach => f.write_str("console:attach"),
            Self::MetricsRead => f.write_str("metrics:read"),
            Self::Node => f.write_str("node"),
        }
    }
}

impl FromStr for Scope {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("power", "control")) => Ok(Self::PowerControl),
            Some(("console", "attach")) => Ok(Self::ConsoleAttach),
            Some(("metrics", "read")) => Ok(Self::MetricsRead),
            Some((service, "read")) => service.parse().map(Self::Read),
            Some((service, "write")) => service.parse().map(Self::Write),
            None if text == "node" => Ok(Self::Node),
            _ => Err(format!("{text:?} is no scope")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Role, Scope};

    #[test]
    fn a_scope_is_read_as_it_is_written() {
        for scope in Role::Admin.scopes() {
            assert_eq!(scope.to_string().parse::<Scope>(), Ok(scope));
        }
    }

    #[test]
    fn an_operator_writes_nothing() {
        assert!(!Role::Operator.scopes().iter().any(|it| matches!(it, Scope::Write(_))));
    }
}
