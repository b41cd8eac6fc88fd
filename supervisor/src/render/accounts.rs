//! The administrators' accounts, by useradd(8) and usermod(8).

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use domain::{Document, Role};

use crate::program::Program;
use crate::root::Root;

/// The groups that say who may what: at the services' sockets, at the supervisor, over SSH.
const ROLES: [&str; 2] = ["pilothouse-admin", "pilothouse-operator"];
const USERADD: &str = "/usr/sbin/useradd";
const USERMOD: &str = "/usr/sbin/usermod";
const CHPASSWD: &str = "/usr/sbin/chpasswd";
/// Below it are the system's accounts.
const FIRST_UID: u32 = 1000;

/// Makes, changes and closes accounts until they are as the document says.
///
/// # Errors
///
/// The first program that fails.
pub(super) async fn apply(
    root: &Root,
    document: &Document,
    hashes: &[(String, String)],
) -> anyhow::Result<()> {
    let passwd = std::fs::read_to_string(root.at("/etc/passwd")).context("read /etc/passwd")?;
    let group = std::fs::read_to_string(root.at("/etc/group")).context("read /etc/group")?;
    for program in programs(document, hashes, &passwd, &group)? {
        root.run(program).await?;
    }
    Ok(())
}

/// What is to be run, in order.
///
/// # Errors
///
/// If an administrator has the name of a system account.
fn programs(
    document: &Document,
    hashes: &[(String, String)],
    passwd: &str,
    group: &str,
) -> anyhow::Result<Vec<Program>> {
    let mut programs = Vec::new();
    for (name, admin) in &document.admins {
        let groups = groups_of(admin.role);
        match uid_of(passwd, name) {
            None => {
                let arguments = [
                    "--create-home",
                    "--shell",
                    "/bin/bash",
                    "--user-group",
                    "--groups",
                    groups,
                    "--no-log-init",
                    name,
                ];
                programs.push(Program::new(USERADD, &arguments));
            }
            Some(uid) => {
                ensure!(
                    uid >= FIRST_UID,
                    "{name:?} is an account of the system; choose another administrator's name"
                );
                // An account that was closed is opened again; a role that was taken away is.
                let arguments = ["--groups", groups, "--expiredate", "", "--shell", "/bin/bash", name];
                programs.push(Program::new(USERMOD, &arguments));
            }
        }
    }
    for name in members(group).into_iter().filter(|it| uid_of(passwd, it).is_some_and(|it| it >= FIRST_UID)) {
        if !document.admins.contains_key(name) {
            // Its files stay; it opens nothing any more.
            let arguments =
                ["--lock", "--expiredate", "1", "--shell", "/usr/sbin/nologin", "--groups", "", name];
            programs.push(Program::new(USERMOD, &arguments));
        }
    }
    let known = |name: &str| document.admins.contains_key(name);
    let lines: String = hashes
        .iter()
        .filter(|(name, _)| known(name))
        .map(|(name, hash)| format!("{name}:{hash}\n"))
        .collect();
    if !lines.is_empty() {
        programs.push(Program::new(CHPASSWD, &["--encrypted"]).input(lines));
    }
    Ok(programs)
}

fn uid_of(passwd: &str, name: &str) -> Option<u32> {
    let mut fields = passwd.lines().map(|it| it.split(':')).find(|it| it.clone().next() == Some(name))?;
    fields.nth(2)?.parse().ok()
}

/// Whoever has a role reads the journal, without sudo.
fn groups_of(role: Role) -> &'static str {
    match role {
        Role::Admin => "pilothouse-admin,systemd-journal",
        Role::Operator => "pilothouse-operator,systemd-journal",
        Role::Viewer => "systemd-journal",
    }
}

/// Everyone who has a role now, once.
fn members(group: &str) -> BTreeSet<&str> {
    let lines = group.lines().filter(|it| it.split(':').next().is_some_and(|it| ROLES.contains(&it)));
    lines
        .filter_map(|it| it.split(':').nth(3))
        .flat_map(|it| it.split(','))
        .filter(|it| !it.is_empty())
        .collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::tests::document;

    const GROUP: &str =
        "root:x:0:\npilothouse-admin:x:840:pilothouse-supervisor,bob\npilothouse-operator:x:841:bob\n";

    #[test]
    fn accounts_are_made_changed_and_closed() {
        let passwd = "root:x:0:0::/root:/bin/bash\npilothouse-supervisor:x:800:800:::\nbob:x:1001:1001:::\n";
        let hashes = [("alice".to_owned(), "$y$canary".to_owned()), ("eve".to_owned(), "$y$x".to_owned())];
        let programs = super::programs(&document(), &hashes, passwd, GROUP).unwrap();
        let shown: Vec<_> = programs.iter().map(|it| format!("{it:?}")).collect();
        assert!(shown[0].starts_with("/usr/sbin/useradd") && shown[0].ends_with("\"alice\"]"), "{shown:?}");
        assert!(
            shown[2].starts_with("/usr/sbin/usermod [\"--lock\"") && shown[2].ends_with("\"bob\"]"),
            "{shown:?}"
        );
        assert!(shown[1].contains("pilothouse-operator,") && shown[1].ends_with("\"olga\"]"), "{shown:?}");
        assert_eq!(programs[3].input, b"alice:$y$canary\n");
        assert_eq!(programs.len(), 4);
        assert!(!shown.concat().contains("canary"), "a hash is on stdin alone");
    }

    #[test]
    fn a_second_time_makes_no_account() {
        let passwd = "alice:x:1000:1000:::\nolga:x:1001:1001:::\n";
        let programs = super::programs(&document(), &[], passwd, "pilothouse-admin:x:840:alice\n").unwrap();
        assert_eq!(programs.len(), 2);
        assert!(format!("{:?}", programs[0]).starts_with("/usr/sbin/usermod [\"--groups\""));
    }

    #[test]
    fn a_system_account_is_nobodys() {
        assert!(super::programs(&document(), &[], "alice:x:42:42:::\n", GROUP).is_err());
    }
}
