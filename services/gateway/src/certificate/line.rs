//! One certificate over time: kept, renewed, reported.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use arc_swap::ArcSwapOption;
use daemon::{Context, Issue, Retry, Severity};
use domain::Service;
use domain::event::CERTIFICATE_FAILED;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::{Notify, watch};
use web::{Client, SealKey};
use zeroize::Zeroizing;

use super::Certificate;
use super::acme::Directory;
use super::kept::{self, Kept};
use crate::config::SiteFile;
use crate::model::Renewal;

/// The wall clock is looked at this often, since it may jump; and a site's file.
const LOOK: Duration = Duration::from_secs(30);
/// Without any certificate somebody has to know after this time; ca starts beside us and needs some of it.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long ca may take for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// How long somebody who asked for a new one waits for it.
const RENEW_MAX: Duration = Duration::from_secs(25);

/// Where a certificate comes from.
pub(super) enum Source {
    /// ca, for the head (INTERFACES 11).
    Head,
    /// An ACME server (RFC 8555).
    Acme(Directory),
    /// The site.
    File(SiteFile),
}

/// One certificate over time.
pub(super) struct Line {
    /// `gateway`, as issues and `certificates.json` call it.
    id: &'static str,
    source: Source,
    /// Its sealed file.
    file: PathBuf,
    seal: Option<Arc<SealKey>>,
    current: ArcSwapOption<Kept>,
    /// Somebody wants a new one at once.
    asked: Notify,
    /// How often one was tried to be had, and why the last one was not.
    tried: watch::Sender<(u64, Option<String>)>,
}

impl Line {
    /// With the last good one.
    pub(super) fn load(
        context: &Context,
        id: &'static str,
        name: &str,
        source: Source,
        seal: Option<Arc<SealKey>>,
    ) -> Self {
        let file = context.state(format!("{name}.sealed"));
        let load =
            |seal: &Arc<SealKey>| kept::load(&file, seal).and_then(|it| it.map(Kept::read).transpose());
        let current = match seal.as_ref().map(load) {
            // A site's file is itself what is kept.
            _ if matches!(source, Source::File(_)) => None,
            Some(Ok(kept)) => kept,
            None => None,
            Some(Err(error)) => {
                tracing::warn!("cannot use {}, asking for another certificate: {error:#}", file.display());
                None
            }
        };
        Self {
            id,
            source,
            file,
            seal,
            current: ArcSwapOption::from_pointee(current),
            asked: Notify::new(),
            tried: watch::Sender::new((0, None)),
        }
    }

    pub(super) fn current(&self) -> Option<Arc<Kept>> {
        self.current.load_full()
    }

    /// Has it renewed, and waits for how that ends.
    pub(super) async fn renew_now(&self) -> Result<(), String> {
        let mut tried = self.tried.subscribe();
        let before = tried.borrow_and_update().0;
        self.asked.notify_one();
        let ended = tried.wait_for(|it| it.0 > before);
        match tokio::time::timeout(RENEW_MAX, ended).await {
            Ok(Ok(ended)) => ended.1.clone().map_or(Ok(()), Err),
            Ok(Err(_)) => Err("the gateway is stopping".to_owned()),
            Err(_) => Err(format!("no new certificate within {} s", RENEW_MAX.as_secs())),
        }
    }

    /// Has one, and a new one in time, for ever.
    pub(super) async fn keep_up(&self, all: &Certificate, context: &Context) {
        let mut first = true;
        loop {
            if !first || !self.is_settled(all) {
                self.renew(all, context).await;
            }
            first = false;
            // Renewed as often as there are certificates, so that heads do not keep step.
            let jitter = u16::try_from(uuid::Uuid::new_v4().as_u128() & 0xffff).unwrap_or_default();
            tokio::select! {
                () = self.wait_until_due(jitter) => {}
                () = self.asked.notified() => {}
            }
        }
    }

    /// Whether the kept one will do at a start. ca may have another root since, and the head's certificate is quick to
    /// have, so that one is asked for anew; an order would be dear.
    fn is_settled(&self, all: &Certificate) -> bool {
        let Some(kept) = self.current() else { return false };
        let fresh = matches!(kept.validity.renewal(OffsetDateTime::now_utc(), 0), Renewal::Wait(_));
        match &self.source {
            Source::Head | Source::File(_) => false,
            Source::Acme(directory) if directory.is_public() => fresh,
            Source::Acme(_) => fresh && all.head.current().is_some_and(|it| it.has_issuer_of(&kept)),
        }
    }

    async fn wait_until_due(&self, jitter: u16) {
        let seen = self.modified();
        while let Some(kept) = self.current() {
            let left = match kept.validity.renewal(OffsetDateTime::now_utc(), jitter) {
                Renewal::Wait(left) => Duration::try_from(left).unwrap_or_default(),
                // Nobody but the site has another one.
                _ if matches!(self.source, Source::File(_)) => LOOK,
                Renewal::Due | Renewal::Late => return,
            };
            tokio::time::sleep(left.min(LOOK)).await;
            if self.modified() != seen {
                return;
            }
        }
    }

    /// When the site's file was last written.
    fn modified(&self) -> Option<SystemTime> {
        let Source::File(site) = &self.source else { return None };
        std::fs::metadata(&site.file).and_then(|it| it.modified()).ok()
    }

