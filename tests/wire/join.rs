//! A node's way to its secret data: by nonce, over SSH, by its TPM; with the script that runs on nodes, and everybody
//! who should not have it.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use domain::Service;
use http::Method;
use serde_json::{Value, json};
use tests::bmc::Tpm;
use tests::net::Client;
use tests::{HeadOptions, Node, accounts, lab, node, program};

use crate::desk::{Desk, PLAIN, TLS};

const SETTINGS: [&str; 2] =
    ["join.policy={ compute = 'nonce', login = 'push', secure = 'tpm' }", "join.hold='500ms'"];
/// The issue's count of each attack.
const TRIES: usize = 1000;

/// How often two machines claim one window: each takes the hold.
fn contests() -> usize {
    if program::is_whole() { TRIES } else { 10 }
}

fn nodes() -> [Node; 4] {
    [Node::demo(1), Node::demo(2).in_group("login"), Node::demo(3).in_group("secure"), Node::demo(4)]
}

fn secret(group: &str) -> String {
    format!("munge-key-of-{group}")
}

/// A head with a node for each way, and secret data for their groups.
async fn open(folder: &Path) -> anyhow::Result<Desk> {
    accounts::show(folder)?;
    let desk = Desk::open_set(folder, HeadOptions::default(), &SETTINGS).await?;
    let ran = desk.pilotctl_with(&["nodes", "import", "-"], &node::nodes_yaml(&nodes()))?;
    ensure!(ran.code == 0, "{ran:?}");
    let client = desk.head.client(Service::CloudInit);
    for group in ["compute", "login", "secure"] {
        let data = json!({"name": group, "cloud-init": {"metadata": {"instance-id": format!("i-{group}")},
            "userdata": {"write_files": [{"path": "/etc/munge.key", "content": secret(group)}]}}});
        client.text(Method::POST, "/cloud-init-secure/", Some(&data)).await?;
    }
    Ok(desk)
}

/// A machine that has its address.
async fn machine(desk: &Desk, nid: u8) -> anyhow::Result<Client> {
    let machine = desk.machine(nid).await?;
    let address = format!("172.16.0.{nid}");
    desk.until("the node has its address", || {
        Ok(desk.dhcp(&machine, &[])?.is_some_and(|it| it.get("ip") == Some(&address)))
    })
    .await?;
    Ok(machine)
}

fn mac(nid: u8) -> String {
    Node::demo(nid).mac()
}

/// Opens a node's window and renders its script.
async fn boot(desk: &Desk, machine: &Client, nid: u8) -> anyhow::Result<()> {
    let name = Node::demo(nid).name();
    desk.until("join knows the node", || {
        Ok(desk.pilotctl(&["join", "open", &name, "--for", "10m"])?.code == 0)
    })
    .await?;
    let url = format!("{PLAIN}/boot/v1/bootscript?mac={}&arch=x86_64", mac(nid));
    let named = format!("/join/{}.cpio", mac(nid));
    desk.until("the script names the nonce", || Ok(desk.curl_on(machine, &[&url])?.body.contains(&named)))
        .await
}

fn fetch(desk: &Desk, machine: &Client, nid: u8, to: &Path) -> anyhow::Result<String> {
    let (url, out) = (format!("{PLAIN}/join/{}.cpio", mac(nid)), to.display().to_string());
    let answer = run_curl(desk, machine, &["-sS", "-f", "-o", &out, &url])?;
    ensure!(answer.0, "the nonce is refused: {}", answer.1);
    let archive = std::fs::File::open(to)?;
    let cpio = Command::new(program::find("cpio", "cpio")?)
        .args(["--quiet", "-i", "--to-stdout", "pilothouse-join.nonce"])
        .stdin(archive)
        .output()?;
    let nonce = String::from_utf8(cpio.stdout)?;
    ensure!(nonce.len() == 64, "{nonce:?}");
    Ok(nonce)
}

fn run_curl(desk: &Desk, machine: &Client, words: &[&str]) -> anyhow::Result<(bool, String)> {
    let mut command = machine.command("curl", &["--cacert"])?;
    let ran = command.arg(desk.root()).args(words).output()?;
    let said = [ran.stdout, ran.stderr].map(|it| String::from_utf8_lossy(&it).into_owned()).concat();
    Ok((ran.status.success(), said))
}

