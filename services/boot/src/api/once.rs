//! What nodes boot the next time alone.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::feed::Change;
use domain::inventory::Inventory;
use domain::{NODES_MAX, Xname};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;
use uuid::Uuid;
use web::{Caller, Json, Problem};

use super::Boot;
use super::image::Resolved;
use crate::client::{OnceEntry, OnceOutcome, OnceResults};
use crate::error::Error;
use crate::model::{Asked, Edit, LOCAL_DISK, ONCE, Once, Outcome, Parameters, Settings, look_up, node_of};
use crate::store;

/// How often what was taken while PostgreSQL was away is taken out of its table.
const SETTLE_EVERY: Duration = Duration::from_secs(2);

/// What some nodes are to boot the next time; what is not named is as they would boot now.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct OnceBody {
    /// Names, xnames or MAC addresses
    nodes: Vec<String>,
    /// The kernel's URL
    kernel: Option<String>,
    /// The initrd's URL; with another kernel and without this there is none
    initrd: Option<String>,
    /// The kernel's command line
    params: Option<String>,
    /// An image, `name:tag` or `sha256:…`, in the place of kernel and initrd
    image: Option<String>,
    /// The node's own disk, in the place of all of them
    local_disk: bool,
}

/// Of which nodes it is taken back.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nodes {
    /// Names, xnames or MAC addresses
    nodes: Vec<String>,
}

#[utoipa::path(
    get, path = "/pilothouse/v1/once",
    description = "What nodes boot the next time alone, and have not booted yet.",
    responses((status = 200, body = Vec<OnceEntry>, content_type = "application/json"))
)]
pub(super) async fn list(State(boot): State<Boot>) -> Json<Vec<OnceEntry>> {
    Json(boot.parameters.read(|it| it.all_once().map(|(node, once)| shown(node, once)).collect()))
}

fn shown(node: &Xname, once: &Once) -> OnceEntry {
    let it = &once.settings;
    OnceEntry {
        node: node.clone(),
        kernel: it.kernel().to_owned(),
        initrd: it.initrd().to_owned(),
        params: it.params().to_owned(),
        image: it.reference().to_owned(),
    }
}

#[utoipa::path(
    put, path = "/pilothouse/v1/once",
    description = "Has nodes boot something else the next time alone. It holds until the node has loaded all of it \
        and is about to start the kernel; a boot that fails before gets it again.",
    request_body = OnceBody,
    responses(
        (status = 200, body = OnceResults, content_type = "application/json", description = "One result a node"),
        (status = 400, body = Problem, content_type = "application/problem+json",
            description = "Nothing to boot, or what iPXE would not take as it is meant"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such image"),
    )
)]
pub(super) async fn replace(
    State(boot): State<Boot>,
    caller: Caller,
    Json(body): Json<OnceBody>,
) -> Result<Response, Error> {
    check_nodes(&body.nodes)?;
    let ways = [body.kernel.is_some() || body.initrd.is_some(), body.image.is_some(), body.local_disk];
    if ways.into_iter().filter(|it| *it).count() > 1 || (!ways.contains(&true) && body.params.is_none()) {
        return Err(Error::NoOnce);
    }
    let image = match &body.image {
        Some(reference) => Some(boot.resolve(reference).await?),
        None => None,
    };
    let _images = if image.is_some() { Some(boot.images_turn.lock().await) } else { None };
    if let Some(image) = &image {
        boot.pin(image).await?;
    }
    let (mut outcomes, mut rows) = (Vec::new(), Vec::new());
    for word in &body.nodes {
        let found = boot.inventory.read(|it| boot.plan_once(it, word, &body, image.as_ref()));
        outcomes.push(OnceOutcome::of(word, found.as_ref().err()));
        if let Ok((node, settings)) = found {
            rows.push((node, Once { id: Uuid::new_v4(), settings: Arc::new(settings) }));
        }
    }
    if !rows.is_empty() {
        let nodes: Vec<&str> = rows.iter().map(|it| it.0.as_str()).collect();
        web::deed(&caller, format_args!("once another boot of {}", nodes.join(" ")));
        let mut tx = boot.database.begin().await?;
        store::upsert_once(&mut tx, &rows).await?;
        let put = |(node, once): &(Xname, Once)| {
            Change::put(ONCE, node.to_string(), serde_json::to_value(once).unwrap_or_default())
        };
        let changes: Vec<Change> = rows.iter().map(put).collect();
        web::feed::commit(tx, &changes, &boot.parameters).await?;
    }
    boot.unpin_later();
    Ok(Json(OnceResults { results: outcomes }).into_response())
}

#[utoipa::path(
    delete, path = "/pilothouse/v1/once",
    description = "Takes back what nodes were to boot the next time alone.",
    request_body = Nodes,
    responses(
        (status = 200, body = OnceResults, content_type = "application/json", description = "One result a node"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "No nodes"),
    )
)]
pub(super) async fn remove(State(boot): State<Boot>, Json(body): Json<Nodes>) -> Result<Response, Error> {
    check_nodes(&body.nodes)?;
    let (mut outcomes, mut nodes) = (Vec::new(), Vec::new());
    for word in &body.nodes {
        let found = boot.inventory.read(|it| boot.node_of_word(it, word));
        let found = found.and_then(|node| {
            let there = boot.parameters.read(|it| it.once(&node).is_some());
            if there { Ok(node) } else { Err(format!("{word} boots nothing else the next time")) }
        });
        outcomes.push(OnceOutcome::of(word, found.as_ref().err()));
        nodes.extend(found);
    }
    if !nodes.is_empty() {
        let mut tx = boot.database.begin().await?;
        store::delete_once(&mut tx, &nodes).await?;
        let changes: Vec<Change> = nodes.iter().map(|it| Change::delete(ONCE, it.to_string())).collect();
        web::feed::commit(tx, &changes, &boot.parameters).await?;
        boot.unpin_later();
    }
    Ok(Json(OnceResults { results: outcomes }).into_response())
}

