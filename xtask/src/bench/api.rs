//! `cargo xtask bench api`: the three APIs at 10,000 nodes.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::{Args, ValueEnum};
use domain::Service;
use http::Method;
use tests::{Head, HeadOptions};

use super::change::{Asker, Seen, get};
use super::data::{self, Node};
use super::load::{Order, Outcome, Target};
use super::table::{Row, text};

/// Different requests of one kind, so that no single answer is always in the processor's cache.
const VARIANTS: u32 = 2000;

/// Measure the inventory, boot and cloud-init APIs at full size
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask bench api
  cargo xtask bench api --only bootscript,change
  cargo xtask bench api --output json --seconds 10

The services run as `cargo xtask up` runs them, built for release; the load tool is a process of its own on the same
processors. Beside each figure stand what is promised and what the services we follow do at 10,000 nodes.")]
pub(super) struct Arguments {
    /// Measure these alone
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<What>,
    /// Nodes in the inventory
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..100_000))]
    nodes: u32,
    /// How long each load runs
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Changes that are followed
    #[arg(long, default_value_t = 1000)]
    changes: u32,
    /// Connections at once
    #[arg(long, default_value_t = 50)]
    connections: usize,
    /// Programs of the profile dev, for work on the bench itself
    #[arg(long)]
    pub(super) debug: bool,
    /// How to print the table
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    BulkCreate,
    Redfish,
    Bootscript,
    UserData,
    MetaData,
    Component,
    Components,
    Interfaces,
    Change,
    Memory,
}

/// A head that is measured.
struct Bench<'a> {
    arguments: &'a Arguments,
    head: Head,
    token: String,
    root: PathBuf,
    rows: Vec<Row>,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let wanted = |it: What| arguments.only.is_empty() || arguments.only.contains(&it);
    let mut rows = Vec::new();
    if wanted(What::BulkCreate) {
        rows.push(bulk_create(&arguments).await?);
    }
    let mut bench = Bench::start(&arguments).await?;
    bench.fill().await?;
    for what in What::value_variants().iter().copied().filter(|it| wanted(*it)) {
        bench.measure(what).with_context(|| format!("measure {what:?}"))?;
    }
    rows.append(&mut bench.rows);
    match arguments.output {
        Output::Text => print!("{}", text(&rows)),
        Output::Json => println!("{}", serde_json::to_string_pretty(&rows)?),
    }
    bench.head.shut_down().await
}

/// 10,000 components in one request, on an empty inventory.
async fn bulk_create(arguments: &Arguments) -> anyhow::Result<Row> {
    let options = HeadOptions { services: vec![Service::Inventory], ..HeadOptions::default() };
    let head = Head::start(options).await?;
    let body = data::components(arguments.nodes).to_string();
    let request = post("/hsm/v2/State/Components", &body, None);
    let socket = Target::Unix(head.sockets().join("inventory.sock"));
    let outcome = load(socket, vec![request], 1, None)?;
    let row = Row {
        what: "create 10,000 components at once",
        real: "fails after 4 s",
        target: "<= 1 s",
        socket: Some(format!("{} ms", outcome.most / 1000)),
        met: Some(outcome.refused == 0 && outcome.most <= 1_000_000),
        note: refusal(&outcome),
        ..Row::default()
    };
    head.shut_down().await?;
    Ok(row)
}

fn post(path: &str, body: &str, token: Option<&str>) -> String {
    let bearer = token.map(|it| format!("authorization: Bearer {it}\r\n")).unwrap_or_default();
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{bearer}\
         content-length: {length}\r\n\r\n{body}"
    )
}

fn refusal(outcome: &Outcome) -> Option<String> {
    let first = outcome.refusal.as_deref()?.replace("\r\n", " ");
    Some(format!("{} of {} refused: {first}", outcome.refused, outcome.answers))
}

