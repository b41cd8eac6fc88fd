//! What a client boots: the loader for its architecture, and iPXE its script.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use domain::MacAddr;

use super::Trace;
use crate::config::{Loader, Table};
use crate::wire::{Options, Request, code};

/// The loaders served, by the names of Debian's package ipxe.
pub(crate) const LOADERS: [&str; 9] = [
    "undionly.kpxe",
    "undionly.kkpxe",
    "snponly.efi",
    "ipxe.efi",
    "ipxe-amd64.efi",
    "ipxe-arm64.efi",
    "ipxe-riscv64.efi",
    "ipxe-loong64.efi",
    "ipxe.pxe",
];

/// Option 43 of a PXE server (PXE 2.1): take the boot file that stands here and look for no other server.
const VENDOR_PXE: [u8; 4] = [6, 1, 8, 255];

/// Whether a name is one of [`LOADERS`].
pub(crate) fn is_loader(name: &str) -> bool {
    LOADERS.contains(&name)
}

/// What a client loads first, and how: a name for TFTP, or a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
enum First<'a> {
    Tftp(&'a str),
    Http(Cow<'a, str>),
}

/// Whether firmware of this architecture boots by HTTP (IANA's "Processor Architecture Types").
pub(crate) fn boots_by_http(architecture: u16) -> bool {
    matches!(architecture, 0x0f..=0x14 | 0x17 | 0x18 | 0x1a | 0x1c | 0x1e | 0x26 | 0x28)
}

/// What an architecture is called.
pub(crate) fn architecture_name(architecture: u16) -> &'static str {
    match architecture {
        0x00 | 0x14 => "BIOS",
        0x06 | 0x0f => "UEFI on 32-bit x86",
        0x07 | 0x09 | 0x10 => "UEFI on x86-64",
        0x0a | 0x12 => "UEFI on 32-bit ARM",
        0x0b | 0x13 => "UEFI on 64-bit ARM",
        0x19 | 0x1a => "UEFI on 32-bit RISC-V",
        0x1b | 0x1c => "UEFI on 64-bit RISC-V",
        0x27 | 0x28 => "UEFI on LoongArch",
        0x02 => "EFI on Itanium",
        _ => "other firmware",
    }
}

/// What asks, in the timeline's words.
pub(crate) fn client_of(request: &Request) -> &'static str {
    let boots = request.is_vendor("HTTPClient") || request.is_vendor("PXEClient");
    if request.is_ipxe {
        "ipxe"
    } else if boots || request.architecture.is_some() {
        "firmware"
    } else {
        "os"
    }
}

/// What a client is told to boot, and the options that go with it; none if it boots nothing, or nothing we
/// have.
pub(crate) fn boot_file(
    table: &Table,
    request: &Request,
    head: Ipv4Addr,
    options: &mut Options,
    trace: &mut Trace,
) -> Option<String> {
    if request.is_ipxe {
        let file = script_of(table, head, request.mac);
        options.set(code::BOOT_FILE, file.as_bytes());
        // 175.176=1: there is no proxyDHCP server, so do not wait for one.
        options.set(code::IPXE, &[176, 1, 1]);
        trace.say(|| format!("it is iPXE (option 77 or 175): it boots its script, {file}"));
        return Some(file);
    }
    let Some(first) = loader_of(table, request, head) else {
        trace.say(|| match request.architecture {
            Some(it) => format!(
                "it boots by network as architecture {it} ({}), for which there is no loader: no boot file; \
                 dhcp.loaders.{it} names one",
                architecture_name(it)
            ),
            None => "it says nothing of booting (options 60 and 93): no boot file".to_owned(),
        });
        return None;
    };
    let architecture = request.architecture.unwrap_or(0);
    trace.say(|| match &first {
        First::Tftp(name) => {
            format!("its architecture (option 93) is {architecture}: it loads {name} by TFTP")
        }
        First::Http(url) => format!("its architecture (option 93) is {architecture}: it loads {url}"),
    });
    // A PXE client looks for its machine's identifier coming back (RFC 4578 section 2.4).
    if let Some(machine) = request.options.get(code::MACHINE) {
        options.set(code::MACHINE, machine);
    }
    Some(match first {
        First::Tftp(name) => {
            options.set(code::BOOT_FILE, name.as_bytes());
            options.set(code::TFTP_SERVER, head.to_string().as_bytes());
            name.to_owned()
        }
        First::Http(url) => {
            options.set(code::BOOT_FILE, url.as_bytes());
            // The client drops what does not say HTTPClient (UEFI 2.10 section 24.7.3.1).
            options.set(code::CLASS, b"HTTPClient");
            url.into_owned()
        }
    })
}

