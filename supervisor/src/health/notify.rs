//! Tells people: mail and webhooks of the document's `[health]`.
//!
//! The supervisor has no network. It lays what is news into a folder of its own and starts pilothouse-notify.service,
//! which is this program as the same user with a network, and hands each file to curl.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use domain::document::{Health, Least, Mail};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::issue::{Issue, Severity};
use crate::program::run_command;

/// What waits is at most so much; the oldest goes first.
const WAITING_MAX: usize = 50;
/// Above what curl takes with all its tries.
const CURL_MAX: Duration = Duration::from_secs(150);

/// What is news.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct News {
    /// The head's name.
    pub(super) head: String,
    /// RFC 3339.
    pub(super) time: String,
    pub(super) new: Vec<Issue>,
    pub(super) solved: Vec<Issue>,
}

impl News {
    /// What of a change of the list is worth telling; none: nothing.
    pub(super) fn of(before: &[Issue], after: &[Issue], least: Least) -> Option<Self> {
        let least = match least {
            Least::Info => Severity::Info,
            Least::Warning => Severity::Warning,
            Least::Error => Severity::Error,
            Least::Critical => Severity::Critical,
        };
        let beyond = |these: &[Issue], those: &[Issue]| -> Vec<Issue> {
            let known = |it: &Issue| those.iter().any(|other| other.id == it.id && other.severity >= least);
            these.iter().filter(|it| it.severity >= least && !known(it)).cloned().collect()
        };
        let (new, solved) = (beyond(after, before), beyond(before, after));
        (!new.is_empty() || !solved.is_empty()).then(|| Self { new, solved, ..Self::default() })
    }

    /// A mail: header and text (RFC 5322). What is from elsewhere has no line of its own.
    fn mail(&self, mail: &Mail) -> String {
        let line = |text: &str| text.replace(char::is_control, " ");
        let subject = match (self.new.first(), self.new.len()) {
            (Some(first), 1) => format!("{}: {}", first.severity.word(), first.summary),
            (Some(first), more) => {
                format!("{}: {} and {} more", first.severity.word(), first.summary, more - 1)
            }
            (None, _) => format!("solved: {}", self.solved.first().map_or("", |it| it.summary.as_str())),
        };
        let subject: String = line(&subject).chars().filter(char::is_ascii).take(150).collect();
        let mut text = format!(
            "From: {}\r\nTo: {}\r\nSubject: [{}] {subject}\r\nMIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=utf-8\r\nAuto-Submitted: auto-generated\r\n\r\n",
            mail.from,
            mail.to.join(", "),
            line(&self.head),
        );
        for issue in &self.new {
            let (word, summary, next) =
                (issue.severity.word(), line(&issue.summary), line(&issue.suggestion));
            text += &format!("{word}: {summary}\r\n    since {}\r\n    {next}\r\n\r\n", line(&issue.since));
        }
        for issue in &self.solved {
            text += &format!("solved: {}\r\n\r\n", line(&issue.summary));
        }
        text + "All of it: pilotctl health\r\n"
    }
}

/// Where news wait.
pub(super) fn folder(run: &Path) -> PathBuf {
    run.join("notify")
}

/// Lays news down; `number` goes up.
///
/// # Errors
///
/// If the folder cannot be written.
pub(super) fn lay_down(run: &Path, number: u64, news: &News) -> anyhow::Result<()> {
    let folder = folder(run);
    fs::create_dir_all(&folder).context("make the folder for news")?;
    let waiting = list(&folder);
    for old in waiting.iter().take((waiting.len() + 1).saturating_sub(WAITING_MAX)) {
        fs::remove_file(old).context("drop the oldest news")?;
    }
    let (new, path) = (folder.join("new"), folder.join(format!("{number:020}.json")));
    fs::write(&new, serde_json::to_vec(news)?).and_then(|()| fs::rename(&new, path)).context("write news")
}

/// Whether somebody is still to be told.
pub(super) fn is_waiting(run: &Path) -> bool {
    !list(&folder(run)).is_empty()
}

/// The files that wait, the oldest first.
fn list(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(|it| Some(it.ok()?.path()));
    let mut files: Vec<_> = entries.filter(|it| it.extension().is_some_and(|it| it == "json")).collect();
    files.sort();
    files
}

/// Tells everything that waits (pilothouse-notify.service). Whoever cannot be told after some tries is left out: the
/// next news may find them.
///
/// # Errors
///
/// If somebody could not be told.
pub(crate) async fn run(run: &Path, health: &Health) -> anyhow::Result<()> {
    let mut failed = None;
    // News may come while some are told.
    while let Some(path) = list(&folder(run)).into_iter().next() {
        let read = fs::read(&path).ok().and_then(|it| serde_json::from_slice::<News>(&it).ok());
        match read {
            Some(news) => {
                if let Err(error) = tell(&path, &news, health).await {
                    log::error!("{error:#}");
                    failed = Some(error);
                }
            }
            None => log::warn!("{} holds no news", path.display()),
        }
        fs::remove_file(&path).context("remove what was told")?;
    }
    failed.map_or(Ok(()), Err)
}

