//! Bodies on their way through: what is there of one moves on, framed anew.

use std::io::Write as _;

use bytes::{Buf as _, BytesMut};

/// How much moves at once, at most.
const PIECE_MAX: usize = 64 << 10;
/// How long the line before a chunk may be: its size, and extensions that nobody uses.
const LINE_MAX: u16 = 256;
/// How long the fields after the last chunk may be; they are not passed on.
const TRAILER_MAX: u16 = 8192;

/// How a body's end is known (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none.
    None,
    /// By its length.
    Length(u64),
    /// By a last chunk.
    Chunked,
    /// By the connection's.
    UntilClose,
}

/// A body, and how it is framed for the next hop.
#[derive(Debug)]
pub(crate) struct Body {
    state: State,
    chunked: bool,
    /// Whether its end was written.
    ended: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Over,
    Length(u64),
    UntilClose,
    /// The line before a chunk: what its digits say, how many there are, how long the line is.
    Size(u64, u8, u16),
    /// That line's extension.
    Extension(u64, u16),
    /// That line's end.
    SizeEnd(u64),
    Data(u64),
    /// The line's end after a chunk; the number of bytes seen of it.
    DataEnd(u8),
    /// After the last chunk: how long the trailer is, and the line in it.
    Trailer(u16, u16),
}

/// A body that is not what its framing says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body's chunks cannot be read")]
pub(crate) struct Broken;

impl Body {
    /// A body that comes framed so, and goes on in chunks or as it is.
    pub(crate) fn new(framing: Framing, chunked: bool) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Over,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size(0, 0, 0),
            Framing::UntilClose => State::UntilClose,
        };
        // A body that is none has no last chunk either.
        Self { state, chunked, ended: framing == Framing::None }
    }

    /// Whether all of it has moved.
    pub(crate) fn is_over(&self) -> bool {
        self.ended || (matches!(self.state, State::Over) && !self.chunked)
    }

    /// The connection has ended; whether that is where the body may end.
    pub(crate) fn close(&mut self) -> bool {
        if matches!(self.state, State::UntilClose) {
            self.state = State::Over;
        }
        matches!(self.state, State::Over)
    }

    /// Moves what is there of it; returns how many bytes of the body itself that is.
    ///
    /// # Errors
    ///
    /// If its chunks cannot be read.
    pub(crate) fn carry(&mut self, from: &mut BytesMut, to: &mut Vec<u8>) -> Result<usize, Broken> {
        let mut moved = 0;
        while moved < PIECE_MAX {
            let most = match self.state {
                State::Over => break,
                State::Length(left) | State::Data(left) => left,
                State::UntilClose => u64::MAX,
                _ => {
                    let Some(&byte) = from.first() else { break };
                    from.advance(1);
                    self.state = self.state.after(byte)?;
                    continue;
                }
            };
            let there = from.len().min(PIECE_MAX);
            let length = usize::try_from(most).map_or(there, |it| it.min(there));
            if length == 0 {
                break;
            }
            self.put(&from[..length], to);
            from.advance(length);
            moved += length;
            let left = most - length as u64;
            self.state = match self.state {
                State::Length(_) if left == 0 => State::Over,
                State::Length(_) => State::Length(left),
                State::Data(_) if left == 0 => State::DataEnd(0),
                State::Data(_) => State::Data(left),
                other => other,
            };
        }
        if matches!(self.state, State::Over) && !self.ended {
            self.ended = true;
            if self.chunked {
                to.extend_from_slice(b"0\r\n\r\n");
            }
        }
        Ok(moved)
    }

    fn put(&self, data: &[u8], to: &mut Vec<u8>) {
        if !self.chunked {
            return to.extend_from_slice(data);
        }
        to.reserve(data.len() + 16);
        // Writing to a Vec does not fail.
        if write!(to, "{:x}\r\n", data.len()).is_ok() {
            to.extend_from_slice(data);
            to.extend_from_slice(b"\r\n");
        }
    }
}

