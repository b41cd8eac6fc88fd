//! `/boot/v1/bootscript`: the one path that every node asks at every boot.

use std::borrow::Cow;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Instant;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use daemon::BootEvent;
use domain::inventory::{Component, Inventory};
use domain::{Nid, Service};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;
use web::{Caller, Problem, Query};

use super::Boot;
use super::reply::json;
use super::telling::Telling;
use crate::config::Config;
use crate::error::Error;
use crate::model::{Architecture, Asked, Found, Known, Outcome, look_up, node_mac, node_of};
use crate::wire::{
    LineError, Origin, Patience, ask_script, boot_script, command_line, refused_script, renew_script,
    retry_script, wait_script,
};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=UTF-8");

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(super) struct Request {
    /// A MAC address; of the first three one is needed, and the first that is there counts
    mac: Option<String>,
    /// An xname or a node's name
    name: Option<String>,
    /// A node's number
    nid: Option<String>,
    /// How often the machine has come back
    retry: Option<String>,
    /// iPXE's `${buildarch}`; who says it has waited
    arch: Option<String>,
    /// When the machine was told to wait
    ts: Option<String>,
    /// Which step of the boot before failed: `kernel`, `initrd`, `join`, `boot`, `disk`, `script`
    failed: Option<String>,
    /// What the machine boots once and has loaded: by its number
    taken: Option<String>,
    /// `1`: kernel, initrd and command line instead of a script
    json: Option<String>,
}

/// What a script boots.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BootData {
    /// The word `kernel` and the command line
    params: String,
    /// The kernel's URL
    kernel: String,
    /// The initrd's URL
    #[serde(skip_serializing_if = "str::is_empty")]
    initrd: String,
}

impl Request {
    fn asked(&self) -> Option<Asked> {
        let given = |it: &Option<String>| it.clone().filter(|it| !it.is_empty());
        given(&self.mac)
            .map(Asked::Mac)
            .or_else(|| given(&self.name).map(Asked::Name))
            .or_else(|| self.nid.as_ref()?.parse::<Nid>().ok().map(Asked::Nid))
    }

    fn retry(&self) -> u32 {
        self.retry.as_ref().and_then(|it| it.parse().ok()).unwrap_or(0)
    }

    /// Whether this is the way back from the first script of a machine that waits, which takes no new address.
    fn has_waited(&self) -> bool {
        self.arch.is_some() && self.ts.is_some()
    }
}

/// What a look-up gave, with what rendering needs.
pub(super) struct Answer<'a> {
    pub(super) node: Option<&'a Component>,
    pub(super) outcome: Outcome,
    /// What was asked; without `arch` the next request asks by it too.
    pub(super) asked: &'a Asked,
    /// The node's first MAC, if it was asked by something else (recording `bss-script-014`).
    pub(super) mac: Option<Asked>,
}

impl<'a> Answer<'a> {
    pub(super) fn find(
        inventory: &'a Inventory,
        known: Known<'_>,
        asked: &'a Asked,
        arch: Option<&str>,
        spent: impl Fn(&Uuid) -> bool,
    ) -> Self {
        let outcome = look_up(known, asked, arch, spent);
        let node = node_of(inventory, asked, known.pattern);
        let other = node.filter(|_| !matches!(asked, Asked::Mac(_)));
        let mac = other.and_then(|it| node_mac(inventory, it)).map(|it| Asked::Mac(it.to_string()));
        Self { node, outcome, asked, mac }
    }

    /// What the next request asks by.
    pub(super) fn again(&self) -> &Asked {
        self.mac.as_ref().unwrap_or(self.asked)
    }

    /// The architecture that the machine said, else what the inventory says of the node.
    pub(super) fn architecture(&self, arch: Option<&str>) -> Option<Architecture> {
        match arch {
            Some(word) => Architecture::parse(word),
            None => Architecture::of_component(self.node?.arch.as_deref()?),
        }
    }

    /// The script that boots what was found, and why it does not.
    pub(super) fn boot(
        &self,
        found: &Found,
        arch: Option<&str>,
        retry: u32,
        origin: &Origin<'_>,
    ) -> (String, Option<LineError>) {
        let image = found.settings.image(self.architecture(arch));
        match boot_script(image, self.node, self.again(), (retry, found.once()), origin) {
            Ok(script) => (script, None),
            Err(error) => (refused_script(error, self.again(), retry, origin), Some(error)),
        }
    }

    /// The script's text, and why it does not boot what was found.
    pub(super) fn render(
        &self,
        arch: Option<&str>,
        retry: u32,
        origin: &Origin<'_>,
    ) -> (String, Option<LineError>) {
        let text = match (&self.outcome, arch) {
            (Outcome::Boot(found), _) => return self.boot(found, arch, retry, origin),
            (Outcome::Ask(_), _) => ask_script(self.asked, retry, origin),
            (Outcome::Wait, Some(arch)) => retry_script(self.again(), arch, retry, origin),
            (Outcome::Wait, None) => wait_script(self.again(), now(), origin),
        };
        (text, None)
    }

    /// `json=1`: the boot data with the final command line (BSS 1.32.2; recording `bss-script-016`).
    fn data(&self, arch: Option<&str>, origin: &Origin<'_>) -> Result<BootData, Error> {
        let (Outcome::Boot(found) | Outcome::Ask(found)) = &self.outcome else {
            return Err(Error::NotFound("host"));
        };
        let image = found.settings.image(self.architecture(arch));
        let line = command_line(image, self.node, origin)?;
        let (kernel, initrd) = (image.kernel.to_owned(), image.initrd.to_owned());
        Ok(BootData { params: format!("kernel {line}"), kernel, initrd })
    }
}

