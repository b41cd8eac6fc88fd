//! A placement rule: `x1000c1s7b{1-9}n0` is the xname of the first BMC's node, the second's, and so on.

use domain::Xname;

/// More places than any discovery has targets.
const PLACES_MAX: u64 = 100_000;

/// A pattern whose braces count: the last ones first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    text: String,
    parts: Vec<Part>,
    count: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Numbers { ranges: Vec<(u64, u64)>, count: u64 },
}

/// A pattern that places nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RuleError {
    #[error("{0:?}: braces hold numbers; write x1000c1s7b{{1-9}}n0 or x1000c{{0-3}}s{{0-7}}b0n0")]
    Braces(String),
    #[error(
        "{text:?} makes {made:?}, which is no BMC's xname and no first node's; write x1000c1s7b{{1-9}}n0"
    )]
    Xname { text: String, made: String },
    #[error("{0:?} has more than {PLACES_MAX} places")]
    TooMany(String),
}

impl Rule {
    /// Reads a rule and tries its first and its last place.
    pub(crate) fn parse(text: &str) -> Result<Self, RuleError> {
        let short = || text.chars().take(80).collect::<String>();
        let (mut parts, mut rest, mut count) = (Vec::new(), text, 1_u64);
        while let Some((before, from)) = rest.split_once('{') {
            let (inside, after) = from.split_once('}').ok_or_else(|| RuleError::Braces(short()))?;
            let ranges = ranges(inside).ok_or_else(|| RuleError::Braces(short()))?;
            let own: u64 = ranges.iter().map(|(low, high)| high - low + 1).sum();
            count = count.saturating_mul(own);
            parts.extend([Part::Text(before.to_owned()), Part::Numbers { ranges, count: own }]);
            rest = after;
        }
        if rest.contains('}') {
            return Err(RuleError::Braces(short()));
        }
        if count > PLACES_MAX {
            return Err(RuleError::TooMany(short()));
        }
        parts.push(Part::Text(rest.to_owned()));
        let rule = Self { text: text.to_owned(), parts, count };
        for at in [0, count - 1] {
            rule.bmc(at).ok_or_else(|| RuleError::Xname { text: short(), made: rule.fill(at) })?;
        }
        Ok(rule)
    }

    /// As it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// How many places it has.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The BMC of this place, from 0; none: it has fewer.
    pub(crate) fn bmc(&self, at: u64) -> Option<Xname> {
        if at >= self.count {
            return None;
        }
        let made: Xname = self.fill(at).parse().ok()?;
        match made.is_node() {
            // Its BMC counts the nodes behind it, from 0.
            true if made.ordinal() == 0 => made.parent(),
            true => None,
            false => Some(made).filter(Xname::is_controller),
        }
    }

    fn fill(&self, at: u64) -> String {
        let (mut at, mut made) = (at, Vec::new());
        for part in self.parts.iter().rev() {
            match part {
                Part::Text(text) => made.push(text.clone()),
                Part::Numbers { ranges, count } => {
                    made.push(nth(ranges, at % count).to_string());
                    at /= count;
                }
            }
        }
        made.reverse();
        made.concat()
    }
}

/// `1-9,12`: ranges that rise, so that no number comes twice.
fn ranges(inside: &str) -> Option<Vec<(u64, u64)>> {
    let number = |it: &str| {
        let is_number = (1..=9).contains(&it.len()) && it.bytes().all(|it| it.is_ascii_digit());
        it.parse::<u64>().ok().filter(|_| is_number)
    };
    let range = |it: &str| {
        let (low, high) = it.split_once('-').unwrap_or((it, it));
        let (low, high) = (number(low.trim())?, number(high.trim())?);
        (low <= high).then_some((low, high))
    };
    let ranges: Vec<(u64, u64)> = inside.split(',').map(range).collect::<Option<_>>()?;
    ranges.windows(2).all(|it| it[0].1 < it[1].0).then_some(ranges)
}

fn nth(ranges: &[(u64, u64)], mut at: u64) -> u64 {
    for (low, high) in ranges {
        if at <= high - low {
            return low + at;
        }
        at -= high - low + 1;
    }
    at
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{Rule, RuleError};

    fn places(text: &str) -> Vec<String> {
        let rule = Rule::parse(text).unwrap();
        (0..).map_while(|it| rule.bmc(it)).map(|it| it.to_string()).collect()
    }

    #[test]
    fn the_nth_target_has_the_nth_place() {
        assert_eq!(places("x1000c1s7b{1-3}n0"), ["x1000c1s7b1", "x1000c1s7b2", "x1000c1s7b3"]);
        assert_eq!(places("x1000c{0-1}s{4,6-7}b0n0").len(), 6);
        assert_eq!(places("x1000c{0-1}s{4,6-7}b0").get(3).unwrap(), "x1000c1s4b0");
        assert_eq!(places("x1c0s0b0"), ["x1c0s0b0"]);
    }

    #[test]
    fn what_places_nothing_is_refused_with_what_to_write() {
        for text in ["x1c0s0b{1-", "x1c0s0b{}", "x1c0s0b{3-1}", "x1c0s0b{1-3,2}", "x1c0s0b}1{", "x1c0s0b{a}"]
        {
            assert!(matches!(Rule::parse(text), Err(RuleError::Braces(_))), "{text}");
        }
        for text in ["node{1-9}", "x1000c1s7b{1-9}n1", "x1000c{1-9}", ""] {
            assert!(matches!(Rule::parse(text), Err(RuleError::Xname { .. })), "{text}");
        }
        assert!(matches!(Rule::parse("x{0-9999}c{0-9}s{0-9}b0"), Err(RuleError::TooMany(_))));
    }
}
