//! The heads of HTTP/1.1 requests as nodes send them (RFC 9112), and of answers. Pure, and safe for any input.

use std::fmt::Display;
use std::io::Write as _;

use httparse::Status;

/// The longest head that is read.
pub(crate) const HEAD_MAX: usize = 8 << 10;
/// The fields a head may have.
const FIELDS_MAX: usize = 64;

/// What is done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Head,
    /// Nothing that is done here.
    Other,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// As it was sent, without the query.
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) fields: Fields,
    /// Whether the connection stays open after the answer.
    pub(crate) keeps: bool,
    /// Whether it is HTTP/1.0, which is told that the connection stays.
    pub(crate) is_old: bool,
    /// How many bytes the head has.
    pub(crate) length: usize,
}

/// The fields that say which answer is wanted (RFC 9110 sections 13.1 and 14.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields {
    pub(crate) if_match: Option<String>,
    pub(crate) if_none_match: Option<String>,
    pub(crate) if_modified_since: Option<String>,
    pub(crate) if_unmodified_since: Option<String>,
    pub(crate) if_range: Option<String>,
    pub(crate) range: Option<String>,
}

/// A request that is refused; the connection ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Bad {
    #[error("the request's head is longer than {HEAD_MAX} bytes or has more than {FIELDS_MAX} fields")]
    TooLong,
    #[error("the request's head cannot be read")]
    Unreadable,
    #[error("files are fetched without a body")]
    Body,
    #[error("the request needs one Host field")]
    Host,
}

/// Reads a request's head; none if some of it is still to come.
pub(crate) fn read_request(bytes: &[u8]) -> Result<Option<Request>, Bad> {
    let mut slots = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut slots);
    let length = match parsed.parse(bytes) {
        Ok(Status::Complete(length)) if length <= HEAD_MAX => length,
        Ok(Status::Partial) if bytes.len() < HEAD_MAX => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(Bad::TooLong),
        Err(_) => return Err(Bad::Unreadable),
    };
    let is_old = parsed.version != Some(1);
    let method = match parsed.method {
        Some("GET") => Method::Get,
        Some("HEAD") => Method::Head,
        _ => Method::Other,
    };
    let target = path_of(parsed.path.unwrap_or_default());
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
        None => (target.to_owned(), None),
    };
    let fields = Fields::default();
    let mut request = Request { method, path, query, fields, keeps: !is_old, is_old, length };
    let mut hosts = 0;
    for field in parsed.headers.iter() {
        let name = field.name;
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        if is("host") {
            hosts += 1;
        } else if is("connection") {
            for word in field.value.split(|it| *it == b',').map(<[u8]>::trim_ascii) {
                if word.eq_ignore_ascii_case(b"close") {
                    request.keeps = false;
                } else if word.eq_ignore_ascii_case(b"keep-alive") {
                    request.keeps |= is_old;
                }
            }
        } else if is("transfer-encoding") || (is("content-length") && field.value.trim_ascii() != b"0") {
            return Err(Bad::Body);
        } else if let Some(place) = request.fields.place(name) {
            // A list may come in several lines; of what is none, the first counts.
            let text = std::str::from_utf8(field.value).map_err(|_| Bad::Unreadable)?.trim();
            match place {
                None => *place = Some(text.to_owned()),
                Some(list) if name.len() != "range".len() => *list = format!("{list}, {text}"),
                Some(_) => {}
            }
        }
    }
    if hosts > 1 || (hosts == 0 && !is_old) {
        return Err(Bad::Host);
    }
    Ok(Some(request))
}

impl Fields {
    /// Where the field of this name is kept.
    pub(crate) fn place(&mut self, name: &str) -> Option<&mut Option<String>> {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        Some(match name.len() {
            5 if is("range") => &mut self.range,
            8 if is("if-match") => &mut self.if_match,
            8 if is("if-range") => &mut self.if_range,
            13 if is("if-none-match") => &mut self.if_none_match,
            17 if is("if-modified-since") => &mut self.if_modified_since,
            19 if is("if-unmodified-since") => &mut self.if_unmodified_since,
            _ => return None,
        })
    }
}

/// The path and query of a request's target, which may name the host too (RFC 9112 section 3.2.2).
fn path_of(target: &str) -> &str {
    match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => rest.find('/').map_or("/", |it| &rest[it..]),
        _ => target,
    }
}

/// The head of an answer, written field by field.
pub(crate) struct Head<'a>(&'a mut Vec<u8>);

