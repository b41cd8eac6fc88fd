//! Kernel, initrd and parameters, and what keeps them from being commands.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Architecture;

/// The longest command line that Linux takes on x86 and arm64, without its final zero (COMMAND_LINE_SIZE 2048 of its
/// `setup.h`). iPXE has no limit for a line of a script: it takes as much memory as the line needs (`process_script`
/// in `src/image/script.c`); the 1024 bytes of its `READLINE_MAX` are for lines that are typed. But for a kernel that
/// names no size of its own it keeps 2047 bytes as well (BZI_CMDLINE_SIZE in `src/arch/x86/include/bzimage.h`), and
/// both cut what is longer without a word.
pub(crate) const COMMAND_LINE_MAX: usize = 2047;
/// What rendering may add: `initrd=initrd xname=… nid=… ds=nocloud-net;s=…`. What comes to more, by a long URL in the
/// document, is found when the script is rendered.
const ADDED_MAX: usize = 255;
/// The longest parameters.
pub(crate) const PARAMS_MAX: usize = COMMAND_LINE_MAX - ADDED_MAX;
/// The most words of the parameters. iPXE keeps two pointers for each word on its stack (`system` in
/// `src/core/exec.c`), which in a BIOS has 4096 bytes for everything (`src/arch/x86/core/stack.S`); more words than
/// this and it writes past its end. Lines that people use have some dozens.
pub(crate) const WORDS_MAX: usize = 160;
/// The longest URL of kernel or initrd.
const URL_MAX: usize = 1024;

/// The word in a kernel's place that has the machine boot from its own disk.
pub(crate) const LOCAL_DISK: &str = "local-disk";
/// The longest reference to an image, with its digest.
const IMAGE_MAX: usize = 384;

/// What a machine boots. Holding one proves that nothing in it is an iPXE command.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Raw")]
pub(crate) struct Settings {
    kernel: String,
    initrd: String,
    params: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    architectures: BTreeMap<Architecture, Variant>,
    /// The image that kernel and initrd are of, `compute:latest@sha256:…`; empty if they were named themselves.
    #[serde(skip_serializing_if = "String::is_empty")]
    image: String,
}

/// What machines of one architecture boot instead.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// The kernel's URL.
    #[schema(min_length = 1, max_length = 1024)]
    pub kernel: String,
    /// The initrd's URL; empty for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schema(max_length = 1024)]
    pub initrd: String,
    /// The kernel's command line; left out: the entry's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 1792)]
    pub params: Option<String>,
}

/// What one machine boots of its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Image<'a> {
    pub(crate) kernel: &'a str,
    /// Empty for none.
    pub(crate) initrd: &'a str,
    pub(crate) params: &'a str,
}

impl Image<'_> {
    /// Whether it is the machine's own disk.
    pub(crate) fn is_local_disk(self) -> bool {
        self.kernel == LOCAL_DISK
    }
}

#[derive(Deserialize)]
struct Raw {
    kernel: String,
    #[serde(default)]
    initrd: String,
    #[serde(default)]
    params: String,
    #[serde(default)]
    architectures: BTreeMap<Architecture, Variant>,
    #[serde(default)]
    image: String,
}

/// What a write changes; a member that is empty or not there stays as it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Edit {
    pub(crate) kernel: Option<String>,
    pub(crate) initrd: Option<String>,
    pub(crate) params: Option<String>,
    /// By architecture; none takes it away.
    pub(crate) architectures: BTreeMap<Architecture, Option<Variant>>,
    /// The image that the kernel is of; another kernel without one takes the old one's away.
    pub(crate) image: Option<String>,
}

