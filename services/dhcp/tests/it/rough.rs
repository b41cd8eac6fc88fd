//! TFTP over a bad wire: one packet in five is lost each way, some come twice, some too late. The wire is a relay in
//! this file, since not every kernel that tests run on has netem.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::loader::{Tftp, serve};
use super::way::Way;

/// Clients send their first packet again every five seconds, and some give up at last.
const TRIES: usize = 6;
/// Of a hundred packets so many are lost, come twice, or come after the one that follows them.
const SHARES: [u64; 3] = [20, 5, 10];

/// A wire to the server: clients talk to its address, and see all of it at one more port, as behind a router.
struct Wire {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    carried: Option<std::thread::JoinHandle<()>>,
}

impl Wire {
    fn to(server: SocketAddr, seed: u64) -> Self {
        let front = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = front.local_addr().unwrap();
        front.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let carried = std::thread::spawn(move || {
            let (mut clients, mut buffer) = (HashMap::<_, Branch>::new(), [0; 2048]);
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, client)) = front.recv_from(&mut buffer) else {
                    clients.values_mut().for_each(Branch::flush);
                    continue;
                };
                let seed = seed + clients.len() as u64;
                let way =
                    clients.entry(client).or_insert_with(|| Branch::open(server, client, seed, &stopped));
                way.take(&buffer[..length]);
            }
        });
        Self { address, stop, carried: Some(carried) }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(carried) = self.carried.take() {
            carried.join().unwrap();
        }
    }
}

/// One client's part of the wire: `near` faces the client, `far` the server.
struct Branch {
    far: Arc<UdpSocket>,
    server: SocketAddr,
    request: Way,
}

impl Branch {
    fn open(server: SocketAddr, client: SocketAddr, seed: u64, stop: &Arc<AtomicBool>) -> Self {
        let bind = || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            Arc::new(socket)
        };
        let (near, far) = (bind(), bind());
        let peer = Arc::new(std::sync::Mutex::new(None::<SocketAddr>));
        let carry = |from: &Arc<UdpSocket>, to: &Arc<UdpSocket>, down: bool, seed: u64| {
            let (from, to, peer, stop) =
                (Arc::clone(from), Arc::clone(to), Arc::clone(&peer), Arc::clone(stop));
            std::thread::spawn(move || {
                let (mut way, mut buffer) = (Way::new(seed, SHARES), [0; 2048]);
                while !stop.load(Ordering::Relaxed) {
                    let (packets, whose) = match from.recv_from(&mut buffer) {
                        Ok((length, whose)) => (way.pass(&buffer[..length]), Some(whose)),
                        // Nothing follows: what is late comes now.
                        Err(_) => (way.late.take().into_iter().collect(), None),
                    };
                    let target = if down {
                        let mut peer = peer.lock().unwrap();
                        *peer = whose.or(*peer);
                        Some(client)
                    } else {
                        *peer.lock().unwrap()
                    };
                    let Some(target) = target else { continue };
                    for packet in packets {
                        // A client that is gone takes nothing more.
                        to.send_to(&packet, target).ok();
                    }
                }
            });
        };
        carry(&far, &near, true, seed.wrapping_mul(31));
        carry(&near, &far, false, seed.wrapping_mul(37));
        Self { far, server, request: Way::new(seed.wrapping_mul(41), SHARES) }
    }

    fn flush(&mut self) {
        if let Some(packet) = self.request.late.take() {
            self.far.send_to(&packet, self.server).unwrap();
        }
    }

    fn take(&mut self, packet: &[u8]) {
        for packet in self.request.pass(packet) {
            self.far.send_to(&packet, self.server).unwrap();
        }
    }
}

#[test]
fn stock_clients_load_whole_files_over_a_bad_wire() {
    let tftp: Tftp = serve();
    let wire = Wire::to(tftp.address, 7);
    let loader = &tftp.loader[..60_000];
    let (file, port) = ("ipxe.pxe", wire.address.port().to_string());
    let url = format!("tftp://127.0.0.1:{port}/{file}");
    let clients: [(&str, Vec<&str>); 5] = [
        ("tftp-hpa", vec!["tftp", "-m", "octet", "127.0.0.1", &port, "-c", "get", file]),
        ("busybox", vec!["busybox", "tftp", "-g", "-b", "1428", "-r", file, "127.0.0.1", &port, "-l"]),
        // With options it asks that what is lost comes again after six seconds (RFC 2349), and no sooner.
        ("curl", vec!["curl", "-sS", "--max-time", "10", "--tftp-no-options", &url, "-o"]),
        (
            "atftp",
            vec![
                "atftp",
                "--tftp-timeout",
                "1",
                "--option",
                "blksize 1428",
                "-g",
                "-r",
                file,
                "127.0.0.1",
                &port,
                "-l",
            ],
        ),
        (
            "atftp-8",
            vec![
                "atftp",
                "--tftp-timeout",
                "1",
                "--option",
                "windowsize 8",
                "-g",
                "-r",
                file,
                "127.0.0.1",
                &port,
                "-l",
            ],
        ),
    ];
    std::thread::scope(|scope| {
        let loads = clients.map(|(name, words)| {
            let target = tftp.folder.path().join(name);
            scope.spawn(move || {
                let mut said = Vec::new();
                for _ in 0..TRIES {
                    let output = Command::new(words[0]).args(&words[1..]).arg(&target).output().unwrap();
                    said.push(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned());
                    let got = std::fs::read(&target).unwrap_or_default();
                    if output.status.success() && got.len() >= loader.len() {
                        assert!(got == *loader, "{name} has something else");
                        return;
                    }
                    // A client that gave up may leave a part, of what is right.
                    assert!(loader.starts_with(&got), "{name} has something else");
                }
                panic!("{name} never got the file: {said:?}");
            })
        });
        for load in loads {
            load.join().unwrap();
        }
    });
    tftp.service.wait_for("tftp-end: ");
}
