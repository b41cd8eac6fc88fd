//! Lines over IPMI.

use std::sync::Arc;

use domain::inventory::Endpoint;
use ipmi::{SolEvent, SolOptions};
use tokio::time::Instant;

use super::connection::{Event, SolLine, close};
use super::{Line, Loss};

/// The completion code of a line that somebody else has (IPMI 2.0 section 24.1).
const ALREADY_ACTIVE: u8 = 0x80;

/// What tells this BMC from another one that takes its place.
pub(crate) fn place(endpoint: &Endpoint) -> String {
    let address = endpoint.address.as_deref().unwrap_or_default();
    format!("{} {address} {}", endpoint.id, endpoint.port.unwrap_or_default())
}

impl Line {
    pub(super) async fn open_sol(&mut self, endpoint: &Endpoint) -> Result<SolLine, Loss> {
        let endpoint = Endpoint { credential_version: self.used, ..endpoint.clone() };
        let bmc = endpoint.id.to_string();
        let session = self.places.bmcs.open(&endpoint).await.map_err(|error| {
            let refused = error.is_refusal();
            Loss { refused, ..Loss::of(error) }
        })?;
        let config = &self.places.hub.config;
        let held = self.held.map(|it| it.elapsed()).unwrap_or_default();
        let take_over = config.takeover.allows(held, config.takeover_after.0);
        match session.activate_sol(SolOptions { take_over, ..SolOptions::default() }).await {
            Ok(sol) => {
                self.held = None;
                let slot = self.places.keeper.slot(&self.console.node, &place(&endpoint));
                if let Some(slot) = &slot {
                    session.set_ledger(Arc::new(slot.ledger()));
                }
                Ok(SolLine { session, sol, slot, bmc })
            }
            Err(error) => {
                close(&session).await;
                if error.completion() == Some(ALREADY_ACTIVE) {
                    self.held.get_or_insert_with(Instant::now);
                }
                let Loss { reason, refused } = Loss::of(error);
                Err(Loss { reason: format!("BMC {bmc}: {reason}"), refused })
            }
        }
    }
}

/// What was received before a line was let go of.
pub(super) fn translate(event: SolEvent) -> Event {
    match event {
        SolEvent::Data(data) => Event::Data(data),
        SolEvent::Break => Event::Break,
        SolEvent::Overflow => Event::Overflow,
        SolEvent::Deactivated(_) => Event::Lost(Loss::new("the BMC ended the line".to_owned())),
    }
}
