//! How people get in and what they find: SSH, sudo, the shell's variables, the CLI's configuration.

use domain::{Document, Role};

use super::{HEADER, Output};

/// The files.
pub(super) fn files(document: &Document) -> Vec<Output> {
    let mut outputs = vec![
        Output::file("/etc/ssh/sshd_config.d/50-pilothouse.conf", 0o644, sshd()),
        Output::file("/etc/sudoers.d/pilothouse", 0o440, sudoers(document)),
        Output::file("/etc/profile.d/ochami.sh", 0o644, profile(document)),
        Output::file("/etc/ochami/config.yaml", 0o644, ochami(document)),
    ];
    for (name, admin) in &document.admins {
        let path = format!("/etc/ssh/authorized_keys.d/{name}");
        outputs.push(Output::file(path, 0o644, format!("{HEADER}{}\n", admin.ssh_keys.join("\n"))));
    }
    outputs
}

/// Keys come from the document alone, so that a key taken out of it opens nothing.
fn sshd() -> String {
    format!(
        "{HEADER}AllowGroups pilothouse-admin pilothouse-operator\n\
         AuthorizedKeysFile /etc/ssh/authorized_keys.d/%u\n\
         PasswordAuthentication no\n\
         KbdInteractiveAuthentication no\n\
         PermitRootLogin no\n\
         X11Forwarding no\n"
    )
}

/// By name: the supervisor is in the group too, and has no business with sudo.
fn sudoers(document: &Document) -> String {
    let admins = document.admins.iter().filter(|(_, it)| it.role == Role::Admin);
    let lines = admins.map(|(name, _)| format!("{name} ALL=(ALL:ALL) NOPASSWD: ALL\n"));
    lines.fold(HEADER.to_owned(), |text, line| text + &line)
}

fn base_url(document: &Document) -> String {
    format!("https://{}:8443", document.cluster.service_name())
}

/// The variables that instructions for this kind of cluster assume. A token is fetched when it is asked for,
/// since it ends within the hour and not everyone may have one.
fn profile(document: &Document) -> String {
    let base = base_url(document);
    let variable = document.cluster.name.to_uppercase().replace('-', "_");
    format!(
        "{HEADER}export SMD_URL={base}/hsm/v2\n\
         export BSS_URL={base}/boot/v1\n\
         export CLOUD_INIT_URL={base}/cloud-init\n\
         # ochami_token: fetches a token for ochami and curl.\n\
         ochami_token() {{\n    \
             {variable}_ACCESS_TOKEN=$(gen_access_token) && export {variable}_ACCESS_TOKEN\n\
         }}\n"
    )
}

fn ochami(document: &Document) -> String {
    let (name, base) = (&document.cluster.name, base_url(document));
    format!(
        "{HEADER}log:\n    format: basic\n    level: warning\ndefault-cluster: {name}\nclusters:\n    - name: {name}\n      \
         cluster:\n        base-uri: {base}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::text_of;

    #[test]
    fn an_administrator_gets_in_by_key_and_has_sudo() {
        assert!(text_of("/etc/ssh/authorized_keys.d/alice").ends_with("q2r alice@site\n"));
        assert!(text_of("/etc/sudoers.d/pilothouse").ends_with("\nalice ALL=(ALL:ALL) NOPASSWD: ALL\n"));
        assert!(
            text_of("/etc/ssh/sshd_config.d/50-pilothouse.conf")
                .contains("AllowGroups pilothouse-admin pilothouse-operator\n")
        );
    }

    #[test]
    fn the_shell_and_the_cli_know_the_cluster() {
        let profile = text_of("/etc/profile.d/ochami.sh");
        assert!(profile.contains("export SMD_URL=https://demo.openchami.cluster:8443/hsm/v2\n"), "{profile}");
        assert!(
            profile.contains("    DEMO_ACCESS_TOKEN=$(gen_access_token) && export DEMO_ACCESS_TOKEN\n"),
            "{profile}"
        );
        let config = text_of("/etc/ochami/config.yaml");
        assert!(
            config.ends_with(
                "default-cluster: demo\nclusters:\n    - name: demo\n      cluster:\n        \
             base-uri: https://demo.openchami.cluster:8443\n"
            ),
            "{config}"
        );
    }
}