/// The statuses of the same request, many times over few connections.
fn flood(desk: &Desk, machine: &Client, request: &str, times: usize) -> anyhow::Result<Vec<String>> {
    let lines = format!("{request}\noutput = \"/dev/null\"\nwrite-out = \"%{{http_code}}\\n\"\n");
    let config = desk.folder.join("flood");
    std::fs::write(&config, vec![lines; times].join("next\n"))?;
    let resolve = "demo.openchami.cluster:8443:172.16.0.254";
    let path = config.display().to_string();
    let (_, said) = run_curl(desk, machine, &["-sS", "--resolve", resolve, "-K", &path])?;
    let statuses: Vec<String> = said.lines().map(str::to_owned).collect();
    ensure!(
        statuses.len() == times,
        "{} answers of {times}: {}",
        statuses.len(),
        &said[..said.len().min(500)]
    );
    Ok(statuses)
}

fn all_refused(what: &str, statuses: &[String]) -> anyhow::Result<()> {
    let other = statuses.iter().find(|it| *it != "403");
    ensure!(other.is_none(), "{what}: {other:?}");
    Ok(())
}

fn trade(nid: u8, nonce: &str) -> String {
    let root = "cacert = \"@ROOT@\"\n";
    let body = format!("{{\\\"mac\\\":\\\"{}\\\",\\\"nonce\\\":\\\"{nonce}\\\"}}", mac(nid));
    format!("{root}url = \"https://172.16.0.254:8443/join/token\"\ndata = \"{body}\"")
}

/// A machine that runs the node's script: its /run is its own, cloud-init only keeps what it is given.
struct Agent {
    folder: PathBuf,
    given: PathBuf,
}

impl Agent {
    fn new(desk: &Desk, node: &Node) -> anyhow::Result<Self> {
        let folder = desk.folder.join(format!("agent-{}", node.name()));
        let given = folder.join("given");
        std::fs::create_dir_all(folder.join("bin"))?;
        let stub = format!(
            "#!/bin/sh\n[ \"$1\" = init ] || exit 0\ncp -r /run/pilothouse-join/cloud/seed/nocloud-net {}\n",
            given.display()
        );
        let path = folder.join("bin/cloud-init");
        std::fs::write(&path, stub)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        let line = format!("quiet xname={} ds=nocloud-net;s={PLAIN}/cloud-init/\n", node.xname());
        std::fs::write(folder.join("cmdline"), line)?;
        Ok(Self { folder, given })
    }

    /// The script after these commands, where the machine is.
    fn command(&self, machine: &Client, before: &str, word: &str) -> anyhow::Result<Command> {
        let script = program::top().join("image/compute/two-stage/usr/lib/pilothouse-join/join");
        let line = format!(
            "set -e; mount -t tmpfs -o mode=755 tmpfs /run; mkdir -p -m 700 /run/pilothouse-join; {before}\n\
             '{}' {word}; ls -A /run/pilothouse-join /run",
            script.display()
        );
        let mut command = machine.command("unshare", &["--mount", "--", "/bin/sh", "-c", &line])?;
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.folder.join("bin").display()));
        command.env("PILOTHOUSE_CMDLINE", self.folder.join("cmdline"));
        command.env("PILOTHOUSE_CLOUD", &self.folder);
        Ok(command)
    }

    fn run(&self, mut command: Command) -> anyhow::Result<String> {
        let ran = command.stdin(Stdio::null()).output().context("run the node's script")?;
        let said = [ran.stdout, ran.stderr].map(|it| String::from_utf8_lossy(&it).into_owned()).concat();
        ensure!(ran.status.success(), "the node's script: {said}");
        Ok(said)
    }

    /// cloud-init was given this group's secret, and nothing stays that could fetch it again.
    fn check(&self, said: &str, group: &str) -> anyhow::Result<()> {
        let given = std::fs::read_to_string(self.given.join("user-data")).context(said.to_owned())?;
        ensure!(given.contains(&secret(group)), "{given}\n{said}");
        let meta = std::fs::read_to_string(self.given.join("meta-data"))?;
        ensure!(meta.contains(&format!("instance-id: i-{group}")), "{meta}");
        for name in ["token", "nonce", "header", "cloud-init-jwt"] {
            ensure!(!said.lines().any(|it| it == name), "{name} stays: {said}");
        }
        Ok(())
    }
}

