//! The SSH key that tokens are pushed with: made once, sealed, and used by `ssh` over an agent's socket, so that
//! its private half is in no file, argument or environment.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use aws_lc_rs::rand;
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use web::{SealKey, Unavailable, feed};
use zeroize::Zeroizing;

use crate::model::{Held, SshKey};
use crate::wire::agent;
use crate::{Join, store};

/// What the sealed key is bound to.
const ROW: &str = "ssh_key/only";

impl Join {
    /// Makes the key if there is none yet. Retried until done or stopped.
    pub(crate) async fn settle_key(&self) {
        let mut retry = daemon::Retry::default();
        while !self.context.stop.is_cancelled() {
            match self.settle_key_once().await {
                Ok(()) => return,
                Err(error) if error.is::<Unavailable>() => {
                    tracing::debug!("there is no SSH key yet: {error:#}")
                }
                Err(error) => tracing::warn!("there is no SSH key yet: {error:#}"),
            }
            tokio::select! {
                () = self.context.stop.cancelled() => {}
                () = retry.wait() => {}
            }
        }
    }

    async fn settle_key_once(&self) -> anyhow::Result<()> {
        let mut tx = self.database.begin().await?;
        if store::find_ssh_key(&mut tx).await.context("find the key")?.is_some() {
            return Ok(());
        }
        let key = generate(&self.seal).context("make a key")?;
        store::insert_ssh_key(&mut tx, &key).await.context("insert the key")?;
        feed::commit(tx, &[key.change()], &self.held).await.context("commit the key")
    }

    /// The key, opened.
    pub(crate) fn open_key(&self) -> anyhow::Result<Ed25519KeyPair> {
        let kept = self.held.read(|it| Held::ssh_key(it).cloned()).context("PostgreSQL was never reached")?;
        let sealed = hex::decode(&kept.sealed).context("read the sealed key")?;
        let seed = self.seal.open(&sealed, ROW).context("open the SSH key")?;
        Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|it| anyhow::anyhow!("the SSH key is none: {it}"))
    }

    /// Where `ssh` finds the agent: in the service's own folder, which nobody else may enter.
    pub(crate) fn agent_socket(&self) -> PathBuf {
        self.context.state("agent.sock")
    }

    /// Signs for the `ssh` that this process starts, until the context's stop.
    pub(crate) async fn serve_agent(&self) {
        let path = self.agent_socket();
        let listener = match listen(&path) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!("cannot listen on {}: {error}", path.display()),
        };
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = self.context.stop.cancelled() => return,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => drop(connections.spawn(converse(self.clone(), stream))),
                    Err(error) => {
                        tracing::warn!("the agent cannot accept a connection: {error}");
                        tokio::task::yield_now().await;
                    }
                }
            }
        }
    }
}

fn listen(path: &std::path::Path) -> std::io::Result<UnixListener> {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn converse(join: Join, mut stream: UnixStream) {
    let own = std::fs::metadata("/proc/self").map(|it| std::os::unix::fs::MetadataExt::uid(&it)).ok();
    let peer = stream.peer_cred().map(|it| it.uid()).ok();
    // root may read the sealed key anyway.
    if peer != own && peer != Some(0) {
        return;
    }
    let key = match join.open_key() {
        Ok(key) => Arc::new(key),
        Err(error) => return tracing::warn!("the agent has no key: {error:#}"),
    };
    let mut request = Vec::new();
    while let Ok(length) = stream.read_u32().await {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > agent::REQUEST_MAX {
            return;
        }
        request.resize(length, 0);
        if stream.read_exact(&mut request).await.is_err() {
            return;
        }
        let answer = agent::answer(&key, &request);
        let length = u32::try_from(answer.len()).unwrap_or(0);
        let sent = stream.write_all(&[&length.to_be_bytes()[..], &answer].concat()).await;
        if sent.is_err() {
            return;
        }
    }
}

fn generate(seal: &SealKey) -> anyhow::Result<SshKey> {
    let mut seed = Zeroizing::new([0; 32]);
    rand::fill(&mut *seed).map_err(|_| anyhow::anyhow!("the system gives no randomness"))?;
    let pair = Ed25519KeyPair::from_seed_unchecked(&*seed).map_err(|it| anyhow::anyhow!("{it}"))?;
    let sealed = seal.seal(&*seed, ROW).context("seal")?;
    let public = format!("ssh-ed25519 {} pilothouse-join", STANDARD.encode(agent::public_blob(&pair)));
    Ok(SshKey { public, sealed: hex::encode(sealed) })
}
