//! The rules: what a step that failed means, what a step gives away, and what silence means. Each is a pure function of
//! the boot so far.

use std::net::IpAddr;
use std::time::Duration;

use domain::{BootStage, StageResult};
use time::OffsetDateTime;

use super::boot::{Boot, Finding, Kind};
use super::cause::{Cause, Seen, tell, url_of};
use super::place::{Client, Place};
use super::typical::Typical;
use crate::config::Limits;
use crate::wire::Event;

/// A first DISCOVER that is older than this has predecessors that were lost on the way.
const LATE_S: u16 = 10;
/// A log-in prompt that comes sooner after power is the old system's.
const PROMPT_MIN: time::Duration = time::Duration::seconds(5);

/// What the boot has to reach next; none: it is done, as far as the head can see.
pub(crate) fn awaited(boot: &Boot) -> Option<Place> {
    let script = boot.script();
    let names = |of: fn(&super::boot::Script) -> &Option<String>| {
        script.is_none_or(|it| !it.told || of(it).is_some())
    };
    let (initrd, root, seed) = (names(|it| &it.initrd), names(|it| &it.root), names(|it| &it.seed));
    let after_root = seed.then_some(Place::Metadata);
    let after_initrd = if root { Some(Place::Root) } else { after_root };
    match boot.evidence.place {
        Place::Power => Some(Place::Discover),
        Place::Discover => Some(Place::Offer),
        Place::Offer => Some(Place::Ack),
        Place::Ack => match boot.evidence.file.as_deref() {
            Some(url) if url.starts_with("http") => Some(Place::Loader),
            _ => Some(Place::LoaderStart),
        },
        Place::LoaderStart => Some(Place::Loader),
        Place::LoaderDiscover => Some(Place::LoaderOffer),
        Place::LoaderOffer => Some(Place::LoaderAck),
        Place::Loader | Place::LoaderAck => Some(Place::Script),
        Place::Script if script.is_some_and(|it| it.kernel.as_deref() == Some("disk")) => None,
        Place::Script => Some(Place::Kernel),
        Place::Kernel if initrd => Some(Place::Initrd),
        Place::Kernel | Place::Initrd | Place::System => after_initrd,
        Place::Root => after_root,
        Place::Metadata => Some(Place::Userdata),
        _ => None,
    }
}

/// What a step that failed means.
pub(crate) fn refusal(boot: &Boot, event: &Event) -> Option<Finding> {
    use BootStage as Is;
    // A node that is up asks for this and that, and is refused.
    if boot.is_finished() && event.stage != Is::Panic {
        return None;
    }
    let why = event.fact("why").unwrap_or_default();
    let place = Place::of(event, Some(boot.evidence.place));
    let mut until = Some(place);
    let mut kind = Kind::Refusal;
    let mut awaited = None;
    let known = boot.findings.iter().any(|it| it.stage == event.stage && it.kind == Kind::Refusal);
    let cause = match (event.stage, why) {
        // The machine's own word comes after the head's, which knows why.
        (_, "not-loaded") if known => return None,
        (Is::Kernel | Is::Initrd | Is::Root, "not-loaded") => {
            awaited = Some(place);
            let by_name = url_of(boot, place).is_some_and(names_a_host);
            if by_name { Cause::NameResolution } else { Cause::NotFetched }
        }
        (Is::Join, _) => {
            // It boots without its token.
            (kind, until) = (Kind::Sign, Some(Place::Join));
            Cause::Other
        }
        (Is::PowerOn, _) => {
            until = Some(Place::Discover);
            Cause::PowerRefused
        }
        (_, "name-resolution") => {
            // The console does not know what the name was to bring.
            awaited = self::awaited(boot);
            until = awaited;
            Cause::NameResolution
        }
        (Is::DhcpDiscover, "boot-order") => {
            until = Some(Place::Discover);
            Cause::BootOrder
        }
        (Is::DhcpOffer, "unknown-machine") | (Is::Script, "unknown-machine") => Cause::UnknownMachine,
        (Is::DhcpOffer, _) => Cause::NoOffer,
        (Is::DhcpAck, "other-server") => Cause::OtherServer,
        (Is::DhcpAck, "declined") => Cause::AddressInUse,
        (Is::TftpStart, "no-such-file") => Cause::LoaderMissing,
        (Is::TftpStart, "no-loader") => Cause::NoLoader,
        (Is::TftpStart | Is::TftpEnd, _) => Cause::LoaderBroken,
        (Is::Script, "no-parameters") => Cause::NoParameters,
        (Is::Script, "not-bootable" | "not-started") => Cause::NotBootable,
        (Is::Metadata, "http-404" | "http-403") if event.fact("file") == Some("network-config") => {
            (kind, until) = (Kind::Sign, None);
            Cause::NetworkConfig
        }
        (Is::Panic, _) => {
            until = None;
            Cause::Panic
        }
        (_, "http-404") => Cause::NotFound,
        (_, "http-403") => Cause::Unreadable,
        (_, it) if it.starts_with("http-5") => Cause::ServerError,
        (Is::Kernel | Is::Initrd | Is::Root, _) => Cause::CutShort,
        _ => Cause::Other,
    };
    let stage = awaited.map_or(event.stage, Place::stage);
    Some(finding(
        boot,
        (stage, cause, kind, until),
        event.time,
        Seen { event: Some(event), awaited, waited: None },
    ))
}

