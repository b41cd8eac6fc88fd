//! Which headers pass, and which the gateway writes itself.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::header::{
    CONNECTION, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, Version};

pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// The only protocol that a connection is upgraded to; others (h2c) would carry requests past the table.
pub(crate) const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// Headers of one connection (RFC 9110 section 7.6.1, and what it keeps from RFC 2068).
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    UPGRADE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Headers by which a client could pass for another; a proxy we trust may send the first three.
const OF_PROXIES: [HeaderName; 4] = [
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    FORWARDED,
    X_REAL_IP,
];

/// A connection's other end, as far as headers tell of it.
#[derive(Clone, Debug)]
pub(crate) struct Hop {
    /// Whose connection it is.
    pub(crate) address: IpAddr,
    /// Whether it is a proxy whose word for its client's address is believed.
    pub(crate) trusted: bool,
    shown: HeaderValue,
    scheme: HeaderValue,
}

impl Hop {
    pub(crate) fn new(address: IpAddr, trusted: bool, tls: bool) -> Self {
        let shown = HeaderValue::try_from(address.to_string()).unwrap_or(HeaderValue::from_static("0.0.0.0"));
        let scheme = HeaderValue::from_static(if tls { "https" } else { "http" });
        Self { address, trusted, shown, scheme }
    }

    /// The request's id: a trusted proxy's, else a new one.
    pub(crate) fn request_id(&self, headers: &HeaderMap) -> HeaderValue {
        let given = headers.get(X_REQUEST_ID).filter(|it| self.trusted && it.len() <= 128);
        given.cloned().unwrap_or_else(new_request_id)
    }
}

/// Ids in the form of UUID version 4, from a keyed hash of a counter: they name requests and protect nothing,
/// so they are not worth a system call each.
pub(crate) fn new_request_id() -> HeaderValue {
    static KEYS: LazyLock<(RandomState, RandomState)> = LazyLock::new(Default::default);
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let bits = u128::from(KEYS.0.hash_one(count)) << 64 | u128::from(KEYS.1.hash_one(count));
    let id = uuid::Builder::from_random_bytes(bits.to_ne_bytes()).into_uuid();
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let text = id.hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("-"))
}

/// Whether a request asks for a WebSocket (RFC 6455 section 4.1).
pub(crate) fn is_websocket(method: &Method, version: Version, headers: &HeaderMap) -> bool {
    *method == Method::GET
        && version == Version::HTTP_11
        && headers.get(UPGRADE).is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes()))
        && words(headers, &CONNECTION).any(|it| it.eq_ignore_ascii_case("upgrade"))
}

/// Makes a client's headers those of the request to the service.
pub(crate) fn forward_request(
    headers: &mut HeaderMap,
    hop: &Hop,
    id: HeaderValue,
    websocket: bool,
    trusts: impl Fn(IpAddr) -> bool,
) {
    let client = if hop.trusted { client_of(headers, hop, trusts) } else { None };
    remove_hop_by_hop(headers);
    // We answered 100 Continue ourselves.
    headers.remove(EXPECT);
    for name in OF_PROXIES.iter().filter(|it| !hop.trusted || **it == X_REAL_IP) {
        headers.remove(name);
    }
    headers.insert(X_FORWARDED_FOR, client.unwrap_or_else(|| hop.shown.clone()));
    headers.insert(X_FORWARDED_PROTO, hop.scheme.clone());
    headers.insert(X_REQUEST_ID, id);
    if websocket {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, WEBSOCKET);
    }
}

/// Makes a service's headers those of the answer to the client.
pub(crate) fn forward_answer(headers: &mut HeaderMap, id: HeaderValue, websocket: bool) {
    remove_hop_by_hop(headers);
    headers.insert(X_REQUEST_ID, id);
    if websocket {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, WEBSOCKET);
    }
}

