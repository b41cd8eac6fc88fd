//! A head in a lab, and the administrator's desk beside it: `pilotctl`, `curl`, machines on the wire.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use tests::head::Ports;
use tests::net::{self, Client};
use tests::{Head, HeadOptions, Net, document, node, program, settle};

/// The head from the outside.
pub(crate) const TLS: &str = "https://demo.openchami.cluster:8443";
pub(crate) const PLAIN: &str = "http://172.16.0.254:8081";
/// The key of the administrator `alice`.
pub(crate) const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMkK1vB7nQvJ3p7yq0o3Yl0m5yqO6y3m7m8m9n0p1q2r alice@site";
/// How long a service may lag behind the inventory; 200 ms is promised on an idle machine.
pub(crate) const FOLLOW_MAX: Duration = Duration::from_secs(10);
/// A user without any right on the head: `nobody`.
const STRANGER: &str = "65534";

pub(crate) struct Desk {
    pub(crate) head: Head,
    pub(crate) net: Net,
    pub(crate) folder: PathBuf,
    pilotctl: PathBuf,
    root: PathBuf,
}

/// What a command left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// An HTTP answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

/// What a DHCP client was given, by udhcpc's names.
pub(crate) type Given = BTreeMap<String, String>;

impl Desk {
    /// Starts the demo's head on a bridge, with real ports, one image and one administrator.
    pub(crate) async fn open(folder: &Path, options: HeadOptions) -> anyhow::Result<Self> {
        Self::open_set(folder, options, &[]).await
    }

    /// The same with settings, as `--set` reads them.
    pub(crate) async fn open_set(
        folder: &Path,
        options: HeadOptions,
        settings: &[&str],
    ) -> anyhow::Result<Self> {
        let net = Net::up(folder)?;
        net.add_address(net::HEAD)?;
        let mut options = HeadOptions {
            address: std::net::Ipv4Addr::UNSPECIFIED.into(),
            ports: Ports::REAL,
            document: cluster()?,
            ..options
        };
        for setting in settings {
            options = options.set(setting)?;
        }
        let head = Head::start(options).await?;
        let image = head.images().join("compute/latest");
        std::fs::create_dir_all(&image).context("make an image")?;
        for name in ["vmlinuz-6.12", "initramfs-6.12.img", "rootfs-6.12"] {
            std::fs::write(image.join(name), name)?;
        }
        let pilotctl = folder.join("pilotctl");
        std::fs::copy(program::pilotctl()?, &pilotctl)
            .context("copy pilotctl to where everybody may run it")?;
        std::fs::set_permissions(&pilotctl, std::fs::Permissions::from_mode(0o755))?;
        let root = head.root_certificate().await?.context("ca has no root")?;
        Ok(Self { head, net, folder: folder.to_owned(), pilotctl, root })
    }

    /// The file with the root certificates.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// `pilotctl` of an administrator.
    pub(crate) fn pilotctl(&self, words: &[&str]) -> anyhow::Result<Ran> {
        self.pilotctl_with(words, "")
    }

    /// The same with an input.
    pub(crate) fn pilotctl_with(&self, words: &[&str], input: &str) -> anyhow::Result<Ran> {
        run(self.at_head(Command::new(&self.pilotctl)).args(words), input)
    }

    /// What it prints; an error if it fails.
    pub(crate) fn told(&self, words: &[&str]) -> anyhow::Result<String> {
        let ran = self.pilotctl(words)?;
        ensure!(ran.code == 0, "pilotctl {} ended with {ran:?}", words.join(" "));
        Ok(ran.out)
    }

