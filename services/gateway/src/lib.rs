//! The front door: TLS, the table from paths to services, limits.
//!
//! | what | where |
//! | --- | --- |
//! | callers | nodes over HTTP (8081), everybody else over TLS (8443) |
//! | sockets | TCP `plain` and `tls`; `/run/pilothouse/gateway.sock` for metrics and health |
//! | asks | ca for its own certificate (`upstream.rs`), every service for what is forwarded to it |
//! | state | `certificate.pem`: the last good key and chain, mode 0600 |
//! | specification | RFC 9110 section 7.6, RFC 9112 (forwarding), RFC 6455 (WebSocket), RFC 8446 (TLS) |
//!
//! It gives nobody rights: services verify tokens themselves and take a request of the gateway's uid with
//! `X-Forwarded-For` for a stranger's.

mod api;
mod body;
mod certificate;
mod config;
mod error;
mod front;
mod model;
mod stream;
mod upstream;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use daemon::{Context, Issue, Severity};
use domain::Document;
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

/// Runs the service until the context's stop.
///
/// # Errors
///
/// What keeps it from starting.
pub async fn serve(context: Context) -> anyhow::Result<()> {
    let config = Config::parse(&context.document)?;
    let plain = context.sockets().tcp("plain").context("take the inherited socket plain")?;
    let tls = context.sockets().tcp("tls").context("take the inherited socket tls")?;
    anyhow::ensure!(
        !plain.is_empty() || !tls.is_empty(),
        "neither a socket named plain nor one named tls was inherited; start the socket units"
    );
    tell_of_open_tokens(&context, &config);
    let certificate = Arc::new(certificate::Certificate::load(&context));
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
