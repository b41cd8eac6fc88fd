//! Waiting for something that nobody announces: asked again and again, with a limit.

use std::time::{Duration, Instant};

use anyhow::bail;

/// The time between two questions.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks until there is an answer.
///
/// # Errors
///
/// The question's own error at once; else, when the time is over, what was waited for.
pub async fn until<T>(
    limit: Duration,
    what: &str,
    mut ask: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        if begun.elapsed() >= limit {
            bail!("waited {limit:?} in vain until {what}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}
