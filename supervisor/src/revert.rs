//! The guard (root, pilothouse-revert@.service): waits until a generation is in force for good, or puts back the one
//! before it. It needs neither the supervisor nor the bus.
//!
//! A machine that was cut off comes up with the files of a generation that nobody kept; they are put back before the
//! network is up (pilothouse-revert-boot.service), and the guard does the rest later.

use std::time::Duration;

use anyhow::Context as _;
use domain::event;

use crate::clock::boottime_us;
use crate::generations::{Generations, Pending};
use crate::log::event;
use crate::model::changed;
use crate::program::Program;
use crate::render::{self, Generation};
use crate::root::Root;
use crate::serve::Places;

/// How often it is looked how the generation stands. CLOCK_BOOTTIME goes on while the machine sleeps, a timer of
/// the runtime does not.
const LOOK: Duration = Duration::from_millis(500);
/// How long services may take to restart.
const RESTART_MAX: Duration = Duration::from_secs(300);

/// Waits for the end of a generation's time and, if it is on trial still, puts its base back.
///
/// # Errors
///
/// If the base cannot be read or its files not be written; systemd then starts this again.
pub(crate) async fn wait(places: &Places, number: u64) -> anyhow::Result<()> {
    let generations = Generations::new(&places.state);
    let mut tick = tokio::time::interval(LOOK);
    loop {
        let Some(pending) = generations.pending().filter(|it| it.generation == number) else {
            log::info!("generation {number} is settled");
            return Ok(());
        };
        if pending.is_over(&places.boot, boottime_us()) {
            break;
        }
        let left = Duration::from_micros(pending.deadline_us.saturating_sub(boottime_us()));
        tokio::select! {
            _ = tick.tick() => {}
            () = tokio::time::sleep(left) => {}
        }
    }
    match generations.turn_back(number, "its time was over before it was confirmed")? {
        Some(pending) => put_back(places, &generations, &pending).await,
        None => Ok(()),
    }
}

async fn put_back(places: &Places, generations: &Generations, pending: &Pending) -> anyhow::Result<()> {
    let (number, why) = (pending.generation, &pending.why);
    let Some(number_before) = pending.base else { return generations.forget(number, "failed", why) };
    let root = Root::new(&places.root);
    // A render that runs comes to its end first; a later one sees that it is over.
    let _one = render::lock(&root)?;
    let base = Generation::read(generations, number_before)?;
    let tried = Generation::read(generations, number)?;
    let paths = render::write(&root, &base, Some(&tried))?;
    // The way in is there again, whatever fails from here on.
    render::reload_all(&root, &base, &tried, &paths).await;
    if let Err(error) = render::accounts_of(&root, &base).await {
        log::error!("{error:#}");
    }
    let mut units: Vec<_> =
        changed(Some(&tried.document), &base.document).iter().map(|it| it.unit()).collect();
    if !pending.restored && !units.is_empty() {
        units.insert(0, "restart".to_owned());
        tell_systemd(&root, &units).await;
    }
    tell_systemd(&root, &["start", "--no-block", "pilothouse.target"].map(str::to_owned)).await;
    generations.forget(number, "reverted", why)?;
    event!(event::CONFIG_REVERTED, PILOTHOUSE_GENERATION = number;
        "generation {number} of the configuration is turned back, generation {number_before} is in force: {why}");
    Ok(())
}

async fn tell_systemd(root: &Root, arguments: &[String]) {
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let program = Program::new("/usr/bin/systemctl", &arguments).limit(RESTART_MAX);
    if let Err(error) = root.run(program).await {
        log::error!("{error:#}");
    }
}

/// Puts the files of the base back while the machine starts; nothing runs yet that could be reloaded.
///
/// # Errors
///
/// If the base cannot be read or its files not be written.
pub(crate) fn at_boot(places: &Places) -> anyhow::Result<()> {
    let generations = Generations::new(&places.state);
    let Some(pending) = generations.pending().filter(|it| it.base.is_some()) else { return Ok(()) };
    let number = pending.generation;
    let why = "the machine was restarted before it was in force";
    let turned = generations.turn_back(number, why)?;
    let pending = turned.context("find the generation on trial")?;
    let root = Root::new(&places.root);
    let _one = render::lock(&root)?;
    let base = Generation::read(&generations, pending.base.context("find its base")?)?;
    render::write(&root, &base, None)?;
    generations.mark_restored(&pending)?;
    log::warn!(
        "the files of generation {number} are taken back; it was not in force when the machine went down"
    );
    Ok(())
}
