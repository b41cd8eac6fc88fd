//! TFTP with tftp-hpa, with curl, and with a client that loses blocks.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;

use super::inventory::Inventory;
use super::service::{DOCUMENT, Service};

pub(super) struct Tftp {
    pub(super) folder: tempfile::TempDir,
    pub(super) address: SocketAddr,
    pub(super) service: Service,
    pub(super) loader: Vec<u8>,
}

/// A server with one loader of 2.5 MB: block numbers of 512 bytes do not roll over, those of 8 bytes do.
pub(super) fn serve() -> Tftp {
    let folder = tempfile::tempdir().unwrap();
    let inventory = Inventory::start(folder.path());
    inventory.set_interface("52:54:00:00:00:01", &["127.0.0.1"]);
    let port = || UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (dhcp, address) = (port(), port());
    let root = folder.path().join("loaders");
    std::fs::create_dir(&root).unwrap();
    let loader: Vec<u8> = (0..2_500_000u32).map(|it| (it.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(root.join("snponly.efi"), &loader).unwrap();
    std::fs::write(root.join("undionly.kpxe"), &loader[..1024]).unwrap();
    std::fs::write(root.join("ipxe.pxe"), &loader[..60_000]).unwrap();
    std::fs::write(folder.path().join("secret"), "secret").unwrap();
    let own = folder.path().join("own");
    std::fs::create_dir(&own).unwrap();
    for name in ["shimx64.efi", "grubx64.efi"] {
        std::fs::write(own.join(name), name).unwrap();
    }
    let document = format!(
        "{DOCUMENT}\n[dhcp]\ntftp_root = {root:?}\nfiles = [{:?}]\nloaders = {{ 7 = {:?} }}\n",
        own.join("grubx64.efi"),
        own.join("shimx64.efi")
    );
    let listen = format!("dhcp=udp:{dhcp} tftp=udp:{address}");
    let service = Service::spawn(&[], folder.path(), &document, &listen);
    service.wait_known("52:54:00:00:00:01");
    Tftp { folder, address, service, loader }
}

impl Tftp {
    /// tftp-hpa; true and the file, or its words.
    fn get(&self, mode: &str, name: &str) -> Result<Vec<u8>, String> {
        let target = self.folder.path().join("got");
        let port = self.address.port().to_string();
        let mut command = Command::new("tftp");
        command.args(["-m", mode, "127.0.0.1", &port, "-c", "get", name]).arg(&target);
        self.finish(command, &target)
    }

    fn curl(&self, words: &[&str], name: &str) -> Result<Vec<u8>, String> {
        let target = self.folder.path().join("got");
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "20", "-o"]).arg(&target).args(words);
        command.arg(format!("tftp://{}/{name}", self.address));
        self.finish(command, &target)
    }

    fn finish(&self, mut command: Command, target: &Path) -> Result<Vec<u8>, String> {
        if target.exists() {
            std::fs::remove_file(target).unwrap();
        }
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        // tftp-hpa ends with 0 whatever happens.
        if !output.status.success() || text.contains("Error code") {
            return Err(text);
        }
        std::fs::read(target).map_err(|it| format!("{it}: {text}"))
    }
}

#[test]
fn real_clients_load_whole_files() {
    let tftp = serve();
    assert!(tftp.get("octet", "snponly.efi").unwrap() == tftp.loader);
    assert!(tftp.get("octet", "undionly.kpxe").unwrap() == tftp.loader[..1024], "the last block is empty");
    for own in ["shimx64.efi", "grubx64.efi"] {
        assert_eq!(tftp.get("octet", own).unwrap(), own.as_bytes(), "the site's own");
    }
    for words in [&["--tftp-blksize", "1428"][..], &["--tftp-blksize", "65464"], &["--tftp-no-options"], &[]]
    {
        assert!(tftp.curl(words, "snponly.efi").unwrap() == tftp.loader, "{words:?}");
    }
    let line = tftp.service.wait_for("tftp-end: ");
    assert!(line.contains("x1000c0s0b0n0") && line.contains("2500000"), "{line}");
    tftp.service.wait_for("tftp-start: ");
}

#[test]
fn scripts_are_there_without_files() {
    let tftp = serve();
    let script = String::from_utf8(tftp.get("octet", "autoexec.ipxe").unwrap()).unwrap();
    assert!(script.starts_with("#!ipxe\n"), "{script}");
    assert!(script.contains("http://127.0.0.1:8081/boot/v1/bootscript?mac=${netX/mac}"), "{script}");
    assert_eq!(tftp.get("netascii", "default").unwrap(), b"#!ipxe\nreboot\n");
}

