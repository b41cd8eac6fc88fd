//! iPXE scripts. Every word of theirs is a constant, a [`Settings`](crate::model::Settings) text, a number, an xname,
//! a checked URL or percent-encoded, so that none of them is a command.

use std::borrow::Cow;

use domain::MacAddr;
use domain::inventory::Component;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use uuid::Uuid;

use super::patience::Patience;
use crate::model::{Asked, COMMAND_LINE_MAX, Image};

/// How long a machine without a script waits, seconds (recording `bss-script-019`).
const WAIT_S: u32 = 10;
/// How long after a failed boot (recording `bss-script-010`).
const RETRY_S: u32 = 30;
/// What stays as it is in a query of ours; all else is percent-encoded, so that a value is no command.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b':').remove(b'.').remove(b'-').remove(b'_');
/// Room for a script as they are: a kernel line of 400 bytes and the rest.
const SCRIPT_USUAL: usize = 1536;
/// How parameters name a root that this head serves; the address goes before the path.
const OWN_ROOTS: [&str; 2] = ["root=live:/images/", "root=live:/blobs/"];
const ROOT: &str = "root=live:";

/// By which way the machine reaches the head.
#[derive(Clone, Debug)]
pub(crate) struct Origin<'a> {
    /// Scheme, host and port, `http://172.16.0.254:8081`.
    pub(crate) base: Cow<'a, str>,
    /// What `ds=nocloud-net;s=` names, with a slash at the end.
    pub(crate) cloud_init: Cow<'a, str>,
    /// Where the head serves images, `http://172.16.0.254:8080`: what a kernel's path without a host begins with.
    pub(crate) images: Cow<'a, str>,
    /// How the machine waits and tries again, if it is iPXE; none writes the recorded texts.
    pub(crate) patience: Option<Patience>,
    /// The NIC whose nonce the machine loads; none if it is given none.
    pub(crate) nonce: Option<MacAddr>,
}

/// A command line that Linux would cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the command line has {0} bytes; the limit is {COMMAND_LINE_MAX}: shorten the parameters")]
pub(crate) struct LineError(usize);

impl Origin<'_> {
    /// The URL of a kernel or initrd.
    fn push_file(&self, script: &mut String, url: &str) {
        if url.starts_with('/') {
            script.push_str(&self.images);
        }
        script.push_str(url);
    }

    /// Says which step comes, for the case that it fails.
    fn push_step(&self, script: &mut String, step: &str) {
        if self.patience.is_some() {
            ["set step ", step, "\n"].iter().for_each(|it| script.push_str(it));
        }
    }

    fn wait_s(&self) -> u32 {
        self.patience.map_or(WAIT_S, |it| it.wait_s())
    }

    /// Where the script is asked for again, with `rest` after what is asked.
    fn push_url(&self, script: &mut String, asked: &Asked, rest: &[&str]) {
        script.push_str(&self.base);
        script.push_str("/apis/bss/boot/v1/bootscript?");
        script.push_str(asked.key());
        script.push('=');
        match asked {
            Asked::Mac(text) | Asked::Name(text) => script.extend(utf8_percent_encode(text, PLAIN)),
            Asked::Nid(nid) => script.push_str(&nid.to_string()),
        }
        rest.iter().for_each(|it| script.push_str(it));
    }
}

/// The kernel's command line: BSS' words are added where the parameters do not have them (recording
/// `bss-script-030`), and an `initrd…` word of theirs is cut out (recording `-032`).
///
/// # Errors
///
/// If it is longer than what Linux takes.
pub(crate) fn command_line(
    image: Image<'_>,
    node: Option<&Component>,
    origin: &Origin<'_>,
) -> Result<String, LineError> {
    let mut line = String::with_capacity(image.params.len() + 256);
    push_line(&mut line, image, node, origin)?;
    Ok(line)
}