#[test]
fn a_node_gets_its_secret_by_the_nonce_of_its_boot() {
    lab::test("join::a_node_gets_its_secret_by_the_nonce_of_its_boot", async |folder| {
        let desk = open(&folder).await?;
        let node = Node::demo(1);
        let mine = machine(&desk, 1).await?;
        boot(&desk, &mine, 1).await?;
        let file = folder.join("join.cpio");
        let nonce = fetch(&desk, &mine, 1, &file)?;
        let agent = Agent::new(&desk, &node)?;
        let unpack = format!(
            "(umask 077; cpio --quiet -i --to-stdout pilothouse-join.nonce <'{}' >/run/pilothouse-join/nonce)",
            file.display()
        );
        let said = agent.run(agent.command(&mine, &unpack, "early")?)?;
        agent.check(&said, "compute")?;
        // It was seen nowhere.
        let script = desk.told(&["boot", "script", "nid001"])?;
        let history = desk.curl_socket("boot", "/boot/v1/endpoint-history", &[])?;
        ensure!(!format!("{script}{history:?}").contains(&nonce));
        for service in Service::ALL {
            let log = std::fs::read_to_string(desk.head.log(service)).unwrap_or_default();
            ensure!(!log.contains(&nonce), "the log of {service}");
        }
        desk.head.shut_down().await
    });
}

#[test]
fn a_token_reads_its_own_node_s_data_and_no_more() {
    lab::test("join::a_token_reads_its_own_node_s_data_and_no_more", async |folder| {
        let desk = open(&folder).await?;
        let mine = machine(&desk, 1).await?;
        let other = machine(&desk, 2).await?;
        boot(&desk, &mine, 1).await?;
        let nonce = fetch(&desk, &mine, 1, &folder.join("join.cpio"))?;
        let body = json!({"xname": Node::demo(1).xname(), "nonce": nonce}).to_string();
        let answer = desk.curl_on(&mine, &["--data", &body, &format!("{TLS}/join/token")])?;
        let token = answer.json()?["access_token"].as_str().context("a token")?.to_owned();
        let header = format!("authorization: Bearer {token}");
        let read = |machine: &Client, path: &str| {
            desk.curl_on(machine, &["--header", &header, &format!("{TLS}{path}")])
        };
        let own = read(&mine, "/cloud-init-secure/user-data")?;
        ensure!(own.status == 200 && own.body.contains(&secret("compute")), "{own:?}");
        ensure!(read(&mine, "/cloud-init-secure/x1000c1s7b1n0/user-data")?.status == 200);
        ensure!(read(&other, "/cloud-init-secure/user-data")?.status == 403, "another node's address");
        for path in [
            "/cloud-init-secure/x1000c1s7b2n0/user-data",
            "/cloud-init-secure/login/user-data",
            "/cloud-init-secure/",
            "/hsm/v2/State/Components/x1000c1s7b1n0",
            "/hsm/v2/groups",
            "/boot/v1/bootparameters",
            "/services/join/pilothouse/v1/nodes",
            "/services/auth/pilothouse/v1/clients",
            "/remote-console/consoles",
            "/services/boot/metrics",
        ] {
            let answer = read(&mine, path)?;
            ensure!(answer.status == 403, "{path}: {answer:?}");
        }
        let over_http =
            desk.curl_on(&mine, &["--header", &header, &format!("{PLAIN}/cloud-init-secure/user-data")])?;
        ensure!(over_http.status == 403, "{over_http:?}");
        desk.head.shut_down().await
    });
}

#[test]
fn replays_late_askers_and_spoofers_get_403() {
    lab::test("join::replays_late_askers_and_spoofers_get_403", async |folder| {
        let desk = open(&folder).await?;
        let mine = machine(&desk, 1).await?;
        let file = folder.join("join.cpio");
        let root = desk.root().display().to_string();
        let trade = |nonce: &str| trade(1, nonce).replace("@ROOT@", &root);
        let cpio = format!("url = \"{PLAIN}/join/{}.cpio\"", mac(1));
        // Late: the window is closed again.
        boot(&desk, &mine, 1).await?;
        let late = fetch(&desk, &mine, 1, &file)?;
        desk.told(&["join", "close", "nid001"])?;
        all_refused("a late fetch", &flood(&desk, &mine, &cpio, TRIES)?)?;
        all_refused("a late trade", &flood(&desk, &mine, &trade(&late), TRIES)?)?;
        // The node itself.
        boot(&desk, &mine, 1).await?;
        let nonce = fetch(&desk, &mine, 1, &file)?;
        let elsewhere = machine(&desk, 4).await?;
        all_refused("from elsewhere", &flood(&desk, &elsewhere, &cpio, 50)?)?;
        all_refused("from elsewhere", &flood(&desk, &elsewhere, &trade(&nonce), 50)?)?;
        let once = flood(&desk, &mine, &trade(&nonce), 1)?;
        ensure!(once == ["200"], "{once:?}");
        // After it.
        all_refused("a spoofer after the exchange", &flood(&desk, &mine, &cpio, TRIES)?)?;
        all_refused("a replay", &flood(&desk, &mine, &trade(&nonce), TRIES)?)?;
        desk.head.shut_down().await
    });
}

