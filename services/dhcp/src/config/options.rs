//! Options as a site writes them: by name or number, for all, a subnet, a group or a node.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use anyhow::{Context as _, bail, ensure};
use dhcproto::v4::DhcpOption;
use dhcproto::{Encodable, Encoder, Name};
use ipnet::Ipv4Net;
use serde::Deserialize;

use crate::wire::{Options, code};

/// What stands behind a key.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Value {
    Number(i64),
    Text(String),
    List(Vec<String>),
}

/// A table of options.
pub(crate) type Table = BTreeMap<String, Value>;

/// How a value becomes bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Ips,
    Byte,
    Short,
    Seconds,
    Text,
    /// Domain names (RFC 3397).
    Names,
    /// Classless routes (RFC 3442).
    Routes,
    /// Bytes, two hexadecimal digits each.
    Hex,
}

/// The names, their codes and shapes.
const NAMES: [(&str, u8, Shape); 18] = [
    ("router", code::ROUTER, Shape::Ips),
    ("time_offset", 2, Shape::Seconds),
    ("dns", code::DNS, Shape::Ips),
    ("log", 7, Shape::Ips),
    ("domain", code::DOMAIN, Shape::Text),
    ("swap_server", 16, Shape::Ips),
    ("root_path", 17, Shape::Text),
    ("ttl", 23, Shape::Byte),
    ("mtu", code::MTU, Shape::Short),
    ("nis_domain", 40, Shape::Text),
    ("nis", 41, Shape::Ips),
    ("ntp", code::NTP, Shape::Ips),
    ("vendor", code::VENDOR, Shape::Hex),
    ("posix_timezone", 100, Shape::Text),
    ("timezone", 101, Shape::Text),
    ("search", 119, Shape::Names),
    ("routes", code::ROUTES, Shape::Routes),
    ("tftp_servers", 150, Shape::Ips),
];

/// What dhcp itself fills in, by what it knows of the client.
const OWN: [u8; 21] = [
    code::PAD,
    code::MASK,
    code::HOST_NAME,
    code::BROADCAST,
    code::REQUESTED,
    code::LEASE_TIME,
    code::OVERLOAD,
    code::KIND,
    code::SERVER,
    code::PARAMETERS,
    code::MESSAGE,
    code::MAX_SIZE,
    code::RENEWAL,
    code::REBINDING,
    code::CLASS,
    code::CLIENT_ID,
    code::TFTP_SERVER,
    code::BOOT_FILE,
    code::RELAY,
    code::IPXE,
    code::END,
];

/// Reads a table; `place` is where it stands in the document.
pub(crate) fn read(place: &str, table: &Table) -> anyhow::Result<Options> {
    let mut options = Options::default();
    for (key, value) in table {
        let (code, shape) = find(key).with_context(|| format!("{place}.{key}"))?;
        ensure!(
            options.get(code).is_none(),
            "{place}.{key}: option {code} is there twice, by name and number"
        );
        let bytes = encode(shape, value).with_context(|| format!("{place}.{key}"))?;
        ensure!(!bytes.is_empty() && bytes.len() <= 1024, "{place}.{key}: write 1 to 1024 bytes");
        options.set(code, &bytes);
    }
    Ok(options)
}

fn find(key: &str) -> anyhow::Result<(u8, Shape)> {
    if let Some((_, code, shape)) = NAMES.iter().find(|it| it.0 == key) {
        return Ok((*code, *shape));
    }
    let Ok(code) = key.parse::<u8>() else {
        bail!("no option is called so; there are {}, and numbers", NAMES.map(|it| it.0).join(", "));
    };
    ensure!(!OWN.contains(&code), "option {code} is filled in by dhcp itself; take it out");
    Ok((code, Shape::Hex))
}

fn encode(shape: Shape, value: &Value) -> anyhow::Result<Vec<u8>> {
    let texts = || match value {
        Value::Text(it) => Ok(vec![it.as_str()]),
        Value::List(list) => Ok(list.iter().map(String::as_str).collect()),
        Value::Number(_) => bail!("write text, or a list of texts"),
    };
    let number = |least: i64, most: i64| match value {
        Value::Number(it) if (least..=most).contains(it) => Ok(*it),
        _ => bail!("write a number of {least} to {most}"),
    };
    let one = || match texts()?.as_slice() {
        [one] if !one.is_empty() && one.len() <= 255 => Ok(one.as_bytes().to_vec()),
        _ => bail!("write one text of 1 to 255 bytes"),
    };
    Ok(match shape {
        Shape::Ips => {
            let mut bytes = Vec::new();
            for text in texts()? {
                let ip: Ipv4Addr =
                    text.parse().ok().with_context(|| format!("{text:?} is no IPv4 address"))?;
                bytes.extend(ip.octets());
            }
            bytes
        }
        Shape::Byte => vec![number(1, 255)? as u8],
        Shape::Short => (number(68, 65_535)? as u16).to_be_bytes().to_vec(),
        Shape::Seconds => (number(-86_400, 86_400)? as i32).to_be_bytes().to_vec(),
        Shape::Text => one()?,
        Shape::Names => encode_names(&texts()?)?,
        Shape::Routes => {
            let routes: anyhow::Result<Vec<_>> = texts()?.into_iter().map(read_route).collect();
            value_of(&DhcpOption::ClasslessStaticRoute(routes?))?
        }
        Shape::Hex => {
            let text = one()?;
            let digits: Vec<u8> = text.into_iter().filter(|it| *it != b':').collect();
            let pair = |it: &[u8]| u8::from_str_radix(std::str::from_utf8(it).ok()?, 16).ok();
            let sound = digits.len().is_multiple_of(2) && digits.iter().all(u8::is_ascii_hexdigit);
            let bytes: Option<Vec<u8>> = digits.chunks(2).map(pair).collect();
            bytes.filter(|_| sound).context("write bytes as hexadecimal digits, \"01ff\" or \"01:ff\"")?
        }
    })
}

