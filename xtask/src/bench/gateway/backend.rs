//! The service behind: it answers two bytes, and costs the load's processor as little as can be.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok";

/// Answer on a socket
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    socket: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(&arguments.socket))
}

async fn serve(socket: &Path) -> anyhow::Result<()> {
    let listener = UnixListener::bind(socket).with_context(|| format!("listen on {}", socket.display()))?;
    std::fs::set_permissions(socket, Permissions::from_mode(0o666))?;
    loop {
        let (stream, _) = listener.accept().await.context("accept")?;
        tokio::spawn(converse(stream));
    }
}

async fn converse(mut stream: UnixStream) {
    let mut buffer = [0; 8192];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        // Neither front door sends half a head.
        for _ in buffer[..read].windows(4).filter(|it| it == b"\r\n\r\n") {
            if stream.write_all(ANSWER).await.is_err() {
                return;
            }
        }
    }
}