/// Starts the load tool.
fn start(order: &Order) -> anyhow::Result<std::process::Child> {
    let mut command = Command::new(std::env::current_exe().context("find our own program")?);
    command.args(["bench", "load"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().context("start the load tool")?;
    let stdin = child.stdin.take().context("write the order")?;
    serde_json::to_writer(stdin, order).context("write the order")?;
    Ok(child)
}

fn load(
    target: Target,
    requests: Vec<String>,
    connections: usize,
    time: Option<Duration>,
) -> anyhow::Result<Outcome> {
    let warm_up = Duration::from_millis(500);
    finish(start(&Order { target, requests, connections, time, warm_up })?)
}

fn finish(child: std::process::Child) -> anyhow::Result<Outcome> {
    let output = child.wait_with_output().context("wait for the load tool")?;
    ensure!(output.status.success(), "the load tool ended with {}", output.status);
    serde_json::from_slice(&output.stdout).context("read what the load tool says")
}

impl<'a> Bench<'a> {
    async fn start(arguments: &'a Arguments) -> anyhow::Result<Self> {
        let head = Head::start(HeadOptions::default()).await?;
        let token = head.token().await?.context("auth gives no token")?;
        let root = head.root_certificate().await?.context("ca has no root")?;
        Ok(Self { arguments, head, token, root, rows: Vec::new() })
    }

    async fn fill(&self) -> anyhow::Result<()> {
        let count = self.arguments.nodes;
        let begun = Instant::now();
        self.head.pilotctl(&["nodes", "import", "--inventory-only", "-"], &data::nodes_yaml(count))?;
        eprintln!("{count} nodes imported in {:.1} s", begun.elapsed().as_secs_f64());
        let boot = self.head.client(Service::Boot);
        boot.text(Method::PUT, "/boot/v1/bootparameters", Some(&data::boot_parameters(count))).await?;
        let cloud_init = self.head.client(Service::CloudInit);
        cloud_init.text(Method::POST, "/cloud-init/", Some(&data::legacy_entry())).await?;
        let current = data::current_group();
        if let Err(error) = cloud_init.text(Method::POST, "/cloud-init/admin/groups", Some(&current)).await {
            eprintln!("no data of the present cloud-init API: {error}");
        }
        self.head.settle().await
    }

    fn socket(&self, service: Service) -> Target {
        Target::Unix(self.head.sockets().join(format!("{service}.sock")))
    }

    fn plain(&self) -> anyhow::Result<Target> {
        Ok(Target::Tcp(self.head.address(Service::Gateway, "plain").context("the gateway's port")?))
    }

    fn tls(&self) -> anyhow::Result<Target> {
        let address = self.head.address(Service::Gateway, "tls").context("the gateway's port")?;
        Ok(Target::Tls(address, self.root.clone()))
    }

    fn measure(&mut self, what: What) -> anyhow::Result<()> {
        let rate = |what, real, target| Row { what, real, target, ..Row::default() };
        let variants = || {
            (1..=self.arguments.nodes).step_by((self.arguments.nodes / VARIANTS).max(1) as usize).map(Node)
        };
        // Neighbouring numbers are of the two halves.
        let of = |group: &'static str| variants().map(move |it| Node(it.0 + u32::from(it.group() != group)));
        let row = match what {
            What::BulkCreate => return Ok(()),
            What::Bootscript => {
                let requests =
                    variants().map(|it| get(&format!("/boot/v1/bootscript?mac={}", it.mac(0)), None));
                let row = rate("boot script", "320/s, p99 0.65-1.2 s", ">= 20,000/s, p99 <= 10 ms");
                self.rate(row, Service::Boot, requests.collect(), self.plain()?, 20_000.0)?
            }
            What::UserData => {
                let requests = of("legacy").map(|it| get("/cloud-init/user-data", Some(it.address(0))));
                let row = rate("user-data (legacy)", "17/s with time-outs", ">= 20,000/s, p99 <= 10 ms");
                self.rate(row, Service::CloudInit, requests.collect(), self.plain()?, 20_000.0)?
            }
            What::MetaData => {
                let requests = of("current").map(|it| get("/cloud-init/meta-data", Some(it.address(0))));
                let row = rate("meta-data (present)", "835/s", ">= 20,000/s, p99 <= 10 ms");
                self.rate(row, Service::CloudInit, requests.collect(), self.plain()?, 20_000.0)?
            }
            What::Component => {
                let requests =
                    variants().map(|it| self.with_token(&format!("/hsm/v2/State/Components/{}", it.xname())));
                let row = rate("one component", "1,450/s", ">= 15,000/s");
                self.rate(row, Service::Inventory, requests.collect(), self.tls()?, 15_000.0)?
            }
            What::Components => {
                self.list("component list", "25 ms", "<= 20 ms", "/hsm/v2/State/Components", 20)?
            }
            What::Interfaces => {
                self.list("interface list", "46 ms", "<= 30 ms", "/hsm/v2/Inventory/EthernetInterfaces", 30)?
            }
            What::Redfish => self.redfish()?,
            What::Change => self.change()?,
            What::Memory => {
                self.memory()?;
                return Ok(());
            }
        };
        eprintln!("{}", text(std::slice::from_ref(&row)).lines().last().unwrap_or_default());
        self.rows.push(row);
        Ok(())
    }

    fn with_token(&self, path: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\r\n", self.token)
    }

    fn rate(
        &self,
        row: Row,
        service: Service,
        requests: Vec<String>,
        gateway: Target,
        least: f64,
    ) -> anyhow::Result<Row> {
        let time = Some(Duration::from_secs(self.arguments.seconds));
        let bare: Vec<String> = requests.iter().map(|it| without_token(it)).collect();
        let own = load(self.socket(service), bare, self.arguments.connections, time)?;
        let through = load(gateway, requests, self.arguments.connections, time)?;
        let told =
            |it: &Outcome| format!("{:.0}/s, p99 {:.1} ms", it.per_second(), f64::from(it.p99) / 1000.0);
        let met = own.refused == 0 && own.per_second() >= least && own.p99 <= 10_000;
        let note = refusal(&own).or_else(|| refusal(&through));
        Ok(Row { socket: Some(told(&own)), gateway: Some(told(&through)), met: Some(met), note, ..row })
    }

    fn list(
        &self,
        what: &'static str,
        real: &'static str,
        target: &'static str,
        path: &str,
        most_ms: u32,
    ) -> anyhow::Result<Row> {
        let time = Some(Duration::from_secs(self.arguments.seconds.min(3)));
        let request = self.with_token(path);
        let own = load(self.socket(Service::Inventory), vec![without_token(&request)], 1, time)?;
        let through = load(self.tls()?, vec![request], 1, time)?;
        let told = |it: &Outcome| format!("{:.1} ms", f64::from(it.p50) / 1000.0);
        Ok(Row {
            what,
            real,
            target,
            socket: Some(told(&own)),
            gateway: Some(told(&through)),
            met: Some(own.refused == 0 && own.p50 <= most_ms * 1000),
            note: refusal(&own).or_else(|| Some(format!("{} kB", own.bytes / 1000))),
        })
    }

    fn redfish(&self) -> anyhow::Result<Row> {
        let first = self.arguments.nodes + 100;
        let requests = |from: u32, token: Option<&str>| -> Vec<String> {
            let one = |it| {
                post(
                    "/hsm/v2/Inventory/RedfishEndpoints",
                    &data::redfish_endpoint(Node(it)).to_string(),
                    token,
                )
            };
            (from..from + 200).map(one).collect()
        };
        let own = load(self.socket(Service::Inventory), requests(first, None), 1, None)?;
        let through = load(self.tls()?, requests(first + 200, Some(&self.token)), 1, None)?;
        let told = |it: &Outcome| format!("{:.2} ms", f64::from(it.p50) / 1000.0);
        Ok(Row {
            what: "one RedfishEndpoint, with all it makes",
            real: "3.4 ms",
            target: "<= 2 ms",
            socket: Some(told(&own)),
            gateway: Some(told(&through)),
            met: Some(own.refused == 0 && own.p50 <= 2000),
            note: refusal(&own),
        })
    }

    /// New numbers for nodes, through the gateway, while boot scripts are asked for at full speed.
    fn change(&self) -> anyhow::Result<Row> {
        let changes = self.arguments.changes;
        let mac = |it: u32| get(&format!("/boot/v1/bootscript?mac={}", Node(it).mac(0)), None);
        let mut background = start(&Order {
            target: self.socket(Service::Boot),
            requests: (1..=VARIANTS.min(self.arguments.nodes)).map(mac).collect(),
            connections: self.arguments.connections,
            time: Some(Duration::from_secs(3600)),
            warm_up: Duration::ZERO,
        })?;
        let followed = self.follow_changes(changes);
        background.kill().context("end the load")?;
        background.wait()?;
        let (seen, lost) = followed?;
        let share = |pick: fn(&Seen) -> Option<Duration>, percent: usize| -> Option<f64> {
            let mut times: Vec<Duration> = seen.iter().filter_map(pick).collect();
            times.sort_unstable();
            let at = (times.len() * percent / 100).min(times.len().checked_sub(1)?);
            Some(times[at].as_secs_f64() * 1000.0)
        };
        let told = |pick| match (share(pick, 50), share(pick, 99)) {
            (Some(half), Some(most)) => format!("p50 {half:.1} p99 {most:.1} ms"),
            _ => "never".to_owned(),
        };
        let all = share(Seen::all, 99);
        Ok(Row {
            what: "a change, until DHCP, script and meta-data have it",
            real: "-",
            target: "p99 <= 200 ms",
            gateway: Some(told(Seen::all)),
            met: Some(lost == 0 && all.is_some_and(|it| it <= 200.0)),
            note: Some(format!(
                "{changes} changes, {lost} never seen; dhcp {}, script {}, meta-data {}",
                told(|it| it.dhcp),
                told(|it| it.script),
                told(|it| it.meta_data)
            )),
            ..Row::default()
        })
    }

    fn follow_changes(&self, changes: u32) -> anyhow::Result<(Vec<Seen>, usize)> {
        let dhcp = self.head.address(Service::Dhcp, "dhcp").context("dhcp's port")?;
        let mut asker = Asker::open(dhcp, &self.head.sockets())?;
        let (mut seen, mut lost) = (Vec::new(), 0);
        let mut patcher = super::load::Patcher::open(&self.tls()?)?;
        for it in 0..changes {
            // Of the half with data of the present API.
            let node = Node(2 + 2 * (it % (self.arguments.nodes / 2 - 1)));
            let nid = 100_000 + it;
            let body = serde_json::json!({ "NID": nid }).to_string();
            let path = format!("/hsm/v2/State/Components/{}/NID", node.xname());
            let request = post(&path, &body, Some(&self.token)).replacen("POST", "PATCH", 1);
            let status = patcher.ask(&request)?;
            ensure!(status == 204, "PATCH {path} answers {status}");
            let one = asker.watch(node, nid, Instant::now())?;
            lost += usize::from(one.all().is_none());
            seen.push(one);
            if lost > 3 {
                break;
            }
        }
        Ok((seen, lost))
    }

    /// Memory of each service that it shares with no other (PSS), after all that was asked of it.
    fn memory(&mut self) -> anyhow::Result<()> {
        for service in Service::ALL {
            let Some(pid) = self.head.pid(service) else { continue };
            let path = format!("/proc/{pid}/smaps_rollup");
            let rollup = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
            let pss = rollup.lines().find_map(|it| it.strip_prefix("Pss:"));
            let Some(kib) = pss.and_then(|it| it.trim().trim_end_matches(" kB").trim().parse::<u64>().ok())
            else {
                bail!("{path} has no Pss");
            };
            self.rows.push(Row {
                what: service.name(),
                real: "about 60 MiB",
                target: "<= 64 MiB",
                socket: Some(format!("{:.1} MiB", kib as f64 / 1024.0)),
                met: Some(kib <= 64 * 1024),
                ..Row::default()
            });
        }
        Ok(())
    }
}

/// On a socket root needs none.
fn without_token(request: &str) -> String {
    request.split_inclusive("\r\n").filter(|it| !it.starts_with("authorization:")).collect()
}
