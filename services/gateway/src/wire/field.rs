//! The fields of a head, by what they are to a proxy (RFC 9110 section 7.6.1).

/// What a field is to a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Passes.
    End,
    Host,
    Connection,
    Upgrade,
    Length,
    Encoding,
    Expect,
    Token,
    Id,
    /// Belongs to one connection, always.
    Hop,
    /// By which a client could pass for another; a proxy we trust may send it.
    Proxy,
    /// As that, but we write our own.
    Forwarded,
}

/// What the field of this name is, in any case.
pub(super) fn kind_of(name: &str) -> Kind {
    let known: &[(&str, Kind)] = match name.len() {
        2 => &[("te", Kind::Hop)],
        4 => &[("host", Kind::Host)],
        6 => &[("expect", Kind::Expect)],
        7 => &[("upgrade", Kind::Upgrade), ("trailer", Kind::Hop)],
        9 => &[("x-real-ip", Kind::Forwarded), ("forwarded", Kind::Proxy)],
        10 => &[("connection", Kind::Connection), ("keep-alive", Kind::Hop)],
        12 => &[("x-request-id", Kind::Id)],
        13 => &[("authorization", Kind::Token)],
        14 => &[("content-length", Kind::Length)],
        15 => &[("x-forwarded-for", Kind::Forwarded)],
        16 => &[
            ("x-forwarded-host", Kind::Proxy),
            ("x-forwarded-port", Kind::Proxy),
            ("proxy-connection", Kind::Hop),
        ],
        17 => &[("transfer-encoding", Kind::Encoding), ("x-forwarded-proto", Kind::Forwarded)],
        18 => &[("proxy-authenticate", Kind::Hop)],
        19 => &[("proxy-authorization", Kind::Hop)],
        _ => &[],
    };
    known.iter().find(|it| name.eq_ignore_ascii_case(it.0)).map_or(Kind::End, |it| it.1)
}

/// The words of a field that is a list.
pub(super) fn words(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|it| *it == b',').map(<[u8]>::trim_ascii).filter(|it| !it.is_empty())
}

/// Digits alone, and not too many of them.
pub(super) fn number(value: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(value).ok().filter(|it| it.bytes().all(|it| it.is_ascii_digit()))?;
    digits.parse().ok()
}
