//! Which daemon reads which files, and how it is told that they changed.

use std::collections::BTreeSet;

use domain::Document;

use crate::program::Program;

/// Files by how their paths begin, and what systemctl is to do then. A unit that does not run is started or left
/// alone, as the verb says.
const READERS: [(&str, &[&str]); 5] = [
    ("/etc/systemd/network/", &["reload-or-restart", "systemd-networkd.service"]),
    ("/etc/pilothouse/nftables.conf", &["reload-or-restart", "nftables.service"]),
    ("/etc/chrony/", &["restart", "chrony.service"]),
    ("/etc/pilothouse/logs-", &["restart", "rsyslog.service"]),
    ("/etc/ssh/sshd_config.d/", &["try-reload-or-restart", "ssh.service"]),
];

/// What is to be run after these paths changed, on the way from one document to another.
pub(super) fn programs(
    document: &Document,
    before: Option<&Document>,
    changed: &BTreeSet<String>,
) -> Vec<Program> {
    let (cluster, old) = (&document.cluster, before.map(|it| &it.cluster));
    let mut programs = Vec::new();
    if old.is_none_or(|it| it.head_name() != cluster.head_name()) {
        programs.push(Program::new("/usr/bin/hostnamectl", &["hostname", &cluster.head_name()]));
    }
    if old.is_none_or(|it| it.timezone != cluster.timezone) {
        programs.push(Program::new("/usr/bin/timedatectl", &["set-timezone", &cluster.timezone]));
    }
    for (prefix, arguments) in READERS {
        if before.is_none() || changed.iter().any(|it| it.starts_with(prefix)) {
            programs.push(Program::new("/usr/bin/systemctl", arguments));
        }
    }
    programs
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::collections::BTreeSet;

    use domain::Document;

    #[test]
    fn only_who_reads_what_changed_is_told() {
        let text = "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"a.b\"\n";
        let before = Document::parse(text).unwrap();
        let shown = |after: &Document, changed: &[&str]| {
            let changed: BTreeSet<_> = changed.iter().map(|it| (*it).to_owned()).collect();
            let programs = super::programs(after, Some(&before), &changed);
            programs.iter().map(|it| format!("{it:?}")).collect::<Vec<_>>().join("; ")
        };
        assert_eq!(shown(&before, &["/etc/pilothouse/pilothouse.toml", "/etc/hosts"]), "");
        let chrony = r#"/usr/bin/systemctl ["restart", "chrony.service"]"#;
        assert_eq!(shown(&before, &["/etc/chrony/pilothouse.conf"]), chrony);
        let renamed = Document::parse(&text.replace("demo", "other")).unwrap();
        assert_eq!(shown(&renamed, &[]), r#"/usr/bin/hostnamectl ["hostname", "other-head"]"#);
        let first = super::programs(&before, None, &BTreeSet::new());
        assert_eq!(first.len(), 2 + super::READERS.len(), "at first everything");
    }
}
