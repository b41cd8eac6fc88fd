//! A cpio archive in the format `newc` (the kernel's initramfs buffer format) with one secret file in it.

/// Where the nonce is in the initramfs; the units of `image/compute/two-stage` take it from there.
const NAME: &str = "pilothouse-join.nonce";
/// Owner root, readable by root alone (stat(2): a regular file).
const MODE: u32 = 0o100_600;
/// Archives end on such a boundary, so that whatever comes next in memory is aligned for the kernel.
const BLOCK: usize = 512;

/// The archive with this content.
pub(crate) fn archive(content: &[u8]) -> Vec<u8> {
    let mut archive = Vec::with_capacity(2 * BLOCK);
    push(&mut archive, NAME, MODE, content);
    push(&mut archive, "TRAILER!!!", 0, b"");
    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    archive
}

/// One member: the header of 13 fields of eight digits, the name and the content, each padded to four bytes.
fn push(archive: &mut Vec<u8>, name: &str, mode: u32, content: &[u8]) {
    let links = u32::from(mode != 0);
    let length = u32::try_from(content.len()).unwrap_or(0);
    let name_length = u32::try_from(name.len() + 1).unwrap_or(0);
    // Inode, mode, uid, gid, links, time, size, four device numbers, name's length, checksum.
    let fields = [links, mode, 0, 0, links, 0, length, 0, 0, 0, 0, name_length, 0];
    archive.extend_from_slice(b"070701");
    for field in fields {
        archive.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    archive.extend_from_slice(name.as_bytes());
    archive.push(0);
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(4), 0);
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    #[test]
    fn cpio_reads_what_is_written() {
        let archive = super::archive(b"secret\n");
        assert_eq!(archive.len() % 512, 0);
        let list = |word: &str| {
            let mut cpio = Command::new("cpio")
                .args(["--quiet", word, "--numeric-uid-gid"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            cpio.stdin.take().unwrap().write_all(&archive).unwrap();
            String::from_utf8(cpio.wait_with_output().unwrap().stdout).unwrap()
        };
        let listed = list("-itv");
        assert!(listed.starts_with("-rw-------") && listed.contains(" pilothouse-join.nonce"), "{listed}");
        let folder = tempfile::tempdir().unwrap();
        let mut cpio = Command::new("cpio")
            .args(["--quiet", "-i", "--to-stdout"])
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        cpio.stdin.take().unwrap().write_all(&archive).unwrap();
        assert_eq!(cpio.wait_with_output().unwrap().stdout, b"secret\n");
    }
}
