//! Host lists: `nid[001-009,12],login1`.

/// The most names one list may stand for: ten times the largest cluster the head is built for.
pub const NODES_MAX: usize = 100_000;

/// A host list that cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostlistError {
    /// Brackets that do not match or are empty.
    #[error("the brackets of {0:?} do not fit; write nid[001-009,12]")]
    Brackets(String),
    /// Something between brackets that is no number or range.
    #[error("{0:?} is no range; write 001-009, the smaller number first")]
    Range(String),
    /// More than [`NODES_MAX`] names.
    #[error("the list names more than {NODES_MAX} nodes")]
    TooMany,
}

/// The names a list stands for, in its order, each once. The width of a range's first number pads the rest.
///
/// # Errors
///
/// See [`HostlistError`].
pub fn expand(list: &str) -> Result<Vec<String>, HostlistError> {
    let mut names = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for item in split_items(list)? {
        expand_item(item, &mut |name| {
            if seen.insert(name.clone()) {
                names.push(name);
            }
            if names.len() > NODES_MAX { Err(HostlistError::TooMany) } else { Ok(()) }
        })?;
    }
    Ok(names)
}

/// Splits at commas and blanks outside brackets.
fn split_items(list: &str) -> Result<Vec<&str>, HostlistError> {
    let fail = || HostlistError::Brackets(list.chars().take(80).collect());
    let mut items = Vec::new();
    let (mut start, mut inside) = (0, false);
    for (at, it) in list.char_indices() {
        match it {
            '[' if inside => return Err(fail()),
            '[' => inside = true,
            ']' if !inside => return Err(fail()),
            ']' => inside = false,
            ',' | ' ' if !inside => {
                items.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(&list[start..]);
    items.retain(|it| !it.is_empty());
    if inside { Err(fail()) } else { Ok(items) }
}

type Emit<'a> = dyn FnMut(String) -> Result<(), HostlistError> + 'a;

fn expand_item(item: &str, emit: &mut Emit<'_>) -> Result<(), HostlistError> {
    let Some((head, rest)) = item.split_once('[') else { return emit(item.to_owned()) };
    let Some((ranges, tail)) = rest.split_once(']') else {
        return Err(HostlistError::Brackets(item.to_owned()));
    };
    for range in ranges.split(',') {
        let fail = || HostlistError::Range(range.to_owned());
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let digits = |it: &str| !it.is_empty() && it.len() <= 9 && it.bytes().all(|it| it.is_ascii_digit());
        if !digits(first) || !digits(last) {
            return Err(fail());
        }
        let low: usize = first.parse().map_err(|_| fail())?;
        let high: usize = last.parse().map_err(|_| fail())?;
        if high < low {
            return Err(fail());
        }
        if high - low >= NODES_MAX {
            return Err(HostlistError::TooMany);
        }
        let width = first.len();
        for number in low..=high {
            expand_item(&format!("{head}{number:0width$}{tail}"), emit)?;
        }
    }
    Ok(())
}

/// The shortest list of these names: runs of numbers at the end become a range. Keeps no order.
#[must_use]
pub fn fold(names: &[String]) -> String {
    use std::collections::BTreeMap;
    let mut runs: BTreeMap<(&str, usize), Vec<usize>> = BTreeMap::new();
    let mut plain: Vec<String> = Vec::new();
    for name in names {
        let at = name
            .rfind(|it: char| !it.is_ascii_digit())
            .map_or(0, |it| it + name[it..].chars().next().map_or(1, char::len_utf8));
        match name[at..].parse() {
            Ok(number) if name.len() - at <= 9 => {
                runs.entry((&name[..at], name.len() - at)).or_default().push(number);
            }
            _ => plain.push(name.clone()),
        }
    }
    for ((stem, width), mut numbers) in runs {
        numbers.sort_unstable();
        numbers.dedup();
        let ranges: Vec<String> = numbers
            .chunk_by(|a, b| a + 1 == *b)
            .filter_map(|run| match run {
                [one] => Some(format!("{one:0width$}")),
                [first, .., last] => Some(format!("{first:0width$}-{last:0width$}")),
                [] => None,
            })
            .collect();
        let many = numbers.len() > 1;
        plain.push(if many {
            format!("{stem}[{}]", ranges.join(","))
        } else {
            format!("{stem}{}", ranges.concat())
        });
    }
    plain.join(",")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{HostlistError, expand, fold};

    #[test]
    fn ranges_keep_their_width() {
        assert_eq!(expand("nid[001-003,7],x").unwrap(), ["nid001", "nid002", "nid003", "nid7", "x"]);
        assert_eq!(expand("r[1-2]n[08-09]").unwrap(), ["r1n08", "r1n09", "r2n08", "r2n09"]);
        assert_eq!(expand("a a,a").unwrap(), ["a"]);
    }

    #[test]
    fn a_list_of_two_million_is_refused() {
        assert_eq!(expand("nid[0-1999999]"), Err(HostlistError::TooMany));
        assert_eq!(expand("a[0-999]b[0-999]c"), Err(HostlistError::TooMany));
        for text in ["a[", "a]", "a[3-1]", "a[x]", "a[]", "a[1", "a[[1]]", "a[1-2-3]"] {
            assert!(expand(text).is_err(), "{text}");
        }
    }

    #[test]
    fn folding_is_the_way_back() {
        let names = expand("nid[001-003,007],login1,z").unwrap();
        assert_eq!(expand(&fold(&names)).unwrap().len(), names.len());
        assert_eq!(fold(&expand("nid[001-003]").unwrap()), "nid[001-003]");
    }
}