fn check_nodes(nodes: &[String]) -> Result<(), Error> {
    if (1..=NODES_MAX).contains(&nodes.len()) { Ok(()) } else { Err(Error::NoNodes) }
}

impl OnceOutcome {
    fn of(node: &str, error: Option<&String>) -> Self {
        Self { node: node.to_owned(), ok: error.is_none(), error: error.cloned() }
    }
}

impl Boot {
    /// The node that a word of an administrator names.
    fn node_of_word(&self, inventory: &Inventory, word: &str) -> Result<Xname, String> {
        let node = node_of(inventory, &Asked::of_word(word), &self.config.node_name);
        let none = || format!("no node is called {word}; `pilotctl nodes list` shows them");
        node.map(|it| it.id.clone()).ok_or_else(none)
    }

    /// What a node boots the next time: what it would boot now, and on it what is named.
    fn plan_once(
        &self,
        inventory: &Inventory,
        word: &str,
        body: &OnceBody,
        image: Option<&Resolved>,
    ) -> Result<(Xname, Settings), String> {
        let id = self.node_of_word(inventory, word)?;
        let node = inventory.component(&id);
        if let Some(lock) = node.and_then(|it| it.lock.as_ref()) {
            return Err(format!("{id} is {lock}; unlock it first: pilotctl nodes unlock {id}"));
        }
        let arch = node.and_then(|it| crate::model::Architecture::of_component(it.arch.as_deref()?));
        let now = self.parameters.read(|parameters| {
            let asked = Asked::Name(id.to_string());
            // With an architecture, so that it is not asked for; an unheard-of one boots the entry's own.
            let arch = arch.map_or("", crate::model::Architecture::name);
            match look_up(self.known(inventory, parameters), &asked, Some(arch), |_| true) {
                Outcome::Boot(found) | Outcome::Ask(found) => Some(found.settings),
                Outcome::Wait => None,
            }
        });
        let now = now.as_ref().map(|it| it.image(arch));
        let params = body.params.clone().or_else(|| now.map(|it| it.params.to_owned())).unwrap_or_default();
        let edit = match (image, body.local_disk) {
            (Some(image), _) => image.edit(&params),
            (None, true) => Edit { kernel: Some(LOCAL_DISK.to_owned()), ..Edit::default() },
            (None, false) => {
                let old = now.filter(|_| body.kernel.is_none());
                Edit {
                    kernel: body.kernel.clone().or_else(|| old.map(|it| it.kernel.to_owned())),
                    initrd: body.initrd.clone().or_else(|| old.map(|it| it.initrd.to_owned())),
                    params: Some(params),
                    ..Edit::default()
                }
            }
        };
        let settings = edit.apply(None).ok_or_else(|| format!("{id} has no kernel yet; name one"))?;
        Ok((id, settings.map_err(|it| it.to_string())?))
    }

    /// A node has loaded what it boots this time alone. From here on it gets what it boots always, also while
    /// PostgreSQL is away; after a restart in that time it would get it once more.
    pub(super) async fn take_once(&self, asked: &Asked, id: Uuid) {
        let node = self.inventory.read(|inventory| {
            let node = node_of(inventory, asked, &self.config.node_name)?;
            let same = |it: &Parameters| it.once(&node.id).is_some_and(|it| it.id == id);
            self.parameters.read(same).then(|| node.id.clone())
        });
        let Some(node) = node else { return };
        tracing::info!(pilothouse_node = %node, "{node} has loaded what it boots once");
        self.seen.spend(id, node);
        self.settle_once().await;
    }

    /// Takes what was taken out of the table.
    async fn settle_once(&self) {
        for (id, node) in self.seen.spent() {
            match self.delete_taken(&node, id).await {
                Ok(()) => self.seen.settle(id),
                Err(error) => {
                    tracing::debug!("what {node} has booted once stays in the table for now: {error}");
                    return;
                }
            }
        }
    }

    async fn delete_taken(&self, node: &Xname, id: Uuid) -> Result<(), Error> {
        let mut tx = self.database.begin().await?;
        // Somebody may have wished something new for the next boot meanwhile.
        if store::delete_taken(&mut tx, node, id).await? {
            let changes = [Change::delete(ONCE, node.to_string())];
            web::feed::commit(tx, &changes, &self.parameters).await?;
            self.unpin_later();
        }
        Ok(())
    }

    /// Does later what could not be done while PostgreSQL or images was away, until the stop.
    pub async fn settle_until(&self, stop: &CancellationToken) {
        let mut every = tokio::time::interval(SETTLE_EVERY);
        let round = async {
            loop {
                every.tick().await;
                self.settle_once().await;
                self.settle_pins().await;
            }
        };
        // A neighbour that is stopping too may leave a call without an answer for longer than the end may take; what
        // is given up half-way is settled after the next start.
        stop.run_until_cancelled(round).await;
    }
}
