//! What is neither data nor administration: the version, WireGuard, and the end of a node's cloud-init.

use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use daemon::BootEvent;
use domain::{BootStage, Service, Xname};
use join::Policy;
use join::client::Report;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use web::{Caller, Json, Path};

use super::{Body, CloudInit};
use crate::model::subject_at;

/// How long a node's word that it is done waits for join.
const JOIN_MAX: Duration = Duration::from_secs(2);

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Starts the clock of [`show_version`].
pub(super) fn start_clock() {
    LazyLock::force(&STARTED);
}

/// What runs here.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Version {
    process_name: &'static str,
    build_info: String,
    uptime: String,
    runtime_host: String,
    bytes_allocated: u64,
}

/// What runs here, in the recorded service's members.
#[utoipa::path(get, path = "/version", tag = "about",
    responses((status = 200, description = "What runs here", body = Version)))]
pub(super) async fn show_version() -> Json<Version> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    // The second number is what is resident, in pages (proc_pid_statm(5)).
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|it| it.parse::<u64>().ok()).unwrap_or(0);
    Json(Version {
        process_name: "pilothouse-cloud-init",
        build_info: format!("Version: {}", env!("CARGO_PKG_VERSION")),
        uptime: format!("{:.3}s", STARTED.elapsed().as_secs_f64()),
        runtime_host: host.trim().to_owned(),
        bytes_allocated: pages * 4096,
    })
}

/// A machine that asks for a tunnel.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub(super) struct PublicKey {
    /// Its WireGuard key.
    #[schema(value_type = String, required = true, pattern = "[A-Za-z0-9+/=]")]
    public_key: Option<String>,
}

/// Makes no tunnel: there is no WireGuard here.
#[utoipa::path(post, path = "/wg-init", tag = "about", request_body = PublicKey,
    responses((status = 400, description = "No key", body = String, content_type = "text/plain"),
        (status = 404, description = "There is no WireGuard here",
            body = String, content_type = "text/plain")))]
pub(super) async fn make_tunnel(Body(body): Body) -> (StatusCode, &'static str) {
    let asked: Result<PublicKey, _> = serde_json::from_slice(&body);
    match asked.map(|it| it.public_key.is_some_and(|it| !it.trim().is_empty())) {
        Err(_) => (StatusCode::BAD_REQUEST, "Invalid request body\n"),
        Ok(false) => (StatusCode::BAD_REQUEST, "Public key is required\n"),
        Ok(true) => (StatusCode::NOT_FOUND, "WireGuard is not configured; fetch the data without a tunnel\n"),
    }
}

/// The end of a node's cloud-init. Who is meant follows from the address; the id is the sender's own word.
#[utoipa::path(post, path = "/phone-home/{id}", tag = "nodes", params(("id" = String, Path)),
    request_body(content = Option<String>, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "It is noted"),
        (status = 400, description = "No form")))]
pub(super) async fn phone_home(
    State(service): State<CloudInit>,
    caller: Caller,
    headers: HeaderMap,
    Path(id): Path<String>,
    Body(body): Body,
) -> Response {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let form = kind.split(';').next().is_some_and(|it| it.trim() == "application/x-www-form-urlencoded");
    if form && !is_form(&body) {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let pattern = &service.config.host_pattern;
    let found = caller.address.and_then(|it| {
        let subject = service.inventory.read(|inventory| subject_at(inventory, it, pattern))?;
        Some((subject.node?, it))
    });
    match found {
        Some((node, ip)) => {
            let detail = format!("{} finished cloud-init", node.name);
            let event = BootEvent::new(Service::CloudInit, BootStage::PhoneHome, detail);
            event.node(Some(&node.xname)).mac(node.mac).ip(ip).send();
            service.report(&node.xname, ip, join::client::host_keys(form, &body)).await;
        }
        None => {
            let id: String = id.escape_default().take(64).collect();
            tracing::debug!("a machine in no inventory finished cloud-init; it calls itself {id}");
        }
    }
    StatusCode::OK.into_response()
}

impl CloudInit {
    /// Tells join which host keys a node of the policy `push` reports.
    async fn report(&self, node: &Xname, address: IpAddr, host_keys: Vec<String>) {
        let policies = &self.config.join;
        let concerns = policies.uses(Policy::Push)
            && self.inventory.read(|it| policies.policy_of(it, node)) == Policy::Push;
        let Some(join) = self.join.as_ref().filter(|_| concerns) else { return };
        let report = Report { address, host_keys };
        match tokio::time::timeout(JOIN_MAX, join::client::report(join, node, &report)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(pilothouse_node = %node, "{node} gets no token: {error}"),
            Err(_) => tracing::warn!(pilothouse_node = %node, "{node} gets no token: join does not answer"),
        }
    }
}

/// Whether every escape of a form is one, and no `;` stands between its members (as Go's parser has it).
fn is_form(body: &[u8]) -> bool {
    let mut rest = body;
    while let Some(at) = rest.iter().position(|it| *it == b'%') {
        if !rest.get(at + 1..at + 3).is_some_and(|it| it.iter().all(u8::is_ascii_hexdigit)) {
            return false;
        }
        rest = &rest[at + 3..];
    }
    !body.contains(&b';')
}

#[cfg(test)]
mod tests {
    use super::is_form;

    #[test]
    fn a_form_is_one_or_not() {
        assert!(is_form(b"") && is_form(b"a=b&c=%20d+e"));
        assert!(!is_form(b"a=%zz") && !is_form(b"a=%2") && !is_form(b"a=b;c=d"));
    }
}