#[test]
fn nothing_else_is_served_and_nothing_is_written() {
    let tftp = serve();
    for name in [
        "../secret",
        "/etc/passwd",
        "loaders/snponly.efi",
        "..",
        ".",
        "nothing",
        "snponly.efi/",
        "SNPONLY.EFI",
    ] {
        let refused = tftp.get("octet", name).unwrap_err();
        assert!(refused.contains("no such file"), "{name}: {refused}");
    }
    let source = tftp.folder.path().join("secret");
    let port = tftp.address.port().to_string();
    let put = Command::new("tftp")
        .args(["127.0.0.1", &port, "-c", "put"])
        .arg(&source)
        .arg("undionly.kpxe")
        .output();
    let put = put.unwrap();
    let text = String::from_utf8_lossy(&[put.stdout, put.stderr].concat()).into_owned();
    assert!(text.contains("nothing is written here"), "{text}");
}

/// A client that drops every seventh block the first time it comes.
#[test]
fn windows_survive_loss() {
    let tftp = serve();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(super::LIMIT)).unwrap();
    let ask = b"\0\x01snponly.efi\0octet\0blksize\x001000\0windowsize\x0016\0tsize\x000\0";
    socket.send_to(ask, tftp.address).unwrap();
    let mut buffer = [0; 2000];
    let (length, peer) = socket.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"\0\x06blksize\x001000\0tsize\x002500000\0windowsize\x0016\0");
    assert_ne!(peer.port(), tftp.address.port(), "a transfer is not made from the port of requests");
    socket.send_to(b"\0\x04\0\0", peer).unwrap();
    let (mut got, mut expected, mut in_window, mut dropped) = (Vec::new(), 1u16, 0, 0u16);
    loop {
        let (length, _) = socket.recv_from(&mut buffer).unwrap();
        let number = u16::from_be_bytes([buffer[2], buffer[3]]);
        if number.is_multiple_of(7) && number > dropped {
            dropped = number;
            continue;
        }
        let last = length < 1004;
        if number == expected {
            got.extend_from_slice(&buffer[4..length]);
            expected += 1;
            in_window += 1;
        }
        if number > expected || in_window == 16 || last {
            let [high, low] = (expected - 1).to_be_bytes();
            socket.send_to(&[0, 4, high, low], peer).unwrap();
            in_window = 0;
        }
        if last && number < expected {
            break;
        }
    }
    assert!(got == tftp.loader);
    tftp.service.wait_for("tftp-end: ");
}

/// Its address may be another's: what it is sent is no more than it asked for.
#[test]
fn a_client_that_never_answers_is_sent_one_packet_a_request() {
    let tftp = serve();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(super::LIMIT)).unwrap();
    let mut buffer = [0; 2000];
    let mut peers = std::collections::HashSet::new();
    for _ in 0..2 {
        socket.send_to(b"\0\x01snponly.efi\0octet\0", tftp.address).unwrap();
        let (length, peer) = socket.recv_from(&mut buffer).unwrap();
        assert_eq!((length, &buffer[..4]), (516, &[0, 3, 0, 1][..]), "only ever the first block");
        peers.insert(peer);
    }
    assert_eq!(peers.len(), 1, "a repeated request begins no second transfer");
    let line = tftp.service.wait_for("the client does not answer");
    assert!(line.contains("tftp-end"), "{line}");
    assert_eq!(tftp.service.count("tftp-start: "), 0, "nothing began");
    socket.set_nonblocking(true).unwrap();
    socket.recv_from(&mut buffer).unwrap_err();
}

/// Many at once, each by its own socket, and one of them twice from the same port.
#[test]
fn clients_share_a_port_and_get_their_own() {
    let tftp = serve();
    let ask = b"\0\x01undionly.kpxe\0octet\0";
    let sockets: Vec<UdpSocket> = (0..50).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    let load = |socket: &UdpSocket| {
        socket.set_read_timeout(Some(super::LIMIT)).unwrap();
        socket.send_to(ask, tftp.address).unwrap();
        let (mut got, mut buffer, mut next) = (Vec::new(), [0; 600], 1u16);
        loop {
            let (length, peer) = socket.recv_from(&mut buffer).unwrap();
            if buffer[..2] != [0, 3] || u16::from_be_bytes([buffer[2], buffer[3]]) != next {
                continue;
            }
            got.extend_from_slice(&buffer[4..length]);
            // Each acknowledgement twice: nothing may come twice for it.
            for _ in 0..2 {
                socket.send_to(&[&[0, 4][..], &next.to_be_bytes()].concat(), peer).unwrap();
            }
            next += 1;
            if length < 516 {
                return got;
            }
        }
    };
    std::thread::scope(|scope| {
        let loading: Vec<_> = sockets.iter().map(|it| scope.spawn(move || load(it))).collect();
        for it in loading {
            assert!(it.join().unwrap() == tftp.loader[..1024]);
        }
    });
    assert!(load(&sockets[0]) == tftp.loader[..1024]);
}
