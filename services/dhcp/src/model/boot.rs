//! What a client boots: the loader for its architecture, and iPXE its script.

use std::net::Ipv4Addr;

use dhcproto::v4::DhcpOption;
use domain::MacAddr;

use crate::config::Table;
use crate::wire::{Request, unknown};

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

/// Whether a name is one of [`LOADERS`].
pub(crate) fn is_loader(name: &str) -> bool {
    LOADERS.contains(&name)
}

/// A boot file and the options that go with it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Boot {
    pub(crate) file: String,
    pub(crate) options: Vec<DhcpOption>,
}

/// How a client loads its first file.
enum Way {
    Tftp,
    Http,
}

/// What a client is told to boot; none if it boots nothing, or nothing we have.
pub(crate) fn boot_file(table: &Table, request: &Request, head: Ipv4Addr) -> Option<Boot> {
    let tftp_name = || DhcpOption::TFTPServerName(head.to_string().into_bytes());
    let boot_name = |file: &str| DhcpOption::BootfileName(file.as_bytes().to_vec());
    if request.is_ipxe {
        let file = script_of(table, head, request.mac);
        // 175.176=1: there is no proxyDHCP server, so do not wait for one.
        let options = vec![boot_name(&file), unknown(175, vec![176, 1, 1])];
        return Some(Boot { file, options });
    }
    let (loader, way) = loader_of(table, request)?;
    Some(match way {
        Way::Tftp => Boot { file: loader.to_owned(), options: vec![tftp_name(), boot_name(loader)] },
        Way::Http => {
            let file = format!("http://{head}:{}/ipxe/{loader}", table.images_port);
            // The client drops what does not say HTTPClient (UEFI 2.10 section 24.7.3.1).
            let class = DhcpOption::ClassIdentifier(b"HTTPClient".to_vec());
            Boot { options: vec![class, boot_name(&file)], file }
        }
    })
}

/// The loader for the client's architecture (IANA's "Processor Architecture Types", option 93).
fn loader_of<'a>(table: &'a Table, request: &Request) -> Option<(&'a str, Way)> {
    let is_http = request.is_vendor("HTTPClient");
    let architecture = match request.architecture {
        Some(it) => it,
        // PXE before RFC 4578 names no architecture and was BIOS alone.
        None if request.is_vendor("PXEClient") => 0,
        None => return None,
    };
    Some(match architecture {
        0x00 => ("undionly.kpxe", Way::Tftp),
        0x07 | 0x09 if is_http => (&table.efi, Way::Http),
        0x07 | 0x09 => (&table.efi, Way::Tftp),
        0x0b => ("ipxe-arm64.efi", Way::Tftp),
        0x10 | 0x11 => (&table.efi, Way::Http),
        0x13 => ("ipxe-arm64.efi", Way::Http),
        0x1b => ("ipxe-riscv64.efi", Way::Tftp),
        0x1c => ("ipxe-riscv64.efi", Way::Http),
        0x27 => ("ipxe-loong64.efi", Way::Tftp),
        0x28 => ("ipxe-loong64.efi", Way::Http),
        _ => return None,
    })
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

    use dhcproto::v4::DhcpOption;

    use super::{boot_file, is_loader};
    use crate::config::Table;
    use crate::wire::Request;
    use crate::wire::tests::packet;

    const HEAD: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 254);

    fn boot(options: &[(u8, &[u8])]) -> Option<super::Boot> {
        let options = [&[(53, [1].as_slice())], options].concat();
        boot_file(&Table::default(), &Request::read(&packet(&options)).unwrap(), HEAD)
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
            let boot = boot(&[(93, &[0, architecture]), (60, b"PXEClient:Arch")]).unwrap();
            assert_eq!(boot.file, file);
            assert!(is_loader(file));
            assert!(boot.options.contains(&DhcpOption::TFTPServerName(b"172.16.0.254".to_vec())));
        }
        assert_eq!(boot(&[(93, &[0, 6])]), None, "there is no loader for 32-bit UEFI");
        assert_eq!(boot(&[(60, b"PXEClient")]).unwrap().file, "undionly.kpxe");
        assert_eq!(boot(&[(60, b"udhcp 1.36")]), None, "a system that runs boots nothing");
    }

    #[test]
    fn uefi_http_boot_gets_a_url_and_its_class_back() {
        for (architecture, loader) in [(16, "snponly.efi"), (19, "ipxe-arm64.efi")] {
            let boot = boot(&[(93, &[0, architecture]), (60, b"HTTPClient:Arch:00016")]).unwrap();
            assert_eq!(boot.file, format!("http://172.16.0.254:8080/ipxe/{loader}"));
            assert!(boot.options.contains(&DhcpOption::ClassIdentifier(b"HTTPClient".to_vec())));
        }
    }

    #[test]
    fn ipxe_gets_its_script_whatever_its_architecture() {
        let boot = boot(&[(93, &[0, 6]), (77, b"iPXE")]).unwrap();
        assert_eq!(boot.file, "http://172.16.0.254:8081/boot/v1/bootscript?mac=52:54:00:00:00:01");
        assert!(boot.file.len() < 128, "it fits the field `file`");
        assert!(boot.options.contains(&crate::wire::unknown(175, vec![176, 1, 1])));
    }
}
