//! The gateway's own certificate: had from ca, kept, shown, renewed.

mod kept;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use daemon::{Context, Issue, Retry, Severity};
use domain::Service;
use domain::event::CERTIFICATE_FAILED;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;
use web::Client;

use crate::certificate::kept::Kept;
use crate::model::Renewal;

/// The last good key and chain, in the state folder.
const FILE: &str = "certificate.pem";
/// The wall clock is looked at this often, since it may jump.
const LOOK: Duration = Duration::from_secs(30);
/// Without any certificate somebody has to know after this time; ca starts beside us and needs some of it.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long ca may take for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// The issues' ids.
const EXPIRING: &str = "certificate-expiring/gateway";
const MISSING: &str = "certificate-missing/gateway";

/// The certificate that is shown, swapped without a connection noticing.
pub(crate) struct Certificate {
    current: ArcSwapOption<Kept>,
    /// Whether there has been one, for those who wait.
    there: watch::Sender<bool>,
}

/// Shows the certificate to every client, whatever name it asks for, none too: they know us by addresses.
pub(crate) struct Shown(pub(crate) Arc<Certificate>);

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shown")
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.current.load().as_ref().map(|it| Arc::clone(&it.key))
    }
}

impl Certificate {
    /// With the last good key and chain, if they still hold.
    pub(crate) fn load(context: &Context) -> Self {
        let path = context.state(FILE);
        let kept = match Kept::load(&path) {
            Ok(kept) => kept.filter(|it| it.validity.holds(OffsetDateTime::now_utc())),
            Err(error) => {
                tracing::warn!("cannot use {}, asking for another certificate: {error:#}", path.display());
                None
            }
        };
        let there = watch::Sender::new(kept.is_some());
        Self { current: ArcSwapOption::from_pointee(kept), there }
    }