fn push_line(
    script: &mut String,
    image: Image<'_>,
    node: Option<&Component>,
    origin: &Origin<'_>,
) -> Result<(), LineError> {
    let begin = script.len();
    if origin.nonce.is_some() {
        script.push_str("initrd=join ");
    }
    if !image.initrd.is_empty() {
        script.push_str("initrd=initrd ");
    }
    let own = script.len();
    let (mut has_xname, mut has_nid, mut has_ds) = (false, false, false);
    for (index, word) in image.params.split(' ').enumerate() {
        if index > 0 {
            script.push(' ');
        }
        if OWN_ROOTS.iter().any(|it| word.starts_with(it)) {
            [ROOT, &origin.images, &word[ROOT.len()..]].iter().for_each(|it| script.push_str(it));
        } else if !word.starts_with("initrd") {
            script.push_str(word);
        }
        has_xname |= word.starts_with("xname=");
        has_nid |= word.starts_with("nid=");
        has_ds |= word.starts_with("ds=");
    }
    let mut add = |key: &str, value: &str| {
        if script.len() > own {
            script.push(' ');
        }
        script.push_str(key);
        script.push_str(value);
    };
    if let Some(node) = node {
        if !has_xname {
            add("xname=", node.id.as_str());
        }
        if let Some(nid) = node.nid.filter(|_| !has_nid) {
            add("nid=", &nid.to_string());
        }
    }
    if !has_ds {
        add("ds=nocloud-net;s=", &origin.cloud_init);
    }
    let length = script.len() - begin;
    if length > COMMAND_LINE_MAX { Err(LineError(length)) } else { Ok(()) }
}

/// The script that boots. A failure comes back by MAC if one is known, as BSS does. `once` is what the machine
/// boots this time alone: it says so when it has loaded everything.
///
/// # Errors
///
/// If the command line is longer than what Linux takes.
pub(crate) fn boot_script(
    image: Image<'_>,
    node: Option<&Component>,
    again: &Asked,
    (retry, once): (u32, Option<Uuid>),
    origin: &Origin<'_>,
) -> Result<String, LineError> {
    let mut script = String::with_capacity(SCRIPT_USUAL);
    script.push_str("#!ipxe\n");
    if image.is_local_disk() {
        push_once(&mut script, again, once, origin);
        script.push_str(LOCAL);
        push_retry(&mut script, again, retry, origin);
        return Ok(script);
    }
    origin.push_step(&mut script, "kernel");
    script.push_str("kernel --name kernel ");
    origin.push_file(&mut script, image.kernel);
    script.push(' ');
    push_line(&mut script, image, node, origin)?;
    script.push_str(" || goto boot_retry\n");
    // First, so that it stands aligned in memory wherever the machine puts its initrds one after the other. What is
    // secret is in the file alone, which only this machine is given.
    if let Some(mac) = origin.nonce {
        origin.push_step(&mut script, "join");
        script.push_str("initrd --name join ");
        script.push_str(&origin.base);
        script.push_str("/join/");
        script.push_str(&mac.to_string());
        script.push_str(".cpio || goto boot_retry\n");
    }
    if !image.initrd.is_empty() {
        origin.push_step(&mut script, "initrd");
        script.push_str("initrd --name initrd ");
        origin.push_file(&mut script, image.initrd);
        script.push_str(" || goto boot_retry\n");
    }
    push_once(&mut script, again, once, origin);
    origin.push_step(&mut script, "boot");
    script.push_str("boot || goto boot_retry\n");
    push_retry(&mut script, again, retry, origin);
    Ok(script)
}

/// A machine boots from its first disk: a BIOS by the number of the drive, UEFI by the disk's default loader, else by
/// what comes next in its own order, to which iPXE leaves the machine when it ends with an error.
const LOCAL: &str = "iseq ${platform} efi && goto efi ||\n\
    set step disk\n\
    sanboot --no-describe --drive 0x80 || goto boot_retry\n\
    :efi\n\
    sanboot --no-describe --drive 0 || exit 1\n";

