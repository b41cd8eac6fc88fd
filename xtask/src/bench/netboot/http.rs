//! HTTP: a root image of 1 GiB to one client and to 64 at once, beside nginx with sendfile, on loopback.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use domain::Service;
use tests::head::Ports;
use tests::program::find;
use tests::{Head, HeadOptions, Process, Run, settle};

use super::table::{Figure, Row};
use super::{Place, cost, peers};

const NGINX: u16 = 18_080;
const FILE: &str = "root";
const GIB: u64 = 1 << 30;

/// A server of the file.
struct Server {
    who: &'static str,
    url: String,
    pid: u32,
    /// Bytes a second, and processor seconds a GB, by the number of clients.
    figures: [(Vec<f64>, Vec<f64>); 2],
}

/// Both rows.
pub(super) async fn rows(place: &Place) -> anyhow::Result<Vec<Row>> {
    let root = write_file(place)?;
    let mut head = start_ours(&root).await?;
    let port = head.address(Service::Images, "images").context("the port of images")?.port();
    let ours = Server::new("Pilothouse", port, head.pid(Service::Images).context("images runs")?);
    let nginx = start_nginx(place, &root).await;
    let mut notes = vec!["nginx: 2 workers, sendfile, tcp_nopush, no access log; page cache warm".to_owned()];
    let mut servers = vec![ours];
    match &nginx {
        Ok(process) => servers.push(Server::new("nginx", NGINX, process.pid())),
        Err(error) => notes.push(format!("not measured: {error:#}")),
    }
    for round in 1..=place.rounds {
        eprintln!("  HTTP: round {round} of {}", place.rounds);
        for (index, clients) in [1, 64].into_iter().enumerate() {
            for server in &mut servers {
                server.measure(index, clients)?;
            }
        }
    }
    if let Ok(process) = nginx {
        peers::stop(process).await?;
    }
    head.stop(Service::Images).await?;
    drop(head);
    fs::remove_file(root.join(FILE)).context("remove the image")?;
    Ok([1, 64]
        .into_iter()
        .enumerate()
        .map(|(index, clients)| row(index, clients, &servers, &notes))
        .collect())
}

fn row(index: usize, clients: u32, servers: &[Server], notes: &[String]) -> Row {
    let figure = |it: &Server| {
        let (rates, costs) = &it.figures[index];
        let rates = rates.iter().map(|it| it / 1e9).collect();
        Figure::of(it.who, "GB/s", rates).with_cpu(cost::median(costs.iter().copied()), "s of processor/GB")
    };
    let mut row = Row {
        what: format!("1 GiB over HTTP to {clients} client{}", if clients == 1 { "" } else { "s at once" }),
        target: ">= 1.0 x nginx, processor <= 1.1 x",
        ours: servers.first().map(figure),
        peers: servers.iter().skip(1).map(figure).collect(),
        notes: notes.to_vec(),
        ..Row::default()
    };
    if let (Some(ours), [nginx]) = (&row.ours, row.peers.as_slice()) {
        let cpu = ours.cpu.unwrap_or_default() / nginx.cpu.unwrap_or(f64::NAN);
        row.met = Some(ours.value >= nginx.value && cpu <= 1.1);
        row.notes.push(format!("{:.2} x nginx's rate, {cpu:.2} x its processor", ours.value / nginx.value));
    }
    row
}

impl Server {
    fn new(who: &'static str, port: u16, pid: u32) -> Self {
        Self { who, url: format!("http://127.0.0.1:{port}/{FILE}"), pid, figures: Default::default() }
    }

    fn measure(&mut self, index: usize, clients: u32) -> anyhow::Result<()> {
        let curl = find("curl", "curl")?;
        let before = cost::cpu(&[self.pid]);
        let begun = Instant::now();
        let start = || {
            let mut command = Command::new(&curl);
            command.args(["-sf", "-o", "/dev/null", "-w", "%{size_download}", &self.url]);
            command.stdout(Stdio::piped()).spawn()
        };
        let running: std::io::Result<Vec<_>> = (0..clients).map(|_| start()).collect();
        let mut bytes = 0;
        for child in running.context("run curl")? {
            let output = child.wait_with_output()?;
            ensure!(output.status.success(), "curl {}: {}", self.url, output.status);
            bytes +=
                String::from_utf8_lossy(&output.stdout).trim().parse::<u64>().context("curl says no size")?;
        }
        let seconds = begun.elapsed().as_secs_f64();
        ensure!(bytes == GIB * u64::from(clients), "{bytes} bytes came");
        let cpu = cost::cpu(&[self.pid]).saturating_sub(before).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "fewer than 2^53 bytes")]
        let bytes = bytes as f64;
        let (rates, costs) = &mut self.figures[index];
        rates.push(bytes / seconds);
        costs.push(cpu / (bytes / 1e9));
        eprintln!(
            "    {}: {:.2} GB/s, {:.3} s of processor/GB",
            self.who,
            bytes / seconds / 1e9,
            cpu / (bytes / 1e9)
        );
        Ok(())
    }
}

fn write_file(place: &Place) -> anyhow::Result<PathBuf> {
    let root = place.folder.join("www");
    fs::create_dir_all(&root)?;
    for folder in [&place.folder, &root] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    }
    let mut file = fs::File::create(root.join(FILE)).context("write an image of 1 GiB")?;
    let bytes: Vec<u8> = (0..1_usize << 20).map(|it| (it.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for _ in 0..GIB / (1 << 20) {
        file.write_all(&bytes).context("write an image of 1 GiB")?;
    }
    file.set_permissions(fs::Permissions::from_mode(0o644))?;
    Ok(root)
}

async fn start_ours(root: &Path) -> anyhow::Result<Head> {
    let mut options = HeadOptions {
        services: vec![Service::Inventory, Service::Images],
        address: Ipv4Addr::LOCALHOST.into(),
        ports: Ports::default(),
        ..HeadOptions::default()
    };
    tests::document::set(&mut options.document, "images.root", root.display().to_string().into())?;
    Head::start(options).await
}

async fn start_nginx(place: &Place, root: &Path) -> anyhow::Result<Process> {
    let nginx = find("nginx", "nginx-light")?;
    let folder = place.folder.join("nginx");
    fs::create_dir_all(&folder)?;
    let path = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|it| format!("{it}_temp_path {path}/{it};"))
        .concat();
    let settings = format!(
        "user root; worker_processes 2; daemon off; pid {path}/pid; error_log {path}/error;\n\
         worker_rlimit_nofile 16384; events {{ worker_connections 8192; }}\n\
         http {{ access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 1000000; {temporary}\n\
         server {{ listen 127.0.0.1:{NGINX} backlog=4096; root {}; }} }}\n",
        root.display()
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, settings)?;
    let run = Run::new("nginx", nginx, folder.join("log")).arg("-c").arg(&file).arg("-p").arg(&folder);
    let process = run.spawn()?;
    settle::until(Duration::from_secs(10), "nginx listens", async || {
        ensure!(process.is_running(), "nginx ended\n{}", process.tail(10));
        Ok(TcpStream::connect(("127.0.0.1", NGINX)).ok())
    })
    .await?;
    Ok(process)
}