/// Option 119, names compressed (RFC 3397 section 2).
fn encode_names(names: &[&str]) -> anyhow::Result<Vec<u8>> {
    let mut read = Vec::new();
    for name in names {
        ensure!(name.split('.').all(domain::document::is_label), "{name:?} is no domain name");
        read.push(Name::from_ascii(format!("{name}.")).with_context(|| format!("read {name:?}"))?);
    }
    value_of(&DhcpOption::DomainSearch(read))
}

/// An option's value as dhcproto writes it: behind codes and lengths of its parts (RFC 3396).
fn value_of(option: &DhcpOption) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    option.encode(&mut Encoder::new(&mut bytes)).context("encode the option")?;
    let (mut rest, mut value) = (bytes.as_slice(), Vec::new());
    while let [_, length, tail @ ..] = rest {
        let (part, tail) = tail.split_at_checked(usize::from(*length)).context("encode the option")?;
        value.extend(part);
        rest = tail;
    }
    Ok(value)
}

/// `10.0.0.0/8 via 172.16.0.1`
fn read_route(text: &str) -> anyhow::Result<(Ipv4Net, Ipv4Addr)> {
    let hint = || format!("{text:?} is no route; write \"10.0.0.0/8 via 172.16.0.1\"");
    let (net, router) = text.split_once(" via ").with_context(hint)?;
    let net: Ipv4Net = net.trim().parse().ok().with_context(hint)?;
    let router = router.trim().parse().ok().with_context(hint)?;
    Ok((net.trunc(), router))
}

/// Whether routes of option 121 have a default route among them.
pub(crate) fn has_default_route(mut rest: &[u8]) -> bool {
    while let [length, tail @ ..] = rest {
        if *length == 0 {
            return true;
        }
        let skipped = usize::from(length.div_ceil(8)) + 4;
        let Some(tail) = tail.get(skipped..) else { return false };
        rest = tail;
    }
    false
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{Table, Value, has_default_route, read};

    fn table(key: &str, value: Value) -> Table {
        Table::from([(key.to_owned(), value)])
    }

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn each_shape_becomes_its_bytes() {
        let ips = Value::List(vec!["10.0.0.1".into(), "10.0.0.2".into()]);
        for (key, value, code, bytes) in [
            ("ntp", ips, 42, vec![10, 0, 0, 1, 10, 0, 0, 2]),
            ("mtu", Value::Number(9000), 26, vec![0x23, 0x28]),
            ("time_offset", Value::Number(-1), 2, vec![255; 4]),
            ("domain", text("a.b"), 15, b"a.b".to_vec()),
            ("search", text("a.bc"), 119, b"\x01a\x02bc\0".to_vec()),
            ("224", text("01:fF"), 224, vec![1, 255]),
            ("routes", text("10.0.0.0/8 via 1.2.3.4"), 121, vec![8, 10, 1, 2, 3, 4]),
        ] {
            let options = read("dhcp.options", &table(key, value)).unwrap();
            assert_eq!(options.get(code), Some(bytes.as_slice()), "{key}");
        }
    }

    #[test]
    fn what_cannot_be_right_names_its_place() {
        for (key, value, hint) in [
            ("nothing", text("1"), "no option is called so"),
            ("54", text("0a000001"), "filled in by dhcp"),
            ("67", text("61"), "filled in by dhcp"),
            ("mtu", Value::Number(10), "68 to 65535"),
            ("dns", text("host"), "no IPv4 address"),
            ("routes", text("10.0.0.0/8"), "no route"),
            ("224", text("0"), "hexadecimal"),
            ("224", text("zz"), "hexadecimal"),
        ] {
            let error = format!("{:#}", read("dhcp.options", &table(key, value)).unwrap_err());
            assert!(error.contains(hint) && error.contains(&format!("dhcp.options.{key}")), "{error}");
        }
        let mut both = table("dns", text("10.0.0.1"));
        both.insert("6".into(), text("0a000001"));
        assert!(read("dhcp.options", &both).unwrap_err().to_string().contains("twice"));
    }

    #[test]
    fn a_default_route_is_found() {
        assert!(has_default_route(&[8, 10, 1, 2, 3, 4, 0, 1, 2, 3, 4]));
        assert!(!has_default_route(&[8, 10, 1, 2, 3, 4]));
        assert!(!has_default_route(&[25, 10, 1]));
    }
}
