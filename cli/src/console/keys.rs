//! conman's keys: what stands behind `&`.

/// What the keys mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Send(Vec<u8>),
    Break,
    Echo,
    Force,
    Help,
    Info,
    Join,
    Leave,
    Monitor,
    Quiet,
    Replay,
    Reset,
    Suspend,
}

/// Takes what was typed apart; remembers a `&` that waits for its second key.
#[derive(Debug)]
pub(super) struct Keys {
    escape: u8,
    escaped: bool,
}

impl Keys {
    pub(super) fn new(escape: u8) -> Self {
        Self { escape, escaped: false }
    }

    pub(super) fn take(&mut self, typed: &[u8]) -> Vec<Key> {
        let mut keys = Vec::new();
        let mut plain = Vec::new();
        for &byte in typed {
            if !std::mem::take(&mut self.escaped) {
                if byte == self.escape {
                    self.escaped = true;
                } else {
                    plain.push(byte);
                }
                continue;
            }
            let key = match byte.to_ascii_uppercase() {
                b'.' => Key::Leave,
                b'?' => Key::Help,
                b'B' => Key::Break,
                b'E' => Key::Echo,
                b'F' => Key::Force,
                b'I' => Key::Info,
                b'J' => Key::Join,
                b'L' => Key::Replay,
                b'M' => Key::Monitor,
                b'Q' => Key::Quiet,
                b'R' => Key::Reset,
                b'Z' => Key::Suspend,
                b'D' => {
                    plain.push(0x7f);
                    continue;
                }
                _ if byte == self.escape => {
                    plain.push(byte);
                    continue;
                }
                _ => {
                    plain.extend([self.escape, byte]);
                    continue;
                }
            };
            if !plain.is_empty() {
                keys.push(Key::Send(std::mem::take(&mut plain)));
            }
            keys.push(key);
        }
        if !plain.is_empty() {
            keys.push(Key::Send(plain));
        }
        keys
    }
}

/// What `&?` shows.
pub(super) fn help(escape: u8) -> String {
    let escape = char::from(escape);
    let keys = [
        (".", "leave"),
        ("?", "show these keys"),
        ("B", "send a serial break"),
        ("D", "send a delete character"),
        ("E", "show what you type, or not"),
        ("F", "take the keyboard from whoever has it"),
        ("I", "tell what you are connected to"),
        ("J", "type beside whoever has the keyboard"),
        ("L", "show the end of the log again"),
        ("M", "only read"),
        ("Q", "hide what the service says, or show it"),
        ("R", "switch the node off and on"),
        ("Z", "stop for a while; `fg` goes on"),
    ];
    let lines: Vec<String> = keys.iter().map(|(key, what)| format!("\r\n  {escape}{key}  {what}")).collect();
    format!("{}\r\n  {escape}{escape}  send {escape}", lines.concat())
}

#[cfg(test)]
mod tests {
    use super::{Key, Keys, help};

    #[test]
    fn an_escape_may_be_cut_in_two() {
        let mut keys = Keys::new(b'&');
        assert_eq!(keys.take(b"ls\r&"), [Key::Send(b"ls\r".to_vec())]);
        assert_eq!(keys.take(b"."), [Key::Leave]);
        assert_eq!(keys.take(b"a&&b&xc&B"), [Key::Send(b"a&b&xc".to_vec()), Key::Break]);
        assert_eq!(keys.take(b"&D&r"), [Key::Send(vec![0x7f]), Key::Reset]);
    }

    #[test]
    fn another_escape_makes_the_usual_one_plain() {
        let mut keys = Keys::new(b'^');
        assert_eq!(keys.take(b"&.^."), [Key::Send(b"&.".to_vec()), Key::Leave]);
        assert!(help(b'^').contains("^^  send ^"));
    }
}