#[utoipa::path(
    get, path = "/boot/v1/bootscript", params(Request),
    description = "What a machine boots, as an iPXE script: it boots, waits and asks again, or says its architecture.",
    responses(
        (status = 200, content(
            (String = "text/plain; charset=UTF-8"),
            (BootData = "application/json; charset=UTF-8"),
        )),
        (status = 400, body = Problem, content_type = "application/problem+json",
            description = "Nothing is asked by"),
        (status = 404, body = Problem, content_type = "application/problem+json",
            description = "Only with `json=1`: the machine has nothing to boot"),
        (status = 409, body = Problem, content_type = "application/problem+json",
            description = "Only with `json=1`: the command line is longer than Linux takes"),
    )
)]
pub(super) async fn show(
    State(boot): State<Boot>,
    caller: Caller,
    Query(request): Query<Request>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let began = Instant::now();
    let asked = request.asked().ok_or(Error::NothingAsked)?;
    if let Some(id) = &request.taken {
        if let Ok(id) = id.parse() {
            boot.take_once(&asked, id).await;
        }
        return Ok(plain("#!ipxe\n".to_owned()));
    }
    let arch = request.arch.as_deref();
    let nonce = boot.arm_nonce(&asked).await;
    let origin = Origin { nonce, ..origin(&boot.config, &caller, &headers) };
    let (text, events) = boot.inventory.read(|inventory| {
        let spent = |id: &Uuid| boot.seen.is_spent(id);
        let answer = boot
            .parameters
            .read(|it| Answer::find(inventory, boot.known(inventory, it), &asked, arch, spent));
        if request.json.as_deref() == Some("1") {
            return answer.data(arch, &origin).map(|it| (json(&it), Vec::new()));
        }
        let moved =
            answer.node.filter(|_| request.has_waited() && matches!(answer.outcome, Outcome::Boot(_)));
        if let (Some(arch), Some(node)) = (arch, moved)
            && boot
                .config
                .is_astray(caller.address, inventory.interfaces_of(&node.id).flat_map(|it| it.ips()))
        {
            return Ok((plain(renew_script(answer.again(), arch, request.retry(), &origin)), Vec::new()));
        }
        let (text, refused) = answer.render(arch, request.retry(), &origin);
        let telling = Telling { boot: &boot, answer: &answer, inventory, caller: &caller };
        let mut events = Vec::new();
        events.extend(telling.failed(request.failed.as_deref(), arch));
        events.extend(telling.answered(&text, refused).map(|it| it.sent(text.len() as u64, began.elapsed())));
        Ok((plain(text), events))
    })?;
    // Not while the inventory is held.
    events.into_iter().for_each(BootEvent::send);
    Ok(text)
}

fn plain(text: String) -> Response {
    ([(header::CONTENT_TYPE, TEXT)], text).into_response()
}

pub(super) fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

/// By which way the script was fetched, or what the document says instead.
pub(super) fn origin<'a>(config: &'a Config, caller: &Caller, headers: &HeaderMap) -> Origin<'a> {
    let text = |name: &str| headers.get(name).and_then(|it| it.to_str().ok());
    // Only the gateway and root may say how their client came; INTERFACES 5 and DESIGN 4.
    let trusted = matches!(caller.uid, Some(0)) || caller.uid == Some(Service::Gateway.uid());
    let secure = trusted && text("x-forwarded-proto") == Some("https");
    let forwarded = text("x-forwarded-host").filter(|it| trusted && is_host(it));
    let plain = || config.plain_base(caller.address);
    let base: Cow<'a, str> = match &config.advertise_url {
        Some(url) => url.into(),
        None => match forwarded.or_else(|| text("host").filter(|it| is_host(it))) {
            Some(host) => [if secure { "https://" } else { "http://" }, host].concat().into(),
            None => plain().unwrap_or_else(|| "http://localhost:8081".to_owned()).into(),
        },
    };
    let cloud_init: Cow<'a, str> = match (&config.cloud_init_url, &config.advertise_url) {
        (Some(url), _) => url.into(),
        // BSS writes an address there, with no scheme (recording `bss-script-010`).
        (None, Some(url)) => format!("{}/", url.split_once("://").map_or(url.as_str(), |(_, it)| it)).into(),
        // A node has no CA of ours before cloud-init: over TLS it is sent to the plain port.
        (None, None) if secure => format!("{}/cloud-init/", plain().as_deref().unwrap_or(&base)).into(),
        (None, None) => [&*base, "/cloud-init/"].concat().into(),
    };
    let images = config.images_base(caller.address, &base).into();
    // Every other client is given the texts that BSS was recorded with.
    let patience = text("user-agent").filter(|it| it.starts_with("iPXE/")).map(|_| Patience(random()));
    Origin { base, cloud_init, images, patience, nonce: None }
}

/// A number for each script: each hasher is made with keys of its own.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Whether a Host header can stand in a script: a name or address with, perhaps, a port. `localhost` alone is
/// what clients of the UNIX socket send; no node could follow it.
fn is_host(text: &str) -> bool {
    let fits = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'-' | b':' | b'[' | b']');
    (1..=255).contains(&text.len()) && text.bytes().all(fits) && text != "localhost" && !text.starts_with('-')
}

#[cfg(test)]
#[path = "script/tests.rs"]
mod tests;
