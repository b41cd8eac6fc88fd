//! Keeps what follows from the inventory: the hosts file, and the last good copy of the accounts.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use daemon::{Context, replace_file};
use domain::document::{Cluster, PlaneKind};
use tokio_util::sync::CancellationToken;

use crate::api::{App, bmcs::refresh_vault};
use crate::model::hosts::render;

/// What the file is made of beside the inventory.
pub(crate) struct HostsFile {
    path: PathBuf,
    cluster: Cluster,
    head: Option<Ipv4Addr>,
    written: String,
}

impl HostsFile {
    /// The file `/run/pilothouse/inventory/hosts`, to which /etc/hosts is a link.
    pub(crate) fn of(context: &Context) -> Self {
        Self {
            path: context.paths.run.join("inventory/hosts"),
            cluster: context.document.cluster.clone(),
            head: context.document.network.first(PlaneKind::Nodes).map(|it| it.1.addr()),
            written: String::new(),
        }
    }

    fn write(&mut self, app: &App) {
        let text = app.store.catalog.read(|it| render(&it.inventory, &self.cluster, self.head));
        if text == self.written {
            return;
        }
        match replace_file(&self.path, text.as_bytes(), 0o644) {
            Ok(()) => self.written = text,
            Err(error) => tracing::warn!(%error, "{} cannot be written", self.path.display()),
        }
    }

    /// Writes the file now and after every change until `stop`.
    pub(crate) async fn keep(mut self, app: App, stop: CancellationToken) {
        let mut changes = app.store.catalog.subscribe();
        loop {
            self.write(&app);
            refresh_vault(&app).await;
            tokio::select! {
                () = stop.cancelled() => return,
                more = changes.settled() => if !more { return },
            }
        }
    }
}
