//! What the parts of the service share, and how a path becomes a file.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use daemon::{Context, Issue, Severity};
use domain::BootStage;
use domain::inventory::Inventory;
use percent_encoding::percent_decode_str;
use serde_json::json;
use web::Database;
use web::mirror::Mirror;

use crate::blobs::Blobs;
use crate::catalog::{Catalog, Reference, parse_architecture, parse_digest};
use crate::client::Image;
use crate::config::Config;
use crate::digest::Digests;
use crate::file::{self, Opened};
use crate::model::{Parts, stage};
use crate::scan;

/// How long a look at the folders is good for: an image that was just put there is seen this soon.
const SCAN_LIFE: Duration = Duration::from_secs(1);
/// Files that cannot be read and are told of one by one.
const UNREADABLE_MAX: usize = 100;
/// The folder of the store is below the root, so that it is on the same file system; it is not served by its path.
const STORE: &str = ".store";

/// What the parts of the service share.
pub(crate) struct Floor {
    pub(crate) context: Context,
    pub(crate) config: Config,
    pub(crate) inventory: Mirror<Inventory>,
    pub(crate) catalog: Mirror<Catalog>,
    pub(crate) database: Database,
    pub(crate) blobs: Blobs,
    pub(crate) digests: Digests,
    /// Held while blobs come and go, so that none is taken away that has just come back.
    pub(crate) writing: tokio::sync::Mutex<()>,
    pub(crate) parts: Mutex<Parts>,
    /// What was found last, and when: members of images are asked for by whole clusters at once.
    scanned: tokio::sync::Mutex<Option<(Instant, Vec<Image>)>>,
    /// Paths of files that may not be read.
    unreadable: Mutex<HashSet<String>>,
}

/// A file that a path stands for.
pub(crate) struct Found {
    pub(crate) opened: Opened,
    /// What it is known by in events: its path, or the image it belongs to.
    pub(crate) name: String,
    pub(crate) stage: Option<BootStage>,
}

/// Why a path is no file.
pub(crate) enum Missing {
    /// There is none.
    None,
    /// It may not be read.
    Unreadable,
    /// It cannot be.
    Failed(io::Error),
}

impl Floor {
    pub(crate) fn new(
        context: &Context,
        config: Config,
        (inventory, catalog): (Mirror<Inventory>, Mirror<Catalog>),
        digests: Digests,
        database: Database,
    ) -> Self {
        let store = config.store.clone().unwrap_or_else(|| config.root.join(STORE));
        Self {
            context: context.clone(),
            config,
            inventory,
            catalog,
            database,
            blobs: Blobs::new(store),
            digests,
            writing: tokio::sync::Mutex::default(),
            parts: Mutex::default(),
            scanned: tokio::sync::Mutex::default(),
            unreadable: Mutex::default(),
        }
    }

    /// The images of folders.
    pub(crate) async fn scan(&self) -> io::Result<Vec<Image>> {
        let mut last = self.scanned.lock().await;
        if let Some((_, images)) = last.as_ref().filter(|it| it.0.elapsed() < SCAN_LIFE) {
            return Ok(images.clone());
        }
        let root = self.config.root.clone();
        let images =
            tokio::task::spawn_blocking(move || scan::scan(&root)).await.map_err(io::Error::other)??;
        *last = Some((Instant::now(), images.clone()));
        Ok(images)
    }

    /// What a request's path stands for: a file below the root, a boot loader, a blob, or a member of an image.
    pub(crate) async fn find(self: &Arc<Self>, path: &str, query: Option<&str>) -> Result<Found, Missing> {
        let path = percent_decode_str(path).decode_utf8().map_err(|_| Missing::None)?.into_owned();
        if let Some(digest) = path.strip_prefix("/blobs/sha256/").and_then(parse_digest) {
            let stage = self.catalog.read(|it| it.role_of(&digest));
            return self.open_blob(digest, path, stage).await;
        }
        match self.open(&path).await {
            Ok(opened) => return Ok(Found { opened, stage: stage(&path), name: path }),
            Err(Missing::None) => {}
            Err(missing) => return Err(missing),
        }
        // `/images/<name>/<tag>/{kernel,initrd,root}`
        let (reference, member) =
            path.strip_prefix("/images/").and_then(|it| it.rsplit_once('/')).ok_or(Missing::None)?;
        let (name, tag) = reference.rsplit_once('/').ok_or(Missing::None)?;
        let architecture = query.and_then(architecture_of);
        if let Some(reference) = Reference::parse(&format!("{name}:{tag}")) {
            let found = self.catalog.read(|it| {
                let (_, manifest) = it.find(&reference, architecture)?;
                manifest.member(member).map(|(file, stage)| (file.digest.clone(), stage))
            });
            if let Some((digest, stage)) = found {
                return self.open_blob(digest, path.clone(), Some(stage)).await;
            }
        }
        let images = self.scan().await.map_err(Missing::Failed)?;
        let image = images.into_iter().find(|it| it.name == name && it.tag == tag).ok_or(Missing::None)?;
        let file = match member {
            "kernel" => Some(image.kernel),
            "initrd" => Some(image.initrd),
            "root" => image.root,
            _ => None,
        };
        let path = format!("/{}", file.ok_or(Missing::None)?);
        Ok(Found { opened: self.open(&path).await?, stage: stage(&path), name: path })
    }

