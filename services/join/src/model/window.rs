//! Windows: the time after a power command, or an operator's word, in which one node may fetch a nonce and trade
//! it for a token, once.
//!
//! Each fetch gives another nonce, since firmware may have to fetch twice and uses the last. Whoever trades one
//! claims the window; a second claim, by whichever of its nonces, shows that two machines pass for one node: then
//! neither is given anything until another window is opened.

use std::collections::BTreeMap;
use std::net::IpAddr;

use domain::{MacAddr, NODES_MAX, Xname};
use serde::{Deserialize, Serialize};

use super::{Secret, digest_of, is_secret_of};

/// Nonces of one window: firmware that fetched so often has not booted for another reason.
const NONCES_MAX: usize = 16;
/// How long a closed window is remembered, in seconds, so that who comes late is told why.
const REMEMBERED_S: i64 = 3600;

/// Every window, by node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Windows(BTreeMap<Xname, Window>);

/// One node's window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Window {
    /// Seconds since 1970.
    until: i64,
    state: State,
    /// The NIC whose boot script named the nonce.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    armed: Option<MacAddr>,
    /// Digests of what was handed out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    nonces: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Open,
    /// Somebody traded a nonce and waits, or has the token already.
    Claimed(Claim),
    Spent(Claim),
    /// Two claimed it.
    Void,
}

/// Who traded which nonce.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claim {
    /// The nonce's digest.
    nonce: String,
    /// From where.
    pub(crate) address: IpAddr,
    /// When, in seconds since 1970.
    pub(crate) at: i64,
}

/// Why nothing is given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("there is no open window for {0}; switch it on with pilotctl power, or: pilotctl join open {0}")]
    Closed(Xname),
    #[error("no boot script of {0} named a nonce; boot it over the network")]
    NotArmed(Xname),
    #[error("{0} has fetched too many nonces; open another window: pilotctl join open {0}")]
    TooMany(Xname),
    #[error("this is no nonce of {0}")]
    NoNonce(Xname),
    #[error("the token of {0} was given out already; for another boot open a window: pilotctl join open {0}")]
    Spent(Xname),
    #[error("two machines passed for {0}, and neither is given a token; pilotctl health tells more")]
    Void(Xname),
    /// This claim is the second one: from now on the window is void.
    #[error("two machines passed for {0}, and neither is given a token; pilotctl health tells more")]
    Contested(Xname, Box<(Claim, Claim)>),
    #[error("too many windows are open; close some: pilotctl join close NODE")]
    Full,
}

impl Windows {
    /// Opens a node's window anew; what came before is forgotten.
    pub(crate) fn open(&mut self, node: &Xname, now: i64, seconds: i64) -> Result<(), Refusal> {
        if self.0.len() >= NODES_MAX && !self.0.contains_key(node) {
            self.0.retain(|_, it| it.until > now);
            if self.0.len() >= NODES_MAX {
                return Err(Refusal::Full);
            }
        }
        let until = now.saturating_add(seconds);
        self.0.insert(node.clone(), Window { until, state: State::Open, armed: None, nonces: Vec::new() });
        Ok(())
    }

    /// Closes a node's window; whether it was open.
    pub(crate) fn close(&mut self, node: &Xname, now: i64) -> bool {
        self.0.remove(node).is_some_and(|it| it.is_open(now))
    }

    /// Forgets windows that were closed long ago; whether there were any.
    pub(crate) fn prune(&mut self, now: i64) -> bool {
        let before = self.0.len();
        self.0.retain(|_, it| it.until.saturating_add(REMEMBERED_S) > now);
        self.0.len() != before
    }

    /// Until when a node's window is open, and whether it still is.
    pub(crate) fn is_open(&self, node: &Xname, now: i64) -> bool {
        self.0.get(node).is_some_and(|it| it.is_open(now))
    }