/// What a step that ended well gives away all the same; the boot has taken it already.
pub(crate) fn sign(boot: &Boot, event: &Event) -> Option<Finding> {
    use BootStage as Is;
    debug_assert_eq!(event.result, StageResult::Ok);
    let seen = Seen { event: Some(event), ..Seen::default() };
    let found = |what| Some(finding(boot, what, event.time, seen));
    match event.stage {
        Is::DhcpDiscover if Client::of(event, Some(boot.evidence.place)) == Client::Os => {
            // A system that nothing from here has started.
            let powered = boot.steps.first().is_some_and(|it| it.stage == Is::PowerOn);
            let alone = powered && boot.steps.len() == 2 && boot.evidence.place == Place::System;
            if alone {
                found((Is::DhcpDiscover, Cause::BootOrder, Kind::Refusal, Some(Place::Panic)))
            } else {
                None
            }
        }
        Is::DhcpDiscover => {
            let secs: u16 = event.fact("secs")?.parse().ok()?;
            // Some clients write it in the other order of bytes.
            let secs = if secs > 600 { secs.swap_bytes() } else { secs };
            let first = boot.steps.iter().any(|it| it.stage == Is::DhcpDiscover && it.times == 1);
            let late = first && (LATE_S..=600).contains(&secs);
            if late { found((Is::DhcpDiscover, Cause::SpanningTree, Kind::Sign, None)) } else { None }
        }
        Is::TftpStart | Is::TftpEnd => {
            let (arch, file) = (boot.evidence.arch?, boot.evidence.loader.as_deref()?);
            let wrong = event.image.as_deref() == Some(file) && family_of(file)? != family(arch)?;
            // Only a script asked for by this loader proves that it runs there.
            let until = Some(Place::LoaderDiscover);
            if wrong { found((Is::TftpEnd, Cause::WrongArchitecture, Kind::Refusal, until)) } else { None }
        }
        Is::Login => {
            let powered = boot.steps.iter().any(|it| it.stage == Is::PowerOn);
            let asked = boot.steps.iter().any(|it| (Is::DhcpDiscover..=Is::Root).contains(&it.stage));
            let elsewhere = powered && !asked && event.time - boot.started > PROMPT_MIN;
            if elsewhere { found((Is::DhcpDiscover, Cause::BootOrder, Kind::Refusal, None)) } else { None }
        }
        Is::Panic => found((Is::Panic, Cause::Panic, Kind::Refusal, None)),
        _ => None,
    }
}

