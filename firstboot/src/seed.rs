//! The headless answer: a credential, else a file on the volume labelled `PH_SEED`. The first that is there
//! counts, whole.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use domain::document::{Answer, DocumentError, Secrets};
use zeroize::Zeroizing;

/// What the supervisor takes at most.
const ANSWER_MAX: u64 = 1 << 20;
/// The credential (systemd.system-credentials(7) names ways to hand it in).
const CREDENTIAL: &str = "pilothouse.answer";

/// Where answers may be.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    /// The folder of the credentials.
    pub(crate) credentials: Option<PathBuf>,
    /// The file on the volume.
    pub(crate) seed: PathBuf,
}

/// An answer that somebody left for us.
#[derive(Debug)]
pub(crate) struct Found {
    /// Where, in words.
    pub(crate) place: String,
    /// The answer, or why there is none in it.
    pub(crate) text: Result<Zeroizing<String>, DocumentError>,
}

impl Sources {
    /// The answer that is there now. Nothing is waited for.
    pub(crate) fn find(&self) -> Option<Found> {
        self.find_credential().or_else(|| self.find_seed())
    }

    fn find_credential(&self) -> Option<Found> {
        let text = read(&self.credentials.as_ref()?.join(CREDENTIAL)).transpose()?;
        Some(Found { place: format!("the credential {CREDENTIAL}"), text })
    }

    /// The answer on the volume. It may appear later, when somebody plugs it in.
    pub(crate) fn find_seed(&self) -> Option<Found> {
        let text = read(&self.seed).transpose()?;
        let name = self.seed.file_name().unwrap_or_default().to_string_lossy();
        Some(Found { place: format!("{name} on the volume PH_SEED"), text })
    }

    /// Whether the file on the volume still holds secrets. pilothouse-setup-complete.service wipes them,
    /// which works only where the medium can be written.
    pub(crate) fn seed_holds_secrets(&self) -> bool {
        let text = self.find_seed().and_then(|it| it.text.ok());
        let answer = text.and_then(|it| Answer::parse(&it).ok());
        answer.is_some_and(|it| it.secrets != Secrets::default())
    }
}

fn read(path: &Path) -> Result<Option<Zeroizing<String>>, DocumentError> {
    let no_place = |message: String| DocumentError { line: 1, column: 1, message };
    let mut options = OpenOptions::new();
    // A volume comes from outside: no link is followed, no pipe waited for.
    options.read(true).custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK);
    let file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(no_place(format!("the file cannot be opened: {error}"))),
    };
    let about = file.metadata().map_err(|error| no_place(format!("the file cannot be read: {error}")))?;
    if !about.is_file() || about.len() > ANSWER_MAX {
        return Err(no_place(format!("an answer is a file of at most {ANSWER_MAX} bytes")));
    }
    // Of the right size from the start, so that no copy is left behind by growing.
    let size = usize::try_from(about.len()).unwrap_or_default();
    let mut bytes = Zeroizing::new(Vec::with_capacity(size + 1));
    let taken = file.take(about.len()).read_to_end(&mut bytes);
    taken.map_err(|error| no_place(format!("the file cannot be read: {error}")))?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Some(Zeroizing::new(text.to_owned()))),
        Err(error) => {
            let before = &bytes[..error.valid_up_to()];
            let line_start = before.iter().rposition(|it| *it == b'\n').map_or(0, |it| it + 1);
            let line = before.iter().filter(|it| **it == b'\n').count() + 1;
            let column = String::from_utf8_lossy(&before[line_start..]).chars().count() + 1;
            Err(DocumentError { line, column, message: "this is no UTF-8".to_owned() })
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::Sources;

    #[test]
    fn the_credential_goes_before_the_volume() {
        let folder = tempfile::tempdir().unwrap();
        let seed = folder.path().join("pilothouse.toml");
        let sources = Sources { credentials: Some(folder.path().to_owned()), seed: seed.clone() };
        assert!(sources.find().is_none() && !sources.seed_holds_secrets());
        std::fs::write(&seed, "version = 1\n[cluster]\nname = \"a\"\ndomain = \"b\"\n").unwrap();
        let found = sources.find().unwrap();
        assert_eq!(found.place, "pilothouse.toml on the volume PH_SEED");
        assert!(!sources.seed_holds_secrets());
        std::fs::write(folder.path().join("pilothouse.answer"), b"version = 1\nname = \xff").unwrap();
        let error = sources.find().unwrap().text.unwrap_err();
        assert_eq!((error.line, error.column), (2, 8));
    }

    #[test]
    fn secrets_that_are_left_on_a_volume_are_seen() {
        let folder = tempfile::tempdir().unwrap();
        let seed = folder.path().join("pilothouse.toml");
        let document = "version = 1\n[cluster]\nname = \"a\"\ndomain = \"b\"\n";
        let secrets = "[secrets.bmc]\nuser = \"u\"\npassword = \"p\"";
        std::fs::write(&seed, format!("{document}{secrets}")).unwrap();
        assert!(Sources { credentials: None, seed }.seed_holds_secrets());
    }
}