/// Settings that iPXE or Linux would not take as they are meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("{member}, character {at}: {what}")]
    Place { member: String, at: usize, what: &'static str },
    #[error("{member} has {length} bytes; the limit is {limit}{why}")]
    Long { member: String, length: usize, limit: usize, why: &'static str },
    #[error("{member} has {count} words; the limit is {WORDS_MAX}: iPXE keeps them on a stack of 4096 bytes")]
    Words { member: String, count: usize },
    #[error("{member}: the kernel is missing")]
    NoKernel { member: String },
}

impl SettingsError {
    /// The member of the body, as a JSON pointer.
    pub(crate) fn pointer(&self) -> String {
        match self {
            Self::Place { member, .. }
            | Self::Long { member, .. }
            | Self::Words { member, .. }
            | Self::NoKernel { member } => format!("/{member}"),
        }
    }
}

impl Settings {
    /// Settings that were stored: nothing in them is a command. Limits may have been wider when they were written.
    fn stored(raw: Raw) -> Result<Self, SettingsError> {
        let Raw { kernel, initrd, params, architectures, image } = raw;
        let settings = Self { kernel, initrd, params, architectures, image };
        check_reference(&settings.image)?;
        settings.each_image(|place, image| {
            check_url(&member(place, "kernel"), image.kernel)?;
            check_url(&member(place, "initrd"), image.initrd)?;
            check_words(&member(place, "params"), image.params)?;
            if image.kernel.is_empty() {
                return Err(SettingsError::NoKernel { member: member(place, "kernel") });
            }
            Ok(())
        })?;
        Ok(settings)
    }

    /// The same settings, if they are within the limits.
    fn limited(self) -> Result<Self, SettingsError> {
        self.each_image(|place, image| {
            for (name, text) in [("kernel", image.kernel), ("initrd", image.initrd)] {
                if text.len() > URL_MAX {
                    let (member, length) = (member(place, name), text.len());
                    return Err(SettingsError::Long { member, length, limit: URL_MAX, why: "" });
                }
            }
            let (length, limit) = (image.params.len(), PARAMS_MAX);
            if length > limit {
                let why =
                    ": Linux takes a line of 2047 bytes; 255 are kept for initrd=, xname=, nid= and ds=";
                return Err(SettingsError::Long { member: member(place, "params"), length, limit, why });
            }
            let count = image.params.split(' ').filter(|it| !it.is_empty()).count();
            if count > WORDS_MAX {
                return Err(SettingsError::Words { member: member(place, "params"), count });
            }
            Ok(())
        })?;
        Ok(self)
    }

    /// Goes through the image of the entry itself and those of its architectures.
    fn each_image(
        &self,
        check: impl Fn(Option<Architecture>, Image<'_>) -> Result<(), SettingsError>,
    ) -> Result<(), SettingsError> {
        check(None, self.image(None))?;
        self.architectures.keys().try_for_each(|it| check(Some(*it), self.image(Some(*it))))
    }

    /// The kernel of machines without one of their own.
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

    /// The image that kernel and initrd are of; empty if they were named themselves.
    pub(crate) fn reference(&self) -> &str {
        &self.image
    }

    pub(crate) fn architectures(&self) -> &BTreeMap<Architecture, Variant> {
        &self.architectures
    }

    /// What a machine of this architecture boots.
    pub(crate) fn image(&self, architecture: Option<Architecture>) -> Image<'_> {
        let of = |it: Architecture| self.architectures.get(&it);
        let variant = architecture.and_then(|it| of(it).or_else(|| of(it.or_else()?)));
        match variant {
            Some(Variant { kernel, initrd, params }) => {
                Image { kernel, initrd, params: params.as_deref().unwrap_or(&self.params) }
            }
            None => Image { kernel: &self.kernel, initrd: &self.initrd, params: &self.params },
        }
    }
}

impl TryFrom<Raw> for Settings {
    type Error = SettingsError;
    fn try_from(raw: Raw) -> Result<Self, SettingsError> {
        Self::stored(raw)
    }
}

impl Edit {
    /// Whether nothing is to change.
    pub(crate) fn is_empty(&self) -> bool {
        self.kernel.is_none()
            && self.initrd.is_none()
            && self.params.is_none()
            && self.architectures.is_empty()
    }

    /// The settings after the write; None if there is no kernel, old or new.
    pub(crate) fn apply(&self, old: Option<&Settings>) -> Option<Result<Settings, SettingsError>> {
        let pick = |new: &Option<String>, old: Option<&str>| new.clone().or_else(|| old.map(str::to_owned));
        let mut architectures = old.map(|it| it.architectures.clone()).unwrap_or_default();
        for (architecture, variant) in &self.architectures {
            match variant {
                Some(it) => architectures.insert(*architecture, it.clone()),
                None => architectures.remove(architecture),
            };
        }
        let raw = Raw {
            kernel: pick(&self.kernel, old.map(Settings::kernel))?,
            initrd: pick(&self.initrd, old.map(Settings::initrd)).unwrap_or_default(),
            params: pick(&self.params, old.map(Settings::params)).unwrap_or_default(),
            architectures,
            image: match (&self.image, &self.kernel) {
                (Some(new), _) => new.clone(),
                (None, Some(_)) => String::new(),
                (None, None) => old.map(|it| it.image.clone()).unwrap_or_default(),
            },
        };
        Some(Settings::stored(raw).and_then(Settings::limited))
    }
}

/// A member's place in the body, `architectures/arm64/kernel`.
fn member(architecture: Option<Architecture>, name: &str) -> String {
    match architecture {
        Some(it) => format!("architectures/{it}/{name}"),
        None => name.to_owned(),
    }
}

fn check_url(member: &str, url: &str) -> Result<(), SettingsError> {
    check_words(member, url)?;
    let place = |at, what| Err(SettingsError::Place { member: member.to_owned(), at, what });
    if let Some(at) = url.chars().position(char::is_whitespace) {
        return place(at + 1, "a URL has no blanks; write %20");
    }
    if url.starts_with('-') {
        return place(1, "iPXE would read an option here");
    }
    Ok(())
}

/// A reference stands in the journal and in tables alone; it is one word all the same.
fn check_reference(text: &str) -> Result<(), SettingsError> {
    let fits = |it: char| it.is_ascii_alphanumeric() || "-._:/@+".contains(it);
    let place = |at, what| Err(SettingsError::Place { member: "image".to_owned(), at, what });
    match text.chars().position(|it| !fits(it)) {
        Some(at) => place(at + 1, "a reference to an image is name:tag or sha256:…"),
        None if text.len() > IMAGE_MAX => place(IMAGE_MAX, "a reference to an image is not that long"),
        None => Ok(()),
    }
}

/// Refuses what iPXE reads as something else than words of the command's arguments. Its scripts end a line at a line
/// feed (`src/image/script.c`); a line is split into words at blanks and control characters, there are no quotes, the
/// words `||`, `&&` and `;` end a command and one that begins with `#` ends the line (`split_command` and
/// `command_terminator` in `src/core/exec.c`); then `${` is expanded within each word (`expand_settings`). `||` and
/// `&&` are refused within a word too: nobody needs them there, and whoever writes them means something else.
fn check_words(member: &str, text: &str) -> Result<(), SettingsError> {
    let place = |at: usize, what| {
        let at = text.get(..at).map_or(at, |it| it.chars().count()) + 1;
        Err(SettingsError::Place { member: member.to_owned(), at, what })
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
#[path = "settings/tests.rs"]
mod tests;