    /// What it prints as JSON.
    pub(crate) fn told_json(&self, words: &[&str]) -> anyhow::Result<Value> {
        let text = self.told(&[words, &["--output", "json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("pilotctl {}: {text}", words.join(" ")))
    }

    /// `pilotctl` of a user without rights.
    pub(crate) fn stranger(&self, words: &[&str]) -> anyhow::Result<Ran> {
        let mut command = as_stranger(&self.pilotctl)?;
        run(self.at_head(&mut command).args(words), "")
    }

    /// `pilotctl` under another name.
    pub(crate) fn called(&self, name: &str, words: &[&str]) -> anyhow::Result<Ran> {
        let link = self.folder.join(name);
        std::os::unix::fs::symlink(&self.pilotctl, &link).context("make a link")?;
        run(self.at_head(Command::new(link)).args(words), "")
    }

    /// `pilotctl` where nobody answers: in a folder that the services' sockets are not in.
    pub(crate) fn alone(&self, run_folder: &Path, words: &[&str]) -> anyhow::Result<Ran> {
        let mut command = Command::new(&self.pilotctl);
        command.arg("--run").arg(run_folder).arg("--config").arg(self.head.document());
        run(command.args(words), "")
    }

    fn at_head<C: std::borrow::BorrowMut<Command>>(&self, mut command: C) -> C {
        let it: &mut Command = command.borrow_mut();
        it.env("PILOTHOUSE_RUN", self.head.sockets()).env("PILOTHOUSE_CONFIG", self.head.document());
        command
    }

    /// Imports these of the demo's nodes.
    pub(crate) fn import(&self, nids: std::ops::RangeInclusive<u8>) -> anyhow::Result<Ran> {
        let nodes: Vec<_> = nids.map(tests::Node::demo).collect();
        let ran = self.pilotctl_with(&["nodes", "import", "-"], &node::nodes_yaml(&nodes))?;
        ensure!(ran.code == 0, "the import ended with {ran:?}");
        Ok(ran)
    }

    /// A machine with the MAC address of a demo node; it has no address yet.
    pub(crate) async fn machine(&self, nid: u8) -> anyhow::Result<Client> {
        let node = tests::Node::demo(nid);
        self.net.add_client(tests::net::BRIDGE, &node.name(), &node.mac()).await
    }

    /// What DHCP gives a machine, which takes its address; None if nothing.
    pub(crate) fn dhcp(&self, machine: &Client, words: &[&str]) -> anyhow::Result<Option<Given>> {
        let (script, out) = (self.folder.join("udhcpc.script"), self.folder.join("udhcpc.out"));
        let text = "#!/bin/sh\n[ \"$1\" = bound ] || exit 0\n\
            ip addr flush dev eth0; ip addr add \"$ip/24\" dev eth0; env >\"$OUT\"\n";
        std::fs::write(&script, text)?;
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
        let fixed = ["-i", "eth0", "-f", "-n", "-q", "-t", "5", "-T", "1", "-s"];
        let mut command = machine.command("udhcpc", &fixed)?;
        let ran = run(command.arg(&script).args(words).env_clear().env("OUT", &out), "")?;
        if ran.code != 0 {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&out).with_context(|| format!("udhcpc said {ran:?}"))?;
        std::fs::remove_file(&out)?;
        let of_client = ["OUT", "PWD", "SHLVL", "_", "PATH", "interface"];
        let pairs = text.lines().filter_map(|it| it.split_once('='));
        let given = pairs.filter(|it| !of_client.contains(&it.0));
        Ok(Some(given.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
    }

    /// `curl` on the head's own machine, which knows the root certificate.
    pub(crate) fn curl(&self, words: &[&str]) -> anyhow::Result<Answer> {
        self.ask(Command::new(program::find("curl", "curl")?), words)
    }

    /// `curl` on a machine on the wire.
    pub(crate) fn curl_on(&self, machine: &Client, words: &[&str]) -> anyhow::Result<Answer> {
        self.ask(machine.command("curl", &[])?, words)
    }

    /// `curl` on a service's own socket, as root.
    pub(crate) fn curl_socket(&self, service: &str, path: &str, words: &[&str]) -> anyhow::Result<Answer> {
        let socket = self.head.sockets().join(format!("{service}.sock")).display().to_string();
        self.curl(&[&["--unix-socket", &socket, &format!("http://localhost{path}")], words].concat())
    }

    /// The same as a user without rights.
    pub(crate) fn curl_stranger(&self, service: &str, path: &str, words: &[&str]) -> anyhow::Result<Answer> {
        let socket = self.head.sockets().join(format!("{service}.sock")).display().to_string();
        let command = as_stranger(&program::find("curl", "curl")?)?;
        let fixed = ["--unix-socket", &socket, &format!("http://localhost{path}")];
        self.ask(command, &[&fixed, words].concat())
    }

    /// An API call over TLS with a token.
    pub(crate) fn api(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Option<&str>,
    ) -> anyhow::Result<Answer> {
        let (bearer, url) = (format!("authorization: Bearer {token}"), format!("{TLS}{path}"));
        let mut words = vec!["--request", method, "--header", &bearer, &url];
        if let Some(body) = body {
            words.extend(["--header", "content-type: application/json", "--data-binary", body]);
        }
        self.curl(&words)
    }

    fn ask(&self, mut command: Command, words: &[&str]) -> anyhow::Result<Answer> {
        let fixed = ["-sS", "-i", "--path-as-is", "--max-time", "20", "--noproxy", "*"];
        command.args(fixed).args(["--resolve", "demo.openchami.cluster:8443:172.16.0.254"]);
        let ran = run(command.arg("--cacert").arg(&self.root).args(words), "")?;
        ensure!(ran.code == 0, "curl {} ended with {ran:?}", words.join(" "));
        let text = ran.out.replace("\r\n", "\n");
        let (head, body) = text.split_once("\n\n").with_context(|| format!("no answer: {text}"))?;
        let mut lines = head.lines();
        let status = lines.next().and_then(|it| it.split(' ').nth(1)?.parse().ok());
        let headers = lines.filter_map(|it| it.split_once(": "));
        Ok(Answer {
            status: status.with_context(|| format!("no status: {head}"))?,
            headers: headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect(),
            body: body.to_owned(),
        })
    }

    /// A token of a role, as on the head's shell.
    pub(crate) fn token(&self, role: &str) -> anyhow::Result<String> {
        Ok(self.told(&["token", "--role", role])?.trim().to_owned())
    }

    /// Waits until an answer is what it should be.
    pub(crate) async fn until(
        &self,
        what: &str,
        mut ask: impl FnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let waited = settle::until(FOLLOW_MAX, what, async || Ok(ask()?.then_some(())));
        waited.await.map_err(|error| error.context(self.head.tails(15)))
    }
}

impl Answer {
    pub(crate) fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("no JSON: {self:?}"))
    }
}

/// The demo cluster with a pool for strangers and an administrator; nobody's word is taken for addresses.
fn cluster() -> anyhow::Result<toml::Table> {
    let mut document = document::demo(net::BRIDGE, net::HEAD);
    let planes = document.get_mut("network").and_then(|it| it.get_mut("planes"));
    let plane = planes.and_then(|it| it.get_mut(0)?.as_table_mut()).context("the demo's plane")?;
    let subnets = "subnets = [{ cidr = \"172.16.0.0/24\", range = \"172.16.0.200-172.16.0.250\" }]";
    plane.extend(toml::from_str::<toml::Table>(subnets)?);
    document::set(&mut document, "admins.alice.ssh_keys", vec![KEY].into())?;
    document::set(&mut document, "gateway.trusted_proxies", toml::Value::Array(Vec::new()))?;
    Ok(document)
}

fn as_stranger(program: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(program::find("setpriv", "util-linux")?);
    command.args(["--reuid", STRANGER, "--regid", STRANGER, "--clear-groups", "--"]).arg(program);
    Ok(command)
}

fn run(command: &mut Command, input: &str) -> anyhow::Result<Ran> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("run {name}"))?;
    let mut stdin = child.stdin.take().context("write to it")?;
    if let Err(error) = std::io::Write::write_all(&mut stdin, input.as_bytes())
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        bail!("write to {name}: {error}");
    }
    drop(stdin);
    let Output { status, stdout, stderr } = child.wait_with_output()?;
    let text = |it: Vec<u8>| String::from_utf8_lossy(&it).into_owned();
    let code = status.code().with_context(|| format!("{name} was killed: {status}"))?;
    Ok(Ran { code, out: text(stdout), err: text(stderr) })
}
