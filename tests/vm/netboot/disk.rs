//! Disks that say on the serial line that they were booted: a boot sector for a BIOS, a program for UEFI.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use tests::program::find;
use tests::vm::Firmware;

/// What a disk says.
const SAYS: &[u8] = b"the disk of the node was booted\r\n\0";
/// A byte after the other to the first serial line, then nothing more. In a BIOS, at 0000:7c00.
const SECTOR: [u8; 24] = [
    0xfa, // cli
    0x31, 0xc0, 0x8e, 0xd8, // xor ax, ax; mov ds, ax
    0xbe, 0x18, 0x7c, // mov si, 0x7c18
    0xac, 0x84, 0xc0, 0x74, 0x06, // next: lodsb; test al, al; jz end
    0xba, 0xf8, 0x03, 0xee, // mov dx, 0x3f8; out dx, al
    0xeb, 0xf5, // jmp next
    0xf4, 0xeb, 0xfd, // end: hlt; jmp end
    0, 0,
];
/// The same with 64 bits, wherever it is loaded.
const PROGRAM: [u8; 24] = [
    0xfa, // cli
    0x48, 0x8d, 0x35, 0x10, 0x00, 0x00, 0x00, // lea rsi, [rip + 0x10]
    0xac, 0x84, 0xc0, 0x74, 0x07, // next: lodsb; test al, al; jz end
    0x66, 0xba, 0xf8, 0x03, 0xee, // mov dx, 0x3f8; out dx, al
    0xeb, 0xf4, // jmp next
    0xf4, 0xeb, 0xfd, // end: hlt; jmp end
    0,
];
/// Where the one section of the program begins, in the file and in memory.
const SECTION: usize = 0x200;

/// Writes a disk that a machine with this firmware boots.
pub(super) fn write(path: &Path, firmware: Firmware) -> anyhow::Result<()> {
    if firmware == Firmware::Bios {
        let mut sector = [&SECTOR[..], SAYS].concat();
        sector.resize(510, 0);
        sector.extend([0x55, 0xaa]);
        sector.resize(1 << 20, 0);
        return std::fs::write(path, sector).context("write the disk");
    }
    let program = path.with_extension("efi");
    std::fs::write(&program, efi_program()).context("write the program")?;
    let disk = path.display().to_string();
    let tool = |name: &str, words: &[&str]| -> anyhow::Result<()> {
        let mut command = Command::new(find(name, "mtools")?);
        let output = command.args(words).output().with_context(|| format!("run {name}"))?;
        if !output.status.success() {
            bail!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    };
    tool("mformat", &["-C", "-i", &disk, "-t", "64", "-h", "16", "-s", "63", "::"])?;
    tool("mmd", &["-i", &disk, "::/EFI", "::/EFI/BOOT"])?;
    tool("mcopy", &["-i", &disk, &program.display().to_string(), "::/EFI/BOOT/BOOTX64.EFI"])
}

/// A program of one section in the form that UEFI loads (PE32+; UEFI 2.10 section 2.1.1).
fn efi_program() -> Vec<u8> {
    let mut file = vec![0; SECTION];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    let size = u32::try_from(SECTION).unwrap_or_default();
    put(0, b"MZ");
    put(0x3c, &0x40_u32.to_le_bytes());
    put(0x40, b"PE\0\0");
    // x86-64, one section, an optional header of 240 bytes, executable with large addresses.
    put(0x44, &0x8664_u16.to_le_bytes());
    put(0x46, &1_u16.to_le_bytes());
    put(0x54, &240_u16.to_le_bytes());
    put(0x56, &0x0022_u16.to_le_bytes());
    // The optional header: magic, size of code, entry, base of code.
    put(0x58, &0x020b_u16.to_le_bytes());
    for (at, value) in [(0x5c, size), (0x68, size), (0x6c, size)] {
        put(at, &value.to_le_bytes());
    }
    // Alignments, the sizes of image and headers, an EFI application, sixteen empty directories.
    for (at, value) in [(0x78, size), (0x7c, size), (0x90, 2 * size), (0x94, size), (0xc4, 16)] {
        put(at, &value.to_le_bytes());
    }
    put(0x9c, &10_u16.to_le_bytes());
    // The section: code that may be read, written and run.
    put(0x148, b".text\0\0\0");
    for (at, value) in [(0x150, size), (0x154, size), (0x158, size), (0x15c, size), (0x16c, 0xe000_0020)] {
        put(at, &value.to_le_bytes());
    }
    file.extend(PROGRAM);
    file.extend(SAYS);
    file.resize(2 * SECTION, 0);
    file
}
