//! Replays a corpus, and random damage to it: what a fuzzer once found stays found, without a fuzzer. Included by the
//! tests of the crates that own the parsers.

use std::path::Path;

/// So many damaged inputs follow each corpus.
const COUNT: u64 = 20_000;

/// A generator of its own, so that a failure can be repeated: splitmix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut it = *state;
    it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    it ^ (it >> 31)
}

/// A good input with up to six things wrong with it, some of them another one's.
pub(crate) fn damage(state: &mut u64, good: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..=next(state) % 6 {
        let at = (next(state) as usize) % bytes.len().max(1);
        match next(state) % 7 {
            0 => bytes.truncate(at),
            1 if at < bytes.len() => bytes[at] = next(state) as u8,
            2 if at < bytes.len() => bytes[at] ^= 1 << (next(state) % 8),
            3 => bytes.insert(at.min(bytes.len()), next(state) as u8),
            4 => {
                let from = (next(state) as usize) % other.len().max(1);
                bytes.truncate(at);
                bytes.extend_from_slice(other.get(from..).unwrap_or_default());
            }
            5 => {
                let end = (at + (next(state) as usize) % 16).min(bytes.len());
                let again = bytes.get(at..end).unwrap_or_default().to_vec();
                bytes.extend(again);
            }
            _ => bytes.extend([next(state) as u8, next(state) as u8 % 8, next(state) as u8]),
        }
    }
    bytes
}

/// The files of a corpus, by name.
pub(crate) fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|it| panic!("{}: {it}", folder.display()))
        .map(|it| it.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 5, "the corpus {} is too small", folder.display());
    files.iter().map(|it| (it.display().to_string(), std::fs::read(it).unwrap())).collect()
}

/// Runs a target on each file of its corpus, and on damaged ones.
pub(crate) fn replay(target: &str, run: impl Fn(&[u8])) {
    let files = corpus(target);
    for (file, bytes) in &files {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(bytes)));
        assert!(done.is_ok(), "{file}");
    }
    let mut state = 1;
    for _ in 0..COUNT {
        let good = &files[(next(&mut state) as usize) % files.len()].1;
        let other = &files[(next(&mut state) as usize) % files.len()].1;
        let bytes = damage(&mut state, good, other);
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&bytes)));
        assert!(done.is_ok(), "{bytes:02x?}");
    }
}
