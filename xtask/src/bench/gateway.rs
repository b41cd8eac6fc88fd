//! `cargo xtask bench gateway`: our front door beside Debian's haproxy, in one run.

mod backend;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde::Serialize;
use tests::program;

pub(super) use backend::{Arguments as BackendArguments, run as run_backend};

/// The processors: the front door has one, the load and the service behind it have the other.
const SERVER: &str = "0";
const LOAD: &str = "1";
const OURS: u16 = 28_543;
const HAPROXY: u16 = 28_443;

/// Compare the gateway with haproxy: same machine, same minute, same load, same service behind
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask bench gateway
  cargo xtask bench gateway --rounds 5 --seconds 10 --output json

The front door runs on processor 0; wrk and the service behind, which answers 2 bytes on a UNIX socket, on
processor 1. Rounds alternate, and the middle one of each counts. wrk and haproxy are Debian's.")]
pub(super) struct Arguments {
    /// How often each is measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..100))]
    rounds: u32,
    /// How long each time
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Connections at once, kept alive
    #[arg(long, default_value_t = 64)]
    connections: u32,
    /// Programs of the profile dev, for work on the bench itself
    #[arg(long)]
    pub(super) debug: bool,
    /// How to print the figures
    #[arg(long, value_enum, default_value = "text")]
    output: super::api::Output,
}

/// A running front door.
struct Door {
    name: &'static str,
    port: u16,
    process: Process,
}

/// What is killed when it is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait().map(drop)) {
            eprintln!("bench: cannot end {}: {error}", self.0.id());
        }
    }
}

/// One measurement.
#[derive(Clone, Copy, Debug, Serialize)]
struct Figure {
    per_second: f64,
    p99_ms: f64,
    /// Processor time of the front door for one request.
    cpu_us: f64,
}

/// All of one front door.
#[derive(Debug, Default, Serialize)]
struct Figures {
    kept_alive: Vec<Figure>,
    new_connections: Vec<Figure>,
    rss_mib: f64,
}

pub(super) fn run(arguments: &Arguments, programs: &Path) -> anyhow::Result<()> {
    ensure!(
        std::thread::available_parallelism()?.get() >= 2,
        "two processors are needed, one for the front door and one for its load"
    );
    let folder = tempfile::tempdir().context("make a folder")?;
    certify(folder.path())?;
    let socket = folder.path().join("inventory.sock");
    let own = std::env::current_exe().context("find our own program")?;
    let _backend = start(LOAD, Command::new(own).args(["bench", "backend"]).arg(&socket))?;
    let ours = open_ours(folder.path(), programs)?;
    let haproxy = open_haproxy(folder.path())?;
    let doors = [haproxy, ours];
    for door in &doors {
        door.wait()?;
    }
    let mut figures = [Figures::default(), Figures::default()];
    for round in 1..=arguments.rounds {
        eprintln!("round {round} of {}", arguments.rounds);
        for (door, figures) in doors.iter().zip(&mut figures) {
            figures.kept_alive.push(door.measure(arguments.connections, arguments.seconds, false)?);
        }
        for (door, figures) in doors.iter().zip(&mut figures) {
            figures.new_connections.push(door.measure(32, arguments.seconds, true)?);
        }
    }
    for (door, figures) in doors.iter().zip(&mut figures) {
        figures.rss_mib = door.rss_mib()?;
    }
    report(arguments, &figures)
}

