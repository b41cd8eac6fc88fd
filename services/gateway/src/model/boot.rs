//! What a booting node asks for: told to the timeline when no service answers it.

use domain::BootStage;

/// The stage that a path belongs to, and the file that it names.
pub(crate) fn stage_of(path: &str) -> Option<(BootStage, &'static str)> {
    let path = path.trim_end_matches('/');
    if path == "/boot/v1/bootscript" || path == "/apis/bss/boot/v1/bootscript" {
        return Some((BootStage::Script, "bootscript"));
    }
    let (folder, file) = path.rsplit_once('/')?;
    if !folder.starts_with("/cloud-init") {
        return None;
    }
    match file {
        "user-data" => Some((BootStage::Userdata, "user-data")),
        "meta-data" => Some((BootStage::Metadata, "meta-data")),
        "network-config" => Some((BootStage::Metadata, "network-config")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use domain::BootStage;

    use super::stage_of;

    #[test]
    fn nodes_ask_for_a_script_and_for_files_of_cloud_init() {
        for (path, stage) in [
            ("/boot/v1/bootscript", Some(BootStage::Script)),
            ("/cloud-init/user-data", Some(BootStage::Userdata)),
            ("/cloud-init-secure/meta-data", Some(BootStage::Metadata)),
            ("/cloud-init/x1000c0s0b0n0/network-config", Some(BootStage::Metadata)),
            ("/boot/v1/bootparameters", None),
            ("/cloud-init/compute.yaml", None),
            ("/hsm/v2/user-data", None),
            ("user-data", None),
        ] {
            assert_eq!(stage_of(path).map(|it| it.0), stage, "{path}");
        }
    }
}
