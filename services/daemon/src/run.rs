//! A process from its arguments to its end.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use domain::{Document, Service};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::context::{Context, Paths};
use crate::listener::Address;
use crate::{boot_event, log, notify};

/// How long open requests may take after SIGTERM; below the units' `TimeoutStopSec=15s`.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    /// The service.
    pub service: Service,
    /// The document.
    pub config: PathBuf,
    /// The folder of the services' sockets.
    pub run: PathBuf,
    /// The service's durable folder; none: `STATE_DIRECTORY`, else `/var/lib/pilothouse/<service>`.
    pub state: Option<PathBuf>,
    /// Sockets to bind, for a process that systemd did not start.
    pub listen: Vec<(String, Address)>,
}

/// Waits that grow: 100 ms, doubled up to 5 s, for work that is retried until it is done.
#[derive(Debug)]
pub struct Retry(Duration);

impl Default for Retry {
    fn default() -> Self {
        Self(Duration::from_millis(100))
    }
}

impl Retry {
    /// Waits before the next try.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(Duration::from_secs(5));
    }

    /// Starts over: the work was done once.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

/// Runs a service until it ends or SIGTERM or SIGINT comes; then it has 10 s.
///
/// # Errors
///
/// Whatever keeps the service from starting or ends it.
pub fn run<F, S>(options: Options, serve: S) -> anyhow::Result<()>
where
    S: FnOnce(Context) -> F,
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    log::start(&format!("pilothouse-{}", options.service));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(async {
        let text = std::fs::read_to_string(&options.config)
            .with_context(|| format!("read {}", options.config.display()))?;
        let document =
            Document::parse(&text).with_context(|| format!("parse {}", options.config.display()))?;
        let name = options.service.name();
        let state = options.state.clone().or_else(|| std::env::var_os("STATE_DIRECTORY").map(PathBuf::from));
        let paths = Paths {
            config: options.config,
            run: options.run,
            state: state.unwrap_or_else(|| format!("/var/lib/pilothouse/{name}").into()),
            credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
        };
        boot_event::start(&paths.run).context("start the thread of the boot events")?;
        let stop = CancellationToken::new();
        let context = Context::new(options.service, paths, document, options.listen, stop.clone())?;
        let mut term = signal(SignalKind::terminate()).context("watch SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("watch SIGINT")?;
        let watchdog = tokio::spawn(notify::watchdog(stop.clone()));
        // Spawned, so that a panic is an error here and the watchdog's task is not starved by it.
        let mut work = tokio::spawn(serve(context));
        tokio::select! {
            ended = &mut work => {
                let ended = ended.context("run the service")?;
                if !stop.is_cancelled() && ended.is_ok() {
                    bail!("{name} ended without being asked to");
                }
                return ended;
            }
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        notify::stopping();
        stop.cancel();
        let drained = tokio::time::timeout(DRAIN_MAX, work).await;
        watchdog.abort();
        boot_event::flush();
        drained.context("finish open requests in 10 s")?.context("end the service")?
    })
}
