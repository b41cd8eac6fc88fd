//! Kernel, initrd and parameters, and what keeps them from being commands.

use serde::{Deserialize, Serialize};

/// The longest command line that Linux takes on x86-64 and arm64, without its final zero (COMMAND_LINE_SIZE
/// 2048). iPXE itself has no limit to a line, but the kernel cuts what is longer without a word.
const COMMAND_LINE_MAX: usize = 2047;
/// What rendering may add: `initrd=initrd xname=… nid=… ds=nocloud-net;s=…`.
const ADDED_MAX: usize = 255;
/// The longest parameters.
pub(crate) const PARAMS_MAX: usize = COMMAND_LINE_MAX - ADDED_MAX;
/// The longest URL of kernel or initrd.
const URL_MAX: usize = 1024;

/// What a machine boots. Holding one proves that nothing in it is an iPXE command.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Raw")]
pub(crate) struct Settings {
    kernel: String,
    initrd: String,
    params: String,
}

#[derive(Deserialize)]
struct Raw {
    kernel: String,
    #[serde(default)]
    initrd: String,
    #[serde(default)]
    params: String,
}

/// What a write changes; a member that is empty or not there stays as it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Edit {
    pub(crate) kernel: Option<String>,
    pub(crate) initrd: Option<String>,
    pub(crate) params: Option<String>,
}

/// Settings that iPXE or Linux would not take as they are meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("{member}, character {at}: {what}")]
    Place { member: &'static str, at: usize, what: &'static str },
    #[error("{member} has {length} bytes; the limit is {limit}{why}")]
    Long { member: &'static str, length: usize, limit: usize, why: &'static str },
    #[error("the kernel is missing")]
    NoKernel,
}

impl SettingsError {
    /// The member of the body, as a JSON pointer.
    pub(crate) fn pointer(&self) -> String {
        match self {
            Self::Place { member, .. } | Self::Long { member, .. } => format!("/{member}"),
            Self::NoKernel => "/kernel".to_owned(),
        }
    }
}

impl Settings {
    /// Settings of these texts; initrd and params may be empty.
    pub(crate) fn new(kernel: String, initrd: String, params: String) -> Result<Self, SettingsError> {
        if kernel.is_empty() {
            return Err(SettingsError::NoKernel);
        }
        for (member, url) in [("kernel", &kernel), ("initrd", &initrd)] {
            if url.len() > URL_MAX {
                return Err(SettingsError::Long { member, length: url.len(), limit: URL_MAX, why: "" });
            }
            check_words(member, url)?;
            if let Some((at, _)) = url.char_indices().find(|(_, it)| it.is_whitespace()) {
                let what = "a URL has no blanks; write %20";
                return Err(SettingsError::Place { member, at: at + 1, what });
            }
            if url.starts_with('-') {
                return Err(SettingsError::Place { member, at: 1, what: "iPXE would read an option here" });
            }
        }
        check_words("params", &params)?;
        if params.len() > PARAMS_MAX {
            let why = ": Linux takes a line of 2047 bytes; 255 are kept for initrd=, xname=, nid= and ds=";
            return Err(SettingsError::Long {
                member: "params",
                length: params.len(),
                limit: PARAMS_MAX,
                why,
            });
        }
        Ok(Self { kernel, initrd, params })
    }

    pub(crate) fn kernel(&self) -> &str {
        &self.kernel
    }

    /// Empty for none.
    pub(crate) fn initrd(&self) -> &str {
        &self.initrd
    }

    pub(crate) fn params(&self) -> &str {
        &self.params
    }
}

impl TryFrom<Raw> for Settings {
    type Error = SettingsError;
    fn try_from(raw: Raw) -> Result<Self, SettingsError> {
        Self::new(raw.kernel, raw.initrd, raw.params)
    }
}

impl Edit {
    /// Whether nothing is to change.
    pub(crate) fn is_empty(&self) -> bool {
        self.kernel.is_none() && self.initrd.is_none() && self.params.is_none()
    }

