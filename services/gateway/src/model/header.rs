//! What the gateway says of a client: its address, and an id for each of its requests.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::fmt::Hyphenated;

/// The longest id that a proxy gives.
const GIVEN_MAX: usize = 128;

/// A connection's other end, as far as requests tell of it.
#[derive(Clone, Debug)]
pub(crate) struct Hop {
    /// Whose connection it is.
    pub(crate) address: IpAddr,
    /// Whether it is a proxy whose word for its client's address is believed.
    pub(crate) trusted: bool,
    /// The address as text.
    pub(crate) shown: String,
    /// `https` or `http`.
    pub(crate) scheme: &'static str,
}

/// A request's name in logs, in the answer, and towards the service.
#[derive(Clone, Debug)]
pub(crate) enum Id {
    /// Ours.
    New([u8; Hyphenated::LENGTH]),
    /// A trusted proxy's.
    Given(Box<str>),
}

impl Hop {
    pub(crate) fn new(address: IpAddr, trusted: bool, tls: bool) -> Self {
        Self { address, trusted, shown: address.to_string(), scheme: if tls { "https" } else { "http" } }
    }

    /// The request's id: a trusted proxy's, else a new one.
    pub(crate) fn request_id(&self, given: Option<&str>) -> Id {
        let given = given.filter(|it| self.trusted && it.len() <= GIVEN_MAX);
        given.map_or_else(Id::new, |it| Id::Given(it.into()))
    }

    /// What is forwarded for a request that came by a trusted proxy. The services take the last address of the
    /// list, so the list ends at the client: the first address from the right that is no trusted proxy itself.
    /// `words` are those of `X-Forwarded-For`, or of `X-Real-IP` if there is none.
    pub(crate) fn client_of<'a>(
        &self,
        words: impl Iterator<Item = &'a str>,
        trusts: impl Fn(IpAddr) -> bool,
    ) -> String {
        let address_of = |it: &str| {
            let socket = || it.parse::<SocketAddr>().ok().map(|it| it.ip());
            it.parse::<IpAddr>().ok().or_else(socket).map(|it| it.to_canonical())
        };
        let mut chain: Vec<IpAddr> = Vec::new();
        for word in words {
            // What stands left of an unreadable word could be anybody's.
            match address_of(word) {
                Some(address) => chain.push(address),
                None => chain.clear(),
            }
        }
        chain.push(self.address);
        let end = chain.iter().rposition(|it| !trusts(*it)).unwrap_or(0);
        chain.truncate(end + 1);
        let list: Vec<String> = chain.iter().map(ToString::to_string).collect();
        list.join(", ")
    }
}

impl Id {
    /// Ids in the form of UUID version 4, from a keyed hash of a counter: they name requests and protect nothing,
    /// so they are not worth a system call each.
    pub(crate) fn new() -> Self {
        static KEYS: LazyLock<(RandomState, RandomState)> = LazyLock::new(Default::default);
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let bits = u128::from(KEYS.0.hash_one(count)) << 64 | u128::from(KEYS.1.hash_one(count));
        let id = uuid::Builder::from_random_bytes(bits.to_ne_bytes()).into_uuid();
        let mut text = [0; Hyphenated::LENGTH];
        id.hyphenated().encode_lower(&mut text);
        Self::New(text)
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            // Hexadecimal digits and hyphens.
            Self::New(text) => std::str::from_utf8(text).unwrap_or("-"),
            Self::Given(text) => text,
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{Hop, Id};

    #[test]
    fn a_trusted_proxys_list_ends_at_the_client() {
        let hop = Hop::new("10.0.0.9".parse().unwrap(), true, true);
        for (list, expected) in [
            (&["1.2.3.4"][..], "1.2.3.4"),
            (&["9.9.9.9", "1.2.3.4", "10.1.1.1"], "9.9.9.9, 1.2.3.4"),
            (&["10.1.1.1"], "10.1.1.1"),
            (&["1.2.3.4", "rubbish"], "10.0.0.9"),
            (&["rubbish", "1.2.3.4:5000"], "1.2.3.4"),
            (&["::ffff:1.2.3.4"], "1.2.3.4"),
            (&[], "10.0.0.9"),
        ] {
            let told = hop.client_of(list.iter().copied(), |it| it.to_string().starts_with("10."));
            assert_eq!(told, expected, "{list:?}");
        }
    }

    #[test]
    fn ids_of_requests_differ_and_a_trusted_proxy_gives_its_own() {
        let ids: std::collections::HashSet<_> = (0..1000).map(|_| Id::new().as_str().to_owned()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|it| it.parse::<uuid::Uuid>().unwrap().get_version_num() == 4));
        let given = |trusted, id: &str| {
            let hop = Hop::new("10.0.0.9".parse().unwrap(), trusted, true);
            hop.request_id(Some(id)).as_str().to_owned()
        };
        assert_eq!(given(true, "theirs"), "theirs");
        assert_ne!(given(false, "theirs"), "theirs");
        assert_ne!(given(true, &"x".repeat(129)), "x".repeat(129));
    }
}
