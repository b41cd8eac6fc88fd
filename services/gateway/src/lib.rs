//! The front door: TLS, the table from paths to services, limits.
//!
//! | what | where |
//! | --- | --- |
//! | callers | nodes over HTTP (8081), everybody else over TLS (8443) |
//! | sockets | TCP `plain`, `tls` and, if set, `public`; `/run/pilothouse/gateway.sock` for metrics and health |
//! | asks | ca or another for its certificates (`certificate.rs`), every service for what is forwarded to it |
//! | state | `head.sealed`, `front.sealed`: the last good keys and chains; `account.sealed`: ACME's key |
//! | specification | RFC 9110 section 7.6, RFC 9112 (forwarding), RFC 6455 (WebSocket), RFC 8446 (TLS), RFC 8555 and 8737 (ACME) |
//!
//! It gives nobody rights: services verify tokens themselves and take a request of the gateway's uid with
//! `X-Forwarded-For` for a stranger's.

mod access;
mod api;
mod certificate;
mod config;
mod error;
mod exchange;
mod front;
mod limits;
mod model;
mod talk;
mod upstream;
mod watch;
mod wire;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use daemon::{Context, Issue, Severity};
use domain::{Document, Service};
use serde_json::json;

pub use crate::config::Config;

/// How long open requests may take after the stop, below the 10 s that `daemon` gives.
const DRAIN_MAX: Duration = Duration::from_secs(9);

/// Checks `[gateway]` of the document.
///
/// # Errors
///
/// What is wrong with it.
pub fn check(document: &Document) -> anyhow::Result<()> {
    Config::parse(document).map(drop)
}

/// Has the gateway that runs renew its certificates, and waits until it has.
///
/// # Errors
///
/// Why it has not.
pub async fn renew(run: &Path) -> anyhow::Result<()> {
    let gateway = web::Client::unix(run.join(format!("{}.sock", Service::Gateway)));
    let renewed = gateway.call::<serde_json::Value>(http::Method::POST, "/pilothouse/v1/renew", None::<&()>);
    renewed.await.map(drop).context("have the gateway's certificates renewed")
}

/// Runs the service until the context's stop.
///
/// # Errors
///
/// What keeps it from starting.
pub async fn serve(context: Context) -> anyhow::Result<()> {
    let config = Config::parse(&context.document)?;
    let plain = context.sockets().tcp("plain").context("take the inherited socket plain")?;
    let mut tls = context.sockets().tcp("tls").context("take the inherited socket tls")?;
    // Where nobody says another one, as in tests, it is the port of the table.
    let tls_port = tls.first().and_then(|it| it.local_addr().ok()).map_or(front::TLS_PORT, |it| it.port());
    if config.public_https {
        tls.extend(context.sockets().tcp("public").context("take the inherited socket public")?);
    }
    anyhow::ensure!(
        !plain.is_empty() || !tls.is_empty(),
        "neither a socket named plain nor one named tls was inherited; start the socket units"
    );
    tell_of_open_tokens(&context, &config);
    let certificate = Arc::new(certificate::Certificate::load(&context, &config, tls_port));
    let acceptor = front::acceptor(&certificate).context("set up TLS")?;
    let front = Arc::new(front::Front::new(&context, config));
    context.ready(certificate.status())?;
    let own = web::serve(&context, api::own_router(Arc::clone(&certificate), !tls.is_empty()));
    let doors = async {
        let plain = plain.into_iter().map(|it| tokio::spawn(front::serve_plain(Arc::clone(&front), it)));
        let tls = tls.into_iter().map(|it| {
            tokio::spawn(front::serve_tls(Arc::clone(&front), it, acceptor.clone(), Arc::clone(&certificate)))
        });
        for door in plain.chain(tls).collect::<Vec<_>>() {
            door.await.context("accept connections")?;
        }
        if tokio::time::timeout(DRAIN_MAX, front.drain()).await.is_err() {
            tracing::info!("connections that were still open after {} s are closed", DRAIN_MAX.as_secs());
        }
        anyhow::Ok(())
    };
    let (own, doors, ()) = tokio::join!(own, doors, certificate.upkeep(&context));
    own.and(doors)
}

/// The setting that lets tokens travel unencrypted is a health issue as long as it is on.
fn tell_of_open_tokens(context: &Context, config: &Config) {
    let id = "tokens-over-http/gateway";
    if !config.secure_over_http {
        return context.issues().clear(id);
    }
    context.issues().raise(Issue {
        id: id.to_owned(),
        kind: "tokens-over-http".to_owned(),
        context: json!({"setting": "gateway.secure_over_http"}),
        severity: Severity::Warning,
        since: String::new(),
        summary: "port 8081 takes tokens over plain HTTP, where everybody on the wire can read them"
            .to_owned(),
        suggestion: "move the nodes' images to the https URL, then set gateway.secure_over_http = false"
            .to_owned(),
        fix: None,
        message_id: String::new(),
    });
}
