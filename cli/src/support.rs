//! `pilotctl support-bundle`: what somebody who helps from afar needs to see, in one file, and no secret in it.

mod mask;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use domain::Service;
use nix::unistd::mkdtemp;
use tokio::process::Command;

use crate::Head;
use crate::error::Failure;
use crate::output::progress;

/// How long a program or a service may take.
const PART_MAX: Duration = Duration::from_secs(60);
/// The longest part; of a longer one its end is kept.
const PART_BYTES_MAX: usize = 64 << 20;

/// Collects the journal, states, versions, the document and what is wrong in one file, for whoever is to help.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "What is in it: the journal of our units, the states of all units, versions of all packages, the document, \
health issues, certificates' dates, lists of nodes, images, leases and boots, the audit's last records, addresses, routes, \
disks. What looks like a password, a key or a token is masked; secrets are in none of it in the first place. Look through it \
before it leaves the site: tar --zstd -tf FILE.

Examples:
  pilotctl support-bundle
  pilotctl support-bundle --since 2h --to /srv/bundle.tar.zst"
)]
pub(crate) struct Arguments {
    /// How far back the journal goes
    #[arg(long, default_value = "24h")]
    since: domain::Span,
    /// The file; it must not be there yet [default: pilothouse-support-<time>.tar.zst]
    #[arg(long)]
    to: Option<PathBuf>,
}

/// What programs say: the file's name, the program, its words. Each is on every head.
const PROGRAMS: [(&str, &str, &[&str]); 13] = [
    ("units", "/usr/bin/systemctl", &["list-units", "--all", "--no-pager", "--full"]),
    ("units-failed", "/usr/bin/systemctl", &["status", "--failed", "--no-pager", "--lines=20"]),
    ("units-ours", "/usr/bin/systemctl", &["status", "pilothouse*", "--no-pager", "--lines=0"]),
    ("timers", "/usr/bin/systemctl", &["list-timers", "--all", "--no-pager"]),
    ("boots-of-the-head", "/usr/bin/journalctl", &["--list-boots", "--no-pager"]),
    ("packages", "/usr/bin/dpkg-query", &["-W"]),
    ("kernel", "/usr/bin/uname", &["-a"]),
    ("addresses", "/usr/bin/ip", &["-details", "-statistics", "address"]),
    ("routes", "/usr/bin/ip", &["route", "show", "table", "all"]),
    ("sockets", "/usr/bin/ss", &["-lntup"]),
    ("disks", "/usr/bin/df", &["-h"]),
    ("memory", "/usr/bin/free", &["-m"]),
    ("clock", "/usr/bin/chronyc", &["-n", "sources"]),
];

/// What services say.
const ANSWERS: [(&str, Service, &str); 9] = [
    ("nodes", Service::Inventory, "/pilothouse/v1/nodes"),
    ("bmcs", Service::Inventory, "/pilothouse/v1/bmcs"),
    ("boot-parameters", Service::Boot, "/boot/v1/bootparameters"),
    ("images", Service::Images, "/pilothouse/v1/images"),
    ("leases", Service::Dhcp, "/pilothouse/v1/leases"),
    ("boots", Service::Timeline, "/pilothouse/v1/boots?since=7d"),
    ("report", Service::Timeline, "/pilothouse/v1/report"),
    ("audit", Service::Timeline, "/pilothouse/v1/audit?limit=1000"),
    ("audit-verify", Service::Timeline, "/pilothouse/v1/audit/verify"),
];

/// The folder that becomes the file.
struct Bundle {
    folder: PathBuf,
    name: String,
    /// What could not be had, and why.
    missing: Vec<String>,
}

pub(crate) async fn run(head: &Head, arguments: &Arguments) -> Result<(), Failure> {
    let now = time::OffsetDateTime::now_utc();
    let ((year, month, day), (hour, minute, second)) = (now.to_calendar_date(), now.to_hms());
    let month = u8::from(month);
    let name = format!("pilothouse-support-{year}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z");
    let to = arguments.to.clone().unwrap_or_else(|| format!("{name}.tar.zst").into());
    // Nobody else reads it on its way; whoever reads the file decides that later.
    let folder = mkdtemp(&std::env::temp_dir().join("pilothouse-support-XXXXXX"));
    let folder = folder.map_err(|it| Failure::failed(format!("cannot make a folder for the parts: {it}")))?;
    let bundle = Bundle { folder: folder.clone(), name, missing: Vec::new() };
    let bar = progress("collecting");
    let made = bundle.make(head, arguments, &to).await;
    bar.finish_and_clear();
    std::fs::remove_dir_all(&folder)?;
    for missing in made? {
        eprintln!("pilotctl: without {missing}");
    }
    println!("{}", to.display());
    Ok(())
}