impl State {
    /// After one more byte of what stands between the data (RFC 9112 section 7.1). A line ends in CR LF and in
    /// nothing else, so that nobody behind us could see another one.
    fn after(self, byte: u8) -> Result<Self, Broken> {
        Ok(match (self, byte) {
            (Self::Size(size, 1.., _), b'\r') => Self::SizeEnd(size),
            (Self::Size(size, 1.., line), b';' | b' ' | b'\t') => Self::Extension(size, line + 1),
            (Self::Size(size, digits @ 0..15, line), _) => {
                let digit = char::from(byte).to_digit(16).ok_or(Broken)?;
                Self::Size(size << 4 | u64::from(digit), digits + 1, line + 1)
            }
            (Self::Extension(size, _), b'\r') => Self::SizeEnd(size),
            (Self::Extension(size, line), b' '..=b'~' | b'\t') if line < LINE_MAX => {
                Self::Extension(size, line + 1)
            }
            (Self::SizeEnd(0), b'\n') => Self::Trailer(0, 0),
            (Self::SizeEnd(size), b'\n') => Self::Data(size),
            (Self::DataEnd(0), b'\r') => Self::DataEnd(1),
            (Self::DataEnd(1), b'\n') => Self::Size(0, 0, 0),
            // Lines end at LF; an empty one ends the trailer. CR is part of a line but not of its text.
            (Self::Trailer(_, 0), b'\n') => Self::Over,
            (Self::Trailer(all, _), b'\n') if all < TRAILER_MAX => Self::Trailer(all + 1, 0),
            (Self::Trailer(all, line), b'\r') if all < TRAILER_MAX => Self::Trailer(all + 1, line),
            (Self::Trailer(all, line), _) if all < TRAILER_MAX => Self::Trailer(all + 1, line + 1),
            _ => return Err(Broken),
        })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use bytes::BytesMut;

    use super::{Body, Framing};

    /// All of it at once, and a byte at a time.
    fn carry(framing: Framing, chunked: bool, text: &str) -> Result<(String, String, bool), super::Broken> {
        let (mut body, mut from, mut to) = (Body::new(framing, chunked), BytesMut::from(text), Vec::new());
        body.carry(&mut from, &mut to)?;
        let mut slow = Body::new(framing, chunked);
        let (mut pieces, mut rest) = (Vec::new(), BytesMut::new());
        for byte in text.bytes() {
            rest.extend_from_slice(&[byte]);
            slow.carry(&mut rest, &mut pieces)?;
        }
        assert_eq!((slow.is_over(), &rest), (body.is_over(), &from), "{text:?}");
        let text = |it: Vec<u8>| String::from_utf8(it).unwrap();
        Ok((text(to), text(from.to_vec()), body.is_over()))
    }

    #[test]
    fn a_body_ends_where_its_framing_says() {
        for (framing, text, carried, rest, over) in [
            (Framing::None, "next", "", "next", true),
            (Framing::Length(0), "next", "", "next", true),
            (Framing::Length(4), "bodynext", "body", "next", true),
            (Framing::Length(5), "body", "body", "", false),
            (Framing::UntilClose, "body", "body", "", false),
            (Framing::Chunked, "4\r\nbody\r\n0\r\n\r\nnext", "body", "next", true),
            (
                Framing::Chunked,
                "2;x=\"y\"\r\nbo\r\n0002\r\ndy\r\n0\r\na: b\r\n\r\nnext",
                "body",
                "next",
                true,
            ),
            (Framing::Chunked, "4\r\nbo", "bo", "", false),
            (Framing::Chunked, "A\r\n0123456789\r\n0\r\n", "0123456789", "", false),
        ] {
            let told = carry(framing, false, text).unwrap();
            assert_eq!((told.0.as_str(), told.1.as_str(), told.2), (carried, rest, over), "{text:?}");
        }
    }

    #[test]
    fn chunks_are_written_anew() {
        let told = carry(Framing::Chunked, false, "2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n").unwrap();
        assert_eq!(told.0, "body");
        let (mut body, mut from, mut to) = (
            Body::new(Framing::Chunked, true),
            BytesMut::from("c;x\r\ntwelve bytes\r\n0\r\nx: y\r\n\r\n"),
            Vec::new(),
        );
        assert_eq!(body.carry(&mut from, &mut to), Ok(12));
        assert_eq!(to, b"c\r\ntwelve bytes\r\n0\r\n\r\n");
        assert!(body.is_over());
        let mut until = Body::new(Framing::UntilClose, true);
        assert!(!until.is_over() && until.close() && !until.is_over());
        to.clear();
        assert_eq!(until.carry(&mut BytesMut::new(), &mut to), Ok(0));
        assert!(to == b"0\r\n\r\n" && until.is_over());
    }

    #[test]
    fn a_connection_s_end_is_only_an_end_where_it_may_be_one() {
        for (framing, may) in [
            (Framing::Length(4), false),
            (Framing::Chunked, false),
            (Framing::UntilClose, true),
            (Framing::None, true),
        ] {
            assert_eq!(Body::new(framing, false).close(), may, "{framing:?}");
        }
    }

    #[test]
    fn what_two_servers_could_read_differently_is_no_chunk() {
        for text in [
            "\r\n",
            "g\r\n",
            "-1\r\n",
            "+1\r\n",
            "0x1\r\n",
            " 1\r\n",
            "1\n",
            "1\r\r\n",
            "1 \n",
            "1;\n",
            "1\r\nab",
            "1\r\na\n",
            "1\r\na\r\r",
            "1234567890abcdef\r\n",
            ";x\r\n",
            "1;\u{1}\r\n",
        ] {
            assert!(carry(Framing::Chunked, false, text).is_err(), "{text:?}");
        }
        for long in [format!("1;{}\r\n", "x".repeat(300)), format!("0\r\n{}\r\n\r\n", "x".repeat(9000))] {
            assert!(carry(Framing::Chunked, false, &long).is_err());
        }
    }
}
