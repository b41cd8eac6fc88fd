//! What fuzzers and the replay of their corpora call (`tests/fuzz`): each takes any bytes, and what comes of them holds.

use crate::model::Asked;
use crate::wire::{Origin, ask_script, boot_script, parse_write, renew_script, retry_script, wait_script};

/// The commands that a script of ours has, at a line's begin.
const COMMANDS: [&str; 18] = [
    "#!ipxe", "kernel", "initrd", "imgfetch", "imgfree", "boot", "sleep", "chain", "goto", "dhcp", "echo",
    "set", "inc", "iseq", "isset", "sanboot", "exit", "prompt",
];

/// What a boot script is asked for by (`mac=`, or `name=`), the architecture that iPXE says (`arch=`), and the
/// parameters that an administrator set, as JSON; a NUL between each.
///
/// # Panics
///
/// If any of it becomes a command.
pub fn bootscript(bytes: &[u8]) {
    let mut parts = bytes.splitn(3, |it| *it == 0);
    let mut part = || parts.next().unwrap_or_default();
    let (asked, arch) = (String::from_utf8_lossy(part()), String::from_utf8_lossy(part()));
    let body = part();
    let origin = Origin {
        base: "http://10.0.0.1:8081".into(),
        cloud_init: "http://10.0.0.1:8081/cloud-init/".into(),
        images: "http://10.0.0.1:8080".into(),
        patience: None,
        nonce: None,
    };
    for asked in [Asked::Mac(asked.clone().into_owned()), Asked::Name(asked.into_owned())] {
        check(&wait_script(&asked, 1, &origin), 0);
        check(&ask_script(&asked, 2, &origin), 0);
        check(&retry_script(&asked, &arch, 3, &origin), 0);
        check(&renew_script(&asked, &arch, 4, &origin), 0);
        let Ok(write) = parse_write(body, false) else { continue };
        let Some(Ok(settings)) = write.edit.apply(None) else { continue };
        if let Ok(script) = boot_script(settings.image(None), None, &asked, (0, None), &origin) {
            check(&script, 1);
        }
    }
}

/// A script of ours, with so many kernels at most.
fn check(script: &str, kernels_max: usize) {
    let mut kernels = 0;
    assert!(script.starts_with("#!ipxe\n"), "{script:?}");
    assert!(script.bytes().all(|it| it == b'\n' || !it.is_ascii_control()), "{script:?}");
    for line in script.lines().filter(|it| !it.is_empty() && !it.starts_with(':')) {
        let command = line.split(' ').next().unwrap_or_default();
        assert!(COMMANDS.contains(&command), "{line:?} is no command of ours");
        kernels += usize::from(command == "kernel");
        for word in line.split("||").skip(1).map(str::trim) {
            let known = word.is_empty() || word.starts_with("goto ") || word == "exit 1";
            assert!(known, "{line:?} does something else");
        }
    }
    assert!(kernels <= kernels_max, "{script:?}");
}