impl<'a> Head<'a> {
    /// Begins one, in a buffer that is emptied before.
    pub(crate) fn begin(out: &'a mut Vec<u8>, status: u16) -> Self {
        out.clear();
        let mut head = Self(out);
        head.put(format_args!("HTTP/1.1 {status} {}\r\n", reason(status)));
        head
    }

    /// Adds a field.
    pub(crate) fn field(&mut self, name: &str, value: impl Display) -> &mut Self {
        self.put(format_args!("{name}: {value}\r\n"));
        self
    }

    /// Ends it, with what is to become of the connection.
    pub(crate) fn end(&mut self, keeps: bool, is_old: bool) {
        match (keeps, is_old) {
            (false, _) => self.put(format_args!("connection: close\r\n\r\n")),
            (true, true) => self.put(format_args!("connection: keep-alive\r\n\r\n")),
            (true, false) => self.put(format_args!("\r\n")),
        }
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a Vec does not fail.
        if self.0.write_fmt(text).is_err() {
            self.0.clear();
        }
    }
}

fn reason(status: u16) -> &'static str {
    axum::http::StatusCode::from_u16(status).ok().and_then(|it| it.canonical_reason()).unwrap_or("")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{Bad, HEAD_MAX, Head, Method, read_request};

    #[test]
    fn what_clients_send_is_read() {
        let curl = b"GET /a/vmlinuz?x=1 HTTP/1.1\r\nHost: head:8080\r\nUser-Agent: curl/7.88\r\nRange: bytes=0-1\r\n\
            If-Range: \"x\"\r\nAccept: */*\r\n\r\nGET";
        let request = read_request(curl).unwrap().unwrap();
        assert_eq!((request.method, request.path.as_str()), (Method::Get, "/a/vmlinuz"));
        assert_eq!(request.query.as_deref(), Some("x=1"));
        assert_eq!(request.fields.range.as_deref(), Some("bytes=0-1"));
        assert_eq!(request.fields.if_range.as_deref(), Some("\"x\""));
        assert_eq!(request.length, curl.len() - 3);
        assert!(request.keeps && !request.is_old);
        let ipxe = b"GET http://head/a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
        let request = read_request(ipxe).unwrap().unwrap();
        assert_eq!(request.path, "/a");
        assert!(request.keeps && request.is_old);
        let last = b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: TE, close\r\nIf-None-Match: \"a\"\r\nif-none-match: \"b\"\r\n\r\n";
        let request = read_request(last).unwrap().unwrap();
        assert_eq!((request.method, request.keeps), (Method::Head, false));
        assert_eq!(request.fields.if_none_match.as_deref(), Some("\"a\", \"b\""));
    }

    #[test]
    fn what_is_cut_off_is_waited_for_and_nonsense_is_not() {
        let whole = b"GET /a HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\n\r\n";
        for end in 0..whole.len() {
            assert_eq!(read_request(&whole[..end]), Ok(None), "{end}");
        }
        let cases: [(&[u8], Bad); 6] = [
            (b"GET /a HTTP/1.1\r\n\r\n", Bad::Host),
            (b"GET /a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Bad::Host),
            (b"GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", Bad::Body),
            (b"PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", Bad::Body),
            (b"\x16\x03\x01\x02\x00\x01\x00", Bad::Unreadable),
            (b"GET /a HTTP/1.1\r\nHost : a\r\n\r\n", Bad::Unreadable),
        ];
        for (bytes, bad) in cases {
            assert_eq!(read_request(bytes), Err(bad), "{:?}", String::from_utf8_lossy(bytes));
        }
        let long = [b"GET /".as_slice(), &vec![b'a'; HEAD_MAX]].concat();
        assert_eq!(read_request(&long), Err(Bad::TooLong));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65));
        assert_eq!(read_request(many.as_bytes()), Err(Bad::TooLong));
    }

    #[test]
    fn any_byte_may_be_another() {
        let whole = b"GET /a%20b?c HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1,-5\r\nConnection: close\r\n\r\n";
        for at in 0..whole.len() {
            for value in 0..=255 {
                let mut bytes = *whole;
                bytes[at] = value;
                if let Ok(Some(request)) = read_request(&bytes) {
                    assert!(request.length <= bytes.len());
                }
            }
        }
    }

    #[test]
    fn an_answer_has_its_form() {
        let mut out = b"old".to_vec();
        Head::begin(&mut out, 206).field("content-length", 5).end(true, true);
        assert_eq!(
            out,
            b"HTTP/1.1 206 Partial Content\r\ncontent-length: 5\r\nconnection: keep-alive\r\n\r\n"
        );
    }
}
