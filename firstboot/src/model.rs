//! The interview: questions, answers, decisions, and nothing of terminals, files or time.
//!
//! # What is asked, in this order
//!
//! Each prompt stands at the start of a line, is written in one piece, and ends with `: ` after which the
//! terminal waits; a default stands in brackets before that, and an empty line takes it. An answer that does
//! not hold is followed by one line with the reason, which begins with `  ! `, and by the same prompt again.
//!
//! ```text
//! Press Enter to answer the questions on this console:    on every console (session.rs); then NICs
//! Cluster name [demo]:
//! Domain [openchami.cluster]:
//! Name of the head [demo-head]:
//! Nodes network, interface [ens3]:                        name or MAC; default: first NIC with a link
//! Nodes network, address of the head [172.16.0.254/24]:
//! Nodes network, range for unknown machines [none]:       FIRST-LAST or none
//! BMC network, same or an interface [same]:               same, or name or MAC of a NIC
//! BMC network, address of the head:                       only with an interface
//! Site network, none, dhcp or static [none]:
//! Site network, interface [ens4]:                         dhcp and static; default: a NIC still free
//! Site network, address of the head:                      static
//! Site network, router [none]:                            static
//! Name servers [none]:                                    addresses with spaces or commas between
//! Time servers [none]:                                    names or addresses, likewise
//! Administrator, account [admin]:
//! Administrator, SSH public key:
//! BMC account, user [none]:                               none skips the passwords
//! BMC account, password (not shown):
//! BMC account, password again (not shown):
//! Apply this? yes, no or a number to change:              after the numbered summary
//! ```
//!
//! `yes` applies; `no` goes through all questions again with the answers so far as defaults; a number asks
//! what belongs to that line of the summary again and comes back to it. Ctrl-C anywhere forgets all answers
//! and comes back to the first line above. When applying fails, the reason is shown and the summary comes
//! back.

mod draft;
mod question;
#[cfg(test)]
mod tests;

use domain::Document;
use zeroize::Zeroizing;

use crate::machine::Machine;
pub(crate) use draft::Draft;
use question::Question;

/// An interview under way.
#[derive(Debug)]
pub(crate) struct Interview {
    machine: Machine,
    draft: Draft,
    question: Question,
    /// Whether one line of the summary is being changed.
    editing: bool,
}

/// What stands before the cursor.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Prompt {
    /// The text, with `: ` at its end.
    pub(crate) text: String,
    /// Whether what is typed is not to be shown.
    pub(crate) hidden: bool,
}

/// What follows an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// These lines, then the prompt.
    Ask(Vec<String>),
    /// The answers are confirmed.
    Apply,
}

impl Interview {
    /// Begins, with the lines to show before the first prompt.
    pub(crate) fn begin(machine: Machine) -> (Self, Vec<String>) {
        let mut lines = vec!["Network interfaces:".to_owned()];
        if machine.nics.is_empty() {
            lines.push("  none that Linux knows; Ctrl-C looks again".to_owned());
        }
        lines.extend(machine.nics.iter().map(|it| format!("  {}", it.line())));
        lines.push("An empty line takes what is in brackets. Ctrl-C starts over.".to_owned());
        let draft = Draft::default();
        (Self { machine, draft, question: Question::FIRST, editing: false }, lines)
    }

    /// The prompt of the question that is open.
    pub(crate) fn prompt(&self) -> Prompt {
        let default = self.question.default(&self.draft, &self.machine);
        let default = default.map(|it| format!(" [{it}]")).unwrap_or_default();
        Prompt { text: format!("{}{default}: ", self.question.text()), hidden: self.question.is_hidden() }
    }

    /// Takes a line as the answer to the question that is open.
    pub(crate) fn take(&mut self, line: &str) -> Turn {
        // A password may begin or end with blanks.
        let text = if self.question.is_hidden() { line } else { line.trim() };
        if text.chars().any(char::is_control) {
            return refuse("An answer has printable characters alone; type it again.");
        }
        if self.question == Question::Confirm {
            return self.confirm(text);
        }
        let default = self.question.default(&self.draft, &self.machine);
        let text = match default.as_deref() {
            Some(default) if text.is_empty() => default,
            None if text.is_empty() => return refuse("This needs an answer."),
            _ => text,
        };
        match self.try_answer(text) {
            Ok(draft) => {
                self.draft = draft;
                self.go_on()
            }
            Err(reason) => {
                if self.question == Question::BmcPasswordAgain {
                    self.question = Question::BmcPassword;
                }
                refuse(&reason)
            }
        }
    }

    /// The whole answer: document and secrets.
    pub(crate) fn answer(&self) -> Zeroizing<String> {
        self.draft.answer()
    }

    /// Comes back to the summary with all answers kept, after they could not be applied.
    pub(crate) fn summary(&mut self) -> Vec<String> {
        self.question = Question::Confirm;
        self.editing = false;
        self.draft.summary()
    }

    /// The answers with this one among them, if the document holds with it.
    fn try_answer(&self, text: &str) -> Result<Draft, String> {
        let mut draft = self.draft.clone();
        self.question.answer(&mut draft, text, &self.machine)?;
        // One set of rules: the document's own.
        Document::parse(&draft.document()).map_err(|it| it.message)?;
        Ok(draft)
    }

    fn go_on(&mut self) -> Turn {
        let item = self.question.item();
        self.question = self.question.next(&self.draft);
        if self.question == Question::Confirm || (self.editing && self.question.item() != item) {
            return Turn::Ask(self.summary());
        }
        Turn::Ask(Vec::new())
    }

    fn confirm(&mut self, text: &str) -> Turn {
        match text.to_ascii_lowercase().as_str() {
            "yes" | "y" => Turn::Apply,
            "no" | "n" => {
                self.question = Question::FIRST;
                Turn::Ask(vec!["All questions again, with the answers so far in brackets.".to_owned()])
            }
            number => match number.parse().ok().and_then(Question::first_of) {
                Some(question) => {
                    self.question = question;
                    self.editing = true;
                    Turn::Ask(Vec::new())
                }
                None => refuse("Type yes, no, or the number of a line above."),
            },
        }
    }
}

fn refuse(reason: &str) -> Turn {
    Turn::Ask(vec![format!("  ! {reason}")])
}