    /// A word for each node's window: `open`, `claimed`, `spent`, `void`, `late`, and until when.
    pub(crate) fn list(&self, now: i64) -> impl Iterator<Item = (&Xname, &'static str, i64)> {
        self.0.iter().map(move |(node, it)| {
            let word = match it.state {
                State::Open if it.until <= now => "late",
                State::Open => "open",
                State::Claimed(_) => "claimed",
                State::Spent(_) => "spent",
                State::Void => "void",
            };
            (node, word, it.until)
        })
    }

    /// A boot script for this NIC is about to name the nonce; whether there is to be one.
    pub(crate) fn arm(&mut self, node: &Xname, mac: MacAddr, now: i64) -> Result<(), Refusal> {
        let window = self.open_window(node, now)?;
        window.armed = Some(mac);
        Ok(())
    }

    /// A nonce made of these random bytes, for the machine that holds the NIC's address.
    pub(crate) fn hand_out(
        &mut self,
        node: &Xname,
        mac: MacAddr,
        secret: &Secret,
        now: i64,
    ) -> Result<(), Refusal> {
        let window = self.open_window(node, now)?;
        if window.armed != Some(mac) {
            return Err(Refusal::NotArmed(node.clone()));
        }
        if window.nonces.len() >= NONCES_MAX {
            return Err(Refusal::TooMany(node.clone()));
        }
        window.nonces.push(digest_of(secret));
        Ok(())
    }

    /// Trades a nonce. What comes back is to be settled after a while.
    pub(crate) fn claim(
        &mut self,
        node: &Xname,
        secret: &[u8],
        address: IpAddr,
        now: i64,
    ) -> Result<Claim, Refusal> {
        let closed = || Refusal::Closed(node.clone());
        let window = self.0.get_mut(node).ok_or_else(closed)?;
        // All of them are compared, so that the time taken does not tell which.
        let hit =
            window.nonces.iter().fold(None, |hit, it| if is_secret_of(secret, it) { Some(it) } else { hit });
        let nonce = hit.cloned().ok_or_else(|| Refusal::NoNonce(node.clone()))?;
        let claim = Claim { nonce, address, at: now };
        match &window.state {
            State::Void => Err(Refusal::Void(node.clone())),
            State::Claimed(first) | State::Spent(first) => {
                let both = Box::new((first.clone(), claim));
                window.state = State::Void;
                Err(Refusal::Contested(node.clone(), both))
            }
            State::Open if window.until <= now => Err(closed()),
            State::Open => {
                window.state = State::Claimed(claim.clone());
                Ok(claim)
            }
        }
    }

    /// Whether a claim stood alone; then the window is spent.
    pub(crate) fn settle(&mut self, node: &Xname, claim: &Claim) -> Result<(), Refusal> {
        let window = self.0.get_mut(node).ok_or_else(|| Refusal::Closed(node.clone()))?;
        match &window.state {
            State::Claimed(it) if it == claim => {
                window.state = State::Spent(claim.clone());
                Ok(())
            }
            State::Open | State::Claimed(_) => Err(Refusal::Closed(node.clone())),
            State::Spent(_) => Err(Refusal::Spent(node.clone())),
            State::Void => Err(Refusal::Void(node.clone())),
        }
    }

    /// Ends a window whose node proved itself otherwise.
    pub(crate) fn spend(&mut self, node: &Xname, address: IpAddr, now: i64) {
        if let Some(window) = self.0.get_mut(node) {
            window.state = State::Spent(Claim { nonce: String::new(), address, at: now });
        }
    }

    fn open_window(&mut self, node: &Xname, now: i64) -> Result<&mut Window, Refusal> {
        let window = self.0.get_mut(node).ok_or_else(|| Refusal::Closed(node.clone()))?;
        match window.state {
            State::Open if window.until > now => Ok(window),
            State::Open => Err(Refusal::Closed(node.clone())),
            State::Claimed(_) | State::Spent(_) => Err(Refusal::Spent(node.clone())),
            State::Void => Err(Refusal::Void(node.clone())),
        }
    }
}

impl Window {
    fn is_open(&self, now: i64) -> bool {
        self.state == State::Open && self.until > now
    }
}

#[cfg(test)]
#[path = "window/tests.rs"]
mod tests;
