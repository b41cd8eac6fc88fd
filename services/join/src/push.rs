//! Tokens written on nodes over SSH, once their first cloud-init stage is done: many at once, each tried again for
//! some minutes, each host key as it was reported or enrolled.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use domain::Xname;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Join;
use crate::client::Report;
use crate::error::Error;
use crate::model::Kind;
use crate::state::Push;
use crate::token::Token;
use crate::wire::ssh;

/// OpenSSH's client, of the image's package openssh-client.
const SSH: &str = "/usr/bin/ssh";
/// How long one try may take: a TPM's memory takes some seconds.
const TRY_MAX: Duration = Duration::from_secs(60);
/// How much of what `ssh` says is kept.
const SAID_MAX: u64 = 2048;
/// What runs on the node, with the token on its standard input: where images look for it, first a TPM's memory at
/// index 1, 2048 bytes padded with zeros, else a file. It says where it is.
const COMMAND: &str = "set -u; umask 077; f=/var/run/cloud-init-jwt; cat >$f.new || exit 71; \
    { [ -e /dev/tpmrm0 ] || [ -e /dev/tpm0 ]; } && command -v tpm2_nvwrite >/dev/null && { \
    dd if=/dev/zero bs=2048 count=1 2>/dev/null | cat $f.new - | head -c 2048 >$f.nv; \
    tpm2_nvundefine -Q 1 >/dev/null 2>&1; \
    tpm2_nvdefine -Q -C o -s 2048 -a 'ownerread|ownerwrite' 1 >/dev/null 2>&1 && \
    tpm2_nvwrite -Q -C o -i $f.nv 1 >/dev/null 2>&1 && { rm -f $f.new $f.nv; echo in-tpm; exit 0; }; }; \
    rm -f $f.nv; mv $f.new $f && echo in-file";

/// Why a try did not succeed: the step, and what was said.
struct Failed {
    step: &'static str,
    reason: String,
}

impl Join {
    /// Takes what a node told; its token is on its way from then on.
    pub(crate) async fn take_report(&self, node: &Xname, report: Report, now: i64) -> Result<(), Error> {
        let enrolled = self.held.read(|it| it.find(node, Kind::HostKeys).map(|it| it.value.clone()));
        let told = report.host_keys.iter().map(String::as_str);
        let host_keys = enrolled.map_or_else(|| ssh::host_keys(told), |it| ssh::host_keys([it.as_str()]));
        if host_keys.is_empty() {
            let reason = "it reported no host key; add pub_key_ed25519 to phone_home's post";
            self.raise_push(node, "host key", reason);
            return Err(Error::Bad("no host key is known of the node; report them, or enrol them"));
        }
        let until = now.saturating_add_unsigned(self.config.push_for.0.as_secs());
        let push = Push { address: report.address, host_keys, until };
        self.kept.change(|it| it.pushes.insert(node.clone(), push)).await?;
        self.wake.notify_one();
        Ok(())
    }

    /// Pushes what is to be pushed, until the context's stop; what is under way then is taken up at the next start.
    pub(crate) async fn push_all(&self) {
        tokio::join!(self.serve_agent(), self.schedule());
    }

    async fn schedule(&self) {
        let (mut tasks, mut running) = (JoinSet::new(), HashSet::new());
        loop {
            let room = self.config.pushes.saturating_sub(tasks.len());
            let due: Vec<(Xname, Push)> = self.kept.read(|it| {
                let waiting = it.pushes.iter().filter(|(node, _)| !running.contains(*node));
                waiting.take(room).map(|(node, push)| (node.clone(), push.clone())).collect()
            });
            for (node, push) in due {
                running.insert(node.clone());
                let join = self.clone();
                tasks.spawn(async move {
                    join.push(&node, &push).await;
                    node
                });
            }
            tokio::select! {
                () = self.context.stop.cancelled() => return,
                () = self.wake.notified() => {}
                Some(ended) = tasks.join_next() => match ended {
                    Ok(node) => drop(running.remove(&node)),
                    Err(error) => {
                        tracing::error!(%error, "a push broke off");
                        running.clear();
                    }
                }
            }
        }
    }

    /// One node, until it has its token, its time is over, or it has reported anew.
    async fn push(&self, node: &Xname, push: &Push) {
        let mut retry = daemon::Retry::default();
        loop {
            let failed = match self.push_once(node, push).await {
                Ok(way) => {
                    self.tell(node, push.address, way);
                    break;
                }
                Err(failed) => failed,
            };
            let Failed { step, reason } = failed;
            tracing::info!(pilothouse_node = %node, "the token of {node} is not on it yet: {step}: {reason}");
            let is_current = self.kept.read(|it| it.pushes.get(node) == Some(push));
            if !is_current {
                return;
            }
            if crate::api::now() >= push.until || step == "host key" {
                self.raise_push(node, step, &reason);
                break;
            }
            retry.wait().await;
        }
        let done = self.kept.change(|it| {
            if it.pushes.get(node) == Some(push) {
                it.pushes.remove(node);
            }
        });
        if let Err(error) = done.await {
            tracing::warn!("{node} may be pushed to once more: {error}");
        }
    }

