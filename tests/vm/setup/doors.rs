//! Which of the head's ports answer, asked from the cluster's network.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use tests::appliance::ADDRESS;
use tests::net::BRIDGE;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// SSH, images, plain and TLS APIs.
const TCP: [u16; 4] = [22, 8080, 8081, 8443];
/// The head's link-local address, which follows from its MAC (RFC 4291 appendix A): it is there before any other.
const LINK_LOCAL: &str = "fe80::5054:ff:fe10:fe";
/// How long a port has to answer: far more than it needs.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// A machine in no inventory.
const STRANGER: [u8; 6] = [0x52, 0x54, 0, 0x99, 0, 1];

/// The ports that answer at the head's address: `tcp 22`, `udp 67`, …
///
/// # Errors
///
/// If we cannot ask.
pub(super) async fn open() -> anyhow::Result<Vec<String>> {
    let link_local = format!("{LINK_LOCAL}%{BRIDGE}");
    let mut tasks = tokio::task::JoinSet::new();
    for (host, mark) in [(ADDRESS.to_owned(), ""), (link_local, " (IPv6)")] {
        for port in TCP {
            let address = resolve(&host, port).await?;
            tasks.spawn(async move {
                let open = matches!(timeout(ANSWER_MAX, TcpStream::connect(address)).await, Ok(Ok(_)));
                anyhow::Ok(open.then(|| format!("tcp {port}{mark}")))
            });
        }
        let address = resolve(&host, 69).await?;
        tasks.spawn(async move {
            let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any).await.context("ask for a file")?;
            // RRQ (RFC 1350): a file that is not there has an ERROR packet for an answer.
            let open = is_answered(&socket, address, b"\0\x01no-such-file\0octet\0").await;
            Ok(open.then(|| format!("udp 69{mark}")))
        });
    }
    tasks.spawn(async {
        let socket = UdpSocket::bind("0.0.0.0:68").await.context("ask for an address")?;
        socket.set_broadcast(true)?;
        socket.bind_device(Some(BRIDGE.as_bytes())).context("ask on the bridge")?;
        let open = is_answered(&socket, ([255; 4], 67).into(), &discover()).await;
        Ok(open.then(|| "udp 67".to_owned()))
    });
    let mut open = Vec::new();
    for found in tasks.join_all().await {
        open.extend(found?);
    }
    open.sort();
    Ok(open)
}

async fn resolve(host: &str, port: u16) -> anyhow::Result<SocketAddr> {
    let mut found = tokio::net::lookup_host((host, port)).await.with_context(|| format!("read {host}"))?;
    found.next().with_context(|| format!("{host} is no address"))
}

/// Whether anything comes back; a network that cannot be reached is silent.
async fn is_answered(socket: &UdpSocket, address: SocketAddr, packet: &[u8]) -> bool {
    let mut answer = [0; 1500];
    socket.send_to(packet, address).await.is_ok()
        && matches!(timeout(ANSWER_MAX, socket.recv_from(&mut answer)).await, Ok(Ok(_)))
}

/// DHCPDISCOVER (RFC 2131 section 2, RFC 2132 section 9.6) whose answer is to be broadcast.
fn discover() -> Vec<u8> {
    let mut packet = vec![0; 300];
    packet[..4].copy_from_slice(&[1, 1, 6, 0]);
    packet[4..8].copy_from_slice(&[0x70, 0x68, 0x30, 0x31]);
    packet[10] = 0x80;
    packet[28..34].copy_from_slice(&STRANGER);
    packet[236..244].copy_from_slice(&[99, 130, 83, 99, 53, 1, 1, 255]);
    packet
}
