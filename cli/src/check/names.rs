//! Names that have to resolve, and addresses that have to answer: time servers, name servers, URLs of the document.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use domain::{Document, Service};
use serde_json::Value;
use tokio::net::{TcpStream, UdpSocket};

use super::{Check, Finding};

/// How long a look-up may take: resolvers ask several servers in turn.
const RESOLVE_MAX: Duration = Duration::from_secs(10);
/// How long a connection or an answer may take, and how often it is asked for.
const ANSWER_MAX: Duration = Duration::from_secs(2);
const TRIES: usize = 2;

/// Something that the document names.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    /// Where it stands: `network.ntp`, `[auth]`.
    key: String,
    host: String,
    /// A TCP port that has to answer.
    port: Option<u16>,
}

pub(super) async fn look(document: &Document) -> Vec<Finding> {
    let mut findings = Vec::new();
    for place in places(document) {
        findings.push(look_at(&place).await);
    }
    let network = &document.network;
    let of_subnets = network.planes.iter().flat_map(|it| &it.subnets).flat_map(|it| &it.dns);
    let mut servers: Vec<_> = network.dns.iter().chain(of_subnets).copied().collect();
    servers.sort_unstable();
    servers.dedup();
    for server in servers {
        findings.push(ask_name_server((server, 53).into(), &document.cluster.service_name()).await);
    }
    findings
}

fn places(document: &Document) -> Vec<Place> {
    let ntp = document.network.ntp.iter();
    let mut places: Vec<_> =
        ntp.map(|host| Place { key: "network.ntp".to_owned(), host: host.clone(), port: None }).collect();
    for service in Service::ALL {
        let table = serde_json::to_value(document.table(service)).unwrap_or_default();
        add_urls(&table, &format!("[{}]", service.key()), &mut places);
    }
    let mut seen = std::collections::HashSet::new();
    places.retain(|it| seen.insert((it.host.clone(), it.port)));
    places
}

/// Every URL in a table, however deep: which key it is of does not matter here.
fn add_urls(value: &Value, key: &str, places: &mut Vec<Place>) {
    match value {
        Value::String(text) if text.starts_with("http://") || text.starts_with("https://") => {
            let Ok(uri) = text.parse::<http::Uri>() else { return };
            let Some(host) = uri.host() else { return };
            let usual = if uri.scheme_str() == Some("https") { 443 } else { 80 };
            let host = host.trim_matches(['[', ']']).to_owned();
            let port = Some(uri.port_u16().unwrap_or(usual));
            places.push(Place { key: key.to_owned(), host, port });
        }
        Value::Array(items) => items.iter().for_each(|it| add_urls(it, key, places)),
        Value::Object(members) => members.values().for_each(|it| add_urls(it, key, places)),
        _ => {}
    }
}

async fn look_at(place: &Place) -> Finding {
    let Place { key, host, port } = place;
    let about = port.map_or_else(|| host.clone(), |it| format!("{host}:{it}"));
    let found =
        tokio::time::timeout(RESOLVE_MAX, tokio::net::lookup_host((host.as_str(), port.unwrap_or(0))));
    let addresses: Vec<SocketAddr> = match found.await {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(_)) => Vec::new(),
        Err(_) => {
            let next =
                "see which name servers the head asks: resolvectl status; whether UDP 53 is open to them";
            return Finding::bad(Check::Names, about, "no name server answers", next);
        }
    };
    if addresses.is_empty() {
        let next = format!(
            "correct {key} of the document, or add the name to the site's DNS: resolvectl query {host}"
        );
        return Finding::bad(Check::Names, about, "the name does not resolve", next);
    }
    let Some(port) = *port else { return Finding::well(Check::Names, about) };
    let mut problem = String::new();
    for address in addresses {
        match tokio::time::timeout(ANSWER_MAX, TcpStream::connect(address)).await {
            Ok(Ok(_)) => return Finding::well(Check::Names, about),
            Ok(Err(error)) => problem = format!("{} does not take connections ({error})", address.ip()),
            Err(_) => problem = format!("{} does not answer: TCP {port} is blocked on the way", address.ip()),
        }
    }
    let next = format!("{key} of the document names it; have TCP {port} opened from the head to {host}");
    Finding::bad(Check::Names, about, problem, next)
}

