//! What stands between console and a BMC and may hold packets up, either way.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// A way through the relay.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    ToBmc,
    ToConsole,
}

#[derive(Clone, Copy, Debug, Default)]
enum Passage {
    #[default]
    Open,
    /// Packets wait.
    Held,
    /// Each goes twice.
    Double,
}

#[derive(Default)]
struct State {
    passage: Passage,
    held: VecDeque<Vec<u8>>,
    /// The length of the longest packet that came since somebody asked.
    longest: usize,
    /// Who sent last.
    from: Option<SocketAddr>,
}

/// One relay, before one BMC; it goes when dropped.
pub(crate) struct Relay {
    pub(crate) port: u16,
    /// By way: where packets come in, and what becomes of them.
    ends: [Arc<UdpSocket>; 2],
    states: Arc<[Mutex<State>; 2]>,
    bmc: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Relay {
    pub(crate) async fn start(bmc: u16) -> Self {
        let bind = async || Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let ends = [bind().await, bind().await];
        let port = ends[0].local_addr().unwrap().port();
        let bmc = SocketAddr::from(([127, 0, 0, 1], bmc));
        let mut relay = Self { port, ends, states: Arc::default(), bmc, _tasks: JoinSet::new() };
        for way in [Way::ToBmc, Way::ToConsole] {
            let handle = relay.handle(way);
            relay._tasks.spawn(handle.run());
        }
        relay
    }

    fn handle(&self, way: Way) -> Handle {
        let (at, other) = (way as usize, 1 - way as usize);
        let (come, go) = (Arc::clone(&self.ends[at]), Arc::clone(&self.ends[other]));
        Handle { at, other, come, go, states: Arc::clone(&self.states), bmc: self.bmc }
    }

    fn set(&self, way: Way, passage: Passage) {
        self.states[way as usize].lock().unwrap().passage = passage;
    }

    /// Packets wait from now on.
    pub(crate) fn hold(&self, way: Way) {
        self.set(way, Passage::Held);
    }

    /// Packets pass from now on; those that wait go on waiting.
    pub(crate) fn open(&self, way: Way) {
        self.set(way, Passage::Open);
    }

    /// Each packet passes twice from now on.
    pub(crate) fn double(&self, way: Way) {
        self.set(way, Passage::Double);
    }

    /// Packets that wait go on, in order.
    pub(crate) async fn release(&self, way: Way) {
        let held = std::mem::take(&mut self.states[way as usize].lock().unwrap().held);
        let handle = self.handle(way);
        for packet in held {
            handle.send(&packet).await;
        }
    }

    /// How many wait.
    pub(crate) fn held(&self, way: Way) -> usize {
        self.states[way as usize].lock().unwrap().held.len()
    }

    /// The length of the longest packet that came since this was asked.
    pub(crate) fn take_longest(&self, way: Way) -> usize {
        std::mem::take(&mut self.states[way as usize].lock().unwrap().longest)
    }
}

struct Handle {
    at: usize,
    other: usize,
    come: Arc<UdpSocket>,
    go: Arc<UdpSocket>,
    states: Arc<[Mutex<State>; 2]>,
    bmc: SocketAddr,
}

impl Handle {
    async fn run(self) {
        let mut buffer = [0; 2048];
        loop {
            // An error tells of an earlier packet that nobody took.
            let Ok((count, from)) = self.come.recv_from(&mut buffer).await else { continue };
            let packet = &buffer[..count];
            let times = {
                let mut state = self.states[self.at].lock().unwrap();
                state.from = Some(from);
                state.longest = state.longest.max(count);
                match state.passage {
                    Passage::Open => 1,
                    Passage::Double => 2,
                    Passage::Held => {
                        state.held.push_back(packet.to_vec());
                        0
                    }
                }
            };
            for _ in 0..times {
                self.send(packet).await;
            }
        }
    }

    async fn send(&self, packet: &[u8]) {
        let console = self.states[self.other].lock().unwrap().from;
        let to = if self.at == Way::ToBmc as usize { Some(self.bmc) } else { console };
        if let Some(to) = to {
            self.go.send_to(packet, to).await.unwrap();
        }
    }
}