impl Bundle {
    /// Collects and packs; what could not be had.
    async fn make(mut self, head: &Head, arguments: &Arguments, to: &Path) -> Result<Vec<String>, Failure> {
        std::fs::create_dir(self.folder.join(&self.name))?;
        self.put("version", format!("pilotctl {}\n", env!("CARGO_PKG_VERSION")).as_bytes())?;
        self.copy("os-release", Path::new("/etc/os-release"))?;
        self.copy("pilothouse.toml", &head.config)?;
        for (name, program, words) in PROGRAMS {
            let told = run_program(program, words).await;
            self.take(&format!("{name}.txt"), told)?;
        }
        let since = format!("--since=-{}s", arguments.since.0.as_secs());
        for (name, which) in [("journal", "--unit=pilothouse*"), ("journal-kernel", "--dmesg")] {
            let form = ["--no-pager", "--quiet", "--output=short-iso-precise", "--lines=200000"];
            let words = [&[which, &since][..], &form].concat();
            let told = run_program("/usr/bin/journalctl", &words).await;
            self.take(&format!("{name}.txt"), told)?;
        }
        for (name, service, path) in ANSWERS {
            let told = ask(head, service, path).await;
            self.take(&format!("{name}.json"), told)?;
        }
        for service in Service::ALL {
            let told = ask(head, service, "/readyz").await;
            self.take(&format!("ready-{service}.json"), told)?;
            let told = ask(head, service, "/metrics").await;
            self.take(&format!("metrics-{service}.txt"), told)?;
            for file in ["issues.json", "certificates.json"] {
                let path = head.run.join(service.name()).join(file);
                if path.exists() {
                    self.copy(&format!("{service}-{file}"), &path)?;
                }
            }
        }
        let missing = self.missing.join("\n");
        self.put("missing.txt", missing.as_bytes())?;
        self.pack(to).await?;
        Ok(self.missing)
    }

    /// Writes a part, masked.
    fn put(&self, name: &str, content: &[u8]) -> Result<(), Failure> {
        let text = String::from_utf8_lossy(&content[content.len().saturating_sub(PART_BYTES_MAX)..]);
        Ok(std::fs::write(self.folder.join(&self.name).join(name), mask::mask(&text))?)
    }

    fn take(&mut self, name: &str, told: Result<Vec<u8>, String>) -> Result<(), Failure> {
        match told {
            Ok(content) => self.put(name, &content),
            Err(why) => {
                self.missing.push(format!("{name}: {why}"));
                Ok(())
            }
        }
    }

    fn copy(&mut self, name: &str, from: &Path) -> Result<(), Failure> {
        let told = std::fs::read(from).map_err(|it| format!("cannot read {}: {it}", from.display()));
        self.take(name, told)
    }

    async fn pack(&self, to: &Path) -> Result<(), Failure> {
        use std::os::unix::fs::OpenOptionsExt;
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
        let file = file.map_err(|it| Failure::failed(format!("cannot write {}: {it}", to.display())))?;
        let mut tar = Command::new("/usr/bin/tar");
        tar.args(["--zstd", "--create", "--owner=root:0", "--group=root:0", "--directory"]);
        tar.arg(&self.folder).arg(&self.name).stdin(Stdio::null()).stdout(file).stderr(Stdio::piped());
        // Not `output()`: that would take what it prints away from the file.
        let cannot = |it| Failure::failed(format!("cannot run /usr/bin/tar: {it}"));
        let running = tar.kill_on_drop(true).spawn().map_err(cannot)?;
        let packed = tokio::time::timeout(PART_MAX, running.wait_with_output()).await;
        let packed = packed.map_err(|_| Failure::failed("tar takes too long"))?.map_err(cannot)?;
        if packed.status.success() {
            return Ok(());
        }
        std::fs::remove_file(to)?;
        Err(Failure::failed(format!("tar: {}", String::from_utf8_lossy(&packed.stderr).trim())))
    }
}

/// What a program prints, on both of its outputs; `systemctl status` fails where something has.
async fn run_program(program: &str, words: &[&str]) -> Result<Vec<u8>, String> {
    let mut command = Command::new(program);
    command.args(words).env("LC_ALL", "C").stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(PART_MAX, command.output()).await {
        Ok(Ok(mut output)) => {
            output.stdout.append(&mut output.stderr);
            Ok(output.stdout)
        }
        Ok(Err(error)) => Err(format!("cannot run {program}: {error}")),
        Err(_) => Err(format!("{program} takes too long")),
    }
}

async fn ask(head: &Head, service: Service, path: &str) -> Result<Vec<u8>, String> {
    let client = head.client(service);
    let asked = client.text(axum::http::Method::GET, path, None::<&()>);
    match tokio::time::timeout(PART_MAX, asked).await {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("{service} takes too long")),
    }
}
