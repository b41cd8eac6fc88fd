//! Management controllers before they are needed: whether they answer where they should, and their clocks.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use domain::inventory::Endpoint;
use futures_util::StreamExt as _;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::names::exchange;
use super::{Check, Finding};
use crate::ochami::tls::Trust;

/// So many are asked at a time.
const AT_ONCE: usize = 64;
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// A controller's web server may be slow with TLS.
const PAGE_MAX: Duration = Duration::from_secs(10);
const TRIES: usize = 3;
const IPMI: u16 = 623;
const REDFISH: u16 = 443;
/// Its log is of no use beside the head's, and it refuses certificates that begin today.
const OFF_MAX_S: i64 = 120;
/// Get Channel Authentication Capabilities, outside of any session (IPMI 2.0 section 22.13).
const QUESTION: [u8; 23] =
    [6, 0, 0xff, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0x20, 0x18, 0xc8, 0x81, 0, 0x38, 0x8e, 4, 0xb5];

pub(super) async fn look(controllers: &[Endpoint]) -> Vec<Finding> {
    let looks = controllers.iter().map(look_at);
    let mut findings: Vec<Finding> =
        futures_util::stream::iter(looks).buffer_unordered(AT_ONCE).collect().await;
    findings.sort_by(|a, b| a.about.cmp(&b.about));
    findings
}

async fn look_at(controller: &Endpoint) -> Finding {
    let id = controller.id.to_string();
    let Some(address) = &controller.address else {
        let next = "write it into nodes.yaml, then: pilotctl nodes import nodes.yaml";
        return Finding::bad(Check::Bmcs, id, "it has no address", next);
    };
    let Some((ip, port)) = resolve(address).await else {
        let next = "add the name to the site's DNS, or write its IP address into the inventory";
        return Finding::bad(Check::Bmcs, id, format!("{address} does not resolve"), next);
    };
    let wants_ipmi = controller.protocol != "redfish";
    // The port is that of the protocol.
    let (udp, tcp) = if wants_ipmi { (controller.port, port) } else { (None, controller.port.or(port)) };
    let ipmi = SocketAddr::new(ip, udp.unwrap_or(IPMI));
    let redfish = SocketAddr::new(ip, tcp.unwrap_or(REDFISH));
    let (ipmi_answers, web) = tokio::join!(async { wants_ipmi && has_ipmi(ipmi).await }, ask_web(redfish));
    let clock = if let Web::Open = web { read_clock(redfish).await } else { None };
    let seen = Seen { ipmi_answers, web, clock, ipmi, redfish };
    decide(controller, &seen, OffsetDateTime::now_utc())
}

/// Its address, and the port of its web server if that is named.
async fn resolve(address: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Ok(socket) = address.parse::<SocketAddr>() {
        return Some((socket.ip(), Some(socket.port())));
    }
    if let Ok(ip) = address.parse() {
        return Some((ip, None));
    }
    let found = tokio::net::lookup_host((address, 0));
    let found = tokio::time::timeout(PAGE_MAX, found).await.ok()?.ok()?.next()?;
    Some((found.ip(), None))
}

/// How its web server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Web {
    Open,
    /// The machine is there, and refuses.
    Closed,
    Silent,
}

/// What was seen of a controller.
#[derive(Clone, Debug)]
struct Seen {
    ipmi_answers: bool,
    web: Web,
    /// What its web server says is the time.
    clock: Option<OffsetDateTime>,
    ipmi: SocketAddr,
    redfish: SocketAddr,
}

fn decide(controller: &Endpoint, seen: &Seen, now: OffsetDateTime) -> Finding {
    let bad =
        |problem: String, next: String| Finding::bad(Check::Bmcs, controller.id.to_string(), problem, next);
    let ip = seen.ipmi.ip();
    let (udp, tcp) = (seen.ipmi.port(), seen.redfish.port());
    let answers = match controller.protocol.as_str() {
        "ipmi" => seen.ipmi_answers,
        "redfish" => seen.web == Web::Open,
        _ => seen.ipmi_answers || seen.web == Web::Open,
    };
    if !answers && !seen.ipmi_answers && seen.web == Web::Silent {
        return bad(
            format!("nothing answers at {ip}: neither UDP {udp} nor TCP {tcp}"),
            format!("is it plugged in, and on the BMC plane? ping {ip}; ip neigh show {ip}"),
        );
    }
    if !answers && controller.protocol == "ipmi" {
        return bad(
            format!("{ip} is there, but UDP {udp} does not answer: it is blocked, or IPMI over LAN is off"),
            format!(
                "switch IPMI over LAN on in the BMC, have UDP {udp} opened, or change the protocol to redfish"
            ),
        );
    }
    if !answers {
        return bad(
            format!("{ip} is there, but TCP {tcp} takes no connections: it is blocked, or Redfish is off"),
            format!("switch Redfish on in the BMC, have TCP {tcp} opened, or change the protocol to ipmi"),
        );
    }
    let off = seen.clock.map_or(0, |it| (it - now).whole_seconds());
    if off.abs() > OFF_MAX_S {
        let way = if off < 0 { "behind" } else { "ahead of" };
        return bad(
            format!("its clock is {} {way} the head's", span(off.abs())),
            "have it take its time from the head by NTP: the head's address on the BMC plane".to_owned(),
        );
    }
    Finding::well(Check::Bmcs, controller.id.to_string())
}

