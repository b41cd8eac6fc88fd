//! The log-in that is kept: a file for its owner alone.

use std::fs::{DirBuilder, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::http::{Site, form, text};
use super::{CLIENT, http};
use crate::error::Failure;

/// A token that ends sooner is renewed before it is used, in seconds.
const SOON: i64 = 30 * 60;

/// A log-in at a head.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub(super) struct Session {
    pub(super) head: String,
    #[zeroize(skip)]
    pub(super) cacert: Option<PathBuf>,
    token_endpoint: String,
    pub(super) revocation_endpoint: String,
    access_token: String,
    /// Seconds since 1970.
    expires: i64,
    pub(super) refresh_token: String,
}

impl Session {
    pub(super) fn new(
        head: String,
        cacert: Option<PathBuf>,
        document: &Value,
        given: &Value,
    ) -> Result<Self, Failure> {
        let mut session = Self {
            head,
            cacert,
            token_endpoint: text(document, "token_endpoint")?.to_owned(),
            revocation_endpoint: text(document, "revocation_endpoint")?.to_owned(),
            access_token: String::new(),
            expires: 0,
            refresh_token: String::new(),
        };
        session.take(given)?;
        Ok(session)
    }

    fn take(&mut self, given: &Value) -> Result<(), Failure> {
        self.access_token = text(given, "access_token")?.to_owned();
        self.refresh_token = text(given, "refresh_token")?.to_owned();
        self.expires = now() + given["expires_in"].as_i64().unwrap_or(0);
        Ok(())
    }

    pub(super) fn load() -> Result<Option<Self>, Failure> {
        let path = place()?.join("session.json");
        match std::fs::read(&path).map(Zeroizing::new) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|_| {
                let shown = path.display();
                Failure::failed(format!("{shown} is no log-in; remove it, and run pilotctl login"))
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::failed(format!("cannot read {}: {error}", path.display()))),
        }
    }

    pub(super) fn keep(&self) -> Result<(), Failure> {
        let folder = place()?;
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let bytes = Zeroizing::new(serde_json::to_vec(self).map_err(|it| Failure::failed(it.to_string()))?);
        Ok(daemon::replace_file(&folder.join("session.json"), &bytes, 0o600)?)
    }

    pub(super) fn forget() -> Result<(), Failure> {
        match std::fs::remove_file(place()?.join("session.json")) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    async fn renew(&mut self) -> Result<(), Failure> {
        let body = form(&[
            ("grant_type", "refresh_token"),
            ("client_id", CLIENT),
            ("refresh_token", &self.refresh_token),
        ]);
        let (status, answer) = Site::new(self.cacert.clone()).ask(&self.token_endpoint, Some(&body)).await?;
        if answer["error"].as_str() == Some("invalid_grant") {
            let head = &self.head;
            return Err(Failure::refused(format!("the log-in has ended; run pilotctl login --head {head}")));
        }
        if !status.is_success() {
            return Err(http::refusal(&self.token_endpoint, status, &answer));
        }
        self.take(&answer)?;
        self.keep()
    }
}

/// A token of the log-in that is kept, renewed if it ends soon; none if there is no log-in.
pub(crate) async fn access_token() -> Result<Option<Zeroizing<String>>, Failure> {
    let Some(session) = Session::load()? else { return Ok(None) };
    if session.expires - now() > SOON {
        return Ok(Some(Zeroizing::new(session.access_token.clone())));
    }
    // A refresh token is good once: of two that renew at the same time one waits, and finds it done.
    let path = place()?.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    let _held = Flock::lock(file, FlockArg::LockExclusive).map_err(|it| Failure::failed(it.1.to_string()))?;
    let Some(mut session) = Session::load()? else { return Ok(None) };
    if session.expires - now() <= SOON
        && let Err(failure) = session.renew().await
    {
        // While the head is away the one we have is good to its end.
        if failure.code != 5 || session.expires <= now() {
            return Err(failure);
        }
    }
    Ok(Some(Zeroizing::new(session.access_token.clone())))
}

/// `$XDG_STATE_HOME/pilothouse`: the folder for what is not worth a backup (XDG Base Directory 0.8).
fn place() -> Result<PathBuf, Failure> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|it| it.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
    let state = state.ok_or_else(|| Failure::usage("neither XDG_STATE_HOME nor HOME names a folder"))?;
    Ok(state.join("pilothouse"))
}

fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}
