//! Power: how long until all is known or done, and what is said of BMCs that do not answer.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use domain::Service;
use nix::sys::signal::Signal;
use tests::Process;
use tests::swarm::{Fault, Options};

use super::super::cost::{self, Meter};
use super::super::figure::{Figure, Row};
use super::site::Site;
use super::timed::{self, Timed};
use super::{Place, peers};

/// How our program and the API say that some nodes failed.
const SOME_FAILED: i32 = 3;
/// What is promised.
const SHARE: f64 = 1.0 / 3.0;
const LIVING_MAX_S: f64 = 0.3;
const WHOLE_MAX_S: f64 = 3.0;

/// The rounds of one program: until the last of the living was known, until the end, processor time.
#[derive(Default)]
struct Rounds {
    living: Vec<f64>,
    whole: Vec<f64>,
    cpu: Vec<f64>,
}

impl Rounds {
    fn add(&mut self, timed: &Timed, living: Option<Duration>, service: Duration) {
        self.living.extend(living.map(|it| it.as_secs_f64()));
        self.whole.push(timed.whole.as_secs_f64());
        self.cpu.push((timed.cpu + service).as_secs_f64());
    }

    fn figure(self, who: &str) -> Figure {
        let cpu = cost::median(self.cpu);
        Figure::of(who, "s", self.whole).with_cpu(cpu, "s of processor")
    }
}

/// A peer that is here, or a note why not.
fn here<T>(row: &mut Row, peer: anyhow::Result<T>) -> Option<T> {
    peer.map_err(|it| peers::leave_out(row, &it)).ok()
}

fn options(place: &Place) -> Options {
    Options { count: place.count, ..Options::default() }
}

/// `pilotctl` on all nodes, with what it costs the service.
fn ours(site: &Site, meter: &Meter, verb: &str) -> anyhow::Result<(Timed, Duration)> {
    let before = meter.used();
    let timed = timed::run(&mut site.pilotctl(&["power", verb, &site.nodes()])?)?;
    Ok((timed, meter.used().saturating_sub(before)))
}

/// Whether a line of ours or of ipmipower says a state.
fn says_state(line: &str) -> bool {
    line.split_whitespace().skip(1).any(|it| it == "on" || it == "off")
}

/// Power status, all alive.
pub(super) async fn status(place: &Place) -> anyhow::Result<Vec<Row>> {
    let mut row = Row {
        what: format!("power status of {} BMCs, all alive", place.count),
        target: "<= 1/3 of the quickest peer's time",
        ..Row::default()
    };
    let site = Site::start(Service::Power, options(place)).await?;
    let meter = Meter::of(site.pid()?);
    let powermand = here(&mut row, peers::powermand(&place.folder, place.count).await);
    let other = powermand.as_ref().map(|it| Meter::of(it.pid()));
    let [mut our, mut ipmipower, mut powerman] = [(); 3].map(|()| Rounds::default());
    for _ in 0..place.rounds {
        let (timed, service) = ours(&site, &meter, "status")?;
        ensure!(timed.code == 0, "pilotctl ended with {}: {}", timed.code, timed.text());
        our.add(&timed, None, service);
        if let Some(mut command) = here(&mut row, peers::ipmipower(place.count, &["--stat"])) {
            let timed = timed::run(&mut command)?;
            let known = timed.lines.iter().filter(|it| says_state(&it.1)).count();
            ensure!(known == place.count as usize, "ipmipower knows {known}: {}", timed.text());
            ipmipower.add(&timed, None, Duration::ZERO);
        }
        if let Some(meter) = &other {
            let before = meter.used();
            let timed = timed::run(&mut peers::powerman(&["-q"])?)?;
            ensure!(timed.code == 0, "powerman ended with {}: {}", timed.code, timed.text());
            powerman.add(&timed, None, meter.used().saturating_sub(before));
        }
    }
    finish(powermand).await?;
    site.end().await?;
    row.ours = Some(our.figure("pilotctl and power"));
    row.peers.extend(figure_of(ipmipower, "ipmipower"));
    row.peers.extend(figure_of(powerman, "powerman and powermand"));
    let quickest = super::super::figure::best(&row.peers, false, |it| Some(it.value));
    row.met = quickest.zip(row.ours.as_ref()).map(|(peer, ours)| ours.value <= peer * SHARE);
    Ok(vec![row])
}

