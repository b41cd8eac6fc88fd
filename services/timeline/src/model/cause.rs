//! Likely causes, and what is said of each: one sentence, and the next step.

use std::fmt;
use std::time::Duration;

use domain::{BootStage, Span};
use serde::{Deserialize, Serialize};

use super::boot::Boot;
use super::place::Place;
use crate::wire::Event;

/// Why a boot stands still, as a word that programs read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The BMC does not answer, or refused the command.
    PowerRefused,
    /// It booted from something else than the network.
    BootOrder,
    /// No DHCP request came after power.
    NoDiscover,
    /// The first DHCP request that came through was not the first that was sent.
    SpanningTree,
    /// It is in no inventory, and the plane has no pool.
    UnknownMachine,
    /// dhcp made no offer.
    NoOffer,
    /// It took none of the offers.
    OfferNotTaken,
    /// It took the offer of another DHCP server.
    OtherServer,
    /// It found its address in use.
    AddressInUse,
    /// It asked for no loader.
    NoLoaderRequest,
    /// The loader is not on the head.
    LoaderMissing,
    /// There is no loader for its architecture.
    NoLoader,
    /// The loader's transfer broke off.
    LoaderBroken,
    /// It took a loader for another architecture.
    WrongArchitecture,
    /// It asked for no script.
    NoScriptRequest,
    /// There is nothing for it to boot.
    NoParameters,
    /// What it should boot does not fit it.
    NotBootable,
    /// It resolves no names.
    NameResolution,
    /// What it asked for is not on the head.
    NotFound,
    /// What it asked for may not be read.
    Unreadable,
    /// The head failed to answer.
    ServerError,
    /// A transfer broke off.
    CutShort,
    /// A transfer began and has not ended.
    NotEnded,
    /// It never asked for what the script names.
    NotFetched,
    /// It never asked for its meta-data.
    NoCloudInit,
    /// It never asked for its user-data.
    CloudInitIncomplete,
    /// cloud-init was refused the file of its network.
    NetworkConfig,
    /// The kernel panicked.
    Panic,
    /// Something else, which the detail tells.
    Other,
}

/// What a cause was seen by.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen<'a> {
    pub(crate) event: Option<&'a Event>,
    pub(crate) waited: Option<Duration>,
    pub(crate) awaited: Option<Place>,
}

