//! The supervisor's side: `org.pilothouse.Supervisor1.Config` on the system bus.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::StreamExt as _;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use tokio::time::{MissedTickBehavior, interval, timeout};
use zbus::{Connection, DBusError as _, Variant, fdo, proxy};

use crate::console::Consoles;

/// The supervisor's name on the bus.
const NAME: &str = "org.pilothouse.Supervisor1";
/// How long the supervisor may take to come, or to come back.
const SUPERVISOR_MAX: Duration = Duration::from_secs(120);
/// Above the sum of the supervisor's own limits: the database makes its files, each service starts.
const APPLY_MAX: Duration = Duration::from_secs(20 * 60);
/// How often it is asked what it is doing.
const STEP_EVERY: Duration = Duration::from_millis(500);

#[proxy(
    interface = "org.pilothouse.Supervisor1.Config",
    default_service = "org.pilothouse.Supervisor1",
    default_path = "/org/pilothouse/Supervisor1"
)]
trait Config {
    fn apply(&self, document: zbus::Fd<'_>, options: HashMap<&str, Variant<'_>>) -> zbus::Result<u64>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn setup_complete(&self) -> zbus::Result<bool>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn step(&self) -> zbus::Result<String>;
}

/// Hands an answer to the supervisor, shows on every console what it does, and returns when the head is set
/// up.
///
/// # Errors
///
/// Why the answer is not in force, in the supervisor's words.
pub(crate) async fn apply(answer: &str, consoles: &mut Consoles) -> anyhow::Result<()> {
    let document = seal(answer).context("hand the answer over in memory")?;
    let bus = Connection::system().await.context("reach the system bus")?;
    wait_for_supervisor(&bus, consoles).await?;
    let config = ConfigProxy::new(&bus).await.context("reach the supervisor")?;
    consoles.write_all("The answers are handed to the supervisor.\n").await;
    let call = config.apply(zbus::Fd::from(document.as_fd()), HashMap::new());
    let mut shown = String::new();
    let followed = follow(call, &config, consoles, &mut shown);
    match timeout(APPLY_MAX, followed).await.context("the supervisor has not come to an end in 20 minutes")? {
        Ok(_) => Ok(()),
        Err(error) if is_lost(&error) => {
            log::warn!("the supervisor ended while it set up the head: {error}");
            consoles.write_all("The supervisor ended and is started again.\n").await;
            wait_for_supervisor(&bus, consoles).await?;
            timeout(APPLY_MAX, follow_resumed(&config, consoles, &mut shown))
                .await
                .context("the supervisor has not come to an end in 20 minutes")?
        }
        Err(error) => Err(reason(error)),
    }
}

/// A file that exists in memory alone and can no more be changed.
fn seal(answer: &str) -> anyhow::Result<File> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut file = File::from(memfd_create(c"pilothouse-answer", flags)?);
    file.write_all(answer.as_bytes())?;
    let seals =
        SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file)
}

/// Waits until somebody owns the supervisor's name.
async fn wait_for_supervisor(bus: &Connection, consoles: &mut Consoles) -> anyhow::Result<()> {
    let dbus = fdo::DBusProxy::new(bus).await.context("reach the bus")?;
    // Listened to before it is asked, so that no change falls between.
    let changes = dbus.receive_name_owner_changed_with_args(&[(0, NAME)]).await;
    let mut changes = changes.context("listen for the supervisor")?;
    let name = NAME.try_into().context("name the supervisor")?;
    if dbus.name_has_owner(name).await.context("look for the supervisor")? {
        return Ok(());
    }
    consoles.write_all("Waiting for the supervisor.\n").await;
    let appeared = async {
        while let Some(change) = changes.next().await {
            if change.args().is_ok_and(|it| it.new_owner().is_some()) {
                return Ok(());
            }
        }
        anyhow::bail!("the bus was lost")
    };
    let limit = timeout(SUPERVISOR_MAX, appeared).await;
    limit.context("the supervisor does not come up; see journalctl -u pilothouse-supervisor")?
}

/// Shows each step while the call is under way.
async fn follow(
    call: impl Future<Output = zbus::Result<u64>>,
    config: &ConfigProxy<'_>,
    consoles: &mut Consoles,
    shown: &mut String,
) -> zbus::Result<u64> {
    let mut call = std::pin::pin!(call);
    let mut tick = interval(STEP_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            done = &mut call => return done,
            _ = tick.tick() => {
                // Asked beside the call, never instead of it.
                let step = tokio::select! {
                    biased;
                    done = &mut call => return done,
                    step = config.step() => step,
                };
                show(&step.unwrap_or_default(), consoles, shown).await;
            }
        }
    }
}

async fn show(step: &str, consoles: &mut Consoles, shown: &mut String) {
    if !step.is_empty() && step != shown {
        step.clone_into(shown);
        consoles.write_all(&format!("  {step}\n")).await;
    }
}

/// A supervisor that was started again takes up what it finds half done; it is followed to its end.
async fn follow_resumed(
    config: &ConfigProxy<'_>,
    consoles: &mut Consoles,
    shown: &mut String,
) -> anyhow::Result<()> {
    let mut tick = interval(STEP_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut idle = 0;
    loop {
        tick.tick().await;
        if config.setup_complete().await.context("ask the supervisor")? {
            return Ok(());
        }
        let step = config.step().await.context("ask the supervisor")?;
        idle = if step.is_empty() { idle + 1 } else { 0 };
        // It says its first step a moment after its name is there.
        anyhow::ensure!(
            idle < 10,
            "the supervisor ended before it was done; see journalctl -u pilothouse-supervisor"
        );
        show(&step, consoles, shown).await;
    }
}

/// Whether the one who was called is gone, rather than of another opinion.
fn is_lost(error: &zbus::Error) -> bool {
    use fdo::Error::{Disconnected, NameHasNoOwner, NoReply, ServiceUnknown};
    let zbus::Error::FDO(error) = error else { return false };
    matches!(**error, NoReply(_) | ServiceUnknown(_) | NameHasNoOwner(_) | Disconnected(_))
}

/// The supervisor's words, without D-Bus's around them.
fn reason(error: zbus::Error) -> anyhow::Error {
    let words = match &error {
        zbus::Error::FDO(error) => error.description().map(str::to_owned),
        zbus::Error::MethodError(_, text, _) => text.clone(),
        _ => None,
    };
    words.map_or_else(|| anyhow::Error::new(error).context("call the supervisor"), anyhow::Error::msg)
}