    /// The settings after the write; None if there is no kernel, old or new.
    pub(crate) fn apply(&self, old: Option<&Settings>) -> Option<Result<Settings, SettingsError>> {
        let pick = |new: &Option<String>, old: Option<&str>| new.clone().or_else(|| old.map(str::to_owned));
        let kernel = pick(&self.kernel, old.map(Settings::kernel))?;
        let initrd = pick(&self.initrd, old.map(Settings::initrd)).unwrap_or_default();
        let params = pick(&self.params, old.map(Settings::params)).unwrap_or_default();
        Some(Settings::new(kernel, initrd, params))
    }
}

/// Refuses what iPXE reads as something else than a word of the command's arguments: it splits a line at
/// blanks, knows no quotes, ends a command at the words `||`, `&&`, `;` and at one that begins with `#`, and
/// expands `${` anywhere (ipxe.org/scripting, "command separators").
fn check_words(member: &'static str, text: &str) -> Result<(), SettingsError> {
    let place = |at: usize, what| {
        let at = text.get(..at).map_or(at, |it| it.chars().count()) + 1;
        Err(SettingsError::Place { member, at, what })
    };
    if let Some((at, _)) =
        text.char_indices().find(|(_, it)| it.is_control() || matches!(it, '\u{2028}' | '\u{2029}'))
    {
        return place(at, "line breaks and control characters would end the command");
    }
    for (sign, what) in [
        ("${", "iPXE would put a setting's value in place of ${…}"),
        ("&&", "iPXE would run what follows && as a command"),
        ("||", "iPXE would run what follows || as a command"),
    ] {
        if let Some(at) = text.find(sign) {
            return place(at, what);
        }
    }
    let mut at = 0;
    for word in text.split(' ') {
        if word == ";" {
            return place(at, "iPXE would run what follows ; as a command");
        }
        if word.starts_with('#') {
            return place(at, "iPXE would take the rest, the retry too, for a comment");
        }
        at += word.len() + 1;
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{Edit, PARAMS_MAX, Settings};

    fn params(text: &str) -> Result<Settings, String> {
        Settings::new("http://h/k".into(), String::new(), text.into()).map_err(|it| it.to_string())
    }

    #[test]
    fn nothing_in_a_parameter_is_a_command() {
        for (text, place) in [
            ("quiet ${net0/mac}", "character 7"),
            ("a\nboot", "character 2"),
            ("a\rboot", "character 2"),
            ("é || shell", "character 3"),
            ("a&&b", "character 2"),
            ("a ; shell", "character 3"),
            ("a #b", "character 3"),
            ("#b", "character 1"),
            ("a\0", "character 2"),
        ] {
            assert!(params(text).unwrap_err().contains(place), "{text:?}: {:?}", params(text));
        }
        for text in ["", "ds=nocloud;s=http://x/ a=b;c", "console=ttyS0,115200 x#y $HOME {a}", "quiet  a"] {
            assert!(params(text).is_ok(), "{text}");
        }
        for kernel in ["--help", "http://h/a b", "${x}", "a;b c", ""] {
            assert!(Settings::new(kernel.into(), String::new(), String::new()).is_err(), "{kernel}");
        }
    }

    #[test]
    fn what_linux_would_cut_is_refused_with_the_limit() {
        assert!(params(&"a".repeat(PARAMS_MAX)).is_ok());
        assert!(params(&"a".repeat(PARAMS_MAX + 1)).unwrap_err().contains("1792"));
    }

    #[test]
    fn a_member_that_is_left_out_stays() {
        let old = Settings::new("http://h/k".into(), "http://h/i".into(), "quiet".into()).unwrap();
        let edit = Edit { params: Some("loud".into()), ..Edit::default() };
        let new = edit.apply(Some(&old)).unwrap().unwrap();
        assert_eq!((new.kernel(), new.initrd(), new.params()), ("http://h/k", "http://h/i", "loud"));
        assert!(edit.apply(None).is_none());
    }
}
