//! The certificates that are shown: the head's own, which ca gives for all its names and addresses, and in front of
//! it, for DNS names, one that ACME or the site gives. Each is had, kept, renewed by a [`Line`] of its own.

mod acme;
mod kept;
mod line;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use daemon::Context;
use domain::Service;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;
use tokio::sync::watch;
use web::SealKey;

pub(crate) use acme::ALPN;

use crate::certificate::kept::Kept;
use crate::certificate::line::{Line, Source};
use crate::config::{Config, Issuing};

/// What challenges are answered with, by name (RFC 8737).
type Challenges = HashMap<String, Arc<CertifiedKey>>;

/// The certificates that are shown, swapped without a connection noticing.
pub(crate) struct Certificate {
    /// For addresses, for clients that name nothing, and for whatever the other is not good for.
    head: Line,
    /// For the names it has.
    front: Line,
    challenges: ArcSwap<Challenges>,
    /// Whether something can be shown, for those who wait.
    there: watch::Sender<bool>,
    /// The words of `certificates.json`, one a line.
    report: Mutex<[serde_json::Value; 2]>,
}

/// Shows the right one to each client.
pub(crate) struct Shown(pub(crate) Arc<Certificate>);

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shown")
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name();
        // A validation comes with this protocol and no other (RFC 8737 section 3).
        if hello.alpn().is_some_and(|it| it.eq([ALPN])) {
            return self.0.challenges.load().get(name?).cloned();
        }
        self.0.choose(name, OffsetDateTime::now_utc())
    }
}

impl Certificate {
    /// With the last good keys and chains.
    pub(crate) fn load(context: &Context, config: &Config, tls_port: u16) -> Self {
        let seal = match context.credential("seal-key").map(|it| SealKey::new(&it)) {
            Ok(Ok(key)) => Some(Arc::new(key)),
            Ok(Err(error)) => {
                tracing::warn!(%error, "certificates are not kept over a restart");
                None
            }
            Err(error) => {
                tracing::warn!(%error, "certificates are not kept over a restart");
                None
            }
        };
        let front = match &config.issuing {
            Issuing::Internal => Source::Acme(acme::Directory::internal(context, tls_port)),
            Issuing::Public(public) => Source::Acme(acme::Directory::public(public)),
            Issuing::File(file) => Source::File(file.clone()),
        };
        let head = Line::load(context, "gateway", "head", Source::Head, seal.clone());
        let front = Line::load(context, "gateway-front", "front", front, seal);
        let there = watch::Sender::new(head.current().is_some() || front.current().is_some());
        let report = Mutex::new([head.describe(None), front.describe(None)]);
        Self { head, front, challenges: ArcSwap::default(), there, report }
    }

    /// What a client is shown that asks for this name: the front's if it is good for it, else the head's.
    fn choose(&self, name: Option<&str>, now: OffsetDateTime) -> Option<Arc<CertifiedKey>> {
        let (front, head) = (self.front.current(), self.head.current());
        let fits = |it: &Arc<Kept>| name.is_some_and(|name| it.names(name));
        let best = front.as_ref().filter(|it| fits(it) && it.validity.holds(now));
        // One that does not hold is better than none: the clock may be wrong, ours or the client's.
        best.or(head.as_ref()).or(front.as_ref()).map(|it| Arc::clone(&it.key))
    }

    /// A word for `systemctl status`.
    pub(crate) fn status(&self) -> &'static str {
        if *self.there.borrow() { "HTTP and HTTPS are served" } else { "HTTP is served, HTTPS waits for ca" }
    }

    /// Until when the certificate that most are shown holds, RFC 3339.
    pub(crate) fn not_after(&self) -> Option<String> {
        let current = self.front.current().or_else(|| self.head.current());
        current.map(|it| line::show(it.validity.not_after))
    }

    /// Waits until there is something to show.
    pub(crate) async fn wait(&self) {
        // The sender lives as long as `self`.
        if self.there.subscribe().wait_for(|it| *it).await.is_err() {
            tracing::debug!("nobody gets a certificate any more");
        }
    }

    /// Has both renewed, whatever their age.
    ///
    /// # Errors
    ///
    /// Why there is no new one, for people.
    pub(crate) async fn renew_now(&self) -> Result<(), String> {
        let (head, front) = tokio::join!(self.head.renew_now(), self.front.renew_now());
        head.and(front)
    }

    /// Has certificates, and new ones in time, until the context's stop.
    pub(crate) async fn upkeep(&self, context: &Context) {
        self.publish(context);
        tokio::select! {
            () = context.stop.cancelled() => {}
            () = async { tokio::join!(self.head.keep_up(self, context), self.front.keep_up(self, context)); } => {}
        }
    }

    /// A line has another certificate, or another word for why not.
    fn tell(&self, context: &Context, line: &Line, error: Option<&str>) {
        let told = line.describe(error);
        let at = usize::from(!std::ptr::eq(line, &raw const self.head));
        self.report.lock().unwrap_or_else(PoisonError::into_inner)[at] = told;
        if line.current().is_some() {
            // Once, not with every certificate: who started us may not read what it is told for a while, and would
            // hold us up then.
            if !self.there.send_replace(true) {
                context.status(self.status());
            }
        }
        self.publish(context);
    }

    /// Writes `certificates.json` beside the health issues (INTERFACES 7).
    fn publish(&self, context: &Context) {
        let path = context.paths.run.join(Service::Gateway.name()).join("certificates.json");
        let report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        let text = serde_json::to_vec(&*report).unwrap_or_default();
        if let Err(error) = daemon::replace_file(&path, &text, 0o644) {
            tracing::warn!(%error, "cannot write {}", path.display());
        }
    }

    /// Answers challenges for these names; with none, no more.
    fn answer_challenges(&self, challenges: Challenges) {
        // A validation is answered though there is nothing else to show yet.
        let has_any = !challenges.is_empty();
        self.challenges.store(Arc::new(challenges));
        if has_any {
            self.there.send_replace(true);
        }
    }
}