impl Cause {
    /// The word of the API.
    #[must_use]
    pub fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|it| it.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// The sentence and the next step.
pub(crate) fn tell(cause: Cause, boot: &Boot, seen: Seen<'_>) -> (String, String) {
    let fact = |name: &str| seen.event.and_then(|it| it.fact(name)).unwrap_or("?").to_owned();
    let waited =
        seen.waited.map_or_else(String::new, |it| Span(Duration::from_secs(it.as_secs())).to_string());
    let node = &boot.node;
    let mac = boot.mac.map_or_else(|| node.clone(), |it| it.to_string());
    let told = seen.event.map(|it| it.detail.as_str()).unwrap_or_default();
    match early(cause, boot, &fact, (&waited, told), &mac) {
        Some(said) => said,
        None => late(cause, boot, seen, &waited),
    }
}

/// Up to the script.
fn early(
    cause: Cause,
    boot: &Boot,
    fact: &dyn Fn(&str) -> String,
    (waited, told): (&str, &str),
    mac: &str,
) -> Option<(String, String)> {
    let node = &boot.node;
    let detail = |text: &str| text.to_owned();
    let (file, loader) = (boot.evidence.file.as_deref(), boot.evidence.loader.as_deref());
    Some(match cause {
        Cause::PowerRefused => (
            detail("the BMC does not answer or refused the power command"),
            format!("see why: pilotctl power status {node}; is the BMC on, is its account right?"),
        ),
        Cause::BootOrder => (
            detail("it boots from something else than the network: its disk, or nothing at all (boot order)"),
            format!(
                "boot it from the network: pilotctl power cycle {node} --boot pxe, or change the order in its firmware"
            ),
        ),
        Cause::NoDiscover => (
            format!(
                "no DHCP request {waited} after power: no cable, a switch port that is closed or in the wrong VLAN, \
                 network boot switched off, or another boot order"
            ),
            format!(
                "look at its console: pilotctl console {node}; see whether its MAC is right: pilotctl nodes show {node}"
            ),
        ),
        Cause::SpanningTree => (
            format!(
                "the first DHCP request that came through was sent {} s after the machine had begun to ask: its switch \
                 port forwards late (spanning tree)",
                fact("secs")
            ),
            detail("make the port an edge port (portfast) at the switch"),
        ),
        Cause::UnknownMachine => (
            format!("{mac} is in no inventory"),
            detail("add it if it is a node: pilotctl nodes list --unknown, pilotctl nodes import FILE"),
        ),
        Cause::NoOffer => (
            match fact("reason").as_str() {
                "?" => detail("it asked for an address and was offered none"),
                reason => format!("it asked for an address and was offered none: {reason}"),
            },
            format!("see why: pilotctl dhcp why {mac}"),
        ),
        Cause::OfferNotTaken => (
            format!(
                "it took none of our offers for {waited}: they do not reach it, or another DHCP server answered first"
            ),
            detail("look for other servers: pilotctl health; at the switch, for DHCP snooping"),
        ),
        Cause::OtherServer => (
            format!("it took the offer of another DHCP server, {}", fact("server")),
            format!("find that server and switch it off: ip neigh show {}", fact("server")),
        ),
        Cause::AddressInUse => (
            format!("it found its address {} in use by another machine", fact("address")),
            detail("find the other one: ip neigh, arping -D"),
        ),
        Cause::NoLoaderRequest => (
            format!(
                "no TFTP request {waited} after the ACK: a firewall (UDP 69), or a second DHCP server that names another \
                 one"
            ),
            detail(
                "see whether requests arrive: tcpdump -ni INTERFACE udp port 69; other servers: pilotctl health",
            ),
        ),
        Cause::LoaderMissing => (
            format!("it asked for a loader that the head does not have: {}", file.or(loader).unwrap_or("?")),
            detail("see what it is told to load: pilotctl dhcp why MAC; is the package ipxe installed?"),
        ),
        Cause::NoLoader => (
            format!(
                "there is no loader for its architecture ({})",
                boot.evidence.arch.map_or("?", architecture_name)
            ),
            format!(
                "name one in the document, dhcp.loaders.{}; what it is told now: pilotctl dhcp why {mac}",
                boot.evidence.arch.unwrap_or_default()
            ),
        ),
        Cause::LoaderBroken => (
            format!("the transfer of the loader {} broke off", loader.unwrap_or("?")),
            detail(
                "look for loss on the way: a firewall that lets no answers through, a bad cable, a wrong MTU",
            ),
        ),
        Cause::WrongArchitecture => (
            format!(
                "it loaded {}, which is not for its architecture ({})",
                loader.unwrap_or("?"),
                boot.evidence.arch.map_or("?", architecture_name)
            ),
            detail(
                "look at who names that file: pilotctl dhcp why MAC; another DHCP server, or the firmware's own setting",
            ),
        ),
        Cause::NoScriptRequest => (
            format!(
                "no boot script was asked for {waited} after the loader {}: it does not run there (Secure Boot, wrong \
                 architecture), or TCP 8081 is closed",
                loader.unwrap_or("was sent")
            ),
            format!("look at its console: pilotctl console {node}"),
        ),
        Cause::NoParameters => (
            detail("there is nothing for it to boot: no entry fits it"),
            format!("set what it boots: pilotctl boot params set {node} --kernel URL"),
        ),
        Cause::NotBootable => (
            format!("what it should boot does not fit it: {told}"),
            format!("see why: pilotctl boot script {node} --explain"),
        ),
        _ => return None,
    })
}

/// From the script on.
fn late(cause: Cause, boot: &Boot, seen: Seen<'_>, waited: &str) -> (String, String) {
    let node = &boot.node;
    let told = seen.event.map(|it| it.detail.clone()).unwrap_or_default();
    let image = seen.event.and_then(|it| it.image.clone()).unwrap_or_else(|| "?".to_owned());
    let stage = seen.event.map_or(boot.stage, |it| it.stage);
    let part = part(seen.awaited.map_or(stage, Place::stage));
    let url = seen.awaited.and_then(|it| url_of(boot, it)).unwrap_or("?");
    let detail = |text: &str| text.to_owned();
    match cause {
        Cause::NameResolution => (
            format!(
                "it is to fetch {url} by name, and has asked for nothing: its name server does not answer (DNS)"
            ),
            format!(
                "ask that server: dig @SERVER NAME; or name the head by its address: pilotctl boot script {node}"
            ),
        ),
        Cause::NotFetched => (
            match waited {
                "" => {
                    format!("it could not load {part}, and asked nothing of the head; the script names {url}")
                }
                _ => format!("{part} was not fetched within {waited}; the script names {url}"),
            },
            format!("look at its console: pilotctl console {node}; is TCP 8080 open to it?"),
        ),
        Cause::NotFound => (
            format!("{part} is not on the head (404): {image}"),
            format!("compare with what there is: pilotctl boot script {node}, pilotctl image list"),
        ),
        Cause::Unreadable => (
            format!("{part} may not be read (403): {image}"),
            format!("make it readable: chmod o+r /data/domain-images/{image}"),
        ),
        Cause::ServerError => (
            format!("the head failed to answer: {told}"),
            detail("see which service failed: pilotctl status, pilotctl logs SERVICE"),
        ),
        Cause::CutShort => (
            format!("the transfer of {part} broke off: {told}"),
            format!(
                "is {image} whole? pilotctl image verify; else a bad cable or a node that ran out of memory"
            ),
        ),
        Cause::NotEnded => (
            format!(
                "the transfer of {part} began {waited} ago and has not ended{}: a slow or lossy way, or the head lost \
                 sight of it",
                boot.evidence
                    .transfer
                    .as_ref()
                    .and_then(|it| it.image.as_ref())
                    .map_or_else(String::new, |it| { format!(" ({it})") })
            ),
            format!(
                "look at its console: pilotctl console {node}; at its switch port for errors; at the head: pilotctl logs \
                 images"
            ),
        ),
        Cause::NoCloudInit => (
            format!(
                "no meta-data was asked for within {waited}: cloud-init does not run, or does not reach the head"
            ),
            format!(
                "look at its console: pilotctl console {node}; at ds=nocloud of its parameters: pilotctl boot script {node}"
            ),
        ),
        Cause::CloudInitIncomplete => (
            format!("meta-data was fetched, user-data was not within {waited}"),
            format!("look at its console: pilotctl console {node}"),
        ),
        Cause::NetworkConfig => (
            detail(
                "cloud-init asked for network-config where there is none (404), and asks eleven times before it goes on",
            ),
            format!(
                "its seed is not the head's: look at ds=nocloud of its parameters: pilotctl boot script {node}"
            ),
        ),
        Cause::Panic => (
            format!("its kernel panicked: {told}"),
            format!("read what came before: pilotctl console {node}"),
        ),
        _ => (
            if told.is_empty() { detail("it was refused") } else { told },
            format!("pilotctl boot history {node}"),
        ),
    }
}

/// What a stage brings, in words.
pub(crate) fn part(stage: BootStage) -> &'static str {
    match stage {
        BootStage::TftpStart | BootStage::TftpEnd => "the loader",
        BootStage::Script => "the boot script",
        BootStage::Kernel => "the kernel",
        BootStage::Initrd => "the initrd",
        BootStage::Root => "the root file system",
        BootStage::Metadata => "meta-data",
        BootStage::Userdata => "user-data",
        _ => "it",
    }
}

/// What the script says is fetched there.
pub(crate) fn url_of(boot: &Boot, place: Place) -> Option<&str> {
    let script = boot.script()?;
    match place {
        Place::Kernel => script.kernel.as_deref(),
        Place::Initrd => script.initrd.as_deref(),
        Place::Root => script.root.as_deref(),
        Place::Metadata | Place::Userdata => script.seed.as_deref(),
        _ => None,
    }
}

/// Client architectures (RFC 5970's registry), as far as heads meet them.
fn architecture_name(arch: u16) -> &'static str {
    match arch {
        0 => "BIOS",
        6 | 15 => "UEFI x86, 32 bits",
        7 | 9 | 16 => "UEFI x86-64",
        10 | 18 => "UEFI arm, 32 bits",
        11 | 19 => "UEFI arm64",
        _ => "another",
    }
}
