//! Routes: what boot, cloud-init, power and administrators ask; nodes' own are in `api/node.rs`.

mod node;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use daemon::Context;
use domain::inventory::Inventory;
use domain::{MacAddr, Scope, Service, Xname};
use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::Notify;
use web::mirror::Mirror;
use web::{Caller, Client, Database, Json, Path, SealKey, feed, scoped};

use crate::client::{Report, Standing};
use crate::config::{Config, Policy};
use crate::error::Error;
use crate::model::{Challenges, Enrolment, Held, Kind, gone};
use crate::state::Kept;
use crate::store;
use crate::wire::{ssh, tpm};

/// The longest body: some certificates and host keys.
const BODY_MAX: usize = 64 << 10;
/// The longest window that an operator opens, in seconds.
const WINDOW_MAX_S: u64 = 24 * 3600;

/// What every handler works with. Clones share it.
#[derive(Clone)]
pub struct Join(pub(crate) Arc<Inner>);

/// What clones share.
pub struct Inner {
    pub(crate) context: Context,
    pub(crate) config: Config,
    pub(crate) inventory: Mirror<Inventory>,
    pub(crate) held: Mirror<Held>,
    pub(crate) kept: Kept,
    pub(crate) database: Database,
    pub(crate) seal: SealKey,
    pub(crate) auth: Client,
    pub(crate) dhcp: dhcp::client::Client,
    /// Wakes the pushes.
    pub(crate) wake: Notify,
    pattern: String,
    challenges: Mutex<Challenges>,
    /// When a refusal was last told, in seconds since 1970.
    told: Mutex<i64>,
}

impl Join {
    pub(crate) fn new(
        context: Context,
        config: Config,
        inventory: Mirror<Inventory>,
        held: Mirror<Held>,
        kept: Kept,
        database: Database,
        seal: SealKey,
    ) -> Self {
        let auth = Client::unix(context.socket_of(Service::Auth));
        let dhcp = dhcp::client::Client::new(Client::unix(context.socket_of(Service::Dhcp)));
        let pattern = context.document.cluster.host_pattern.clone();
        let (wake, challenges, told) = (Notify::new(), Mutex::default(), Mutex::default());
        Self(Arc::new(Inner {
            context,
            config,
            inventory,
            held,
            kept,
            database,
            seal,
            auth,
            dhcp,
            wake,
            pattern,
            challenges,
            told,
        }))
    }

    fn challenges(&self) -> MutexGuard<'_, Challenges> {
        self.challenges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node that a word names.
    fn find(&self, word: &str) -> Result<Xname, Error> {
        let found = self.inventory.read(|it| it.find(word, &self.pattern).map(|it| it.id.clone()));
        found.filter(Xname::is_node).ok_or_else(|| Error::NoNode(word.chars().take(64).collect()))
    }

    fn policy_of(&self, node: &Xname) -> Policy {
        self.inventory.read(|it| self.config.policy_of(it, node))
    }

    /// The node of an interface.
    fn node_of(&self, mac: MacAddr) -> Result<Xname, Error> {
        let found = self.inventory.read(|it| it.interface_by_mac(mac)?.component.clone());
        found.filter(Xname::is_node).ok_or_else(|| Error::NoNode(mac.to_string()))
    }

    /// Whether the address is one of the node's: by the inventory, else by a lease of one of its NICs.
    async fn check_address(&self, node: &Xname, address: Option<IpAddr>) -> Result<IpAddr, Error> {
        let elsewhere = || Error::Elsewhere(node.to_string());
        let address = address.ok_or_else(elsewhere)?;
        let known = self
            .inventory
            .read(|it| it.interfaces_of(node).any(|interface| interface.ips().any(|ip| ip == address)));
        if known {
            return Ok(address);
        }
        let lease = self.find_lease(address).await?;
        let macs: Vec<MacAddr> = self.inventory.read(|it| it.interfaces_of(node).map(|it| it.mac).collect());
        if lease.is_some_and(|it| macs.contains(&it.mac)) { Ok(address) } else { Err(elsewhere()) }
    }

    /// The lease that was given out for this address and still holds.
    async fn find_lease(&self, address: IpAddr) -> Result<Option<dhcp::client::Lease>, Error> {
        let IpAddr::V4(ip) = address else { return Ok(None) };
        let lease = self.dhcp.find_lease_by_ip(ip).await.map_err(Error::Dhcp)?;
        Ok(lease.filter(|it| it.ip == ip && it.expires.is_some() && ip != Ipv4Addr::UNSPECIFIED))
    }