/// A key and a certificate for localhost, for both: P-256.
fn certify(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder.join("credentials"))?;
    let (key, chain) = (folder.join("credentials/gateway.tls-key"), folder.join("chain.pem"));
    let mut openssl = Command::new(program::find("openssl", "openssl")?);
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
    openssl.args(["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]);
    let done = openssl.arg("-keyout").arg(&key).arg("-out").arg(&chain).output().context("run openssl")?;
    ensure!(done.status.success(), "openssl: {}", String::from_utf8_lossy(&done.stderr));
    let both = [fs::read(&chain)?, fs::read(&key)?].concat();
    fs::write(folder.join("both.pem"), both).context("write the certificate for haproxy")
}

fn open_ours(folder: &Path, programs: &Path) -> anyhow::Result<Door> {
    let chain = folder.join("chain.pem");
    let document = format!(
        "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"openchami.cluster\"\n[gateway]\n\
         # One client is all of the load; the limits are looked at all the same.\n\
         requests_per_source = 1000000\nburst_per_source = 10000000\n\
         certificate = {{ file = \"{}\", key = {{ credential = \"gateway.tls-key\" }} }}\n",
        chain.display()
    );
    fs::write(folder.join("pilothouse.toml"), document)?;
    fs::create_dir_all(folder.join("gateway"))?;
    let mut command = Command::new(programs.join("pilothouse"));
    command.arg("gateway").arg("--config").arg(folder.join("pilothouse.toml"));
    command.arg("--run").arg(folder).arg("--state").arg(folder.join("state"));
    command.arg("--listen").arg(format!("http=unix:{}", folder.join("gateway.sock").display()));
    command.arg("--listen").arg(format!("tls=tcp:127.0.0.1:{OURS}"));
    command.env("CREDENTIALS_DIRECTORY", folder.join("credentials")).env("RUST_LOG", "error");
    Ok(Door { name: "pilothouse", port: OURS, process: start(SERVER, &mut command)? })
}

fn open_haproxy(folder: &Path) -> anyhow::Result<Door> {
    let settings = format!(
        "global\n  maxconn 8000\n  nbthread 1\n  ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets\n  tune.ssl.cachesize 0\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n  \
         http-reuse always\n\
         frontend tls\n  bind 127.0.0.1:{HAPROXY} ssl crt {folder}/both.pem alpn h2,http/1.1\n  \
         option forwardfor\n  use_backend service if {{ path_beg /hsm/v2 }}\n\
         backend service\n  server service unix@{folder}/inventory.sock\n",
        folder = folder.display()
    );
    let path = folder.join("haproxy.cfg");
    fs::write(&path, settings)?;
    let haproxy = program::find("haproxy", "haproxy")?;
    let mut command = Command::new(haproxy);
    command.args(["-db", "-f"]).arg(&path);
    Ok(Door { name: "haproxy", port: HAPROXY, process: start(SERVER, &mut command)? })
}

/// Starts a program on one processor.
fn start(processor: &str, command: &mut Command) -> anyhow::Result<Process> {
    let mut pinned = Command::new(program::find("taskset", "util-linux")?);
    pinned.args(["-c", processor]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            pinned.env(name, value);
        }
    }
    let child = pinned.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    child.map(Process).with_context(|| format!("start {}", command.get_program().display()))
}

impl Door {
    fn url(&self) -> String {
        format!("https://localhost:{}/hsm/v2/service/ready", self.port)
    }