    async fn open_blob(
        self: &Arc<Self>,
        digest: String,
        name: String,
        stage: Option<BootStage>,
    ) -> Result<Found, Missing> {
        let floor = Arc::clone(self);
        let opened = tokio::task::spawn_blocking(move || floor.blobs.open(&digest)).await;
        match opened.unwrap_or_else(|it| Err(io::Error::other(it))) {
            Ok(opened) => Ok(Found { opened, name, stage }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Missing::None),
            Err(error) => Err(self.refused(&name, error)),
        }
    }

    async fn open(self: &Arc<Self>, path: &str) -> Result<Opened, Missing> {
        let (floor, name) = (Arc::clone(self), path.to_owned());
        let opened = tokio::task::spawn_blocking(move || match name.strip_prefix("/ipxe/") {
            Some(loader) => file::open(&floor.config.loaders, loader),
            None if name.trim_start_matches('/').split('/').next() == Some(STORE) => {
                Err(io::ErrorKind::NotFound.into())
            }
            None => file::open(&floor.config.root, &name),
        });
        match opened.await.unwrap_or_else(|it| Err(io::Error::other(it))) {
            Ok(mut opened) => {
                self.readable(path);
                self.digests.tag(&mut opened);
                Ok(opened)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Missing::None),
            Err(error) => Err(self.refused(path, error)),
        }
    }

    /// A file that may not be read is told of once, until it may.
    fn refused(&self, path: &str, error: io::Error) -> Missing {
        if error.kind() != io::ErrorKind::PermissionDenied {
            return Missing::Failed(error);
        }
        let mut unreadable = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        if unreadable.len() < UNREADABLE_MAX && unreadable.insert(path.to_owned()) {
            let whole = format!("{}{path}", self.config.root.display());
            let summary = format!("nodes ask for {path}, which the head may not read");
            daemon::event!(domain::event::IMAGE_UNREADABLE, "{summary}; chmod o+r {whole}");
            self.context.issues().raise(Issue {
                id: issue_of(path),
                kind: "image-unreadable".to_owned(),
                context: json!({"path": path, "file": whole}),
                severity: Severity::Error,
                since: String::new(),
                summary,
                suggestion: format!("make the file readable, and its folders: chmod o+r {whole}"),
                fix: None,
                message_id: domain::event::IMAGE_UNREADABLE.id.to_owned(),
            });
        }
        Missing::Unreadable
    }

    fn readable(&self, path: &str) {
        let mut unreadable = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        if !unreadable.is_empty() && unreadable.remove(path) {
            self.context.issues().clear(&issue_of(path));
        }
    }

    /// Looks again at the files that could not be read.
    pub(crate) async fn look_again(self: &Arc<Self>) {
        let paths: Vec<String> =
            self.unreadable.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        for path in paths {
            if let Err(Missing::None) = self.open(&path).await {
                self.readable(&path);
            }
        }
    }

    /// The node at an address.
    pub(crate) fn node_at(&self, address: IpAddr) -> Option<(domain::Xname, domain::MacAddr)> {
        self.inventory.read(|it| {
            let interface = it.interface_by_ip(address)?;
            Some((interface.component.clone()?, interface.mac))
        })
    }
}

fn issue_of(path: &str) -> String {
    format!("image-unreadable{path}")
}

/// `arch=arm64` of a query; iPXE fills in `${buildarch}`.
fn architecture_of(query: &str) -> Option<&'static str> {
    query.split('&').find_map(|it| {
        let value = it.strip_prefix("arch=").or_else(|| it.strip_prefix("architecture="))?;
        parse_architecture(value)
    })
}