/// A question to a name server that nodes are told to ask; any answer will do.
async fn ask_name_server(server: SocketAddr, name: &str) -> Finding {
    let about = format!("name server {}", server.ip());
    let question = question(name, 0x7068);
    for _ in 0..TRIES {
        let answer = tokio::time::timeout(ANSWER_MAX, exchange(server, &question)).await;
        if let Ok(Ok(answer)) = answer
            && answer.get(..2) == question.get(..2)
        {
            return Finding::well(Check::Names, about);
        }
    }
    let next = "nodes are told to ask it: correct network.dns of the document, or have UDP 53 opened to it";
    Finding::bad(Check::Names, about, "it does not answer on UDP 53", next)
}

/// One packet there, one back.
pub(super) async fn exchange(server: SocketAddr, packet: &[u8]) -> std::io::Result<Vec<u8>> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(packet).await?;
    let mut buffer = [0; 1500];
    let length = socket.recv(&mut buffer).await?;
    Ok(buffer[..length].to_vec())
}

/// A question for the address of a name (RFC 1035 section 4).
fn question(name: &str, id: u16) -> Vec<u8> {
    let mut packet = id.to_be_bytes().to_vec();
    // Recursion desired; one question.
    packet.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.').filter(|it| !it.is_empty()) {
        let label = &label.as_bytes()[..label.len().min(63)];
        packet.push(u8::try_from(label.len()).unwrap_or(63));
        packet.extend(label);
    }
    packet.extend([0, 0, 1, 0, 1]);
    packet
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::net::SocketAddr;

    use domain::Document;

    use super::{Place, ask_name_server, look_at, places};

    fn place(host: &str, port: Option<u16>) -> Place {
        Place { key: "network.ntp".into(), host: host.into(), port }
    }

    #[test]
    fn every_name_of_the_document_is_looked_at_once() {
        let text = "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"a.b\"\n[network]\nntp = [\"ntp.example\"]\n\
            [gateway]\nacme = { directory = \"https://acme.example/directory\" }\n\
            [auth]\nissuers = [\"http://idp.example:8080/realm\", \"https://acme.example/x\"]\n";
        let found = places(&Document::parse(text).unwrap());
        let mut found: Vec<_> = found.into_iter().map(|it| (it.host, it.port)).collect();
        found.sort();
        let expected = [("acme.example", Some(443)), ("idp.example", Some(8080)), ("ntp.example", None)];
        assert_eq!(found, expected.map(|(host, port)| (host.to_owned(), port)));
    }

    #[tokio::test]
    async fn a_name_that_does_not_resolve_is_named_with_its_key() {
        assert_eq!(look_at(&place("localhost", None)).await.problem, None);
        let finding = look_at(&place("no-such-name.invalid", None)).await;
        assert!(finding.problem.is_some());
        assert!(finding.next.is_some());
    }

    #[tokio::test]
    async fn a_port_that_takes_no_connections_is_named() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(look_at(&place("127.0.0.1", Some(port))).await.problem, None);
        drop(listener);
        let finding = look_at(&place("127.0.0.1", Some(port))).await;
        assert!(finding.problem.unwrap().contains("does not take connections"), "it is closed");
        assert!(finding.next.unwrap().contains(&format!("TCP {port}")));
    }

    #[tokio::test]
    async fn a_name_server_that_is_silent_is_named() {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = socket.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let mut buffer = [0; 1500];
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            socket.send_to(&buffer[..length], from).await.unwrap();
            buffer[..length].to_vec()
        });
        assert_eq!(ask_name_server(address, "demo.a.b").await.problem, None);
        let asked = server.await.unwrap();
        assert_eq!(asked[12..], *b"\x04demo\x01a\x01b\0\0\x01\0\x01");
        let finding = ask_name_server(address, "demo.a.b").await;
        assert!(finding.problem.unwrap().contains("UDP 53"));
    }
}
