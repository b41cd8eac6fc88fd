//! Verbs that mend an issue. Each does one safe thing to something that is ours; an issue from a service's file can ask
//! for no more than these.

use anyhow::{Context as _, bail, ensure};
use domain::Service;
use tokio::sync::{mpsc, oneshot};

use super::Looked;
use super::issue::Issue;
use crate::bus::JOB_MAX;
use crate::postgres::VACUUM_MAX;
use crate::registry::Registry;
use crate::systemd::{Systemd, Verb};

/// Carries verbs out.
#[derive(Clone, Debug)]
pub(super) struct Fixer {
    pub(super) systemd: Systemd,
    pub(super) registry: Registry,
    /// For a look at everything.
    pub(super) asks: mpsc::Sender<Looked>,
}

impl Fixer {
    /// What an issue's verb is about, for polkit and the journal.
    pub(super) fn target(issue: &Issue) -> String {
        let word = |key: &str| issue.context[key].as_str().map(str::to_owned);
        word("unit").or_else(|| word("service")).or_else(|| word("database")).unwrap_or_default()
    }

    /// Does what the issue's verb says, and returns when that is done and looked at.
    ///
    /// # Errors
    ///
    /// If there is no such verb, or it does not succeed.
    pub(super) async fn fix(&self, issue: &Issue) -> anyhow::Result<()> {
        let verb = issue.fix.as_deref().context("this issue has no fix; see its suggestion")?;
        let unit = || issue.context["unit"].as_str().context("the issue names no unit");
        match verb {
            "restart-unit" => {
                let unit = unit()?;
                let ours = self.registry.watched().iter().any(|it| it.unit == unit);
                ensure!(ours, "{unit} is none of the head's services");
                self.systemd.run(Verb::Restart, unit, JOB_MAX).await?;
            }
            "reset-failed" => {
                let unit = unit()?;
                ensure!(unit.starts_with("pilothouse-"), "{unit} is none of ours");
                let reset = self.systemd.manager().reset_failed_unit(unit.to_owned()).await;
                reset.with_context(|| format!("forget that {unit} failed"))?;
            }
            "renew-certificate" => {
                let service = issue.context["service"].as_str().unwrap_or_default();
                let service: Service = service.parse().ok().context("the issue names no service")?;
                let unit = format!("pilothouse-renew@{service}.service");
                self.systemd.run(Verb::Start, &unit, JOB_MAX).await?;
            }
            "vacuum" => {
                let unit = "pilothouse-postgres-vacuum.service";
                self.systemd.run(Verb::Start, unit, VACUUM_MAX).await?;
            }
            other => bail!("this supervisor knows no verb {other:?}"),
        }
        self.check().await
    }

    /// Has everything looked at, and returns when it was.
    ///
    /// # Errors
    ///
    /// If the supervisor is stopping.
    pub(super) async fn check(&self) -> anyhow::Result<()> {
        let (looked, shown) = oneshot::channel();
        self.asks.send(looked).await.context("the supervisor is stopping")?;
        shown.await.context("the supervisor is stopping")
    }
}