async fn tell(path: &Path, news: &News, health: &Health) -> anyhow::Result<()> {
    let mut failed = None;
    for url in &health.webhooks {
        let body = format!("@{}", path.display());
        let options = [
            ("url", url.as_str()),
            ("request", "POST"),
            ("header", "Content-Type: application/json"),
            ("data-binary", body.as_str()),
            ("proto", "=http,https"),
        ];
        // The address may be a secret of the site's chat.
        failed = curl(&options).await.context("tell a webhook of health.webhooks").err().or(failed);
    }
    if let Some(mail) = &health.mail {
        let text = path.with_extension("mail");
        fs::write(&text, news.mail(mail)).context("write the mail")?;
        let place = text.display().to_string();
        let mut options = vec![
            ("url", mail.server.as_str()),
            ("mail-from", mail.from.as_str()),
            ("upload-file", place.as_str()),
        ];
        options.extend(mail.to.iter().map(|it| ("mail-rcpt", it.as_str())));
        // TLS where the server has it; options without a value are `true`.
        options.extend([("ssl", "true"), ("proto", "=smtp,smtps")]);
        let sent = curl(&options).await.with_context(|| format!("send mail by {}", mail.server));
        fs::remove_file(&text).context("remove the mail")?;
        failed = sent.err().or(failed);
    }
    failed.map_or(Ok(()), Err)
}

/// curl with options on its standard input: nothing of them shows in the list of processes.
async fn curl(options: &[(&str, &str)]) -> anyhow::Result<()> {
    let mut config = String::from(
        "silent\nshow-error\nfail\noutput = \"/dev/null\"\nconnect-timeout = 10\nmax-time = 20\nretry = 4\n\
         retry-delay = 2\nretry-max-time = 100\nretry-connrefused\n",
    );
    for (name, value) in options {
        match *value {
            "true" => config += &format!("{name}\n"),
            value => {
                config += &format!("{name} = \"{}\"\n", value.replace('\\', "\\\\").replace('"', "\\\""))
            }
        }
    }
    let mut curl = Command::new("/usr/bin/curl");
    curl.args(["--disable", "--config", "-"]);
    run_command(curl, "curl", config.as_bytes(), CURL_MAX).await.map(drop)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use domain::document::{Least, Mail};
    use domain::event;

    use super::super::issue::{Issue, Severity};
    use super::{News, WAITING_MAX, lay_down, list};

    fn issue(id: &str, severity: Severity) -> Issue {
        Issue::new(id, severity, event::DISK_FULL, format!("{id} is\nwrong"), "mend it")
    }

    #[test]
    fn what_begins_gets_worse_or_ends_is_news() {
        let (warning, error) = (issue("a", Severity::Warning), issue("a", Severity::Error));
        let news = |before: &[Issue], after: &[Issue], least| {
            let news = News::of(before, after, least)?;
            Some((news.new.len(), news.solved.len()))
        };
        let (warning, error) = (std::slice::from_ref(&warning), std::slice::from_ref(&error));
        assert_eq!(news(&[], warning, Least::Warning), Some((1, 0)));
        assert_eq!(news(&[], warning, Least::Error), None);
        assert_eq!(news(warning, error, Least::Error), Some((1, 0)), "now it is bad enough");
        assert_eq!(news(warning, error, Least::Warning), None, "it was told already");
        assert_eq!(news(error, &[], Least::Warning), Some((0, 1)));
        assert_eq!(news(error, warning, Least::Error), Some((0, 1)));
    }

    #[test]
    fn a_mail_has_one_line_for_its_subject_whatever_an_issue_says() {
        let new = vec![issue("x\r\nBcc: a@b", Severity::Error), issue("b", Severity::Info)];
        let news = News { head: "demo-head".into(), new, ..News::default() };
        let mail =
            Mail { server: "smtp://a".into(), from: "head@a".into(), to: vec!["x@a".into(), "y@a".into()] };
        let text = news.mail(&mail);
        let (header, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            header.contains("Subject: [demo-head] error: x  Bcc: a@b is wrong and 1 more\r\n"),
            "{header}"
        );
        assert!(header.contains("To: x@a, y@a\r\n") && !header.contains("\r\nBcc"), "{header}");
        assert!(body.contains("error: x  Bcc: a@b is wrong\r\n") && body.contains("mend it"), "{body}");
    }

    #[test]
    fn only_so_much_waits_and_the_oldest_goes_first() {
        let run = tempfile::tempdir().unwrap();
        for number in 0..u64::try_from(WAITING_MAX).unwrap() + 5 {
            lay_down(run.path(), number, &News::default()).unwrap();
        }
        let waiting = list(&super::folder(run.path()));
        assert_eq!(waiting.len(), WAITING_MAX);
        assert!(waiting[0].ends_with("00000000000000000005.json"), "{:?}", waiting[0]);
    }
}
