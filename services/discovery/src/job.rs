//! Discoveries under way and past: in memory alone, a few of each. Whoever wants one kept has it written to a file or
//! the inventory.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use daemon::Context;
use domain::Service;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use web::Counters;

use crate::client::{Bmc, Change, Discovery, Node, Phase, Protocol, Request, Summary, Told};
use crate::config::Config;
use crate::crawl::{Crawler, Errand};
use crate::error::Error;
use crate::model::diff::compare;
use crate::model::place::{Wish, place};
use crate::model::rule::Rule;
use crate::model::target::Target;
use crate::plan::Plan;

/// Discoveries at once: each may be of a whole hall.
const RUNNING_MAX: usize = 4;
/// Discoveries that are kept.
const KEPT_MAX: usize = 8;
/// How long those under way have when the service stops: less than the 10 s that it has itself.
const STOP_MAX: Duration = Duration::from_secs(8);
/// Machines without an address that are named.
const STRANGERS_MAX: usize = 20;

static ASKED: LazyLock<Counters> =
    LazyLock::new(|| web::counters("discovery_bmcs", "BMCs that were asked what they are", "result"));

/// All of them.
pub(crate) struct Board {
    pub(crate) crawler: Crawler,
    dhcp: dhcp::client::Client,
    room: Arc<Semaphore>,
    pattern: String,
    jobs: Mutex<Jobs>,
    under_way: TaskTracker,
    stop: CancellationToken,
}

#[derive(Default)]
struct Jobs {
    last: u64,
    all: BTreeMap<u64, Arc<Job>>,
}

/// A discovery.
pub(crate) struct Job {
    request: Request,
    rule: Option<Rule>,
    ips: Vec<std::net::IpAddr>,
    targets: Vec<Target>,
    is_in_order: bool,
    errand: Errand,
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    summary: Summary,
    /// By the place of the target.
    bmcs: BTreeMap<usize, Bmc>,
    /// As they came.
    told: Vec<Told>,
    nodes: Vec<Node>,
    changes: Vec<Change>,
    unchanged: usize,
    warnings: Vec<String>,
}

impl Board {
    pub(crate) fn new(context: &Context, config: &Config, crawler: Crawler) -> Self {
        let dhcp = web::Client::unix(context.socket_of(Service::Dhcp));
        Self {
            crawler,
            dhcp: dhcp::client::Client::new(dhcp),
            room: Arc::new(Semaphore::new(config.concurrency)),
            pattern: context.document.cluster.host_pattern.clone(),
            jobs: Mutex::default(),
            under_way: TaskTracker::new(),
            stop: context.stop.clone(),
        }
    }

    /// Begins a discovery; `is_free`: whoever asks may have any address asked.
    pub(crate) async fn begin(
        self: &Arc<Self>,
        request: Request,
        by: String,
        is_free: bool,
    ) -> Result<Summary, Error> {
        let mut plan = Plan::read(request)?;
        if plan.has_unknown {
            self.add_unknown(&mut plan, is_free).await?;
        }
        let known = self.crawler.mirror.read(|it| {
            let known = it.endpoints().filter_map(|it| Some((it.address.clone()?, it.id.clone())));
            known.collect::<std::collections::HashMap<_, _>>()
        });
        let literal = plan.targets.iter().filter(|it| !known.contains_key(&it.host));
        let mut addresses = literal.filter_map(|it| it.host.parse().ok());
        if let Some(elsewhere) = addresses.find(|it| !is_free && !self.crawler.is_on_bmc_plane(*it)) {
            return Err(Error::Elsewhere(elsewhere));
        }
        let errand = Errand {
            class: plan.request.class.clone(),
            redfish_port: plan.redfish_port,
            ipmi_port: plan.ipmi_port,
            wanted: plan.wanted.clone(),
            trusting: self.crawler.trusting(),
            is_free,
            known,
            stop: self.stop.child_token(),
            ..Errand::default()
        };
        let summary = Summary { by, began: now(), targets: plan.targets.len(), ..Summary::default() };
        let job = self.keep(plan, errand, summary)?;
        let summary = job.state().summary.clone();
        self.under_way.spawn(Arc::clone(self).run(job));
        Ok(summary)
    }

