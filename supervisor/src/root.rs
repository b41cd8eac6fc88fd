//! Where root's part of us finds things: the whole system, below `/` or, in tests, below a folder.

use std::path::{Path, PathBuf};

use crate::program::Program;

/// The top of the system.
#[derive(Clone, Debug)]
pub(crate) struct Root(PathBuf);

impl Root {
    pub(crate) fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// Where a path of the system is.
    pub(crate) fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Runs a program of the system.
    ///
    /// # Errors
    ///
    /// As [`Program::run`].
    pub(crate) async fn run(&self, program: Program) -> anyhow::Result<String> {
        let path = self.at(program.path);
        program.run_as(&path).await
    }
}