    async fn push_once(&self, node: &Xname, push: &Push) -> Result<&'static str, Failed> {
        let failed = |step| move |reason: String| Failed { step, reason };
        let token = self.make_token(node).await.map_err(|it| failed("token")(it.to_string()))?;
        let hosts = self.context.state(format!("known-hosts.{node}"));
        let text = ssh::known_hosts(push.address, self.config.ssh_port, &push.host_keys);
        daemon::replace_file(&hosts, text.as_bytes(), 0o600).map_err(|it| failed("files")(it.to_string()))?;
        let ran = timeout(TRY_MAX, self.run_ssh(push, &hosts, &token)).await;
        if let Err(error) = std::fs::remove_file(&hosts) {
            tracing::debug!(%error, "{} stays", hosts.display());
        }
        match ran {
            Err(_) => Err(failed("connect")(format!("no end after {} s", TRY_MAX.as_secs()))),
            Ok(Err(error)) => Err(failed("ssh")(error.to_string())),
            Ok(Ok((true, said, _))) if said.contains("in-tpm") => Ok("in its TPM, over SSH"),
            Ok(Ok((true, _, _))) => Ok("over SSH"),
            Ok(Ok((false, _, error))) => Err(failed(step_of(&error))(error)),
        }
    }

    /// Runs `ssh`: whether it ended well, what it said on standard output, and on standard error.
    async fn run_ssh(
        &self,
        push: &Push,
        hosts: &Path,
        token: &Token,
    ) -> std::io::Result<(bool, String, String)> {
        let mut child = Command::new(SSH)
            .args(arguments(push.address, self.config.ssh_port, &push.host_keys, hosts, &self.agent_socket()))
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (mut input, output, error) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let write = async {
            if let Some(input) = &mut input {
                // A broken pipe only says that ssh has ended, which its status says better.
                if let Err(error) = input.write_all(token.access_token.as_bytes()).await {
                    tracing::debug!(%error, "ssh did not take the token");
                }
            }
            drop(input.take());
        };
        let ((), said, error) = tokio::join!(write, read(output), read(error));
        Ok((child.wait().await?.success(), said, error))
    }
}

/// The whole command line; nothing of it is secret.
fn arguments(address: IpAddr, port: u16, keys: &[String], hosts: &Path, agent: &Path) -> Vec<String> {
    let mut arguments: Vec<String> = ["-F", "none", "-T", "-x", "-a", "-p"].map(str::to_owned).into();
    arguments.push(port.to_string());
    for option in [
        "BatchMode=yes".to_owned(),
        "ConnectTimeout=10".to_owned(),
        "StrictHostKeyChecking=yes".to_owned(),
        "UpdateHostKeys=no".to_owned(),
        "CheckHostIP=no".to_owned(),
        "GlobalKnownHostsFile=none".to_owned(),
        format!("UserKnownHostsFile={}", hosts.display()),
        format!("HostKeyAlgorithms={}", ssh::algorithms(keys)),
        format!("IdentityAgent={}", agent.display()),
        "IdentityFile=none".to_owned(),
        "PreferredAuthentications=publickey".to_owned(),
        "ClearAllForwardings=yes".to_owned(),
        "LogLevel=ERROR".to_owned(),
    ] {
        arguments.push("-o".to_owned());
        arguments.push(option);
    }
    arguments.extend(["-l".to_owned(), "root".to_owned(), address.to_string(), COMMAND.to_owned()]);
    arguments
}

async fn read(pipe: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    let mut said = Vec::new();
    if let Some(pipe) = pipe
        && let Err(error) = pipe.take(SAID_MAX).read_to_end(&mut said).await
    {
        tracing::debug!(%error, "what ssh says cannot be read");
    }
    String::from_utf8_lossy(&said).trim().replace(|it: char| it.is_control(), " ")
}

/// Which step failed, by what `ssh` says.
fn step_of(error: &str) -> &'static str {
    let says = |words: &[&str]| words.iter().any(|it| error.contains(it));
    if says(&["Host key verification failed", "host key", "HOST IDENTIFICATION"]) {
        "host key"
    } else if says(&["Permission denied", "Too many authentication failures"]) {
        "log in"
    } else if says(&["connect to host", "timed out", "Connection closed", "Connection reset", "No route"]) {
        "connect"
    } else {
        "write"
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{arguments, step_of};

    #[test]
    fn the_host_key_is_strictly_that_one() {
        let keys = ["ssh-ed25519 AAAA".to_owned()];
        let words = arguments([172, 16, 0, 1].into(), 22, &keys, Path::new("/h"), Path::new("/a"));
        for option in [
            "StrictHostKeyChecking=yes",
            "UserKnownHostsFile=/h",
            "HostKeyAlgorithms=ssh-ed25519",
            "IdentityAgent=/a",
        ] {
            assert!(words.iter().any(|it| it == option), "{option}: {words:?}");
        }
    }

    #[test]
    fn what_ssh_says_names_the_step() {
        for (said, step) in [
            ("Host key verification failed.", "host key"),
            ("root@172.16.0.1: Permission denied (publickey).", "log in"),
            ("ssh: connect to host 172.16.0.1 port 22: Connection refused", "connect"),
            ("cat: write error: No space left on device", "write"),
        ] {
            assert_eq!(step_of(said), step, "{said}");
        }
    }
}
