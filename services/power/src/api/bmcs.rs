//! A single BMC: how it is reached, whether it can be, its certificate, its password.

use std::sync::Arc;

use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::Xname;
use domain::inventory::Endpoint;
use tokio::time::Instant;
use web::{Caller, Json, Path, Problem};

use super::bad_body;
use crate::bmc::{LOOK_MAX, Link};
use crate::client::{BmcCertificate, BmcState, BmcTest, TrustRequest};
use crate::command::Switchboard;
use crate::config::TlsMode;

type Board = Shared<Arc<Switchboard>>;

fn find(board: &Switchboard, name: &str) -> Result<Endpoint, Problem> {
    let id: Option<Xname> = name.parse().ok();
    let found = id.and_then(|it| board.mirror.read(|inventory| inventory.endpoint(&it).cloned()));
    found.ok_or_else(|| {
        let detail = format!("the inventory has no BMC {name}; `pilotctl bmc list` shows them");
        Problem::own(StatusCode::NOT_FOUND, "no-bmc", detail)
    })
}

/// The component by which a BMC is asked.
fn first(endpoint: &Endpoint) -> Xname {
    let node = endpoint.nodes.iter().min().cloned();
    node.or_else(|| endpoint.id.child('n', 0).ok()).unwrap_or_else(|| endpoint.id.clone())
}

pub(super) async fn show(Shared(board): Board, Path(name): Path<String>) -> Result<Response, Problem> {
    let endpoint = find(&board, &name)?;
    let mode = board.bmcs.tls_mode(&endpoint);
    let kept = board.bmcs.pin(&endpoint.id).filter(|_| mode == TlsMode::Pin);
    let certificate = kept.map(|it| BmcCertificate { sha256: it.sha256, since: it.since });
    let speaks = board.bmcs.spoken(&endpoint.id).map(|it| it.name().to_owned());
    Ok(Json(BmcState { bmc: endpoint.id, speaks, tls: mode.name().to_owned(), certificate }).into_response())
}

/// Logs in, looks, and logs out.
pub(super) async fn test(Shared(board): Board, Path(name): Path<String>) -> Result<Response, Problem> {
    let endpoint = find(&board, &name)?;
    // A BMC may have no room for one more session than this.
    board.kept.forget(&endpoint.id);
    let (begun, bmc) = (Instant::now(), endpoint.id.clone());
    let mut told = BmcTest { bmc, ok: false, speaks: None, address: None, state: None, ms: 0, error: None };
    match board.bmcs.link(&endpoint, &first(&endpoint), LOOK_MAX * 2).await {
        Ok(link) => {
            told.speaks = Some(link.protocol().name().to_owned());
            told.address = Some(link.address());
            match link.look().await {
                Ok(seen) => told.state = Some(seen.state),
                Err(error) => told.error = Some(format!("{:#}", anyhow::Error::new(error))),
            }
            if let Link::Ipmi(session) = &link {
                told.speaks = Some(format!("ipmi, cipher suite {}", session.cipher_suite()));
            }
            link.close().await;
        }
        Err(error) => told.error = Some(format!("{:#}", anyhow::Error::new(error))),
    }
    told.ok = told.error.is_none();
    told.ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Json(told).into_response())
}

/// Believes a certificate that somebody vouches for.
pub(super) async fn trust(
    Shared(board): Board,
    caller: Caller,
    Path(name): Path<String>,
    Json(request): Json<TrustRequest>,
) -> Result<Response, Problem> {
    let endpoint = find(&board, &name)?;
    let shown = request.sha256.parse().map_err(|it: redfish::Error| bad_body(&it.to_string()))?;
    board.bmcs.accept(&endpoint.id, shown).map_err(|it| Problem::internal(&it))?;
    web::deed(&caller, format_args!("the certificate {shown} of BMC {} is vouched for", endpoint.id));
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Gives its account another password.
pub(super) async fn rotate(
    Shared(board): Board,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let endpoint = find(&board, &name)?;
    let bmc = endpoint.id.clone();
    web::deed(&caller, format_args!("another password for BMC {bmc}"));
    // Nobody's going away may leave it half done.
    let (told, outcome) = tokio::sync::oneshot::channel();
    let rotating = Arc::clone(&board);
    board.spawn(async move {
        rotating.kept.forget(&endpoint.id);
        let done = rotating.bmcs.rotate(&endpoint).await;
        if let Err(error) = &done {
            tracing::warn!("the password of BMC {} is not changed: {error}", endpoint.id);
        }
        if told.send(done).is_err() {
            tracing::debug!("nobody waits for the new password of {}", endpoint.id);
        }
    });
    match outcome.await {
        Ok(Ok(())) => Ok(StatusCode::NO_CONTENT.into_response()),
        Ok(Err(error)) => {
            let detail = format!("BMC {bmc}: {:#}", anyhow::Error::new(error));
            Err(Problem::own(StatusCode::BAD_GATEWAY, "bmc-refuses", detail))
        }
        Err(error) => Err(Problem::internal(&error)),
    }
}
