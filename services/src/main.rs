//! The program `pilothouse`: one name, one service, one process. Isolation comes from the unit that starts it.

use std::path::{Path, PathBuf};

use clap::Parser;
use daemon::{Address, Options};
use domain::{Document, Service};

/// Runs one service of the head.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "Examples:
  pilothouse boot                                  as pilothouse-boot.service starts it
  pilothouse dhcp --check                          checks [dhcp] of the document and ends
  pilothouse boot --config demo.toml --run /tmp/run --state /tmp/state --listen http=unix:/tmp/run/boot.sock"
)]
struct Arguments {
    /// inventory, boot, cloud-init, images, dhcp, auth, ca, gateway, power, console, join, timeline or discovery
    service: Service,
    /// The configuration document
    #[arg(long, default_value = "/etc/pilothouse/pilothouse.toml")]
    config: PathBuf,
    /// The folder of the services' sockets
    #[arg(long, default_value = "/run/pilothouse")]
    run: PathBuf,
    /// The service's durable folder [default: $STATE_DIRECTORY, else /var/lib/pilothouse/<service>]
    #[arg(long)]
    state: Option<PathBuf>,
    /// A socket to bind, NAME=unix:/PATH, NAME=tcp:ADDRESS:PORT or NAME=udp:ADDRESS:PORT; may be repeated
    #[arg(long, value_parser = listen)]
    listen: Vec<(String, Address)>,
    /// Check the service's part of the document and end
    #[arg(long)]
    check: bool,
    /// Have the running service renew its certificates, and end
    #[arg(long, conflicts_with = "check")]
    renew: bool,
}

fn listen(text: &str) -> Result<(String, Address), String> {
    let (name, address) = text.split_once('=').ok_or("write NAME=unix:/PATH")?;
    Ok((name.to_owned(), address.parse()?))
}

fn main() -> anyhow::Result<()> {
    let Arguments { service, config, run, state, listen, check, renew } = Arguments::parse();
    if renew {
        return renew_certificates(service, &run);
    }
    if check {
        let text = std::fs::read_to_string(&config)?;
        return check_document(service, &Document::parse(&text)?);
    }
    let options = Options { service, config, run, state, listen };
    match service {
        Service::Inventory => daemon::run(options, inventory::serve),
        Service::Boot => daemon::run(options, boot::serve),
        Service::CloudInit => daemon::run(options, cloud_init::serve),
        Service::Images => daemon::run(options, images::serve),
        Service::Dhcp => daemon::run(options, dhcp::serve),
        Service::Auth => daemon::run(options, auth::serve),
        Service::Ca => daemon::run(options, ca::serve),
        Service::Gateway => daemon::run(options, gateway::serve),
        Service::Power => daemon::run(options, power::serve),
        Service::Console => daemon::run(options, console::serve),
        Service::Join => daemon::run(options, join::serve),
        Service::Timeline => daemon::run(options, timeline::serve),
        Service::Discovery => daemon::run(options, discovery::serve),
    }
}

/// As pilothouse-renew@.service does.
fn renew_certificates(service: Service, run: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(service == Service::Gateway, "{service} has no certificate of its own");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(gateway::renew(run))
}

fn check_document(service: Service, document: &Document) -> anyhow::Result<()> {
    match service {
        Service::Inventory => inventory::check(document),
        Service::Boot => boot::check(document),
        Service::CloudInit => cloud_init::check(document),
        Service::Images => images::check(document),
        Service::Dhcp => dhcp::check(document),
        Service::Auth => auth::check(document),
        Service::Ca => ca::check(document),
        Service::Gateway => gateway::check(document),
        Service::Power => power::check(document),
        Service::Console => console::check(document),
        Service::Join => join::check(document),
        Service::Timeline => timeline::check(document),
        Service::Discovery => discovery::check(document),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use domain::{Document, Service};

    use super::check_document;

    /// The documents of README: the first one, and what is shown later added to it.
    fn documents() -> Vec<String> {
        let readme = include_str!("../../README.md");
        let parts = readme.split("```toml\n").skip(1).map(|it| it.split("```").next().unwrap());
        let mut parts = parts.map(|it| it.replace("AAAA\u{2026}", KEY));
        // The secrets are the answer file's.
        let whole = parts.next().unwrap();
        let whole = whole.split("[secrets.").next().unwrap().to_owned();
        let added = parts.map(|it| format!("{whole}\n{it}")).collect::<Vec<_>>();
        [vec![whole.clone()], added].concat()
    }

    const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIMkK1vB7nQvJ3p7yq0o3Yl0m5yqO6y3m7m8m9n0p1q2r";

    #[test]
    fn what_readme_shows_of_the_document_holds() {
        let documents = documents();
        assert!(documents.len() >= 4, "{}", documents.len());
        for text in documents {
            let document = Document::parse(&text).unwrap_or_else(|it| panic!("{it}\n{text}"));
            for service in Service::ALL {
                check_document(service, &document).unwrap_or_else(|it| panic!("{service}: {it:#}\n{text}"));
            }
        }
    }
}
