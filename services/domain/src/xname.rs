//! OpenCHAMI's component names.

mod kind;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use kind::XnameKind;

/// A component name such as `x1000c1s7b1n0`: of a known kind, in lower case, its numbers without leading zeros.
///
/// # Errors
///
/// Parsing takes either case, blanks around it and leading zeros, and refuses whatever the grammar has not.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Xname {
    text: Box<str>,
    kind: XnameKind,
}

/// Text that names no component.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an xname; a node's looks like x1000c1s7b1n0, its BMC's like x1000c1s7b1")]
pub struct XnameError(String);

/// The longest number after a letter.
const DIGITS_MAX: usize = 9;
/// More letters than any kind has, without numbers between them or with.
const LETTERS_MAX: usize = 8;

impl Xname {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What it names.
    #[must_use]
    pub fn kind(&self) -> XnameKind {
        self.kind
    }

    /// Whether it names a node.
    #[must_use]
    pub fn is_node(&self) -> bool {
        self.kind.is_node()
    }

    /// Whether it names a controller: NodeBMC, RouterBMC, ChassisBMC or CabinetPDUController.
    #[must_use]
    pub fn is_controller(&self) -> bool {
        self.kind.is_controller()
    }

    /// What it stands in: a node's BMC, a BMC's blade, the system of a cabinet. None for the outermost.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let kind = self.kind.parent()?;
        if kind.name() == "System" {
            return Some(Self { text: "s0".into(), kind });
        }
        let at = self.text.rfind(|it: char| it.is_ascii_lowercase())?;
        Some(Self { text: self.text[..at].into(), kind })
    }

    /// Itself, what it stands in, what that stands in, and so on.
    pub fn ancestry(&self) -> impl Iterator<Item = Self> + use<> {
        std::iter::successors(Some(self.clone()), Self::parent)
    }

    /// Whether `self` is `outer` or stands inside it.
    #[must_use]
    pub fn is_within(&self, outer: &Self) -> bool {
        if outer.kind.name() == "System" {
            return self.text.starts_with(['x', 'd']) || self == outer;
        }
        let rest = self.text.strip_prefix(&*outer.text);
        rest.is_some_and(|rest| !rest.starts_with(|it: char| it.is_ascii_digit() || it == '.'))
    }

    /// The number after the last letter: 0 of `x1000c1s7b1n0`.
    #[must_use]
    pub fn ordinal(&self) -> u32 {
        let at = self.text.rfind(|it: char| !it.is_ascii_digit()).map_or(0, |it| it + 1);
        self.text[at..].parse().unwrap_or(0)
    }

    /// The numbers in order: 1000, 1, 7, 1, 0 of `x1000c1s7b1n0`.
    pub fn numbers(&self) -> impl Iterator<Item = u64> {
        let numbers = self.text.split(|it: char| !it.is_ascii_digit());
        numbers.filter(|it| !it.is_empty()).map(|it| it.parse().unwrap_or(0))
    }

    /// This name with one more part, `x1000c1s7b1` and `n`, 0 → `x1000c1s7b1n0`.
    ///
    /// # Errors
    ///
    /// If no such kind exists, or the number is none that it has.
    pub fn child(&self, letter: char, number: u32) -> Result<Self, XnameError> {
        format!("{self}{letter}{number}").parse()
    }
}

/// The text without capitals, blanks around it and leading zeros; mostly it is so already.
fn normal(text: &str) -> Cow<'_, str> {
    let text = text.trim();
    let mut before = ' ';
    let clean = text.as_bytes().windows(2).all(|pair| {
        let starts = !before.is_ascii_digit() && pair[0] == b'0' && pair[1].is_ascii_digit();
        before = char::from(pair[0]);
        !starts
    });
    if clean && !text.bytes().any(|it| it.is_ascii_uppercase()) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(it) = rest.next() {
        let inside = out.ends_with(|it: char| it.is_ascii_digit());
        let zero = it == '0' && !inside && rest.peek().is_some_and(char::is_ascii_digit);
        if !zero {
            out.push(it.to_ascii_lowercase());
        }
    }
    Cow::Owned(out)
}

/// Walks a name from the outside in; the kind of the whole.
fn walk(name: &str) -> Option<XnameKind> {
    if let Some((hard, soft)) = name.split_once('.') {
        let digits =
            |it: &str| (1..=DIGITS_MAX).contains(&it.len()) && it.bytes().all(|it| it.is_ascii_digit());
        let partition = hard.strip_prefix('p').is_some_and(digits) && digits(soft);
        return XnameKind::of_letters("p").filter(|_| partition);
    }
    let mut letters = [0; LETTERS_MAX];
    let mut count = 0;
    let mut rest = name;
    let mut kind = None;
    while !rest.is_empty() {
        let end = rest.bytes().take_while(u8::is_ascii_lowercase).count();
        let more = letters.get_mut(count..count + end).filter(|_| end > 0)?;
        more.copy_from_slice(&rest.as_bytes()[..end]);
        count += end;
        rest = &rest[end..];
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number = rest.get(..digits).filter(|it| it.len() <= DIGITS_MAX)?.parse().ok()?;
        rest = &rest[digits..];
        let found = XnameKind::of_letters(std::str::from_utf8(&letters[..count]).ok()?)?;
        // Several letters in a row are one kind alone, `sms1`.
        kind = Some(found).filter(|it| it.admits(number) && (end == 1 || found.name() == "SMSBox"));
        kind?;
    }
    kind
}

impl FromStr for Xname {
    type Err = XnameError;
    fn from_str(text: &str) -> Result<Self, XnameError> {
        let name = normal(text);
        match walk(&name) {
            Some(kind) => Ok(Self { text: name.into(), kind }),
            None => Err(XnameError(text.chars().take(64).collect())),
        }
    }
}

impl TryFrom<String> for Xname {
    type Error = XnameError;
    fn try_from(text: String) -> Result<Self, XnameError> {
        text.parse()
    }
}

impl From<Xname> for String {
    fn from(name: Xname) -> Self {
        name.text.into()
    }
}

impl Serialize for Xname {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Xname {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Xname;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an xname, such as x1000c1s7b1n0")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Xname, E> {
                text.parse().map_err(E::custom)
            }
        }
        from.deserialize_str(Text)
    }
}

impl fmt::Display for Xname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Xname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Xname({})", self.text)
    }
}

#[cfg(test)]
mod tests;
