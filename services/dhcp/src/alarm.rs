//! What somebody has to look at, as health issues: raised when seen, solved when not seen for a while.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use daemon::{Issue, Severity};
use domain::MacAddr;
use domain::event::{self, Event};
use serde_json::{Value, json};

use crate::model::Alarm;

/// An issue that was not seen for so long is solved, in seconds.
const SOLVED_S: i64 = 3600;
/// The journal hears of one so often, in seconds.
const TELL_EVERY_S: i64 = 600;
/// So many at once; MACs can be made up.
const ALARMS_MAX: usize = 100;

/// Another server, by address and, where its frames were heard, MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rival<'a> {
    pub(crate) server: Ipv4Addr,
    pub(crate) mac: Option<MacAddr>,
    pub(crate) plane: &'a str,
    /// Who took its offer.
    pub(crate) client: Option<MacAddr>,
}

/// The issues of dhcp.
pub(crate) struct Alarms {
    context: daemon::Context,
    raised: Mutex<HashMap<String, Raised>>,
    lost: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
struct Raised {
    last: i64,
    told: i64,
    /// The MAC of the other server is known.
    complete: bool,
}

impl Alarms {
    pub(crate) fn new(context: daemon::Context) -> Self {
        Self { context, raised: Mutex::default(), lost: AtomicBool::new(false) }
    }

    /// What a decision came upon.
    pub(crate) fn raise(&self, alarm: Alarm, plane: &str, now: i64) {
        match alarm {
            Alarm::Declined { mac, ip } => {
                let summary = format!("{mac} was given {ip} and found another machine at that address");
                let suggestion = format!("find the other one: ip neigh show {ip}; arping -D {ip}");
                let context = json!({"mac": mac, "ip": ip, "plane": plane});
                let about = (format!("address-in-use/{ip}"), context);
                self.tell(about, event::DHCP_DECLINED, Some(mac), (summary, suggestion), true, now);
            }
            Alarm::Duplicate { mac, other, ip } => {
                let summary = format!("{ip} is given to {mac} and {other}; {other} has it");
                let suggestion = format!("give {mac} an address of its own in the inventory");
                let context = json!({"mac": mac, "other": other, "ip": ip, "plane": plane});
                let about = (format!("address-given-twice/{ip}"), context);
                self.tell(about, event::DHCP_DUPLICATE, Some(mac), (summary, suggestion), true, now);
            }
            Alarm::Rival { mac, server } => {
                self.raise_rival(Rival { server, mac: None, plane, client: Some(mac) }, now);
            }
        }
    }

    /// Another server answers.
    pub(crate) fn raise_rival(&self, rival: Rival<'_>, now: i64) {
        let Rival { server, mac, plane, client } = rival;
        let at = mac.map(|it| format!(" at {it}")).unwrap_or_default();
        let took = client.map(|it| format!("; {it} took its offer")).unwrap_or_default();
        let summary = format!("another DHCP server answers on the plane {plane:?}: {server}{at}{took}");
        let suggestion = "switch it off, or mark the plane shared = true if it has to be there".to_owned();
        let context = json!({"server": server, "mac": mac, "plane": plane, "client": client});
        let about = (format!("other-dhcp-server/{server}"), context);
        self.tell(about, event::DHCP_RIVAL, mac.or(client), (summary, suggestion), mac.is_some(), now);
    }

    fn tell(
        &self,
        (id, context): (String, Value),
        event: Event,
        mac: Option<MacAddr>,
        (summary, suggestion): (String, String),
        complete: bool,
        now: i64,
    ) {
        {
            let mut raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
            if raised.len() >= ALARMS_MAX && !raised.contains_key(&id) {
                return;
            }
            let entry =
                raised.entry(id.clone()).or_insert(Raised { last: now, told: i64::MIN / 2, complete });
            entry.last = now;
            let news = complete && !entry.complete;
            entry.complete |= complete;
            if !news && now - entry.told < TELL_EVERY_S {
                return;
            }
            entry.told = now;
        }
        let field = mac.map(|it| it.to_string()).unwrap_or_default();
        daemon::event!(event, mac = field, "{summary}; {suggestion}");
        self.context.issues().raise(issue(&id, context, event, summary, suggestion));
    }

    /// Leases cannot be kept, or can be again.
    pub(crate) fn set_lost(&self, lost: bool) {
        const ID: &str = "leases-not-kept";
        if self.lost.swap(lost, Ordering::Relaxed) == lost {
            return;
        }
        if !lost {
            return self.context.issues().clear(ID);
        }
        let summary = "leases of unknown machines cannot be kept: new ones get no answer".to_owned();
        let suggestion = "see what PostgreSQL says: journalctl -u pilothouse-postgres".to_owned();
        daemon::event!(event::DHCP_LEASES_LOST, "{summary}; {suggestion}");
        self.context.issues().raise(issue(ID, json!({}), event::DHCP_LEASES_LOST, summary, suggestion));
    }

    /// Solves what was not seen for a while.
    pub(crate) fn sweep(&self, now: i64) {
        let mut raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        raised.retain(|id, it| {
            let kept = now - it.last < SOLVED_S;
            if !kept {
                self.context.issues().clear(id);
            }
            kept
        });
    }
}

fn issue(id: &str, context: Value, event: Event, summary: String, suggestion: String) -> Issue {
    Issue {
        id: id.to_owned(),
        kind: id.split('/').next().unwrap_or(id).to_owned(),
        context,
        severity: Severity::Warning,
        since: String::new(),
        summary,
        suggestion,
        fix: None,
        message_id: event.id.to_owned(),
    }
}