    /// Waits until it answers.
    fn wait(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let curl = program::find("curl", "curl")?;
        loop {
            let asked = Command::new(&curl).args(["-sk", "--max-time", "2", &self.url()]).output()?;
            if asked.stdout == b"ok" {
                return Ok(());
            }
            ensure!(begun.elapsed() < Duration::from_secs(10), "{} does not answer: {asked:?}", self.name);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn measure(&self, connections: u32, seconds: u64, anew: bool) -> anyhow::Result<Figure> {
        let mut wrk = Command::new(program::find("taskset", "util-linux")?);
        wrk.args(["-c", LOAD]).arg(program::find("wrk", "wrk")?).args(["-t1", "--latency"]);
        wrk.arg(format!("-c{connections}")).arg(format!("-d{seconds}s"));
        if anew {
            wrk.args(["-H", "Connection: close"]);
        }
        let before = self.cpu()?;
        let output = wrk.arg(self.url()).output().context("run wrk")?;
        let cpu = self.cpu()? - before;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "wrk: {text}{}", String::from_utf8_lossy(&output.stderr));
        let word = |name: &str| {
            let line = text.lines().find_map(|it| it.trim().strip_prefix(name))?;
            line.split_whitespace().next().map(str::to_owned)
        };
        for bad in ["Non-2xx", "Socket errors"] {
            if let Some(line) = text.lines().find(|it| it.contains(bad)) {
                bail!("{}: {}", self.name, line.trim());
            }
        }
        let per_second: f64 = word("Requests/sec:").context("wrk says no rate")?.parse()?;
        let p99_ms = millis(&word("99%").context("wrk says no p99")?)?;
        #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
        let count = per_second * seconds as f64;
        Ok(Figure { per_second, p99_ms, cpu_us: cpu.as_secs_f64() * 1e6 / count.max(1.0) })
    }

    /// Processor time so far (proc(5), stat, fields 14 and 15, in hundredths of a second).
    fn cpu(&self) -> anyhow::Result<Duration> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.process.0.id()))?;
        let fields = text.rsplit_once(") ").context("stat cannot be read")?.1;
        let ticks: u64 = fields.split(' ').skip(11).take(2).filter_map(|it| it.parse::<u64>().ok()).sum();
        Ok(Duration::from_millis(ticks * 10))
    }

    fn rss_mib(&self) -> anyhow::Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.process.0.id()))?;
        let line = text.lines().find_map(|it| it.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib / 1024.0)
    }
}

/// wrk's `1.40ms`, `990.00us`, `1.01s`.
fn millis(text: &str) -> anyhow::Result<f64> {
    for (unit, factor) in [("us", 0.001), ("ms", 1.0), ("s", 1000.0)] {
        if let Some(number) = text.strip_suffix(unit)
            && let Ok(number) = number.parse::<f64>()
        {
            return Ok(number * factor);
        }
    }
    bail!("{text:?} is no time of wrk's")
}

/// The middle one.
fn median(figures: &[Figure], pick: fn(&Figure) -> f64) -> f64 {
    let mut values: Vec<f64> = figures.iter().map(pick).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn report(arguments: &Arguments, [haproxy, ours]: &[Figures; 2]) -> anyhow::Result<()> {
    let rate = |it: &[Figure]| median(it, |it| it.per_second);
    let p99 = |it: &[Figure]| median(it, |it| it.p99_ms);
    let cpu = |it: &[Figure]| median(it, |it| it.cpu_us);
    let (kept, new) = (
        rate(&ours.kept_alive) / rate(&haproxy.kept_alive),
        rate(&ours.new_connections) / rate(&haproxy.new_connections),
    );
    let tail = p99(&ours.kept_alive) / p99(&haproxy.kept_alive);
    let met = kept >= 1.0 && tail <= 1.0;
    if arguments.output == super::api::Output::Json {
        let told = serde_json::json!({
            "haproxy": haproxy, "pilothouse": ours, "met": met,
            "ratio": {"kept_alive": kept, "p99": tail, "new_connections": new},
        });
        println!("{told:#}");
    } else {
        println!("{:24}{:>12}{:>12}{:>9}  target", "", "haproxy", "pilothouse", "ratio");
        let line = |what, a: f64, b: f64, target| {
            println!("{what:24}{a:12.1}{b:12.1}{:9.2}  {target}", b / a);
        };
        line("kept alive, requests/s", rate(&haproxy.kept_alive), rate(&ours.kept_alive), ">= 1.0");
        line("  p99, ms", p99(&haproxy.kept_alive), p99(&ours.kept_alive), "<= 1.0");
        line("  processor, us/request", cpu(&haproxy.kept_alive), cpu(&ours.kept_alive), "");
        line("new connections/s", rate(&haproxy.new_connections), rate(&ours.new_connections), "");
        line("  p99, ms", p99(&haproxy.new_connections), p99(&ours.new_connections), "");
        line("memory, MiB", haproxy.rss_mib, ours.rss_mib, "");
    }
    ensure!(met, "a target is missed; on a machine that does other things that says nothing");
    Ok(())
}