    /// A word for `systemctl status`.
    pub(crate) fn status(&self) -> &'static str {
        if *self.there.borrow() { "HTTP and HTTPS are served" } else { "HTTP is served, HTTPS waits for ca" }
    }

    /// Until when the certificate holds, RFC 3339.
    pub(crate) fn not_after(&self) -> Option<String> {
        self.current.load().as_ref().map(|it| show(it.validity.not_after))
    }

    /// Waits until there is one.
    pub(crate) async fn wait(&self) {
        // The sender lives as long as `self`.
        if self.there.subscribe().wait_for(|it| *it).await.is_err() {
            tracing::debug!("nobody gets a certificate any more");
        }
    }

    /// Asks for a certificate at once, since ca may have another root than when the kept one was made, and
    /// then at two thirds of each one's life, until the context's stop.
    pub(crate) async fn upkeep(&self, context: &Context) {
        tokio::select! {
            () = context.stop.cancelled() => {}
            () = self.renew_for_ever(context) => {}
        }
    }

    async fn renew_for_ever(&self, context: &Context) {
        self.report(context, None);
        loop {
            self.renew(context).await;
            // Renewed as often as there are certificates, so that heads do not keep step.
            let jitter = u16::try_from(uuid::Uuid::new_v4().as_u128() & 0xffff).unwrap_or_default();
            self.wait_until_due(jitter).await;
        }
    }

    async fn wait_until_due(&self, jitter: u16) {
        while let Some(kept) = self.current.load_full() {
            match kept.validity.renewal(OffsetDateTime::now_utc(), jitter) {
                Renewal::Wait(left) => {
                    let left = Duration::try_from(left).unwrap_or_default();
                    tokio::time::sleep(left.min(LOOK)).await;
                }
                Renewal::Due | Renewal::Late => return,
            }
        }
    }

    /// Tries until there is a new certificate.
    async fn renew(&self, context: &Context) {
        let began = tokio::time::Instant::now();
        let (mut retry, mut told) = (Retry::default(), false);
        loop {
            let error = match obtain(context).await {
                Ok(kept) => return self.install(context, kept),
                Err(error) => error,
            };
            tracing::debug!("no certificate yet: {error:#}");
            self.report(context, Some(&error));
            if self.is_trouble(began.elapsed()) {
                self.raise(context, &error);
                if !told {
                    daemon::event!(CERTIFICATE_FAILED, "ca gives the gateway no certificate: {error:#}");
                    told = true;
                }
            }
            retry.wait().await;
        }
    }

    /// Whether somebody has to know that there is no new certificate yet.
    fn is_trouble(&self, tried: Duration) -> bool {
        let now = OffsetDateTime::now_utc();
        self.current
            .load()
            .as_ref()
            .map_or(tried >= PATIENCE, |it| it.validity.renewal(now, 0) == Renewal::Late)
    }

    fn install(&self, context: &Context, kept: Kept) {
        if let Err(error) = kept.save(&context.state(FILE)) {
            tracing::warn!("cannot keep the certificate, the next start needs ca: {error:#}");
        }
        tracing::info!("a new certificate is shown, good until {}", show(kept.validity.not_after));
        self.current.store(Some(Arc::new(kept)));
        self.there.send_replace(true);
        context.issues().clear(EXPIRING);
        context.issues().clear(MISSING);
        context.status(self.status());
        self.report(context, None);
    }

    fn raise(&self, context: &Context, error: &anyhow::Error) {
        let current = self.current.load();
        let (id, kind, severity, summary) = match current.as_ref() {
            Some(kept) => (
                EXPIRING,
                "certificate-expiring",
                if kept.validity.holds(OffsetDateTime::now_utc()) {
                    Severity::Warning
                } else {
                    Severity::Error
                },
                format!(
                    "the gateway's certificate is not renewed and ends at {}",
                    show(kept.validity.not_after)
                ),
            ),
            None => (
                MISSING,
                "certificate-missing",
                Severity::Error,
                "the gateway has no certificate, so port 8443 answers nobody".to_owned(),
            ),
        };
        context.issues().raise(Issue {
            id: id.to_owned(),
            kind: kind.to_owned(),
            context: json!({"service": Service::Gateway.name(), "error": format!("{error:#}")}),
            severity,
            since: String::new(),
            summary,
            suggestion: "see why ca does not answer: systemctl status pilothouse-ca.service".to_owned(),
            fix: None,
            message_id: CERTIFICATE_FAILED.id.to_owned(),
        });
    }

    /// Writes `certificates.json` beside the health issues (INTERFACES 7).
    fn report(&self, context: &Context, error: Option<&anyhow::Error>) {
        let last_error = error.map(|it| format!("{it:#}"));
        let entry = match self.current.load().as_ref() {
            None => json!({"id": "gateway", "last_error": last_error}),
            Some(kept) => json!({
                "id": "gateway",
                "names": kept.names,
                "issuer": kept.issuer,
                "serial": kept.serial,
                "not_before": show(kept.validity.not_before),
                "not_after": show(kept.validity.not_after),
                "last_error": last_error,
            }),
        };
        let path = context.paths.run.join(Service::Gateway.name()).join("certificates.json");
        let text = serde_json::to_vec(&[entry]).unwrap_or_default();
        if let Err(error) = daemon::replace_file(&path, &text, 0o644) {
            tracing::warn!(%error, "cannot write {}", path.display());
        }
    }
}

/// A new key, and ca's certificate for it.
async fn obtain(context: &Context) -> anyhow::Result<Kept> {
    let (key_pem, csr_pem) = kept::new_key(&context.document.cluster.service_name())?;
    let ca = Client::unix(context.socket_of(Service::Ca));
    let answer = tokio::time::timeout(ANSWER_MAX, ca::client::head_certificate(&ca, &csr_pem)).await??;
    Kept::new(key_pem, answer.chain_pem)
}

fn show(moment: OffsetDateTime) -> String {
    moment.format(&Rfc3339).unwrap_or_default()
}