/// What it means that nothing came.
pub(crate) fn silence(
    boot: &Boot,
    now: OffsetDateTime,
    limits: &Limits,
    typical: &Typical,
) -> Option<Finding> {
    let awaited = awaited(boot)?;
    if let Some(transfer) = boot.evidence.transfer.as_ref().filter(|it| it.place >= awaited) {
        let waited = Duration::try_from(now - transfer.since).ok()?;
        let seen = Seen { event: None, waited: Some(waited), awaited: Some(transfer.place) };
        let what = (transfer.place.stage(), Cause::NotEnded, Kind::Silence, Some(transfer.place));
        return (waited >= limits.fetch.0).then(|| finding(boot, what, now, seen));
    }
    let (limit, waited) = (awaited.limit(limits), Duration::try_from(now - boot.evidence.since).ok()?);
    // Most boots are far from it; what was learnt is looked up for the others alone.
    if waited < limit || waited < typical.stretch(&boot.node, awaited, limit) {
        return None;
    }
    let by_name = url_of(boot, awaited).is_some_and(names_a_host);
    let cause = match awaited {
        Place::Discover => Cause::NoDiscover,
        Place::Offer | Place::LoaderOffer => Cause::NoOffer,
        Place::Ack | Place::LoaderAck => Cause::OfferNotTaken,
        Place::LoaderStart => Cause::NoLoaderRequest,
        Place::Loader => Cause::LoaderBroken,
        Place::Script => Cause::NoScriptRequest,
        Place::Kernel | Place::Initrd | Place::Root | Place::Metadata if by_name => Cause::NameResolution,
        Place::Metadata => Cause::NoCloudInit,
        Place::Userdata => Cause::CloudInitIncomplete,
        _ => Cause::NotFetched,
    };
    let seen = Seen { event: None, waited: Some(waited), awaited: Some(awaited) };
    Some(finding(boot, (awaited.stage(), cause, Kind::Silence, Some(awaited)), now, seen))
}

fn finding(
    boot: &Boot,
    (stage, cause, kind, until): (BootStage, Cause, Kind, Option<Place>),
    since: OffsetDateTime,
    seen: Seen<'_>,
) -> Finding {
    let (detail, next) = tell(cause, boot, seen);
    Finding { stage, cause, kind, detail, next, since, until }
}

/// Whether a URL names its host, rather than giving its address.
fn names_a_host(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(_) => return false,
        None => authority.rsplit_once(':').map_or(authority, |it| it.0),
    };
    !host.is_empty() && host.parse::<IpAddr>().is_err()
}

/// Machines that run each other's loaders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Bios,
    X86,
    Arm64,
}

fn family(arch: u16) -> Option<Family> {
    match arch {
        0 => Some(Family::Bios),
        7 | 9 | 16 => Some(Family::X86),
        11 | 19 => Some(Family::Arm64),
        _ => None,
    }
}

/// By the loader's name: the ones of Debian's ipxe, grub and shim.
fn family_of(file: &str) -> Option<Family> {
    let name = file.rsplit('/').next().unwrap_or(file).to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|it| name.contains(it));
    if has(&[".kpxe", ".kkpxe", ".kkkpxe", "pxelinux", "undionly"]) || name == "ipxe.pxe" {
        Some(Family::Bios)
    } else if has(&["arm64", "aa64"]) {
        Some(Family::Arm64)
    } else if has(&["riscv", "loong", "ia32", "i386"]) {
        None
    } else if name.ends_with(".efi") {
        Some(Family::X86)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{Family, family_of, names_a_host};

    #[test]
    fn a_url_names_a_host_or_gives_an_address() {
        assert!(names_a_host("http://demo.openchami.cluster:8080/k"));
        assert!(names_a_host("http://head/k") && names_a_host("http://head"));
        for url in
            ["http://172.16.0.254:8080/k", "http://172.16.0.254/k", "http://[fd00::1]:8080/k", "disk", ""]
        {
            assert!(!names_a_host(url), "{url}");
        }
    }

    #[test]
    fn a_loader_is_known_by_its_name() {
        for (file, family) in [
            ("undionly.kpxe", Some(Family::Bios)),
            ("ipxe.pxe", Some(Family::Bios)),
            ("snponly.efi", Some(Family::X86)),
            ("http://172.16.0.254:8080/ipxe/ipxe-arm64.efi", Some(Family::Arm64)),
            ("shimaa64.efi", Some(Family::Arm64)),
            ("ipxe-riscv64.efi", None),
            ("autoexec.ipxe", None),
        ] {
            assert_eq!(family_of(file), family, "{file}");
        }
    }
}
