//! `ochami` as people call it: the commands of today and those of the bootcamp, each list against a fresh
//! head, over TLS and with a token.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use domain::Service;
use serde_json::Value;
use tests::{Head, HeadOptions, program, settle};

use crate::ochami_lists::{BOOTCAMP, FILES, PRESENT};

/// How long a service may take to know auth's key.
pub(crate) const KEY_MAX: Duration = Duration::from_secs(20);

/// A head and a shell in which `ochami` knows it.
pub(crate) struct Shell {
    pub(crate) head: Head,
    folder: tempfile::TempDir,
    program: PathBuf,
    config: PathBuf,
    token: String,
    root: PathBuf,
}

/// What a command left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Shell {
    /// `address` is the name of a cluster's address in the configuration.
    pub(crate) async fn open(address: &str) -> anyhow::Result<Self> {
        let head = Head::start(HeadOptions::default()).await?;
        let folder = tempfile::tempdir().context("make a folder")?;
        for (name, text) in FILES {
            std::fs::write(folder.path().join(name), text).context("write a file")?;
        }
        let program = folder.path().join("ochami");
        std::os::unix::fs::symlink(program::pilotctl()?, &program).context("make a link")?;
        let gateway = head.address(Service::Gateway, "tls").context("the gateway's address")?;
        let config = folder.path().join("config.yaml");
        let text = format!(
            "log:\n    format: basic\n    level: warning\ndefault-cluster: demo\nclusters:\n    - name: demo\n      \
             cluster:\n        {address}: https://{gateway}\n"
        );
        std::fs::write(&config, text).context("write the configuration")?;
        let token = head.token().await?.context("auth has no token")?;
        let root = head.root_certificate().await?.context("ca has no root")?;
        let shell = Self { head, folder, program, config, token, root };
        // The services have just started: each has yet to hear of the key that signs tokens.
        for line in ["smd group get", "bss boot params get", "cloud-init defaults get"] {
            let taken = async || Ok((shell.run(&words(line))?.code == Some(0)).then_some(()));
            settle::until(KEY_MAX, line, taken).await?;
        }
        Ok(shell)
    }

    pub(crate) fn run(&self, words: &[&str]) -> anyhow::Result<Ran> {
        self.run_with(words, |it| it.arg("--config").arg(&self.config), "")
    }

    fn run_with(
        &self,
        words: &[&str],
        more: impl FnOnce(&mut Command) -> &mut Command,
        input: &str,
    ) -> anyhow::Result<Ran> {
        let mut command = Command::new(&self.program);
        command
            .current_dir(self.folder.path())
            .env_clear()
            .env("HOME", self.folder.path())
            .env("SSL_CERT_FILE", &self.root)
            .env("DEMO_ACCESS_TOKEN", &self.token);
        more(&mut command).args(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("run ochami")?;
        let mut stdin = child.stdin.take().context("its input")?;
        std::io::Write::write_all(&mut stdin, input.as_bytes()).context("write its input")?;
        drop(stdin);
        let output = child.wait_with_output().context("wait for ochami")?;
        let text = |it: Vec<u8>| String::from_utf8_lossy(&it).into_owned();
        Ok(Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) })
    }

    fn json(&self, line: &str) -> anyhow::Result<Value> {
        let ran = self.run(&words(line))?;
        serde_json::from_str(&ran.out).with_context(|| format!("{line}: {ran:?}"))
    }

    /// Runs a list: a line, its exit status, and what its output has.
    fn run_list(&self, list: &[(&str, i32, &str)]) -> anyhow::Result<()> {
        for (line, code, has) in list {
            let ran = self.run(&words(line))?;
            ensure!(ran.code == Some(*code), "{line}: {ran:?}\n{}", self.head.tails(5));
            ensure!(ran.out.contains(has), "{line}: {has:?} is not in {ran:?}");
            ensure!(!ran.err.contains(&self.token), "{line} shows the token");
        }
        Ok(())
    }
}