    /// Tries until there is a new one.
    async fn renew(&self, all: &Certificate, context: &Context) {
        let began = tokio::time::Instant::now();
        let (mut retry, mut told) = (Retry::default(), false);
        loop {
            let error = match self.obtain(all, context).await {
                Ok(kept) => return self.install(all, context, kept),
                Err(error) => format!("{error:#}"),
            };
            tracing::debug!("no certificate yet: {error}");
            all.tell(context, self, Some(&error));
            self.tried.send_modify(|it| *it = (it.0 + 1, Some(error.clone())));
            let now = OffsetDateTime::now_utc();
            let is_late = |it: Arc<Kept>| it.validity.renewal(now, 0) == Renewal::Late;
            if self.current().map_or(began.elapsed() >= PATIENCE, is_late) {
                self.raise(context, &error);
                if !told {
                    daemon::event!(
                        CERTIFICATE_FAILED,
                        "there is no new certificate for {}: {error}",
                        self.id
                    );
                    told = true;
                }
            }
            tokio::select! {
                () = retry.wait() => {}
                () = self.asked.notified() => {}
            }
        }
    }

    async fn obtain(&self, all: &Certificate, context: &Context) -> anyhow::Result<Kept> {
        match &self.source {
            Source::Head => {
                let (key_pem, csr) = kept::new_key(&context.document.cluster.service_name())?;
                let ca = Client::unix(context.socket_of(Service::Ca));
                let csr = csr.pem()?;
                let answer = ca::client::head_certificate(&ca, &csr);
                let answer = tokio::time::timeout(ANSWER_MAX, answer).await.context("wait for ca")??;
                Kept::new(key_pem, answer.chain_pem)
            }
            Source::Acme(directory) => {
                let account = self.file.with_file_name("account.sealed");
                directory.order(all, context, (&account, self.seal.as_deref())).await
            }
            Source::File(site) => {
                let chain = std::fs::read_to_string(&site.file);
                let chain = chain.with_context(|| format!("read {}", site.file.display()))?;
                let key = Zeroizing::new(context.credential(&site.key)?);
                let key = std::str::from_utf8(&key).context("read the key: it is no PEM")?;
                Kept::new(Zeroizing::new(key.to_owned()), chain)
            }
        }
    }

    fn install(&self, all: &Certificate, context: &Context, kept: Kept) {
        if let (Some(seal), Source::Head | Source::Acme(_)) = (&self.seal, &self.source)
            && let Err(error) = kept::save(&self.file, seal, &kept.text())
        {
            tracing::warn!("cannot keep the certificate, the next start needs a new one: {error:#}");
        }
        let (names, until) = (kept.names.join(", "), show(kept.validity.not_after));
        tracing::info!("a new certificate is shown for {names}, good until {until}");
        self.current.store(Some(Arc::new(kept)));
        for kind in ["expiring", "missing"] {
            context.issues().clear(&format!("certificate-{kind}/{}", self.id));
        }
        all.tell(context, self, None);
        self.tried.send_modify(|it| *it = (it.0 + 1, None));
    }

    fn raise(&self, context: &Context, error: &str) {
        let (who, serves) = match &self.source {
            Source::Head => ("ca", "so port 8443 may answer nobody"),
            Source::Acme(_) => ("the ACME server", "so the head's own certificate is shown in its place"),
            Source::File(_) => ("gateway.certificate", "so the head's own certificate is shown in its place"),
        };
        let (kind, severity, summary) = match self.current() {
            Some(kept) => (
                "certificate-expiring",
                if kept.validity.holds(OffsetDateTime::now_utc()) {
                    Severity::Warning
                } else {
                    Severity::Error
                },
                format!(
                    "the certificate {} is not renewed and ends at {}",
                    self.id,
                    show(kept.validity.not_after)
                ),
            ),
            None => (
                "certificate-missing",
                if matches!(self.source, Source::Head) { Severity::Error } else { Severity::Warning },
                format!("{who} gives no certificate {}, {serves}", self.id),
            ),
        };
        let suggestion = match &self.source {
            Source::Head => "see why ca does not answer: systemctl status pilothouse-ca.service",
            Source::Acme(_) => "see what `pilotctl cert list` names as the last error",
            Source::File(_) => "put a certificate there that belongs to the key, then `pilotctl cert renew`",
        };
        context.issues().raise(Issue {
            id: format!("{kind}/{}", self.id),
            kind: kind.to_owned(),
            context: json!({"service": Service::Gateway.name(), "certificate": self.id, "error": error}),
            severity,
            since: String::new(),
            summary,
            suggestion: suggestion.to_owned(),
            fix: None,
            message_id: CERTIFICATE_FAILED.id.to_owned(),
        });
    }

    /// Its words in `certificates.json`.
    pub(super) fn describe(&self, error: Option<&str>) -> Value {
        match self.current() {
            None => json!({"id": self.id, "last_error": error}),
            Some(kept) => json!({
                "id": self.id,
                "names": kept.names,
                "issuer": kept.issuer,
                "serial": kept.serial,
                "not_before": show(kept.validity.not_before),
                "not_after": show(kept.validity.not_after),
                "last_error": error,
            }),
        }
    }
}

pub(super) fn show(moment: OffsetDateTime) -> String {
    moment.format(&Rfc3339).unwrap_or_default()
}
