//! What a service is given when it starts.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::{Document, Service};
use tokio_util::sync::CancellationToken;

use crate::issue::Issues;
use crate::listener::{Address, Inherited, ListenError};
use crate::notify;
use crate::store::Store;

/// Where a process finds what it needs.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The document.
    pub config: PathBuf,
    /// The folder of the services' sockets, `/run/pilothouse`.
    pub run: PathBuf,
    /// The service's own durable folder (`STATE_DIRECTORY`).
    pub state: PathBuf,
    /// The folder of its credentials (`CREDENTIALS_DIRECTORY`), if it has any.
    pub credentials: Option<PathBuf>,
}

/// What a service is given when it starts.
#[derive(Clone)]
pub struct Context {
    /// Which service this is.
    pub service: Service,
    /// Where its files are.
    pub paths: Paths,
    /// The document, checked.
    pub document: Arc<Document>,
    /// Cancelled means: finish this request, take no other. The service has 10 s.
    pub stop: CancellationToken,
    inherited: Arc<Inherited>,
    issues: Arc<Issues>,
    store: Arc<Store>,
}

/// A credential that is missing or unreadable.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the credential {name}; the unit names it with LoadCredentialEncrypted=")]
pub struct CredentialError {
    name: String,
    #[source]
    source: io::Error,
}

impl Context {
    /// A context put together by hand: by [`run`](crate::run), and by tests that run a service in their process.
    ///
    /// # Errors
    ///
    /// If a socket cannot be had.
    pub fn new(
        service: Service,
        paths: Paths,
        document: Document,
        listen: Vec<(String, Address)>,
        stop: CancellationToken,
    ) -> Result<Self, ListenError> {
        let inherited = Arc::new(Inherited::take(listen)?);
        let issues = Arc::new(Issues::new(paths.run.join(service.name()).join("issues.json")));
        let store = Arc::new(Store::of_systemd());
        Ok(Self { service, paths, document: Arc::new(document), stop, inherited, issues, store })
    }

    /// The same with another store, and what it holds handed over, as to a process that is started again.
    ///
    /// # Errors
    ///
    /// If the descriptors cannot be duplicated.
    pub fn with_store(mut self, store: Arc<Store>) -> io::Result<Self> {
        self.inherited.add(store.handed_on()?);
        self.store = store;
        Ok(self)
    }

    /// Where descriptors outlive this process.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The sockets systemd handed over, or `--listen` named; each can be taken once, by its name.
    #[must_use]
    pub fn sockets(&self) -> &Inherited {
        &self.inherited
    }

    /// The socket on which another service answers.
    #[must_use]
    pub fn socket_of(&self, service: Service) -> PathBuf {
        self.paths.run.join(format!("{service}.sock"))
    }

    /// A file in the service's durable folder.
    #[must_use]
    pub fn state(&self, file: impl AsRef<Path>) -> PathBuf {
        self.paths.state.join(file)
    }

    /// A credential's bytes, by the name after the service's own: `seal-key` of `inventory.seal-key`.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn credential(&self, name: &str) -> Result<Vec<u8>, CredentialError> {
        let name = format!("{}.{name}", self.service);
        let folder = self.paths.credentials.as_deref().unwrap_or(Path::new("/nonexistent"));
        std::fs::read(folder.join(&name)).map_err(|source| CredentialError { name, source })
    }

    /// Tells systemd that requests are answered from now on.
    ///
    /// # Errors
    ///
    /// If systemd asked to be told and cannot be.
    pub fn ready(&self, status: &str) -> io::Result<()> {
        crate::event!(domain::event::SERVICE_READY, "{} answers: {status}", self.service);
        notify::ready(status)
    }

    /// One line for `systemctl status`.
    pub fn status(&self, status: &str) {
        notify::status(status);
    }

    /// The things that are wrong at this moment.
    #[must_use]
    pub fn issues(&self) -> &Issues {
        &self.issues
    }
}
