//! The decisions: which boot a step belongs to, whether a boot stands still, and why. Pure: time is an argument.

mod audit;
mod board;
mod boot;
mod cause;
mod place;
mod report;
mod rule;
mod typical;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;

pub use audit::{Broken, Deed, Hash, Mark, Record, Verdict};
pub use boot::{Boot, Evidence, Finding, Kind, Outcome, Script, Step, Transfer};
pub use cause::Cause;
pub use place::Place;
pub use report::{Group, Report, Slow, Times};

pub(crate) use audit::{Anchor, Check};
pub(crate) use board::{Board, Key, group_findings};
pub(crate) use report::{last_together, report};