#[test]
fn a_spoofer_within_the_window_voids_both() {
    lab::test("join::a_spoofer_within_the_window_voids_both", async |folder| {
        let desk = open(&folder).await?;
        let mine = machine(&desk, 1).await?;
        let root = desk.root().display().to_string();
        for _ in 0..contests() {
            boot(&desk, &mine, 1).await?;
            let mut children = Vec::new();
            let file = folder.join("join.cpio");
            for nonce in [fetch(&desk, &mine, 1, &file)?, fetch(&desk, &mine, 1, &file)?] {
                let mut command =
                    mine.command("curl", &["-sS", "-o", "/dev/null", "-w", "%{http_code}", "-K", "-"])?;
                let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
                let mut stdin = child.stdin.take().context("its input")?;
                stdin.write_all(trade(1, &nonce).replace("@ROOT@", &root).as_bytes())?;
                children.push(child);
            }
            for child in children {
                let said = String::from_utf8(child.wait_with_output()?.stdout)?;
                ensure!(said == "403", "one of both was given a token: {said}");
            }
            let issues = std::fs::read_to_string(desk.head.sockets().join("join/issues.json"))?;
            let issues: Vec<Value> = serde_json::from_str(&issues)?;
            ensure!(issues.iter().any(|it| it["id"] == "join-contested/x1000c1s7b1n0"), "{issues:?}");
        }
        desk.head.shut_down().await
    });
}

#[test]
fn a_token_is_written_on_a_node_over_ssh() {
    lab::test("join::a_token_is_written_on_a_node_over_ssh", async |folder| {
        let desk = open(&folder).await?;
        let node = Node::demo(2);
        let mine = machine(&desk, 2).await?;
        let agent = Agent::new(&desk, &node)?;
        let made = Command::new(program::find("ssh-keygen", "openssh-client")?)
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(agent.folder.join("host"))
            .status()?;
        ensure!(made.success());
        std::fs::write(agent.folder.join("keys"), desk.told(&["join", "key"])?)?;
        let at = agent.folder.display();
        let server = program::find("sshd", "openssh-server")?;
        let options = "-o StrictModes=no -o UsePAM=no -o PermitRootLogin=yes -o PidFile=none";
        let before = format!(
            "mkdir -p /run/sshd; {} -D -f /dev/null -h '{at}/host' -o AuthorizedKeysFile='{at}/keys' {options} &\n\
             server=$!; trap 'kill $server' EXIT; echo up >'{at}/up'",
            server.display()
        );
        let mut command = agent.command(&mine, &before, "late")?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        desk.until("the node's SSH server is up", || Ok(agent.folder.join("up").exists())).await?;
        let key = std::fs::read_to_string(agent.folder.join("host.pub"))?;
        let post = format!("pub_key_ed25519={}", key.trim());
        let words = ["--data-urlencode", &post, "--data", "hostname=nid002", &format!("{PLAIN}/phone-home")];
        let told = desk.curl_on(&mine, &words)?;
        ensure!(told.status == 200, "{told:?}");
        let ended = child.wait_with_output()?;
        let said = [ended.stdout, ended.stderr].map(|it| String::from_utf8_lossy(&it).into_owned()).concat();
        agent.check(&said, "login")?;
        desk.head.shut_down().await
    });
}

#[test]
fn a_tpm_answers_for_its_node() {
    lab::test("join::a_tpm_answers_for_its_node", async |folder| {
        let desk = open(&folder).await?;
        let node = Node::demo(3);
        let mine = machine(&desk, 3).await?;
        let state = folder.join("tpm");
        let tpm = Tpm::start(&state).await?;
        let key = tpm.endorsement_key().display().to_string();
        desk.told(&["join", "enroll", "nid003", "--ek", &key])?;
        let agent = Agent::new(&desk, &node)?;
        drop(tpm);
        let swtpm = program::find("swtpm", "swtpm")?.display().to_string();
        let before = format!(
            "'{swtpm}' socket --daemon --tpm2 --flags startup-clear --tpmstate dir='{0}' \
             --server type=unixio,path=/run/tpm --ctrl type=unixio,path=/run/tpm.ctrl",
            state.display()
        );
        let mut command = agent.command(&mine, &before, "early")?;
        command.env("TPM2TOOLS_TCTI", "swtpm:path=/run/tpm");
        let said = agent.run(command)?;
        agent.check(&said, "secure")?;
        desk.head.shut_down().await
    });
}