fn span(seconds: i64) -> String {
    match seconds {
        0..7200 => format!("{} minutes", seconds / 60),
        7200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

async fn has_ipmi(address: SocketAddr) -> bool {
    for _ in 0..TRIES {
        let answer = tokio::time::timeout(ANSWER_MAX / 2, exchange(address, &QUESTION)).await;
        if let Ok(Ok(answer)) = answer
            && answer.starts_with(&QUESTION[..4])
        {
            return true;
        }
    }
    false
}

async fn ask_web(address: SocketAddr) -> Web {
    match tokio::time::timeout(ANSWER_MAX, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Web::Open,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => Web::Closed,
        _ => Web::Silent,
    }
}

/// The `Date` of a page that anybody may read (DSP0266: the service root); whose certificate it is does not matter for
/// that.
async fn read_clock(address: SocketAddr) -> Option<OffsetDateTime> {
    let uri = format!("https://{address}/redfish/v1/").parse().ok()?;
    let ask = async {
        let trust = Trust { file: None, anyone: true };
        let mut stream = trust.connect(&uri).await.ok()?;
        let request = format!("GET /redfish/v1/ HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        let mut part = [0; 4096];
        while answer.len() < 65_536 && !answer.windows(4).any(|it| it == b"\r\n\r\n") {
            match stream.read(&mut part).await {
                Ok(0) | Err(_) => break,
                Ok(length) => answer.extend(&part[..length]),
            }
        }
        date_of(&String::from_utf8_lossy(&answer))
    };
    tokio::time::timeout(PAGE_MAX, ask).await.ok()?
}

fn date_of(answer: &str) -> Option<OffsetDateTime> {
    let headers = answer.lines().take_while(|it| !it.is_empty());
    let mut dates = headers.filter_map(|it| {
        let (name, value) = it.split_once(':')?;
        name.eq_ignore_ascii_case("date").then(|| value.trim().replace("GMT", "+0000"))
    });
    OffsetDateTime::parse(&dates.next()?, &Rfc2822).ok()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use domain::inventory::Endpoint;
    use time::macros::datetime;

    use super::{QUESTION, Seen, Web, date_of, decide, look_at};

    fn controller(protocol: &str) -> Endpoint {
        let text = format!(r#"{{"id":"x0c0s0b0","address":"10.0.0.1","protocol":"{protocol}"}}"#);
        serde_json::from_str(&text).unwrap()
    }

    fn seen(ipmi_answers: bool, web: Web) -> Seen {
        let address = |port: u16| ([10, 0, 0, 1], port).into();
        Seen { ipmi_answers, web, clock: None, ipmi: address(623), redfish: address(443) }
    }

    const NOW: time::OffsetDateTime = datetime!(2026-11-23 08:00 UTC);

    #[test]
    fn what_does_not_answer_is_told_by_what_does() {
        let problem = |protocol, seen: &Seen| decide(&controller(protocol), seen, NOW).problem;
        let says = |protocol, seen: &Seen, text: &str| {
            let problem = problem(protocol, seen).unwrap();
            assert!(problem.contains(text), "{problem}");
        };
        says("ipmi", &seen(false, Web::Silent), "nothing answers");
        says("ipmi", &seen(false, Web::Open), "UDP 623 does not answer");
        says("ipmi", &seen(false, Web::Closed), "IPMI over LAN is off");
        says("redfish", &seen(false, Web::Closed), "TCP 443 takes no connections");
        says("auto", &seen(false, Web::Closed), "Redfish is off");
        assert_eq!(problem("auto", &seen(true, Web::Silent)), None);
        assert_eq!(problem("redfish", &seen(false, Web::Open)), None);
    }

    #[test]
    fn a_clock_is_read_of_an_answer_and_told_when_it_is_off() {
        let date = date_of("HTTP/1.1 200 OK\r\ndate: Mon, 23 Nov 2026 07:00:00 GMT\r\n\r\nDate: x");
        assert_eq!(date, Some(datetime!(2026-11-23 07:00 UTC)));
        assert_eq!(date_of("HTTP/1.1 200 OK\r\n\r\nDate: Mon, 23 Nov 2026 07:00:00 GMT"), None);
        let told =
            |clock| decide(&controller("redfish"), &Seen { clock, ..seen(false, Web::Open) }, NOW).problem;
        assert_eq!(told(date).as_deref(), Some("its clock is 60 minutes behind the head's"));
        assert_eq!(told(Some(datetime!(2026-11-23 08:01 UTC))), None);
        let born = Some(datetime!(1970-01-01 00:00 UTC));
        assert!(told(born).unwrap().contains("days behind"));
    }

    #[tokio::test]
    async fn a_controller_is_asked_without_an_account() {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (udp, listener) =
            (socket.local_addr().unwrap().port(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let tcp = listener.local_addr().unwrap().port();
        // Nobody listens there: it refuses.
        drop(listener);
        tokio::spawn(async move {
            let mut buffer = [0; 64];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                assert_eq!(buffer[..length], QUESTION);
                socket.send_to(&buffer[..length], from).await.unwrap();
            }
        });
        let mut it =
            Endpoint { address: Some(format!("127.0.0.1:{tcp}")), port: Some(udp), ..controller("ipmi") };
        assert_eq!(look_at(&it).await.problem, None);
        it.port = Some(9);
        it.protocol = "ipmi".into();
        let finding = look_at(&it).await;
        assert!(finding.problem.unwrap().contains("UDP 9 does not answer"));
        it.address = None;
        assert!(look_at(&it).await.problem.unwrap().contains("no address"));
    }
}
