//! Two network namespaces with a wire between them: `head` in one, `node` in the other. Gone when dropped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use super::way::Switch;

/// The node's MAC.
pub(super) const NODE_MAC: &str = "52:54:00:00:00:01";

pub(super) struct Lab {
    pub(super) head: String,
    pub(super) node: String,
    /// The namespace of the switch between them, if there is one.
    middle: Option<String>,
    switch: Option<Switch>,
    folder: tempfile::TempDir,
}

impl Lab {
    pub(super) fn new() -> Self {
        Self::make(None)
    }

    /// With a switch between the two: of a hundred frames so many are lost, come twice, or come after the next one.
    pub(super) fn rough(seed: u64, shares: [u64; 3]) -> Self {
        Self::make(Some((seed, shares)))
    }

    fn make(rough: Option<(u64, [u64; 3])>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        assert!(nix::unistd::geteuid().is_root(), "these tests make network namespaces: run them as root");
        let name = format!("ph{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = tempfile::tempdir().unwrap();
        let middle = rough.map(|_| format!("{name}m"));
        let (head, node) = (format!("{name}h"), format!("{name}n"));
        let mut lab = Self { head, node, middle, switch: None, folder };
        for space in lab.spaces() {
            ip(&["netns", "add", space]);
        }
        let wire = |(space, link): (&str, &str), (other, peer): (&str, &str)| {
            ip(&["-n", space, "link", "add", link, "type", "veth", "peer", "name", peer, "netns", other]);
        };
        match &lab.middle {
            None => wire((&lab.head, "head"), (&lab.node, "node")),
            Some(middle) => {
                ip(&["netns", "exec", middle, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"]);
                for (space, link, port) in [(&lab.head, "head", "one"), (&lab.node, "node", "two")] {
                    wire((middle, port), (space, link));
                    ip(&["-n", middle, "link", "set", port, "up"]);
                }
            }
        }
        ip(&["-n", &lab.node, "link", "set", "node", "address", NODE_MAC]);
        ip(&["-n", &lab.head, "addr", "add", "172.16.0.254/24", "dev", "head"]);
        for (space, link) in [(&lab.head, "lo"), (&lab.head, "head"), (&lab.node, "lo"), (&lab.node, "node")]
        {
            ip(&["-n", space, "link", "set", link, "up"]);
        }
        let script = "#!/bin/sh\n\
            case \"${1:-$reason}\" in bound|renew|BOUND|RENEW|REBOOT) ;; *) exit 0 ;; esac\n\
            ip addr flush dev node\n\
            ip addr add \"${ip:-$new_ip_address}/24\" dev node\n\
            env > \"$OUT.new\" && mv \"$OUT.new\" \"$OUT\"\n";
        if let (Some((seed, shares)), Some(middle)) = (rough, &lab.middle) {
            let space = Path::new("/run/netns").join(middle);
            lab.switch = Some(Switch::between(space, ["one", "two"], seed, shares));
        }
        let path = lab.folder.path().join("script");
        std::fs::write(&path, script).unwrap();
        assert!(Command::new("chmod").arg("755").arg(&path).status().unwrap().success());
        lab
    }

    fn spaces(&self) -> impl Iterator<Item = &String> {
        [&self.head, &self.node].into_iter().chain(&self.middle)
    }

    /// A path in the lab's own folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command inside the node's namespace; `OUT` names the file the clients' script writes to.
    pub(super) fn on_node(&self, words: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.node]).args(words).env("OUT", self.path("out"));
        command
    }

    /// udhcpc once: what it was given, by the names of udhcpc's scripts; none if it was given nothing.
    pub(super) fn udhcpc(&self, words: &[&str]) -> Option<Given> {
        self.run_udhcpc(&["udhcpc", "-n", "-t", "5"], words)
    }

    /// udhcpc on a wire that loses packets: where nobody hears its three REQUESTs after an offer, which ends it
    /// otherwise, it begins again.
    pub(super) fn patient_udhcpc(&self) -> Option<Given> {
        let limit = super::LIMIT.as_secs().to_string();
        self.run_udhcpc(&["timeout", &limit, "udhcpc", "-A", "1", "-t", "25"], &[])
    }

    fn run_udhcpc(&self, program: &[&str], words: &[&str]) -> Option<Given> {
        let script = self.path("script");
        let ours = ["-i", "node", "-f", "-q", "-T", "1", "-s", script.to_str().unwrap()];
        let output = self.on_node(program).args(ours).args(words).output().unwrap();
        output.status.success().then(|| self.given(&output))
    }

    /// dhclient once, patient: the address it was given.
    pub(super) fn dhclient(&self) -> Option<String> {
        let settings = "timeout 60;\ninitial-interval 1;\nbackoff-cutoff 2;\nretry 1;\n";
        std::fs::write(self.path("dhclient.conf"), settings).unwrap();
        let path = |name: &str| self.path(name).to_str().unwrap().to_owned();
        let mut command = self.on_node(&["dhclient", "-4", "-1", "-cf"]);
        command.args([path("dhclient.conf"), "-lf".into(), path("leases"), "-pf".into(), path("pid")]);
        let out = format!("OUT={}", path("out"));
        command.args(["-sf".into(), path("script"), "-e".into(), out, "node".into()]);
        let bound = command.output().unwrap();
        assert!(bound.status.success(), "{}", String::from_utf8_lossy(&bound.stderr));
        let given = self.given(&bound).get("new_ip_address").map(str::to_owned);
        // It goes on in the background, and that process writes its own number, later than the first one ends.
        let began = std::time::Instant::now();
        let pid: i32 = loop {
            let told = std::fs::read_to_string(self.path("pid")).ok();
            if let Some(pid) = told.and_then(|it| it.trim().parse().ok()) {
                break pid;
            }
            assert!(began.elapsed() < super::LIMIT, "dhclient told no process");
            std::thread::yield_now();
        };
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM).unwrap();
        given
    }

    /// What the script wrote last.
    pub(super) fn given(&self, output: &Output) -> Given {
        let text = std::fs::read_to_string(self.path("out"))
            .unwrap_or_else(|it| panic!("{it}: {}", String::from_utf8_lossy(&output.stderr)));
        Given(text)
    }

    /// Makes a socket inside the node's namespace; it stays there wherever it is used.
    pub(super) fn socket_on_node(&self, address: &str) -> std::net::UdpSocket {
        let path = format!("/run/netns/{}", self.node);
        let address = address.to_owned();
        let bind = move || {
            let space = File::open(path).unwrap();
            nix::sched::setns(space, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            std::net::UdpSocket::bind(address).unwrap()
        };
        // A thread of its own: it leaves the namespace of the others by this.
        let socket = std::thread::spawn(bind).join().unwrap();
        socket.set_read_timeout(Some(super::LIMIT)).unwrap();
        socket
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.switch = None;
        for space in self.spaces() {
            let deleted = Command::new("ip").args(["netns", "del", space]).status();
            if !deleted.is_ok_and(|it| it.success()) {
                eprintln!("the namespace {space} could not be deleted");
            }
        }
    }
}

pub(super) fn ip(words: &[&str]) {
    let output = Command::new("ip").args(words).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "ip {}: {text} (namespaces need root and CAP_SYS_ADMIN)",
        words.join(" ")
    );
}

/// What a client was given: the environment of its script.
pub(super) struct Given(String);

impl Given {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|it| it.strip_prefix(name)?.strip_prefix('='))
    }
}