/// Words as a shell takes them, with single quotes.
pub(crate) fn words(line: &str) -> Vec<&str> {
    let parts = line.split('\'').enumerate();
    let of_part = |(index, part)| -> Vec<&str> {
        if index % 2 == 1 { vec![part] } else { str::split_whitespace(part).collect() }
    };
    parts.flat_map(of_part).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_today_do_what_they_say() -> anyhow::Result<()> {
    let shell = Shell::open("uri").await?;
    shell.run_list(&PRESENT)?;
    shell.head.shut_down().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_bootcamp_do_what_they_say() -> anyhow::Result<()> {
    let shell = Shell::open("base-uri").await?;
    shell.run_list(&BOOTCAMP)?;
    shell.head.shut_down().await
}

/// Both shapes of a file, both ways of sending it, twice: all say the same, and nobody's state is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_discovery_is_the_same_whichever_way_it_is_written() -> anyhow::Result<()> {
    let shell = Shell::open("uri").await?;
    let ways = [
        "discover static -f yaml -d @new.yaml",
        "discover static --overwrite -f yaml -d @new.yaml --discovery-version 1",
        "discover static --overwrite -f yaml -d @n3.yaml",
        "discover --overwrite --payload n3.yaml --payload-format yaml",
    ];
    for way in ways {
        let ran = shell.run(&words(way))?;
        ensure!(ran.code == Some(0), "{way}: {ran:?}");
        let components = shell.json("smd component get")?;
        let nodes: Vec<_> = components["Components"].as_array().into_iter().flatten().collect();
        for (place, nid) in [(1, 1), (3, 2), (5, 3)] {
            let node = nodes.get(place).with_context(|| format!("{way}: {components}"))?;
            ensure!(node["State"] == "On" && node["Flag"] == "OK" && node["NID"] == nid, "{way}: {node}");
        }
        let interfaces = shell.json("smd iface get --mac ec:e7:a7:05:a1:fc")?;
        ensure!(interfaces[0]["ComponentID"] == "x1000c1s7b1n0", "{way}: {interfaces}");
        ensure!(interfaces[0]["IPAddresses"][0]["IPAddress"] == "172.16.0.1", "{way}: {interfaces}");
        let members = shell.json("smd group member get compute")?;
        ensure!(members["ids"].as_array().is_some_and(|it| it.len() == 3), "{way}: {members}");
    }
    // Again without leave to replace: what is there is said.
    let ran = shell.run(&words("discover static -f yaml -d @n3.yaml"))?;
    ensure!(ran.code == Some(1) && ran.err.contains("409"), "{ran:?}");
    // A node more joins its group, by standard input.
    let more = FILES[0].1.replace("7b3n0", "7b4n0").replace("93:84", "93:85").replace("03:4a", "03:4b");
    let more =
        more.replace("nid: 3", "nid: 4").replace("172.16.0.3", "172.16.0.4").replace("nid003", "nid004");
    let ran = shell.run_with(
        &words("discover static --overwrite -f yaml"),
        |it| it.arg("--config").arg(&shell.config),
        &more,
    )?;
    ensure!(ran.code == Some(0), "{ran:?}");
    let members = shell.json("smd group member get compute")?;
    ensure!(members["ids"].as_array().is_some_and(|it| it.len() == 4), "{members}");
    shell.head.shut_down().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_asked_for_checked_and_kept_quiet() -> anyhow::Result<()> {
    let shell = Shell::open("uri").await?;
    // Claims that ended in 1970, and such as begin in 2100.
    let (over, early) = ("e30.eyJleHAiOjF9.c2ln", "e30.eyJuYmYiOjQxMDI0NDQ4MDB9.c2ln");
    for (line, says) in [
        (format!("--token {over} smd group get"), "expired"),
        (format!("--token {early} smd group get"), "not good"),
        ("--token nonsense smd group get".to_owned(), "none"),
        ("--no-token smd group get".to_owned(), "401"),
        ("--cluster nowhere smd group get".to_owned(), "nowhere"),
    ] {
        let ran = shell.run(&words(&line))?;
        ensure!(ran.code == Some(1) && ran.err.contains(says), "{line}: {ran:?}");
    }
    let ran = shell.run_with(
        &words("smd group get"),
        |it| it.env_remove("DEMO_ACCESS_TOKEN").arg("--config").arg(&shell.config),
        "",
    )?;
    ensure!(ran.code == Some(1) && ran.err.contains("DEMO_ACCESS_TOKEN=$(gen_access_token)"), "{ran:?}");
    let ran = shell.run(&words("--log-level debug smd group get"))?;
    ensure!(ran.code == Some(0) && ran.err.contains("with a token"), "{ran:?}");
    ensure!(!ran.err.contains(&shell.token) && !ran.out.contains(&shell.token), "the token is shown");
    // Whose certificates are believed.
    let stranger = |words: &[&str]| {
        shell.run_with(words, |it| it.env_remove("SSL_CERT_FILE").arg("--config").arg(&shell.config), "")
    };
    let ran = stranger(&words("smd component get"))?;
    ensure!(ran.code == Some(1) && ran.err.contains("--cacert"), "{ran:?}");
    ensure!(stranger(&words("-k smd component get"))?.code == Some(0));
    let root = shell.root.to_str().context("text")?;
    ensure!(stranger(&["--cacert", root, "smd", "component", "get"])?.code == Some(0));
    // On the head itself nobody has to name the root.
    let run = root.strip_suffix("/root.pem").context("the head's folder")?.to_owned() + "/run";
    let ran = shell.run_with(
        &words("smd component get"),
        |it| it.env_remove("SSL_CERT_FILE").env("PILOTHOUSE_RUN", run).arg("--config").arg(&shell.config),
        "",
    )?;
    ensure!(ran.code == Some(0), "{ran:?}");
    shell.head.shut_down().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_is_made_as_the_bootcamp_makes_it() -> anyhow::Result<()> {
    let shell = Shell::open("uri").await?;
    let own = |line: &str, input: &str| shell.run_with(&words(line), |it| it, input);
    let set = "config cluster set --default --base-uri https://demo.openchami.cluster:8443 demo";
    let ran = own(set, "n\n")?;
    ensure!(ran.code == Some(1) && ran.err.contains("Create it? [yn]:"), "{ran:?}");
    let ran = own(set, "what\ny\n")?;
    ensure!(ran.code == Some(0), "{ran:?}");
    ensure!(own("config set log.format basic", "")?.code == Some(0));
    let shown = "log:\n    format: basic\n    level: warning\ndefault-cluster: demo\nclusters:\n    - name: demo\n      \
                 cluster:\n        base-uri: https://demo.openchami.cluster:8443\n\n";
    let ran = own("config show", "")?;
    ensure!(ran.code == Some(0) && ran.out == shown, "{ran:?}");
    for (line, code, out) in [
        ("config show log.format", 0, "basic\n"),
        ("config cluster set demo cluster.uri https://new:8443", 0, ""),
        ("config cluster show demo cluster.uri", 0, "https://new:8443\n"),
        ("config cluster set other cluster.smd.uri /smd", 0, ""),
        (
            "config cluster show other -f json",
            0,
            "{\"cluster\":{\"enable-auth\":true,\"smd\":{\"uri\":\"/smd\"}},\"name\":\"other\"}\n",
        ),
        ("config cluster unset other cluster.smd.uri", 0, ""),
        ("config cluster delete other", 0, ""),
        ("config cluster show other", 1, ""),
        ("config unset log.format", 0, ""),
        ("config show log.format", 0, "rfc3339\n"),
        ("config show nothing", 0, ""),
        ("config set log.level loud", 1, ""),
        ("config set clusters x", 1, ""),
        ("config set", 1, ""),
        ("-c nowhere.yaml smd service status", 1, ""),
        ("--ignore-config smd service status", 1, ""),
    ] {
        let ran = own(line, "")?;
        ensure!(ran.code == Some(code) && ran.out == out, "{line}: {ran:?}");
    }
    shell.head.shut_down().await
}
