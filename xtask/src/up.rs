//! `cargo xtask up`: all services on this machine, on loopback, with a throwaway PostgreSQL.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use domain::Service;
use serde_json::{Value, json};
use tests::head::{Ports, Trusted};
use tests::{Head, HeadOptions, Node, document, node};
use tokio::signal::unix::{SignalKind, signal};

/// How often a service that ended by itself is looked for.
const LOOK: Duration = Duration::from_millis(500);

/// Run all services here, on loopback, until Ctrl-C; prints one line of JSON when all is ready
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask up                                       every service, free ports, a demo inventory
  cargo xtask up --empty --port-base 20000             gateway on 20081 and 20043 (TLS), images on 20080
  cargo xtask up --profile noauth --empty --set cloud_init.api=legacy
  cargo xtask up --profile jwt --trust-jwks jwks.json --issuer http://127.0.0.1:3333 --audience smd
  cargo xtask up --only inventory,boot                 for who works on these two

The line: {gateway, gateway_tls, smd, bss, cloud_init, images, auth, dhcp, tftp, sockets, database, token, ca, pid}.
Logs are beside the sockets, in ../log. SIGINT or SIGTERM ends it and leaves nothing.")]
pub(crate) struct Arguments {
    /// Who may ask: holders of tokens; everybody (by a second listener on loopback); holders of another issuer's tokens
    #[arg(long, value_enum, default_value = "tokens")]
    profile: Profile,
    /// The keys of the other issuer, a file with a JWK set (profile jwt)
    #[arg(long, value_name = "FILE", required_if_eq("profile", "jwt"))]
    trust_jwks: Option<PathBuf>,
    /// The other issuer's `iss` (profile jwt)
    #[arg(long, value_name = "URL", required_if_eq("profile", "jwt"))]
    issuer: Option<String>,
    /// The `aud` of its tokens (profile jwt)
    #[arg(long, required_if_eq("profile", "jwt"))]
    audience: Option<String>,
    /// Start with nothing in it, else with the demo's nodes
    #[arg(long, conflicts_with = "nodes")]
    empty: bool,
    /// Import this nodes.yaml
    #[arg(long, value_name = "FILE")]
    nodes: Option<PathBuf>,
    /// Override a value of the document; may be repeated
    #[arg(long, value_name = "TABLE.KEY=VALUE", value_parser = document::parse_setting)]
    set: Vec<(String, toml::Value)>,
    /// Ports from here on: +80 images, +81 gateway, +43 gateway with TLS, +67 dhcp, +69 tftp, +82 noauth; else free ones
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1024..65400))]
    port_base: Option<u16>,
    /// Run these services alone
    #[arg(long, value_delimiter = ',')]
    only: Vec<Service>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Profile {
    Tokens,
    Noauth,
    Jwt,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let options = options(&arguments)?;
    let nodes = nodes(&arguments)?;
    let work = async {
        let head = Head::start(options).await?;
        let line = ready(&head, nodes).await?;
        anyhow::Ok((head, line))
    };
    // Dropped on a signal, the unfinished head takes its processes with it.
    let (head, line) = tokio::select! {
        started = work => started?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    };
    println!("{line}");
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = look.tick() => if let Some(fallen) = head.fallen() { bail!(fallen) },
        }
    }
    head.shut_down().await
}

fn options(arguments: &Arguments) -> anyhow::Result<HeadOptions> {
    let mut options = HeadOptions::default();
    if !arguments.only.is_empty() {
        options.services.clone_from(&arguments.only);
    }
    if let Some(base) = arguments.port_base {
        options.ports = Ports::based(base);
    }
    options.front = arguments.profile == Profile::Noauth;
    if let (Profile::Jwt, Some(file), Some(issuer), Some(audience)) =
        (arguments.profile, &arguments.trust_jwks, &arguments.issuer, &arguments.audience)
    {
        let jwks = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        let (issuer, audience) = (issuer.clone(), audience.clone());
        options.trusted.push(Trusted { issuer, audience, jwks });
    }
    for (path, value) in &arguments.set {
        document::set(&mut options.document, path, value.clone())?;
    }
    Ok(options)
}

/// The nodes.yaml to import.
fn nodes(arguments: &Arguments) -> anyhow::Result<Option<String>> {
    if let Some(file) = &arguments.nodes {
        return std::fs::read_to_string(file).with_context(|| format!("read {}", file.display())).map(Some);
    }
    let wanted =
        !arguments.empty && (arguments.only.is_empty() || arguments.only.contains(&Service::Inventory));
    Ok(wanted.then(|| node::nodes_yaml(&[1, 2, 3].map(Node::demo))))
}

async fn ready(head: &Head, nodes: Option<String>) -> anyhow::Result<Value> {
    if let Some(nodes) = nodes {
        // Without boot parameters: here is no image they could name.
        head.pilotctl(&["nodes", "import", "--inventory-only", "-"], &nodes)?;
    }
    let url = |scheme: &str, service, socket| match head.address(service, socket) {
        Some(address) => Value::from(format!("{scheme}://{address}")),
        None => Value::Null,
    };
    let place = |socket| head.address(Service::Dhcp, socket).map(|it| it.to_string());
    let (plain, tls) = (url("http", Service::Gateway, "plain"), url("https", Service::Gateway, "tls"));
    let front = head.front().map(|it| Value::from(it.url()));
    let api = front.clone().unwrap_or_else(|| tls.clone());
    Ok(json!({
        "gateway": front.unwrap_or(plain),
        "gateway_tls": tls,
        "smd": api,
        "bss": api,
        "cloud_init": api,
        "images": url("http", Service::Images, "images"),
        "auth": tls,
        "dhcp": place("dhcp"),
        "tftp": place("tftp"),
        "sockets": head.sockets(),
        "database": head.database_url(),
        "token": head.token().await?,
        "ca": head.root_certificate().await?,
        "pid": std::process::id(),
    }))
}