fn figure_of(rounds: Rounds, who: &str) -> Option<Figure> {
    (!rounds.whole.is_empty()).then(|| rounds.figure(who))
}

async fn finish(process: Option<Process>) -> anyhow::Result<()> {
    match process {
        Some(process) => peers::stop(process, Signal::SIGTERM).await.map(drop),
        None => Ok(()),
    }
}

/// Power status with one in twenty silent: when the living are known, and when all is said.
pub(super) async fn silent(place: &Place) -> anyhow::Result<Vec<Row>> {
    let silent = place.silent();
    let living = place.count as usize - silent.len();
    let mut first = Row {
        what: format!("power status of {} BMCs, {} of them silent: the living", place.count, silent.len()),
        target: "<= 0.3 s",
        ..Row::default()
    };
    let site = Site::start(Service::Power, options(place)).await?;
    let meter = Meter::of(site.pid()?);
    site.swarm.inflict(silent.iter().copied(), Fault::Silent);
    let powermand = here(&mut first, peers::powermand(&place.folder, place.count).await);
    let [mut our, mut ipmipower, mut powerman] = [(); 3].map(|()| Rounds::default());
    let mut named = true;
    for _ in 0..place.few() {
        let (timed, service) = ours(&site, &meter, "status")?;
        ensure!(timed.code == SOME_FAILED, "pilotctl ended with {}: {}", timed.code, timed.text());
        named &= names(&timed, &silent);
        our.add(&timed, timed.last_of(living, says_state), service);
        if let Some(mut command) = here(&mut first, peers::ipmipower(place.count, &["--stat"])) {
            let timed = timed::run(&mut command)?;
            ipmipower.add(&timed, timed.last_of(living, says_state), Duration::ZERO);
        }
        if powermand.is_some() {
            let timed = timed::run(&mut peers::powerman(&["-q"])?)?;
            // It says all at once.
            powerman.add(&timed, Some(timed.whole), Duration::ZERO);
        }
    }
    finish(powermand).await?;
    site.end().await?;
    let mut whole = Row {
        what: format!("the same, the whole answer with each of the {} named", silent.len()),
        target: "<= 3 s",
        ..Row::default()
    };
    for (rounds, who) in [(&our, "pilotctl and power"), (&ipmipower, "ipmipower"), (&powerman, "powerman")] {
        if rounds.whole.is_empty() {
            continue;
        }
        let both = [(&mut first, rounds.living.clone()), (&mut whole, rounds.whole.clone())];
        for (row, values) in both {
            let figure = Figure::of(who, "s", values);
            if who.starts_with("pilotctl") { row.ours = Some(figure) } else { row.peers.push(figure) }
        }
    }
    first.met = first.ours.as_ref().map(|it| it.rounds.len() == our.whole.len() && it.value <= LIVING_MAX_S);
    whole.met = whole.ours.as_ref().map(|it| named && it.value <= WHOLE_MAX_S);
    if !named {
        whole.notes.push("pilotctl does not name each silent BMC's node with what to check".to_owned());
    }
    Ok(vec![first, whole])
}

/// Whether each of these nodes is named, with what to check.
fn names(timed: &Timed, numbers: &[u32]) -> bool {
    let text = timed.text();
    numbers.iter().all(|it| {
        let name = format!("nid{it:03}");
        text.lines().any(|line| line.contains(&name) && line.contains("check"))
    })
}

