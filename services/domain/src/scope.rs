//! Rights: scopes, roles, and what the services may ask of each other.

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
    /// `discovery:run`: ask BMCs what they are.
    DiscoveryRun,
    /// `metrics:read`: what Prometheus fetches.
    MetricsRead,
    /// `node`: a booting node, for its own data only.
    Node,
}

/// A set of rights: a bit for each, since every request carries one.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Scopes(u64);

/// What a person or a service client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads everything that is no secret.
    Viewer,
    /// Viewer, and power, consoles and discovery.
    Operator,
    /// Everything.
    Admin,
}

impl Scope {
    /// Every right there is, in order.
    pub const ALL: [Self; 2 * Service::ALL.len() + 5] = {
        let mut all = [Self::Node; 2 * Service::ALL.len() + 5];
        let mut at = 0;
        while at < Service::ALL.len() {
            all[at] = Self::Read(Service::ALL[at]);
            all[Service::ALL.len() + at] = Self::Write(Service::ALL[at]);
            at += 1;
        }
        let more = 2 * Service::ALL.len();
        all[more] = Self::PowerControl;
        all[more + 1] = Self::ConsoleAttach;
        all[more + 2] = Self::DiscoveryRun;
        all[more + 3] = Self::MetricsRead;
        all
    };

    const fn bit(self) -> u64 {
        let services = Service::ALL.len() as u64;
        1 << match self {
            Self::Read(service) => service as u64,
            Self::Write(service) => services + service as u64,
            Self::PowerControl => 2 * services,
            Self::ConsoleAttach => 2 * services + 1,
            Self::DiscoveryRun => 2 * services + 2,
            Self::MetricsRead => 2 * services + 3,
            Self::Node => 2 * services + 4,
        }
    }
}

impl Scopes {
    /// No right.
    #[must_use]
    pub const fn new() -> Self {
        Self(0)
    }

    /// Whether it is in the set.
    #[must_use]
    pub const fn contains(&self, scope: &Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Puts it in; whether it was not there.
    pub fn insert(&mut self, scope: Scope) -> bool {
        let new = !self.contains(&scope);
        self.0 |= scope.bit();
        new
    }

    /// Whether each is also in the other set.
    #[must_use]
    pub const fn is_subset(&self, other: &Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0 == 0
    }

    /// Each, in order.
    pub fn iter(&self) -> impl Iterator<Item = &'static Scope> + use<> {
        static ALL: [Scope; 2 * Service::ALL.len() + 5] = Scope::ALL;
        let set = *self;
        ALL.iter().filter(move |it| set.contains(it))
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        let mut set = Self::new();
        set.extend(scopes);
        set
    }
}

impl Extend<Scope> for Scopes {
    fn extend<I: IntoIterator<Item = Scope>>(&mut self, scopes: I) {
        for scope in scopes {
            self.insert(scope);
        }
    }
}

impl<const N: usize> From<[Scope; N]> for Scopes {
    fn from(scopes: [Scope; N]) -> Self {
        scopes.into_iter().collect()
    }
}

impl Role {
    /// The rights of a role.
    #[must_use]
    pub fn scopes(self) -> Scopes {
        let mut scopes: Scopes = Service::ALL.into_iter().map(Scope::Read).collect();
        scopes.insert(Scope::MetricsRead);
        if self >= Self::Operator {
            scopes.extend([Scope::PowerControl, Scope::ConsoleAttach, Scope::DiscoveryRun]);
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
    use Service::{
        Auth, Boot, Ca, CloudInit, Console, Dhcp, Discovery, Gateway, Images, Inventory, Join, Power,
        Timeline,
    };
    let rights: &[Scope] = match (caller, callee) {
        (_, Auth) => &[Scope::Read(Auth)],
        (Boot | CloudInit | Images | Dhcp | Power | Console | Join | Timeline | Discovery, Inventory) => {
            &[Scope::Read(Inventory)]
        }
        (Boot, Images) => &[Scope::Read(Images), Scope::Write(Images)],
        (Images | Power, Boot) => &[Scope::Read(Boot)],
        (Console, Power) => &[Scope::Read(Power), Scope::PowerControl],
        (CloudInit | Join | Discovery, Dhcp) => &[Scope::Read(Dhcp)],
        // Whose certificate is believed already.
        (Discovery, Power) => &[Scope::Read(Power)],
        (Boot | CloudInit, Join) => &[Scope::Write(Join)],
        (Power, Join) => &[Scope::PowerControl],
        (Gateway, Ca) => &[Scope::Write(Ca)],
        // pilothouse-renew@gateway, which has its user.
        (Gateway, Gateway) => &[Scope::Write(Gateway)],
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
            Self::DiscoveryRun => f.write_str("discovery:run"),
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
            Some(("discovery", "run")) => Ok(Self::DiscoveryRun),
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
    use super::{Role, Scope, Scopes};

    #[test]
    fn a_scope_is_read_as_it_is_written() {
        for scope in Scope::ALL {
            assert_eq!(scope.to_string().parse::<Scope>(), Ok(scope));
        }
    }

    #[test]
    fn every_right_has_a_place_of_its_own() {
        let mut set = Scopes::new();
        for scope in Scope::ALL {
            assert!(!set.contains(&scope) && set.insert(scope) && set.contains(&scope), "{scope}");
        }
        assert_eq!(set.iter().copied().collect::<Vec<_>>(), Scope::ALL);
        assert!(Role::Viewer.scopes().is_subset(&Role::Operator.scopes()));
        assert!(!Role::Admin.scopes().is_subset(&Role::Operator.scopes()) && Scopes::new().is_empty());
    }

    #[test]
    fn an_operator_writes_nothing() {
        assert!(!Role::Operator.scopes().iter().any(|it| matches!(it, Scope::Write(_))));
    }
}
