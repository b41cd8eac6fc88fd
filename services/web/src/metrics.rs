//! Prometheus metrics of a process (OpenMetrics 1.0).

use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};

use axum::http::header;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

static REGISTRY: OnceLock<Mutex<Registry>> = OnceLock::new();

fn registry() -> &'static Mutex<Registry> {
    REGISTRY.get_or_init(|| Mutex::new(Registry::with_prefix("pilothouse")))
}

/// A counter shown as `pilothouse_<name>_total`. Ask once and keep it.
pub fn counter(name: &'static str, help: &'static str) -> Counter {
    let counter = Counter::default();
    registry().lock().unwrap_or_else(PoisonError::into_inner).register(name, help, counter.clone());
    counter
}

/// Counters alike, told apart by a label.
#[derive(Clone, Debug)]
pub struct Counters {
    label: &'static str,
    family: Family<Vec<(&'static str, String)>, Counter>,
}

impl Counters {
    /// Counts one more of this kind. There should be few kinds, known beforehand.
    pub fn inc(&self, kind: &str) {
        self.family.get_or_create(&vec![(self.label, kind.to_owned())]).inc();
    }
}

/// Counters shown as `pilothouse_<name>_total{<label>="…"}`. Ask once and keep them.
pub fn counters(name: &'static str, help: &'static str, label: &'static str) -> Counters {
    let family = Family::default();
    registry().lock().unwrap_or_else(PoisonError::into_inner).register(name, help, family.clone());
    Counters { label, family }
}

/// A gauge shown as `pilothouse_<name>`. Ask once and keep it.
pub fn gauge(name: &'static str, help: &'static str) -> Gauge {
    let gauge = Gauge::default();
    registry().lock().unwrap_or_else(PoisonError::into_inner).register(name, help, gauge.clone());
    gauge
}

static EVENTS_DROPPED: LazyLock<Gauge> =
    LazyLock::new(|| gauge("boot_events_dropped", "Boot events that were not sent since the start"));

static HEALTH_ISSUES: LazyLock<Family<Vec<(&'static str, String)>, Gauge>> = LazyLock::new(|| {
    let family = Family::<_, Gauge>::default();
    let help = "Health issues that are raised, by severity";
    registry().lock().unwrap_or_else(PoisonError::into_inner).register("health_issues", help, family.clone());
    family
});

pub(crate) async fn show() -> Response {
    for severity in daemon::Severity::ALL {
        let labels = vec![("severity", severity.word().to_owned())];
        let count = i64::try_from(severity.raised()).unwrap_or(i64::MAX);
        HEALTH_ISSUES.get_or_create(&labels).set(count);
    }
    EVENTS_DROPPED.set(i64::try_from(daemon::BootEvent::dropped()).unwrap_or(i64::MAX));
    let mut text = String::new();
    let encoded = encode(&mut text, &registry().lock().unwrap_or_else(PoisonError::into_inner));
    match encoded {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => crate::Problem::internal(&error).into_response(),
    }
}