    fn keep(&self, plan: Plan, errand: Errand, mut summary: Summary) -> Result<Arc<Job>, Error> {
        let mut jobs = self.jobs();
        let running = jobs.all.values().filter(|it| it.state().summary.phase == Phase::Running).count();
        if running >= RUNNING_MAX {
            return Err(Error::Busy(running));
        }
        while jobs.all.len() >= KEPT_MAX {
            let over = jobs.all.iter().find(|it| it.1.state().summary.phase != Phase::Running);
            let Some(oldest) = over.map(|it| *it.0) else { break };
            jobs.all.remove(&oldest);
        }
        jobs.last += 1;
        summary.id = jobs.last;
        let is_in_order = plan.is_in_order();
        let state = State { summary, warnings: plan.warnings, ..State::default() };
        let (request, rule, ips, targets) = (plan.request, plan.rule, plan.ips, plan.targets);
        let (state, changed) = (Mutex::new(state), watch::Sender::default());
        let job = Arc::new(Job { request, rule, ips, targets, is_in_order, errand, state, changed });
        jobs.all.insert(job.id(), Arc::clone(&job));
        Ok(job)
    }

    /// Machines that asked for an address and are in no inventory, as far as they have one that may be asked.
    async fn add_unknown(&self, plan: &mut Plan, is_free: bool) -> Result<(), Error> {
        let machines = self.dhcp.list_unknown().await.map_err(Error::Dhcp)?;
        for machine in machines.into_iter().rev() {
            let may = |it: &std::net::Ipv4Addr| is_free || self.crawler.is_on_bmc_plane((*it).into());
            match machine.ip.filter(may) {
                Some(ip) => {
                    let target = Target { host: ip.to_string(), is_sought: true };
                    if !plan.targets.iter().any(|it| it.host == target.host) {
                        plan.targets.push(target);
                    }
                }
                None if machine.ip.is_none() && plan.warnings.len() < STRANGERS_MAX => {
                    plan.warnings.push(format!(
                        "{} asked on plane {} and has no address, so that it cannot be asked; give the plane a range",
                        machine.mac, machine.plane
                    ));
                }
                None => {}
            }
        }
        Ok(())
    }

    async fn run(self: Arc<Self>, job: Arc<Job>) {
        let mut visits = JoinSet::new();
        for at in 0..job.targets.len() {
            let room = tokio::select! {
                () = job.errand.stop.cancelled() => break,
                room = Arc::clone(&self.room).acquire_owned() => room,
            };
            let (board, own) = (Arc::clone(&self), Arc::clone(&job));
            visits.spawn(async move {
                let place = own.rule.as_ref().filter(|_| own.is_in_order).and_then(|it| it.bmc(at as u64));
                let bmc = board.crawler.visit(&own.errand, &own.targets[at], place.as_ref()).await;
                drop(room);
                own.note(at, bmc);
            });
            while let Some(joined) = visits.try_join_next() {
                told_of(joined);
            }
        }
        while let Some(joined) = visits.join_next().await {
            told_of(joined);
        }
        self.conclude(&job);
    }

    /// All were asked: they are put in their places and compared with the inventory.
    fn conclude(&self, job: &Job) {
        let is_cut = job.errand.stop.is_cancelled();
        let mut bmcs: Vec<(usize, Bmc)> = std::mem::take(&mut job.state().bmcs).into_iter().collect();
        let (mut nodes, mut warnings, mut changes, mut unchanged) = (Vec::new(), Vec::new(), Vec::new(), 0);
        if !is_cut {
            let mut found: Vec<Bmc> = bmcs.iter().map(|it| it.1.clone()).collect();
            self.crawler.mirror.read(|inventory| {
                let pattern = self.pattern.as_str();
                let wish = Wish { request: &job.request, rule: job.rule.as_ref(), ips: &job.ips, pattern };
                (nodes, warnings) = place(&mut found, &wish, inventory);
                (changes, unchanged) = compare(&found, &nodes, inventory, pattern);
            });
            bmcs = bmcs.into_iter().map(|it| it.0).zip(found).collect();
        }
        let mut state = job.state();
        state.bmcs = bmcs.into_iter().collect();
        (state.nodes, state.changes, state.unchanged) = (nodes, changes, unchanged);
        state.warnings.append(&mut warnings);
        state.summary.phase = if is_cut { Phase::Cancelled } else { Phase::Done };
        state.summary.ended = Some(now());
        let Summary { id, answered, asked, .. } = state.summary;
        drop(state);
        job.changed.send_replace(());
        tracing::info!("discovery {id} has ended: {answered} of {asked} BMCs told what they are");
    }

    pub(crate) fn list(&self) -> Vec<Summary> {
        self.jobs().all.values().rev().map(|it| it.state().summary.clone()).collect()
    }

    pub(crate) fn find(&self, id: u64) -> Result<Arc<Job>, Error> {
        self.jobs().all.get(&id).cloned().ok_or(Error::NoDiscovery(id))
    }

    /// Ends one that is under way; forgets one that is over.
    pub(crate) fn remove(&self, id: u64) -> Result<(), Error> {
        let job = self.find(id)?;
        if job.state().summary.phase == Phase::Running {
            job.errand.stop.cancel();
        } else {
            self.jobs().all.remove(&id);
        }
        Ok(())
    }