/// The file is let go again: Linux is given every image there is as an initrd.
fn push_once(script: &mut String, again: &Asked, once: Option<Uuid>, origin: &Origin<'_>) {
    let Some(id) = once else { return };
    script.push_str("imgfetch --name taken ");
    origin.push_url(script, again, &["&taken=", &id.to_string()]);
    script.push_str(" && imgfree taken ||\n");
}

fn push_retry(script: &mut String, again: &Asked, retry: u32, origin: &Origin<'_>) {
    let Some(patience) = origin.patience else {
        script.push_str(":boot_retry\nsleep ");
        script.push_str(&RETRY_S.to_string());
        script.push_str("\nchain ");
        origin.push_url(script, again, &["&retry=", &retry.saturating_add(1).to_string()]);
        script.push_str("\n\n");
        return;
    };
    let mut url = String::with_capacity(128);
    origin.push_url(&mut url, again, &["&retry=", &retry.saturating_add(1).to_string(), "&failed=${step}"]);
    patience.push(script, retry, &url);
}

/// The script of a machine whose command line would be cut: it says so on the console, and asks again.
pub(crate) fn refused_script(error: LineError, again: &Asked, retry: u32, origin: &Origin<'_>) -> String {
    let mut script = format!("#!ipxe\necho {error}\n");
    origin.push_step(&mut script, "script");
    push_retry(&mut script, again, retry, origin);
    script
}

/// The script of a machine that has nothing to boot yet: it waits and says its architecture.
pub(crate) fn wait_script(asked: &Asked, epoch: i64, origin: &Origin<'_>) -> String {
    if origin.patience.is_some() {
        return loop_script(asked, "${buildarch}", 1, origin);
    }
    let mut script = format!("#!ipxe\nsleep {WAIT_S}\nchain ");
    origin.push_url(&mut script, asked, &["&arch=${buildarch}&ts=", &epoch.to_string()]);
    script.push_str("\n\n");
    script
}

/// The script of a machine whose kernel is chosen by its architecture: it says that at once.
pub(crate) fn ask_script(asked: &Asked, retry: u32, origin: &Origin<'_>) -> String {
    let mut script = format!("#!ipxe\ngoto ask\n:again\nsleep {}\n:ask\n", origin.wait_s());
    push_chain(&mut script, asked, "${buildarch}", retry, origin);
    script
}

/// The script of a machine that said its architecture and still has nothing to boot.
pub(crate) fn retry_script(asked: &Asked, arch: &str, retry: u32, origin: &Origin<'_>) -> String {
    loop_script(asked, &encode(arch), retry.saturating_add(1), origin)
}

/// The machine stays here until it has something to boot, also when the head is down meanwhile. `dhcp` first, because
/// a machine that was added has an address of its own.
fn loop_script(asked: &Asked, arch: &str, retry: u32, origin: &Origin<'_>) -> String {
    let or = if origin.patience.is_some() { " ||" } else { "" };
    let mut script = format!("#!ipxe\n:again\nsleep {}{or}\ndhcp || goto again\n", origin.wait_s());
    push_chain(&mut script, asked, arch, retry, origin);
    script
}

/// The script of a machine that was added while it waited and still has its address from the pool: it takes its own
/// before it loads anything, and comes back at once.
pub(crate) fn renew_script(asked: &Asked, arch: &str, retry: u32, origin: &Origin<'_>) -> String {
    let wait = origin.wait_s();
    let mut script = format!("#!ipxe\ngoto ask\n:again\nsleep {wait}\n:ask\ndhcp || goto again\n");
    push_chain(&mut script, asked, &encode(arch), retry, origin);
    script
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

/// `--replace` because each nested `chain` would take some of iPXE's stack.
fn push_chain(script: &mut String, asked: &Asked, arch: &str, retry: u32, origin: &Origin<'_>) {
    script.push_str("chain --replace ");
    origin.push_url(script, asked, &["&arch=", arch, "&retry=", &retry.to_string()]);
    script.push_str(" || goto again\n\n");
}
