//! How a command ends badly. The exit status is 1 whatever it was, as scripts expect of `ochami`.

/// A failure that ends the command.
#[derive(Debug)]
pub(crate) struct Stop {
    /// What did not work.
    pub(crate) message: String,
    /// Why.
    pub(crate) cause: Option<String>,
    /// Whether the command line makes no sense, so that its help is named.
    pub(crate) usage: bool,
}

/// What a command leaves.
pub(crate) type Done = Result<(), Stop>;

impl Stop {
    /// It did not work.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { message: message.into(), cause: None, usage: false }
    }

    /// The command line makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), cause: None, usage: true }
    }

    /// The same for a reason.
    pub(crate) fn because(mut self, cause: impl std::fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }
}

/// One request of several that failed is told at once, and the others are still made.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    all: usize,
    failed: usize,
}

impl Tally {
    /// Counts one; its failure is told.
    pub(crate) fn count<T>(&mut self, outcome: Result<T, Stop>) -> Option<T> {
        self.all += 1;
        match outcome {
            Ok(value) => Some(value),
            Err(stop) => {
                super::log::error(&stop);
                self.failed += 1;
                None
            }
        }
    }

    /// Whether all went well.
    pub(crate) fn end(&self, what: &str) -> Done {
        match self.failed {
            0 => Ok(()),
            failed => Err(Stop::failed(format!("{failed} of {} requests for {what} failed", self.all))),
        }
    }
}
