//! The supervisor's `org.pilothouse.Supervisor1.Config`, as callers have it.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use tokio::time::{MissedTickBehavior, interval};
use zbus::{DBusError as _, OwnedVariant, Variant, proxy};

use crate::error::Failure;

/// How often the supervisor is asked what it is doing.
const STEP_EVERY: Duration = Duration::from_millis(500);

/// A line of the history, or options of a call.
pub(super) type Members = HashMap<String, OwnedVariant>;
pub(super) type Options<'a> = HashMap<&'a str, Variant<'a>>;

#[proxy(
    interface = "org.pilothouse.Supervisor1.Config",
    default_service = "org.pilothouse.Supervisor1",
    default_path = "/org/pilothouse/Supervisor1"
)]
pub(super) trait Config {
    fn apply(&self, document: zbus::Fd<'_>, options: &HashMap<&str, Variant<'_>>) -> zbus::Result<u64>;
    fn check(&self, document: zbus::Fd<'_>) -> zbus::Result<()>;
    fn confirm(&self, generation: u64) -> zbus::Result<u64>;
    fn rollback(&self, generation: u64, options: &HashMap<&str, Variant<'_>>) -> zbus::Result<u64>;
    fn cancel(&self) -> zbus::Result<u64>;
    fn read(&self, generation: u64) -> zbus::Result<String>;
    fn history(&self) -> zbus::Result<Vec<HashMap<String, OwnedVariant>>>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn generation(&self) -> zbus::Result<u64>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn pending(&self) -> zbus::Result<u64>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn edited_files(&self) -> zbus::Result<Vec<String>>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn step(&self) -> zbus::Result<String>;
}

/// Reaches it.
pub(super) async fn connect() -> Result<ConfigProxy<'static>, Failure> {
    let bus = zbus::Connection::system().await;
    let bus = bus.map_err(|error| Failure::unreachable(format!("cannot reach the system bus: {error}")))?;
    ConfigProxy::new(&bus).await.map_err(failure)
}

/// A document as D-Bus takes it: a file that exists in memory alone.
pub(super) fn document(text: &str) -> Result<File, Failure> {
    let file = memfd_create(c"pilothouse-document", MFdFlags::MFD_CLOEXEC);
    let mut file = File::from(file.map_err(std::io::Error::from)?);
    file.write_all(text.as_bytes())?;
    Ok(file)
}

pub(super) async fn check(config: &ConfigProxy<'_>, text: &str) -> Result<(), Failure> {
    let document = document(text)?;
    config.check(document.as_fd().into()).await.map_err(failure)
}

/// Applies a document and shows on stderr what the supervisor does.
pub(super) async fn apply(
    config: &ConfigProxy<'_>,
    text: &str,
    options: &Options<'_>,
) -> Result<u64, Failure> {
    let document = document(text)?;
    follow(config, config.apply(document.as_fd().into(), options)).await
}

/// Shows each step while a call is under way.
pub(super) async fn follow(
    config: &ConfigProxy<'_>,
    call: impl Future<Output = zbus::Result<u64>>,
) -> Result<u64, Failure> {
    let mut call = std::pin::pin!(call);
    let mut tick = interval(STEP_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shown = String::new();
    loop {
        tokio::select! {
            biased;
            done = &mut call => return done.map_err(failure),
            _ = tick.tick() => {}
        }
        // Asked beside the call, never instead of it.
        let step = tokio::select! {
            biased;
            done = &mut call => return done.map_err(failure),
            step = config.step() => step.unwrap_or_default(),
        };
        if !step.is_empty() && step != shown {
            eprintln!("{step}");
            shown = step;
        }
    }
}

/// The supervisor's words without D-Bus's around them, and what they mean for the exit status.
pub(super) fn failure(error: zbus::Error) -> Failure {
    let (name, words) = match &error {
        zbus::Error::FDO(error) => (error.name().to_string(), error.description().map(str::to_owned)),
        zbus::Error::MethodError(name, words, _) => (name.to_string(), words.clone()),
        _ => (String::new(), None),
    };
    let words = words.unwrap_or_else(|| error.to_string());
    match name.rsplit('.').next().unwrap_or_default() {
        "AccessDenied" | "Frozen" | "Superseded" | "Busy" => Failure::refused(words),
        "ServiceUnknown" | "NameHasNoOwner" | "NoReply" | "Disconnected" => {
            let hint = "see journalctl -u pilothouse-supervisor";
            Failure::unreachable(format!("the supervisor does not answer: {words}; {hint}"))
        }
        _ => Failure::failed(words),
    }
}

#[cfg(test)]
mod tests {
    use zbus::fdo;

    #[test]
    fn the_exit_status_says_who_refused() {
        let denied = || zbus::Error::FDO(Box::new(fdo::Error::AccessDenied("no".to_owned())));
        assert_eq!((super::failure(denied()).code, super::failure(denied()).message), (4, "no".to_owned()));
        let gone = zbus::Error::FDO(Box::new(fdo::Error::ServiceUnknown("x".to_owned())));
        assert_eq!(super::failure(gone).code, 5);
        let wrong = zbus::Error::FDO(Box::new(fdo::Error::InvalidArgs("line 3".to_owned())));
        assert_eq!((super::failure(wrong).code), 1);
    }
}
