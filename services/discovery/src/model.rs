//! The decisions: which targets a word stands for, which card a node boots from, where a node belongs, what changed.

pub(crate) mod body;
pub(crate) mod diff;
pub(crate) mod nic;
pub(crate) mod place;
pub(crate) mod rule;
pub(crate) mod target;
pub(crate) mod yaml;

/// The longest text of a BMC that is kept.
const TEXT_MAX: usize = 96;

/// What a BMC says, without what a terminal or a file would obey.
pub(crate) fn tidy(text: &str) -> String {
    let plain = text.chars().map(|it| if it.is_control() { ' ' } else { it });
    plain.take(TEXT_MAX).collect::<String>().trim().to_owned()
}
