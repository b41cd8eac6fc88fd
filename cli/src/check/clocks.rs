//! The head's clock against its time servers (SNTP, RFC 4330), and whether they answer at all.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::names::exchange;
use super::{Check, Finding};

const PORT: u16 = 123;
const ANSWER_MAX: Duration = Duration::from_secs(2);
const TRIES: usize = 2;
/// Certificates and tokens bear this much.
const OFF_MAX: f64 = 1.0;
/// Seconds from 1900, where NTP begins, to 1970.
const ERA: f64 = 2_208_988_800.0;

pub(super) async fn look(servers: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for server in servers {
        // That a name does not resolve is another finding.
        let Ok(mut addresses) = tokio::net::lookup_host((server.as_str(), PORT)).await else { continue };
        let Some(address) = addresses.next() else { continue };
        findings.push(look_at(server, address).await);
    }
    findings
}

async fn look_at(server: &str, address: SocketAddr) -> Finding {
    for _ in 0..TRIES {
        let sent = seconds(SystemTime::now());
        let answer = tokio::time::timeout(ANSWER_MAX, exchange(address, &question(sent))).await;
        let received = seconds(SystemTime::now());
        if let Ok(Ok(answer)) = answer {
            return decide(server, read(&answer), sent, received);
        }
    }
    let next =
        format!("have UDP {PORT} opened from the head to {server}, or correct network.ntp of the document");
    Finding::bad(Check::Clocks, server, format!("it does not answer on UDP {PORT}"), next)
}

/// What a server says.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Told {
    /// When it got the question and when it sent the answer, in seconds since 1970.
    received: f64,
    sent: f64,
    /// Whether it has the time itself.
    synchronised: bool,
}

fn decide(server: &str, told: Option<Told>, sent: f64, received: f64) -> Finding {
    let Some(told) = told else {
        let next = "correct network.ntp of the document: it names another service";
        return Finding::bad(Check::Clocks, server, "what answers there is no time server", next);
    };
    if !told.synchronised {
        let next = "name another one in network.ntp of the document, or see to that server";
        return Finding::bad(Check::Clocks, server, "it does not have the time itself", next);
    }
    let off = f64::midpoint(told.received - sent, told.sent - received);
    if off.abs() <= OFF_MAX {
        return Finding::well(Check::Clocks, server);
    }
    let way = if off < 0.0 { "ahead of it" } else { "behind it" };
    let problem = format!("the head's clock is {:.1} s {way}", off.abs());
    let next = "set it now: sudo chronyc makestep; see why it was not: sudo chronyc tracking";
    Finding::bad(Check::Clocks, server, problem, next)
}

/// A client's question of version 4.
fn question(now: f64) -> [u8; 48] {
    let mut packet = [0; 48];
    packet[0] = 0x23;
    let whole = (now + ERA).floor();
    packet[40..44].copy_from_slice(&((whole as u64) as u32).to_be_bytes());
    packet
}

fn read(packet: &[u8]) -> Option<Told> {
    let (first, stratum) = (*packet.first()?, *packet.get(1)?);
    // Mode 4 is a server's; stratum 0 is a refusal (section 8).
    if first & 7 != 4 {
        return None;
    }
    let instant = |at: usize| {
        let word = |at: usize| Some(f64::from(u32::from_be_bytes(packet.get(at..at + 4)?.try_into().ok()?)));
        Some(word(at)? - ERA + word(at + 4)? / f64::from(u32::MAX))
    };
    let synchronised = first >> 6 != 3 && (1..16).contains(&stratum);
    Some(Told { received: instant(32)?, sent: instant(40)?, synchronised })
}

fn seconds(instant: SystemTime) -> f64 {
    instant.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::net::SocketAddr;
    use std::time::SystemTime;

    use super::{ERA, look_at, seconds};

    /// A time server that is so much ahead.
    async fn server(ahead: f64, first: u8) -> SocketAddr {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 48];
            let (_, from) = socket.recv_from(&mut buffer).await.unwrap();
            assert_eq!(buffer[0], 0x23);
            buffer[0] = first;
            buffer[1] = 2;
            let now = ((seconds(SystemTime::now()) + ERA + ahead) as u64) as u32;
            buffer[32..36].copy_from_slice(&now.to_be_bytes());
            buffer[40..44].copy_from_slice(&now.to_be_bytes());
            socket.send_to(&buffer, from).await.unwrap();
        });
        address
    }

    #[tokio::test]
    async fn a_clock_that_is_off_is_told_with_how_much_and_which_way() {
        // Whole seconds alone are told here, and the machine may be busy.
        let problem = look_at("ntp", server(-100.0, 0x24).await).await.problem.unwrap();
        assert!(problem.contains("ahead of it") && problem.starts_with("the head's clock is 1"), "{problem}");
        let problem = look_at("ntp", server(100.0, 0x24).await).await.problem.unwrap();
        assert!(problem.contains("behind it"), "{problem}");
        let problem = look_at("ntp", server(0.0, 0xe4).await).await.problem.unwrap();
        assert!(problem.contains("does not have the time itself"), "{problem}");
        let problem = look_at("ntp", server(0.0, 0x23).await).await.problem.unwrap();
        assert!(problem.contains("no time server"), "{problem}");
    }

    #[test]
    fn a_second_is_within_what_certificates_bear() {
        let told = super::Told { received: 1000.4, sent: 1000.4, synchronised: true };
        assert_eq!(super::decide("ntp", Some(told), 1000.0, 1001.0).problem, None);
        assert!(super::decide("ntp", Some(told), 1002.0, 1002.0).problem.is_some());
    }

    #[tokio::test]
    async fn a_time_server_that_is_silent_is_named_with_its_port() {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let finding = look_at("ntp.example", socket.local_addr().unwrap()).await;
        assert!(finding.problem.unwrap().contains("UDP 123"));
        assert!(finding.next.unwrap().contains("ntp.example"));
    }
}
