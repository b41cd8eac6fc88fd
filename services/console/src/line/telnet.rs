//! Telnet as console servers speak it (RFC 854, 855): commands are taken out of what comes, and refused but
//! for what a console needs.

/// Interpret as command, and the commands.
const IAC: u8 = 255;
const DONT: u8 = 254;
const DO: u8 = 253;
const WONT: u8 = 252;
const WILL: u8 = 251;
const SUB_BEGIN: u8 = 250;
const BREAK: u8 = 243;
const SUB_END: u8 = 240;
/// Options that a console has: bytes as they are (RFC 856), the echo of the other end (857), no turns (858).
const BINARY: u8 = 0;
const ECHO: u8 = 1;
const GO_AHEAD: u8 = 3;

/// Where in a command the stream is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Data,
    Command,
    /// Behind WILL, WONT, DO or DONT.
    Option(u8),
    Sub,
    SubCommand,
}

/// One connection.
#[derive(Debug, Default)]
pub(super) struct Telnet {
    place: Place,
    /// What was agreed to, so that no answer is answered for ever: theirs and ours, a bit for each option
    /// known.
    theirs: u8,
    ours: u8,
}

impl Telnet {
    /// Takes the commands out of what came; what is to be answered is added to `answer`.
    pub(super) fn take(&mut self, bytes: &[u8], answer: &mut Vec<u8>) -> Vec<u8> {
        let mut data = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            self.place = match (self.place, byte) {
                (Place::Data, IAC) => Place::Command,
                (Place::Data, _) => {
                    data.push(byte);
                    Place::Data
                }
                (Place::Command, IAC) => {
                    data.push(IAC);
                    Place::Data
                }
                (Place::Command, WILL | WONT | DO | DONT) => Place::Option(byte),
                (Place::Command, SUB_BEGIN) => Place::Sub,
                (Place::Command, _) => Place::Data,
                (Place::Option(command), _) => {
                    self.agree(command, byte, answer);
                    Place::Data
                }
                (Place::Sub, IAC) => Place::SubCommand,
                (Place::SubCommand, SUB_END) => Place::Data,
                (Place::Sub | Place::SubCommand, _) => Place::Sub,
            };
        }
        data
    }

    fn agree(&mut self, command: u8, option: u8, answer: &mut Vec<u8>) {
        let bit = if option <= GO_AHEAD { 1_u8 << option } else { 0 };
        let (wanted, state) = match command {
            WILL | WONT => (matches!(option, BINARY | ECHO | GO_AHEAD), &mut self.theirs),
            _ => (matches!(option, BINARY | GO_AHEAD), &mut self.ours),
        };
        let on = *state & bit != 0;
        let (yes, no) = if matches!(command, WILL | WONT) { (DO, DONT) } else { (WILL, WONT) };
        match command {
            WILL | DO if wanted && on => {}
            WILL | DO if wanted => {
                *state |= bit;
                answer.extend([IAC, yes, option]);
            }
            WILL | DO => answer.extend([IAC, no, option]),
            _ if on => {
                *state &= !bit;
                answer.extend([IAC, no, option]);
            }
            _ => {}
        }
    }
}

/// What is typed, with what would be a command made data.
pub(super) fn escape(typed: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(typed.len());
    for &byte in typed {
        bytes.push(byte);
        if byte == IAC {
            bytes.push(IAC);
        }
    }
    bytes
}

/// A serial break.
pub(super) const SERIAL_BREAK: [u8; 2] = [IAC, BREAK];

#[cfg(test)]
mod tests {
    use super::{Telnet, escape};

    #[test]
    fn commands_are_answered_once_and_never_shown() {
        let mut telnet = Telnet::default();
        let mut answer = Vec::new();
        // WILL ECHO twice, DO TERMINAL-TYPE, a subnegotiation, an escaped 255, all cut in pieces.
        let stream = b"a\xff\xfb\x01b\xff\xfb\x01\xff\xfd\x18\xff\xfa\x18\x01\xff\xf0c\xff\xffd\xff\xf1e";
        let data: Vec<u8> = stream.iter().flat_map(|it| telnet.take(&[*it], &mut answer)).collect();
        assert_eq!(data, b"abc\xffde");
        assert_eq!(answer, b"\xff\xfd\x01\xff\xfc\x18");
        answer.clear();
        telnet.take(b"\xff\xfc\x01\xff\xfc\x01\xff\xfe\x05", &mut answer);
        assert_eq!(answer, b"\xff\xfe\x01", "what ends is confirmed once");
    }

    #[test]
    fn any_bytes_are_taken() {
        let mut telnet = Telnet::default();
        let mut answer = Vec::new();
        for first in 0..=255_u8 {
            for second in 0..=255_u8 {
                telnet.take(&[255, first, second], &mut answer);
            }
        }
        assert_eq!(escape(b"a\xffb"), b"a\xff\xffb");
    }
}