/// Makes of a boot file's options those of a server that stands beside the one that gives addresses.
pub(crate) fn as_proxy(options: &mut Options) {
    if options.get(code::CLASS).is_none() {
        options.set(code::CLASS, b"PXEClient");
        options.set(code::VENDOR, &VENDOR_PXE);
    }
}

/// The loader for the client's architecture (IANA's "Processor Architecture Types", option 93).
fn loader_of<'a>(table: &'a Table, request: &Request, head: Ipv4Addr) -> Option<First<'a>> {
    let architecture = match request.architecture {
        Some(it) => it,
        // PXE before RFC 4578 names no architecture and was BIOS alone.
        None if request.is_vendor("PXEClient") => 0,
        None => return None,
    };
    let by_http = boots_by_http(architecture) || (architecture != 0 && request.is_vendor("HTTPClient"));
    let url = |path: &str| First::Http(format!("http://{head}:{}{path}", table.images_port).into());
    let name: &'a str = match (table.loaders.get(architecture), architecture) {
        (Some(Loader::Name(name)), _) => name,
        (Some(Loader::Path(path)), _) => return Some(url(path)),
        (Some(Loader::Url(url)), _) => return Some(First::Http(url.into())),
        (Some(Loader::File { name, .. }), _) => return (!by_http).then_some(First::Tftp(name)),
        (None, 0x00) => "undionly.kpxe",
        (None, 0x07 | 0x09 | 0x10 | 0x11) => &table.efi,
        (None, 0x0b | 0x13) => "ipxe-arm64.efi",
        (None, 0x1b | 0x1c) => "ipxe-riscv64.efi",
        (None, 0x27 | 0x28) => "ipxe-loong64.efi",
        // Debian builds iPXE for no 32-bit UEFI.
        (None, _) => return None,
    };
    Some(if by_http { url(&format!("/ipxe/{name}")) } else { First::Tftp(name) })
}

/// Where a machine's boot script is.
pub(crate) fn script_of(table: &Table, head: Ipv4Addr, mac: MacAddr) -> String {
    format!("http://{head}:{}/boot/v1/bootscript?mac={mac}", table.script_port)
}

