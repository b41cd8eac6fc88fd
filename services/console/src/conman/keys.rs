//! What a client sends of a session: bytes, and escapes of two. Pure.

/// What a client sends of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Typed(Vec<u8>),
    Break,
    Force,
    Join,
    Replay,
    Monitor,
    Quiet,
    Reset,
    Suspend,
}

/// Begins an escape; doubled it is itself.
const ESCAPE: u8 = 0xff;

/// Takes what a client sends apart; an escape may be cut in two.
#[derive(Debug, Default)]
pub(super) struct Keys {
    escaped: bool,
}

impl Keys {
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<Key> {
        let (mut keys, mut typed) = (Vec::new(), Vec::new());
        for &byte in bytes {
            if !std::mem::take(&mut self.escaped) {
                if byte == ESCAPE {
                    self.escaped = true;
                } else {
                    typed.push(byte);
                }
                continue;
            }
            let key = match byte {
                ESCAPE => {
                    typed.push(ESCAPE);
                    continue;
                }
                // Some terminals make something else of the delete key.
                b'D' => {
                    typed.push(0x7f);
                    continue;
                }
                b'B' => Key::Break,
                b'F' => Key::Force,
                b'J' => Key::Join,
                b'L' => Key::Replay,
                b'M' => Key::Monitor,
                b'Q' => Key::Quiet,
                b'R' => Key::Reset,
                b'Z' => Key::Suspend,
                _ => continue,
            };
            if !typed.is_empty() {
                keys.push(Key::Typed(std::mem::take(&mut typed)));
            }
            keys.push(key);
        }
        if !typed.is_empty() {
            keys.push(Key::Typed(typed));
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::{Key, Keys};

    #[test]
    fn an_escape_may_be_cut_in_two() {
        let mut keys = Keys::default();
        assert_eq!(keys.take(b"ls\r\xff"), [Key::Typed(b"ls\r".to_vec())]);
        assert_eq!(
            keys.take(b"Ba\xff\xffb\xffDc\xff?\xffR"),
            [Key::Break, Key::Typed(b"a\xffb\x7fc".to_vec()), Key::Reset]
        );
    }
}