/// Power on with some silent: what is said, and what it is worth to a script.
pub(super) async fn on_silent(place: &Place) -> anyhow::Result<Vec<Row>> {
    let silent = place.silent();
    let mut row = Row {
        what: format!("power on of {} BMCs, {} of them silent", place.count, silent.len()),
        target: "exit 3, each silent one named with what to check",
        ..Row::default()
    };
    let site = Site::start(Service::Power, options(place)).await?;
    let meter = Meter::of(site.pid()?);
    site.swarm.inflict(silent.iter().copied(), Fault::Silent);
    let powermand = here(&mut row, peers::powermand(&place.folder, place.count).await);
    let [mut our, mut ipmipower, mut powerman] = [(); 3].map(|()| Rounds::default());
    let (mut right, mut said) = (true, Vec::new());
    for round in 0..place.few() {
        site.set_power(false)?;
        let (timed, service) = ours(&site, &meter, "on")?;
        let on = site.swarm.total().are_on as usize == place.count as usize - silent.len();
        right &= on && timed.code == SOME_FAILED && names(&timed, &silent);
        our.add(&timed, None, service);
        let last = timed.lines.last().map_or("", |it| it.1.as_str()).to_owned();
        let mut said_now = vec![format!("pilotctl: exit {}, {last:?}", timed.code)];
        site.set_power(false)?;
        let words = ["--on", "--wait-until-on"];
        if let Some(mut command) = here(&mut row, peers::ipmipower(place.count, &words)) {
            let timed = timed::run(&mut command)?;
            ipmipower.add(&timed, None, Duration::ZERO);
            said_now.push(format!("ipmipower: exit {}", timed.code));
        }
        if powermand.is_some() {
            site.set_power(false)?;
            let all = site.nodes();
            let timed = timed::run(&mut peers::powerman(&["-1", &all])?)?;
            powerman.add(&timed, None, Duration::ZERO);
            said_now.push(format!("powerman: exit {}, {:?}", timed.code, timed.text().trim()));
        }
        if round == 0 {
            said = said_now;
        }
    }
    finish(powermand).await?;
    site.end().await?;
    row.ours = Some(our.figure("pilotctl and power"));
    row.peers.extend(figure_of(ipmipower, "ipmipower"));
    row.peers.extend(figure_of(powerman, "powerman and powermand"));
    row.met = Some(right);
    row.notes.extend(said);
    Ok(vec![row])
}

/// Status and on of many, each BMC told once.
pub(super) async fn thousand(place: &Place) -> anyhow::Result<Vec<Row>> {
    let count = place.thousand;
    let site = Site::start(Service::Power, Options { count, ..Options::default() }).await?;
    let (pid, meter) = (site.pid()?, Meter::of(site.pid()?));
    let mut rows = Vec::new();
    for (verb, state) in [("status", "off"), ("on", "on")] {
        let target = "every result right, no BMC asked twice for one transition, one process";
        let what = format!("power {verb} of {count} BMCs within limits");
        let (timed, service) = ours(&site, &meter, verb)?;
        let right = timed.lines.iter().filter(|it| it.1.split_whitespace().nth(1) == Some(state)).count();
        let mut rounds = Rounds::default();
        rounds.add(&timed, None, service);
        let asked_twice = site.swarm.all().filter(|it| site.swarm.seen(*it).on > 1).count();
        let processes = cost::tree(&[pid]).len();
        let total = site.swarm.total();
        let once = verb == "status" || (total.on, total.are_on) == (count.into(), count.into());
        let met = timed.code == 0 && right == count as usize && asked_twice == 0 && processes == 1 && once;
        let note = format!(
            "{right} right, {asked_twice} told twice, {processes} process, {} sessions opened so far, {:.0} MiB",
            total.sessions,
            site.kib().context("read what power holds")? / 1024.0
        );
        let ours = Some(rounds.figure("pilotctl and power"));
        rows.push(Row { what, target, ours, met: Some(met), notes: vec![note], ..Row::default() });
    }
    site.end().await?;
    Ok(rows)
}