    /// Waits for those under way, which the service's stop has ended.
    pub(crate) async fn finish(&self) {
        self.under_way.close();
        if tokio::time::timeout(STOP_MAX, self.under_way.wait()).await.is_err() {
            tracing::info!("{} discoveries are cut off by the stop", self.under_way.len());
        }
    }

    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Job {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn id(&self) -> u64 {
        self.state().summary.id
    }

    fn note(&self, at: usize, bmc: Option<Bmc>) {
        let spoken = bmc.as_ref().map(|it| it.speaks);
        ASKED.inc(match spoken {
            Some(Some(Protocol::Redfish)) => "redfish",
            Some(Some(Protocol::Ipmi)) => "ipmi",
            Some(None) => "failed",
            None => "silent",
        });
        let mut state = self.state();
        state.summary.asked += 1;
        state.summary.answered += usize::from(spoken.flatten().is_some());
        if let Some(bmc) = bmc {
            state.told.push(tell(&bmc));
            state.bmcs.insert(at, bmc);
        }
        drop(state);
        self.changed.send_replace(());
    }

    /// All that it found so far.
    pub(crate) fn show(&self) -> Discovery {
        let state = self.state();
        Discovery {
            summary: state.summary.clone(),
            request: self.request.clone(),
            bmcs: state.bmcs.values().cloned().collect(),
            nodes: state.nodes.clone(),
            changes: state.changes.clone(),
            unchanged: state.unchanged,
            warnings: state.warnings.clone(),
        }
    }

    /// How far it is, and the BMC of this place in the order in which they came.
    pub(crate) fn look(&self, at: usize) -> (Summary, Option<Told>) {
        let state = self.state();
        (state.summary.clone(), state.told.get(at).cloned())
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

fn told_of(joined: Result<(), tokio::task::JoinError>) {
    if let Err(error) = joined {
        tracing::error!(%error, "the visit of a BMC broke off");
    }
}

fn tell(bmc: &Bmc) -> Told {
    let first = bmc.systems.first();
    let words = first.map(|it| [it.maker.as_str(), &it.model, &it.serial]).unwrap_or_default();
    let what = words.iter().filter(|it| !it.is_empty()).copied().collect::<Vec<_>>().join(" ");
    Told {
        target: bmc.target.clone(),
        ok: bmc.speaks.is_some(),
        speaks: bmc.speaks,
        what: if what.is_empty() { bmc.maker.clone() } else { what },
        systems: bmc.systems.len(),
        nics: bmc.systems.iter().map(|it| it.nics.len()).sum(),
        error: bmc.error.clone(),
    }
}

fn now() -> String {
    OffsetDateTime::now_utc()
        .replace_nanosecond(0)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
        .format(&Rfc3339)
        .unwrap_or_default()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use daemon::Paths;
    use domain::Document;
    use web::mirror::Mirror;

    use super::*;

    const DOCUMENT: &str = "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"cluster.test\"\n
        [[network.planes]]\nname = \"bmc\"\nkind = \"bmc\"\ninterface = \"lo\"\naddresses = [\"10.1.0.254/24\"]\n";

    #[tokio::test]
    async fn who_is_no_administrator_has_bmc_planes_alone_asked() {
        let folder = tempfile::tempdir().unwrap();
        let at = || folder.path().to_owned();
        let paths = Paths { config: at(), run: at(), state: at(), credentials: None };
        let (document, stop) = (Document::parse(DOCUMENT).unwrap(), CancellationToken::new());
        let context = Context::new(Service::Discovery, paths, document, Vec::new(), stop.clone()).unwrap();
        let mirror = Mirror::load(folder.path(), "inventory").unwrap();
        let config = Config::default();
        let board = Arc::new(Board::new(&context, &config, Crawler::new(&context, &config, mirror)));
        let ask = async |target: &str, is_free| {
            let request = Request { targets: vec![target.to_owned()], ..Request::default() };
            board.begin(request, "somebody".to_owned(), is_free).await
        };
        for target in ["10.2.0.1", "10.1.0.250-10.1.1.3", "10.2.0.0/24", "fd00::1"] {
            let refused = ask(target, false).await.unwrap_err();
            assert!(matches!(refused, Error::Elsewhere(_)), "{target}: {refused}");
        }
        // Without an inventory there is no account, so that nobody is asked.
        assert_eq!(ask("10.2.0.1", true).await.unwrap().targets, 1);
        assert_eq!(ask("10.1.0.1", false).await.unwrap().targets, 1);
        stop.cancel();
        board.finish().await;
    }
}
