//! The closed vocabularies of the SMD API (recordings `smd-service-004` to `-010`), read in any case.

/// A vocabulary: its words, and other spellings that are read as one of them.
pub(crate) struct Words {
    /// What it is called in `/service/values`.
    pub(crate) title: &'static str,
    words: &'static [&'static str],
    aliases: &'static [(&'static str, &'static str)],
}

pub(crate) const STATE: Words =
    words("State", &["Unknown", "Empty", "Populated", "Off", "On", "Standby", "Halt", "Ready"]);
pub(crate) const FLAG: Words = Words {
    title: "Flag",
    words: &["OK", "Warning", "Alert", "Locked", "Unknown"],
    aliases: &[("Warn", "Warning")],
};
pub(crate) const ROLE: Words =
    words("Role", &["Compute", "Service", "System", "Application", "Storage", "Management"]);
pub(crate) const SUB_ROLE: Words = words("SubRole", &["Master", "Worker", "Storage"]);
pub(crate) const NET_TYPE: Words = words("NetType", &["Sling", "Infiniband", "Ethernet", "OEM", "None"]);
pub(crate) const ARCH: Words = words("Arch", &["X86", "ARM", "UNKNOWN", "Other"]);
pub(crate) const CLASS: Words = words("Class", &["River", "Mountain", "Hill"]);

/// What `/service/values/type` lists beside the kinds of xname.
pub(crate) const MORE_TYPES: [&str; 4] = ["All", "AllComp", "AllSvc", "INVALID"];

const fn words(title: &'static str, words: &'static [&'static str]) -> Words {
    Words { title, words, aliases: &[] }
}

impl Words {
    /// The word as it is written, whatever its case.
    pub(crate) fn find(&self, text: &str) -> Option<&'static str> {
        let same = |it: &&&'static str| it.eq_ignore_ascii_case(text);
        let alias = || self.aliases.iter().find(|(it, _)| it.eq_ignore_ascii_case(text)).map(|it| it.1);
        self.words.iter().find(same).copied().or_else(alias)
    }

    /// Every word; one with an alias twice, as it is recorded (`smd-service-006`).
    pub(crate) fn list(&self) -> impl Iterator<Item = &'static str> {
        self.words.iter().copied().chain(self.aliases.iter().map(|it| it.1))
    }
}

#[cfg(test)]
mod tests {
    use super::{FLAG, STATE};

    #[test]
    fn a_word_is_read_in_any_case() {
        assert_eq!(STATE.find("rEADY"), Some("Ready"));
        assert_eq!(FLAG.find("warn"), Some("Warning"));
        assert_eq!(STATE.find(""), None);
    }
}
