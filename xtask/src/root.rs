//! Being root, really or in a user namespace of our own.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::Context as _;
use nix::unistd::Uid;

/// What makes an ordinary user root among sub-ids of their own (subuid(5)).
pub(crate) const NAMESPACE: [&str; 5] = ["unshare", "--user", "--map-auto", "--map-root-user", "--"];

/// Runs work that needs many uids: at once when root, else by running ourselves again inside a user namespace.
pub(crate) fn run<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    if !Uid::effective().is_root() {
        let ourselves = std::env::current_exe().context("find our own program")?;
        let error = Command::new(NAMESPACE[0])
            .args(&NAMESPACE[1..])
            .arg(ourselves)
            .args(std::env::args_os().skip(1))
            .exec();
        return Err(error).context("enter a user namespace; it takes util-linux 2.38 and the package uidmap");
    }
    runtime()?.block_on(work)
}

/// The runtime of a command.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")
}
