//! Host lists as powerman reads and writes them: `nid[001-003,007],login1`. Pure.

use std::fmt::Write as _;

use domain::NODES_MAX;

/// More digits than any node's number has.
const DIGITS_MAX: usize = 9;

/// A list that cannot be read, or names too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// The names a list stands for, in its order, each as often as it is named.
pub(super) fn expand(list: &str) -> Result<Vec<String>, Unreadable> {
    let mut names = Vec::new();
    let (mut start, mut inside) = (0, false);
    let ends = list.char_indices().map(|(at, it)| (at, Some(it))).chain([(list.len(), None)]);
    for (at, it) in ends {
        match it {
            Some('[') => inside = true,
            Some(']') => inside = false,
            Some(',') | None if !inside || it.is_none() => {
                let item = &list[start..at];
                expand_item(item, &mut names)?;
                start = at + 1;
            }
            _ => {}
        }
    }
    Ok(names)
}

/// The names of an item with any number of brackets. What is named twice stays so, unlike in our own lists.
fn expand_item(item: &str, names: &mut Vec<String>) -> Result<(), Unreadable> {
    let Some((head, rest)) = item.split_once('[') else {
        if item.contains(']') || names.len() >= NODES_MAX {
            return Err(Unreadable);
        }
        names.extend((!item.is_empty()).then(|| item.to_owned()));
        return Ok(());
    };
    let (ranges, tail) = rest.split_once(']').filter(|_| !head.contains(']')).ok_or(Unreadable)?;
    for range in ranges.split(',') {
        let (low, high) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| {
            let is_one = (1..=DIGITS_MAX).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_digit());
            text.parse::<usize>().ok().filter(|_| is_one).ok_or(Unreadable)
        };
        let (first, last) = (number(low)?, number(high)?);
        if last < first || last - first >= NODES_MAX {
            return Err(Unreadable);
        }
        for it in first..=last {
            expand_item(&format!("{head}{it:0width$}{tail}", width = low.len()), names)?;
        }
    }
    Ok(())
}

/// Puts names in powerman's order: by what stands before the number, by how many digits that has, by itself.
pub(super) fn sort(names: &mut [String]) {
    names.sort_by(|a, b| key(a).cmp(&key(b)));
}

fn key(name: &str) -> (&str, usize, u64) {
    let (prefix, digits) = split(name);
    (prefix, digits.len(), digits.parse().unwrap_or(0))
}

/// What stands before the number at the end, and its digits.
fn split(name: &str) -> (&str, &str) {
    let digits = name.bytes().rev().take_while(u8::is_ascii_digit).count();
    if digits > DIGITS_MAX { (name, "") } else { name.split_at(name.len() - digits) }
}

/// Numbers that follow each other, written with at least so many digits.
struct Run {
    low: u64,
    high: u64,
    width: usize,
}

impl Run {
    fn takes(&self, number: u64, digits: &str) -> bool {
        number == self.high + 1 && format!("{number:0width$}", width = self.width) == digits
    }

    fn write(&self, text: &mut String) {
        let Self { low, high, width } = *self;
        // Writing to a string does not fail.
        let written = match low == high {
            true => write!(text, "{low:0width$}"),
            false => write!(text, "{low:0width$}-{high:0width$}"),
        };
        debug_assert!(written.is_ok());
    }
}

/// The list of these names in their order: neighbours of the same stem share brackets.
pub(super) fn fold(names: &[String]) -> String {
    let mut stems: Vec<(&str, Vec<Run>)> = Vec::new();
    for name in names {
        let (prefix, digits) = split(name);
        let number: Option<u64> = digits.parse().ok();
        let new = number.map(|it| Run { low: it, high: it, width: digits.len() });
        match (stems.last_mut(), number) {
            (Some((stem, runs)), Some(number)) if *stem == prefix && !runs.is_empty() => {
                match runs.last_mut().filter(|it| it.takes(number, digits)) {
                    Some(run) => run.high = number,
                    None => runs.extend(new),
                }
            }
            _ => stems.push((prefix, new.into_iter().collect())),
        }
    }
    let mut text = String::new();
    for (stem, runs) in &stems {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(stem);
        let many = runs.len() > 1 || runs.iter().any(|it| it.low != it.high);
        if many {
            text.push('[');
        }
        for (at, run) in runs.iter().enumerate() {
            if at > 0 {
                text.push(',');
            }
            run.write(&mut text);
        }
        if many {
            text.push(']');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &str) -> Vec<String> {
        list.split_whitespace().map(str::to_owned).collect()
    }

    /// As powermand 2.4.4 was seen to write them.
    #[test]
    fn lists_are_written_as_powermand_writes_them() {
        for (list, folded) in [
            ("", ""),
            ("nid001", "nid001"),
            ("nid001 nid002 nid003 nid005", "nid[001-003,005]"),
            ("bogus nid998 nid999 a1 a2 b", "bogus,nid[998-999],a[1-2],b"),
            ("q nid9 nid8 nid10 q1 q3 q2 nid9", "q,nid[9,8,10],q[1,3,2],nid9"),
            ("a1b1 a1b2 a2b1 a2b2", "a1b[1-2],a2b[1-2]"),
            ("a9 a10 z1", "a[9-10],z1"),
            ("1 2", "[1-2]"),
        ] {
            assert_eq!(fold(&names(list)), folded);
        }
        let mut sorted =
            names("z1 a10 a9 a09 login foo-bar n1-ib n2-ib nid002 nid001 nid004 nid003 nid5 nid1 x1n0 x1n1");
        sort(&mut sorted);
        let folded = "a[9,09-10],foo-bar,login,n1-ib,n2-ib,nid[1,5,001-004],x1n[0-1],z1";
        assert_eq!(fold(&sorted), folded);
        let mut twice = names("nid004 nid001 nid002 nid001");
        sort(&mut twice);
        assert_eq!(fold(&twice), "nid[001,001-002,004]");
    }

    #[test]
    fn lists_are_read_and_long_ones_refused() {
        assert_eq!(expand("nid[001-002],login,nid001"), Ok(names("nid001 nid002 login nid001")));
        assert_eq!(expand("nid[001-002,001]"), Ok(names("nid001 nid002 nid001")));
        assert_eq!(expand("a[1-2]b[1-2]"), Ok(names("a1b1 a1b2 a2b1 a2b2")));
        assert_eq!(expand(",,"), Ok(Vec::new()));
        for wrong in ["nid[1-", "nid[", "nid]", "nid[5-1]", "nid[1-2000000]", "nid[0-99999],nid[0-99999]"] {
            assert_eq!(expand(wrong), Err(Unreadable), "{wrong}");
        }
    }
}