/// What is forwarded for a request that came by a trusted proxy. The services take the last address of the
/// list, so the list ends at the client: the first address from the right that is no trusted proxy itself.
fn client_of(headers: &HeaderMap, hop: &Hop, trusts: impl Fn(IpAddr) -> bool) -> Option<HeaderValue> {
    let address_of = |it: &str| {
        let socket = || it.parse::<std::net::SocketAddr>().ok().map(|it| it.ip());
        it.parse::<IpAddr>().ok().or_else(socket).map(|it| it.to_canonical())
    };
    let mut chain: Vec<IpAddr> = Vec::new();
    let name = if headers.contains_key(X_FORWARDED_FOR) { &X_FORWARDED_FOR } else { &X_REAL_IP };
    for word in words(headers, name) {
        // What stands left of an unreadable word could be anybody's.
        match address_of(word) {
            Some(address) => chain.push(address),
            None => chain.clear(),
        }
    }
    chain.push(hop.address);
    let end = chain.iter().rposition(|it| !trusts(*it)).unwrap_or(0);
    chain.truncate(end + 1);
    let list: Vec<String> = chain.iter().map(ToString::to_string).collect();
    HeaderValue::try_from(list.join(", ")).ok()
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = words(headers, &CONNECTION).filter_map(|it| it.parse().ok()).collect();
        for name in named.iter().filter(|it| **it != HOST) {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// The words of a header that is a list, of all its lines.
fn words<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter();
    lines.flat_map(|it| it.to_str().unwrap_or_default().split(',')).map(str::trim).filter(|it| !it.is_empty())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use http::header::{HeaderMap, HeaderName, HeaderValue};
    use http::{Method, Version};

    use super::{Hop, forward_answer, forward_request, is_websocket, new_request_id};

    const ID: HeaderValue = HeaderValue::from_static("our-id");

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        let line =
            |it: &(&str, &str)| (it.0.parse::<HeaderName>().unwrap(), it.1.parse::<HeaderValue>().unwrap());
        let mut headers = HeaderMap::new();
        for (name, value) in lines.iter().map(line) {
            headers.append(name, value);
        }
        headers
    }

    fn forward(lines: &[(&str, &str)], trusted: bool) -> HeaderMap {
        let hop = Hop::new("10.0.0.9".parse().unwrap(), trusted, true);
        let mut headers = map(lines);
        forward_request(&mut headers, &hop, ID, false, |it| trusted && it.to_string().starts_with("10."));
        headers
    }

    fn sources(headers: &HeaderMap) -> Vec<&str> {
        headers.get_all("x-forwarded-for").iter().map(|it| it.to_str().unwrap()).collect()
    }

    #[test]
    fn a_stranger_cannot_pass_for_another() {
        let headers = forward(
            &[
                ("x-forwarded-for", "1.2.3.4"),
                ("x-forwarded-for", "5.6.7.8"),
                ("x-real-ip", "1.2.3.4"),
                ("forwarded", "for=1.2.3.4"),
                ("x-forwarded-proto", "http"),
                ("x-forwarded-host", "evil"),
                ("x-request-id", "theirs"),
                ("host", "demo"),
            ],
            false,
        );
        assert_eq!(sources(&headers), ["10.0.0.9"]);
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["x-request-id"], "our-id");
        assert_eq!(headers["host"], "demo");
        assert_eq!(headers.len(), 4, "{headers:?}");
    }

    #[test]
    fn a_trusted_proxys_list_ends_at_the_client() {
        for (list, expected) in [
            ("1.2.3.4", "1.2.3.4"),
            ("9.9.9.9, 1.2.3.4, 10.1.1.1", "9.9.9.9, 1.2.3.4"),
            ("10.1.1.1", "10.1.1.1"),
            ("1.2.3.4, rubbish", "10.0.0.9"),
            ("rubbish, 1.2.3.4:5000", "1.2.3.4"),
            ("::ffff:1.2.3.4", "1.2.3.4"),
        ] {
            assert_eq!(sources(&forward(&[("x-forwarded-for", list)], true)), [expected], "{list}");
        }
        let real = forward(&[("x-real-ip", "1.2.3.4")], true);
        assert_eq!(sources(&real), ["1.2.3.4"]);
        assert!(!real.contains_key("x-real-ip"));
        assert_eq!(sources(&forward(&[], true)), ["10.0.0.9"]);
    }

    #[test]
    fn headers_of_the_connection_do_not_pass() {
        let headers = forward(
            &[
                ("connection", "close, X-Private"),
                ("connection", "host, x-forwarded-for"),
                ("x-private", "1"),
                ("te", "trailers"),
                ("keep-alive", "timeout=5"),
                ("proxy-authorization", "Basic x"),
                ("upgrade", "h2c"),
                ("transfer-encoding", "chunked"),
                ("expect", "100-continue"),
                ("host", "demo"),
                ("authorization", "Bearer x"),
            ],
            false,
        );
        assert_eq!(headers.len(), 5, "{headers:?}");
        assert_eq!(
            (&headers["host"], &headers["authorization"]),
            (&"demo".parse().unwrap(), &"Bearer x".parse().unwrap())
        );
        let mut answer = map(&[
            ("connection", "x-gone"),
            ("x-gone", "1"),
            ("transfer-encoding", "chunked"),
            ("etag", "e"),
        ]);
        forward_answer(&mut answer, ID, false);
        assert_eq!(answer.len(), 2, "{answer:?}");
    }

    #[test]
    fn only_a_websocket_is_an_upgrade() {
        let asks = |upgrade, connection| {
            is_websocket(
                &Method::GET,
                Version::HTTP_11,
                &map(&[("upgrade", upgrade), ("connection", connection)]),
            )
        };
        assert!(asks("websocket", "keep-alive, Upgrade"));
        assert!(asks("WebSocket", "upgrade"));
        assert!(!asks("h2c", "upgrade"));
        assert!(!asks("websocket", "close"));
        let headers = map(&[("upgrade", "websocket"), ("connection", "upgrade")]);
        assert!(!is_websocket(&Method::POST, Version::HTTP_11, &headers));
        assert!(!is_websocket(&Method::GET, Version::HTTP_10, &headers));
    }

    #[test]
    fn ids_of_requests_differ() {
        let ids: std::collections::HashSet<_> = (0..1000).map(|_| new_request_id()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(
            ids.iter().all(|it| it.to_str().unwrap().parse::<uuid::Uuid>().unwrap().get_version_num() == 4)
        );
    }
}