    /// Tells the journal of a refusal: one in a second, as a flood of them would be no news.
    fn tell_refusal(&self, node: &dyn std::fmt::Display, address: Option<IpAddr>, error: &Error) {
        node::REFUSALS.inc();
        let (now, mut told) = (now(), self.told.lock().unwrap_or_else(PoisonError::into_inner));
        if *told != now {
            *told = now;
            let from = address.map_or_else(|| "an unknown address".to_owned(), |it| it.to_string());
            daemon::event!(
                domain::event::JOIN_REFUSED,
                node = node,
                "{from} was refused the token of {node}: {error}"
            );
        }
    }
}

/// Seconds since 1970: the clock is read here and nowhere below.
pub(crate) fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

/// Every path of the service.
pub fn router(join: Join) -> Router {
    let read = |routes| scoped(routes, Scope::Read(Service::Join));
    let write = |routes| scoped(routes, Scope::Write(Service::Join));
    let windows = put(open_window).delete(close_window);
    Router::new()
        .route("/join/{file}", get(node::show_nonce))
        .route("/join/token", post(node::trade_nonce))
        .route("/join/tpm/challenge", post(node::ask_tpm))
        .route("/join/tpm/answer", post(node::take_answer))
        .route("/pilothouse/v1/windows/{node}", scoped(windows, Scope::PowerControl))
        .route("/pilothouse/v1/nonces/{mac}", write(put(arm)))
        .route("/pilothouse/v1/reports/{node}", write(put(take_report)))
        .route("/pilothouse/v1/nodes", read(get(list_nodes)))
        .route("/pilothouse/v1/key", read(get(show_key)))
        .route("/pilothouse/v1/enrolments/{node}/{kind}", write(put(enrol).delete(forget)))
        .route("/readyz", get(show_readiness))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(join)
}

