//! Ways that lose, double and reorder what they carry, by a fixed series of numbers: not every kernel that tests run on
//! has netem.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// The next of a fixed series of numbers (splitmix64).
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*seed ^ (*seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// One way.
pub(super) struct Way {
    seed: u64,
    shares: [u64; 3],
    pub(super) late: Option<Vec<u8>>,
}

impl Way {
    /// Of a hundred packets so many are lost, come twice, or come after the one that follows them.
    pub(super) fn new(seed: u64, shares: [u64; 3]) -> Self {
        Self { seed, shares, late: None }
    }

    /// What comes out when this goes in.
    pub(super) fn pass(&mut self, packet: &[u8]) -> Vec<Vec<u8>> {
        let [lost, twice, late] = self.shares;
        let drawn = next(&mut self.seed) % 100;
        let mut out = match drawn {
            it if it < lost => Vec::new(),
            it if it < lost + twice => vec![packet.to_vec(), packet.to_vec()],
            it if it < lost + twice + late && self.late.is_none() => {
                self.late = Some(packet.to_vec());
                return Vec::new();
            }
            _ => vec![packet.to_vec()],
        };
        out.extend(self.late.take());
        out
    }
}

/// A switch between two links of a namespace that carries frames as badly as its two ways do. Gone when dropped.
pub(super) struct Switch {
    stop: Arc<AtomicBool>,
    carriers: Vec<std::thread::JoinHandle<()>>,
}

impl Switch {
    /// Joins two links of the namespace at this path.
    pub(super) fn between(space: PathBuf, links: [&'static str; 2], seed: u64, shares: [u64; 3]) -> Self {
        let open = move || {
            let space = File::open(space).unwrap();
            nix::sched::setns(space, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            links.map(|it| Arc::new(frames_of(it)))
        };
        // A thread of its own: it leaves the namespace of the others by this, and the sockets stay there.
        let [one, two] = std::thread::spawn(open).join().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let ways = [(Arc::clone(&one), Arc::clone(&two), seed), (two, one, seed.wrapping_mul(31))];
        let carriers = ways.map(|(from, to, seed)| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || carry(&from, &to, &mut Way::new(seed, shares), &stop))
        });
        Self { stop, carriers: carriers.into() }
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for carrier in self.carriers.drain(..) {
            carrier.join().unwrap();
        }
    }
}

/// All frames that come by a link. What goes out by this socket does not come back by it.
fn frames_of(link: &str) -> Socket {
    let all = Protocol::from(i32::from((libc::ETH_P_ALL as u16).to_be()));
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(all)).unwrap();
    let index = i32::try_from(nix::net::if_::if_nametoindex(link).unwrap()).unwrap();
    #[expect(unsafe_code, reason = "no library builds a sockaddr_ll; the zeroed storage is larger than it")]
    let ((), address) = unsafe {
        socket2::SockAddr::try_init(|storage, length| {
            let address = storage.cast::<libc::sockaddr_ll>();
            (*address).sll_family = libc::AF_PACKET as libc::sa_family_t;
            (*address).sll_protocol = (libc::ETH_P_ALL as u16).to_be();
            (*address).sll_ifindex = index;
            *length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })
    }
    .unwrap();
    socket.bind(&address).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    socket
}

fn carry(mut from: &Socket, mut to: &Socket, way: &mut Way, stop: &AtomicBool) {
    let mut buffer = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        let Ok(length) = from.read(&mut buffer) else { continue };
        for mut frame in way.pass(&buffer[..length]) {
            drop_checksum(&mut frame);
            // A link that is just going takes nothing more.
            to.write_all(&frame).ok();
        }
    }
}

/// UDP goes without its checksum: on a virtual wire the kernel leaves that to the card, which is none here.
fn drop_checksum(frame: &mut [u8]) {
    if frame.len() > 34 && frame[12..14] == [8, 0] && frame[23] == 17 {
        let at = 14 + usize::from(frame[14] & 15) * 4 + 6;
        if let Some(sum) = frame.get_mut(at..at + 2) {
            sum.fill(0);
        }
    }
}