/// The script that iPXE looks for beside its own file: on to the boot script, again and again.
pub(crate) fn autoexec(table: &Table, head: Ipv4Addr) -> String {
    let port = table.script_port;
    format!(
        "#!ipxe\n:retry\ndhcp || goto wait\n\
         chain --replace http://{head}:{port}/boot/v1/bootscript?mac=${{netX/mac}} ||\n\
         :wait\nsleep 3\ngoto retry\n"
    )
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::net::Ipv4Addr;

    use super::{as_proxy, boot_file, is_loader};
    use crate::config::Table;
    use crate::model::Trace;
    use crate::wire::tests::packet;
    use crate::wire::{Options, Request};

    const HEAD: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 254);

    fn boot(options: &[(u8, &[u8])]) -> (Option<String>, Options) {
        boot_by(&Table::default(), options)
    }

    fn boot_by(table: &Table, options: &[(u8, &[u8])]) -> (Option<String>, Options) {
        let options = [&[(53, [1].as_slice())], options].concat();
        let request = Request::read(&packet(&options)).unwrap();
        let mut given = Options::default();
        (boot_file(table, &request, HEAD, &mut given, &mut Trace::Off), given)
    }

    #[test]
    fn a_sites_own_loaders_come_first() {
        let table = crate::config::tests::table(
            "[dhcp.loaders]\n6 = \"/srv/l/ipxe-i386.efi\"\n7 = \"/srv/l/shimx64.efi\"\n11 = \"snponly.efi\"\n\
             15 = \"/l/ipxe-i386.efi\"\n16 = \"https://a.test/shim.efi\"\n",
        )
        .unwrap();
        for (architecture, class, file) in [
            (6, "PXEClient", Some("ipxe-i386.efi")),
            (7, "PXEClient", Some("shimx64.efi")),
            (7, "HTTPClient", None),
            (9, "PXEClient", Some("snponly.efi")),
            (11, "PXEClient", Some("snponly.efi")),
            (15, "HTTPClient", Some("http://172.16.0.254:8080/l/ipxe-i386.efi")),
            (16, "HTTPClient", Some("https://a.test/shim.efi")),
            (10, "PXEClient", None),
            (18, "HTTPClient", None),
        ] {
            let (boots, _) = boot_by(&table, &[(93, &[0, architecture]), (60, class.as_bytes())]);
            assert_eq!(boots.as_deref(), file, "{architecture}");
        }
    }

    #[test]
    fn each_architecture_gets_its_loader_by_tftp() {
        for (architecture, file) in [
            (0, "undionly.kpxe"),
            (7, "snponly.efi"),
            (9, "snponly.efi"),
            (11, "ipxe-arm64.efi"),
            (27, "ipxe-riscv64.efi"),
            (39, "ipxe-loong64.efi"),
        ] {
            let (boots, options) = boot(&[(93, &[0, architecture]), (60, b"PXEClient:Arch"), (97, &[0; 17])]);
            assert_eq!(boots.as_deref(), Some(file));
            assert!(is_loader(file));
            assert_eq!(options.get(66), Some(b"172.16.0.254".as_slice()));
            assert_eq!(options.get(97), Some([0; 17].as_slice()), "the machine's identifier comes back");
        }
        for architecture in [6, 10, 15, 18] {
            assert_eq!(boot(&[(93, &[0, architecture])]).0, None, "there is no loader for 32-bit UEFI");
        }
        assert_eq!(boot(&[(60, b"PXEClient")]).0.unwrap(), "undionly.kpxe");
        assert_eq!(boot(&[(60, b"udhcp 1.36")]).0, None, "a system that runs boots nothing");
    }

    #[test]
    fn uefi_http_boot_gets_a_url_and_its_class_back() {
        for (architecture, loader) in [(16, "snponly.efi"), (19, "ipxe-arm64.efi")] {
            let (boots, options) =
                boot(&[(93, &[0, architecture]), (60, b"HTTPClient:Arch:00016"), (97, &[0; 17])]);
            assert_eq!(boots.unwrap(), format!("http://172.16.0.254:8080/ipxe/{loader}"));
            assert_eq!(options.get(60), Some(b"HTTPClient".as_slice()));
        }
    }

    #[test]
    fn ipxe_gets_its_script_whatever_its_architecture() {
        let (boots, options) = boot(&[(93, &[0, 6]), (77, b"iPXE")]);
        let file = boots.unwrap();
        assert_eq!(file, "http://172.16.0.254:8081/boot/v1/bootscript?mac=52:54:00:00:00:01");
        assert!(file.len() < 128, "it fits the field `file`");
        assert_eq!(options.get(175), Some([176, 1, 1].as_slice()));
    }

    #[test]
    fn a_proxy_says_what_it_is_in_the_clients_own_words() {
        let (_, mut options) = boot(&[(93, &[0, 7]), (60, b"PXEClient")]);
        as_proxy(&mut options);
        assert_eq!(options.get(60), Some(b"PXEClient".as_slice()));
        assert_eq!(options.get(43), Some([6, 1, 8, 255].as_slice()));
        let (_, mut options) = boot(&[(93, &[0, 16]), (60, b"HTTPClient")]);
        as_proxy(&mut options);
        assert_eq!(options.get(60), Some(b"HTTPClient".as_slice()));
    }
}