async fn show_readiness(State(join): State<Join>) -> Response {
    let key = if join.held.read(|it| it.ssh_key().is_some()) { "in memory" } else { "none yet" };
    let inventory = join.inventory.freshness().to_string();
    Json(json!({"ready": true, "inventory": inventory, "key": key})).into_response()
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewWindow {
    seconds: Option<u64>,
}

async fn open_window(
    State(join): State<Join>,
    caller: Caller,
    Path(word): Path<String>,
    Json(NewWindow { seconds }): Json<NewWindow>,
) -> Result<StatusCode, Error> {
    let node = join.find(&word)?;
    let policy = join.policy_of(&node);
    if !matches!(policy, Policy::Nonce | Policy::Tpm) {
        // power asks for every node that it switches on.
        return if caller.uid == Some(Service::Power.uid()) {
            Ok(StatusCode::NO_CONTENT)
        } else {
            Err(Error::Policy(node, policy))
        };
    }
    if seconds.is_some_and(|it| it == 0 || it > WINDOW_MAX_S) {
        return Err(Error::Bad("a window is open for 1 to 86400 seconds"));
    }
    let seconds = seconds.map_or(join.config.window_s(), |it| i64::try_from(it).unwrap_or(i64::MAX));
    let now = now();
    join.kept
        .change(|it| {
            it.windows.prune(now);
            it.windows.open(&node, now, seconds)
        })
        .await??;
    web::deed_at(&caller, &node, format_args!("the window of {node} opened for {seconds} s"));
    Ok(StatusCode::NO_CONTENT)
}

async fn close_window(
    State(join): State<Join>,
    caller: Caller,
    Path(word): Path<String>,
) -> Result<StatusCode, Error> {
    let node = join.find(&word)?;
    let was_open = join.kept.change_if(|it| it.windows.close(&node, now()), |it| *it).await?;
    if was_open {
        web::deed_at(&caller, &node, format_args!("the window of {node} closed"));
    }
    Ok(StatusCode::NO_CONTENT)
}

/// boot asks for each script of a node with the policy `nonce`.
async fn arm(State(join): State<Join>, Path(mac): Path<MacAddr>) -> Result<StatusCode, Error> {
    let node = join.node_of(mac)?;
    let policy = join.policy_of(&node);
    if policy != Policy::Nonce {
        return Err(Error::Policy(node, policy));
    }
    join.kept.change_if(|it| it.windows.arm(&node, mac, now()), Result::is_ok).await??;
    Ok(StatusCode::NO_CONTENT)
}

async fn take_report(
    State(join): State<Join>,
    Path(node): Path<Xname>,
    Json(report): Json<Report>,
) -> Result<StatusCode, Error> {
    let policy = join.policy_of(&node);
    if policy != Policy::Push {
        return Err(Error::Policy(node, policy));
    }
    join.check_address(&node, Some(report.address)).await?;
    join.take_report(&node, report, now()).await?;
    Ok(StatusCode::ACCEPTED)
}

async fn list_nodes(State(join): State<Join>) -> Json<Vec<Standing>> {
    let enrolments = join.held.read(Held::list);
    let (windows, pushes) = join.kept.read(|it| {
        let windows: Vec<_> =
            it.windows.list(now()).map(|(node, word, until)| (node.clone(), (word, until))).collect();
        (windows.into_iter().collect::<std::collections::BTreeMap<_, _>>(), it.pushes.clone())
    });
    let all = join.inventory.read(|inventory| {
        let nodes = inventory.components().filter(|it| it.id.is_node());
        let standing = nodes.map(|it| {
            let window = windows.get(&it.id);
            let enrolled = enrolments.iter().filter(|row| row.node == it.id).map(|row| {
                let word = row.kind.word();
                if row.first_use { format!("{word} (first use)") } else { word.to_owned() }
            });
            Standing {
                name: inventory.name_of(it, &join.pattern),
                policy: join.config.policy_of(inventory, &it.id),
                window: window.map(|it| it.0.to_owned()),
                until: window.map(|it| instant(it.1)),
                enrolled: if enrolments.is_empty() { Vec::new() } else { enrolled.collect() },
                pushing: pushes.contains_key(&it.id),
                node: it.id.clone(),
            }
        });
        standing
            .filter(|it| it.policy != Policy::None || it.window.is_some() || !it.enrolled.is_empty())
            .collect()
    });
    Json(all)
}

async fn show_key(State(join): State<Join>) -> Result<Response, Error> {
    let key = join.held.read(|it| it.ssh_key().map(|it| it.public.clone())).ok_or(Error::NoKey)?;
    Ok(Json(json!({ "public": key })).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewEnrolment {
    /// The file, in base64.
    content: String,
}

fn kind_of(word: &str) -> Result<Kind, Error> {
    let kinds = [Kind::Ek, Kind::HostKeys];
    kinds.into_iter().find(|it| it.word() == word).ok_or(Error::Bad("there are the kinds ek and host-keys"))
}

async fn enrol(
    State(join): State<Join>,
    caller: Caller,
    Path((word, kind)): Path<(String, String)>,
    Json(NewEnrolment { content }): Json<NewEnrolment>,
) -> Result<Response, Error> {
    let (node, kind) = (join.find(&word)?, kind_of(&kind)?);
    let content = STANDARD.decode(content).map_err(|_| Error::Bad("`content` is no base64"))?;
    let value = match kind {
        Kind::Ek => tpm::fingerprint(&content)?,
        Kind::HostKeys => {
            let text = String::from_utf8_lossy(&content);
            let keys = ssh::host_keys([&*text]);
            if keys.is_empty() {
                return Err(Error::Bad(
                    "there is no host key in it; give /etc/ssh/ssh_host_*_key.pub of the node",
                ));
            }
            keys.join("\n")
        }
    };
    let row = join.keep_enrolment(&node, kind, value, false).await?;
    web::deed_at(&caller, &node, format_args!("{} of {node} enrolled", kind.word()));
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(row)).into_response())
}

impl Join {
    /// Writes down by what a node is known from now on.
    async fn keep_enrolment(
        &self,
        node: &Xname,
        kind: Kind,
        value: String,
        first_use: bool,
    ) -> Result<Enrolment, Error> {
        let mut tx = self.database.begin().await?;
        let created = store::replace_enrolment(&mut *tx, node, kind, &value, first_use).await?;
        let created = created.format(&Rfc3339).unwrap_or_default();
        let row = Enrolment { node: node.clone(), kind, value, first_use, created };
        feed::commit(tx, &[row.change()], &self.held).await?;
        Ok(row)
    }
}

async fn forget(
    State(join): State<Join>,
    caller: Caller,
    Path((word, kind)): Path<(String, String)>,
) -> Result<StatusCode, Error> {
    // A node that has left the inventory is named by its xname.
    let node = join.find(&word).or_else(|error| word.parse().map_err(|_| error))?;
    let kind = kind_of(&kind)?;
    let mut tx = join.database.begin().await?;
    if !store::delete_enrolment(&mut *tx, &node, kind).await? {
        return Err(Error::NothingEnrolled(node));
    }
    feed::commit(tx, &[gone(&node, kind)], &join.held).await?;
    web::deed_at(&caller, &node, format_args!("{} of {node} forgotten", kind.word()));
    Ok(StatusCode::NO_CONTENT)
}

fn instant(seconds: i64) -> String {
    let instant = OffsetDateTime::from_unix_timestamp(seconds).ok();
    instant.and_then(|it| it.format(&Rfc3339).ok()).unwrap_or_default()
}
