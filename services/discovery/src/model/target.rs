//! Whom to ask: addresses, ranges, subnets and names, as people write them.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

/// The most targets of one discovery: a network of 16 bits.
pub(crate) const TARGETS_MAX: usize = 65_536;
/// The word for machines that asked for an address and are in no inventory.
pub(crate) const UNKNOWN: &str = "unknown";
/// The longest host name (RFC 1035 section 2.3.4).
const NAME_MAX: usize = 253;

/// One that is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    /// An address or a host name.
    pub(crate) host: String,
    /// Nobody said that somebody is there: silence is no fault.
    pub(crate) is_sought: bool,
}

/// What the words of a request stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Targets {
    /// In the order of the words, each once.
    pub(crate) list: Vec<Target>,
    /// Whether machines that only dhcp knows are wanted too.
    pub(crate) has_unknown: bool,
}

/// Words that stand for nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TargetError {
    #[error(
        "{0:?} is no target; write 172.16.0.101-109, 172.16.0.0/24, bmc[001-009], an address, a host name or unknown"
    )]
    Word(String),
    #[error("{0:?}: the range ends before it begins; write 172.16.0.101-109, the smaller number first")]
    Backwards(String),
    #[error("the list stands for more than {TARGETS_MAX} BMCs; split it, or name a smaller subnet")]
    TooMany,
    #[error("name at least one BMC: an address, a range, a subnet, a host name or unknown")]
    Nobody,
}

/// What words stand for.
pub(crate) fn expand(words: &[String]) -> Result<Targets, TargetError> {
    let (mut list, mut has_unknown, mut seen) = (Vec::new(), false, HashSet::new());
    let mut push = |host: String, is_sought: bool| {
        if seen.insert(host.clone()) {
            list.push(Target { host, is_sought });
        }
        if list.len() > TARGETS_MAX { Err(TargetError::TooMany) } else { Ok(()) }
    };
    for word in words.iter().flat_map(|it| split(it)) {
        if word == UNKNOWN {
            has_unknown = true;
        } else if word.contains('/') {
            let net: IpNet = word.parse().map_err(|_| fail(word))?;
            if net.max_prefix_len() - net.prefix_len() > 16 {
                return Err(TargetError::TooMany);
            }
            net.hosts().try_for_each(|it| push(it.to_string(), true))?;
        } else if let Some((first, last)) = range(word)? {
            if u32::from(last) - u32::from(first) >= TARGETS_MAX as u32 {
                return Err(TargetError::TooMany);
            }
            let all = u32::from(first)..=u32::from(last);
            all.map(Ipv4Addr::from).try_for_each(|it| push(it.to_string(), false))?;
        } else {
            let names = domain::expand(word).map_err(|it| match it {
                domain::HostlistError::TooMany => TargetError::TooMany,
                _ => fail(word),
            })?;
            for name in names {
                let address = name.parse::<IpAddr>().map(|it| it.to_string());
                let host = address.or_else(|_| if is_host(&name) { Ok(name) } else { Err(fail(word)) })?;
                push(host, false)?;
            }
        }
    }
    if list.is_empty() && !has_unknown { Err(TargetError::Nobody) } else { Ok(Targets { list, has_unknown }) }
}

/// The addresses of a range of IPv4, for nodes in their order.
pub(crate) fn addresses(text: &str) -> Result<Vec<IpAddr>, TargetError> {
    let expanded = expand(&[text.to_owned()])?;
    let parse = |it: &Target| it.host.parse().map_err(|_| fail(&it.host));
    expanded.list.iter().map(parse).collect()
}

fn fail(word: &str) -> TargetError {
    TargetError::Word(word.chars().take(80).collect())
}

/// Commas and blanks part words, unless they are in brackets.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let words = text.split(move |it: char| {
        match it {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && (it == ',' || it.is_whitespace())
    });
    words.filter(|it| !it.is_empty()).collect()
}

/// `172.16.0.101-109`, `172.16.0.101-172.16.1.9`; none: it is no range of addresses.
fn range(word: &str) -> Result<Option<(Ipv4Addr, Ipv4Addr)>, TargetError> {
    let Some((first, last)) = word.split_once('-') else { return Ok(None) };
    let Ok(low) = first.parse::<Ipv4Addr>() else { return Ok(None) };
    let within = || {
        let [a, b, c, _] = low.octets();
        last.parse().ok().map(|it| Ipv4Addr::new(a, b, c, it))
    };
    let high = last.parse().ok().or_else(within).ok_or_else(|| fail(word))?;
    if high < low { Err(TargetError::Backwards(word.to_owned())) } else { Ok(Some((low, high))) }
}

fn is_host(name: &str) -> bool {
    let is_part = |it: &str| {
        !it.is_empty()
            && it.len() <= 63
            && it.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_".contains(&it))
    };
    // What is of digits and dots alone was meant as an address.
    let has_letter = name.bytes().any(|it| it.is_ascii_alphabetic());
    name.len() <= NAME_MAX && has_letter && name.trim_end_matches('.').split('.').all(is_part)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{TargetError, Targets, addresses, expand};

    fn of(text: &str) -> Result<Targets, TargetError> {
        expand(&[text.to_owned()])
    }

    fn hosts(text: &str) -> Vec<String> {
        of(text).unwrap().list.into_iter().map(|it| it.host).collect()
    }

    #[test]
    fn ranges_subnets_lists_and_names_are_targets() {
        assert_eq!(hosts("172.16.0.101-103"), ["172.16.0.101", "172.16.0.102", "172.16.0.103"]);
        assert_eq!(hosts("10.0.0.255-10.0.1.1").len(), 3);
        assert_eq!(hosts("10.0.0.0/30, 10.0.0.2"), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(hosts("bmc[08-09].site fd00::1"), ["bmc08.site", "bmc09.site", "fd00::1"]);
        assert_eq!(hosts("10.0.0.[7,9]"), ["10.0.0.7", "10.0.0.9"]);
        let sought: Vec<bool> =
            of("10.0.0.9 10.0.1.0/31").unwrap().list.iter().map(|it| it.is_sought).collect();
        assert_eq!(sought, [false, true, true]);
        assert!(of("unknown").unwrap().has_unknown);
        assert_eq!(addresses("10.0.0.1-2").unwrap().len(), 2);
    }

    #[test]
    fn two_million_are_refused_before_they_are_written_out() {
        for text in ["n[0-1999999]", "10.0.0.0/8", "10.0.0.0-10.30.132.127", "fd00::/64", "a[0-999]b[0-999]"]
        {
            let error = of(text).unwrap_err();
            assert_eq!(error, TargetError::TooMany, "{text}");
            assert!(error.to_string().contains("65536"), "{error}");
        }
    }

    #[test]
    fn what_is_no_target_is_named() {
        for text in ["172.16.0.300", "10.0.0.1-x", "a b!c", "10.0.0.0/33", "n[", "-", ".."] {
            let error = of(text).unwrap_err();
            assert!(matches!(error, TargetError::Word(_)), "{text}: {error}");
        }
        assert!(matches!(of("10.0.0.9-1"), Err(TargetError::Backwards(_))));
        assert_eq!(of(" , "), Err(TargetError::Nobody));
    }
}
