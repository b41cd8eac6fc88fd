//! Heads: read once, and written for the next hop without what belongs to this connection alone
//! (RFC 9110 section 7.6, RFC 9112).

use std::io::Write as _;
use std::mem::MaybeUninit;

use httparse::{Header, Status};

use super::Framing;
use super::field::{Kind, kind_of, number, words};

/// The fields a head may have.
const FIELDS_MAX: usize = 100;

/// Room for a head's fields.
pub(crate) type Slots<'b> = [MaybeUninit<Header<'b>>; FIELDS_MAX];

/// A head that is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Bad {
    #[error("the request's head has more than {FIELDS_MAX} fields")]
    TooMany,
    #[error("the request's head cannot be read")]
    Unreadable,
    #[error("the request needs one Host field")]
    Host,
    #[error(
        "the request has several lengths of its body, or one and Transfer-Encoding, or one that is no number"
    )]
    Length,
    #[error("the request's Transfer-Encoding is none that is taken here; send chunked or a Content-Length")]
    Encoding,
}

/// A request's head, with what its fields say of the connection.
#[derive(Debug)]
pub(crate) struct Request<'h, 'b> {
    pub(crate) method: &'b str,
    pub(crate) target: Target<'b>,
    /// Whether it is HTTP/1.0.
    pub(crate) is_old: bool,
    pub(crate) framing: Framing,
    /// Whether the connection stays open after the answer.
    pub(crate) keeps: bool,
    /// Whether it asks for a WebSocket (RFC 6455 section 4.1).
    pub(crate) websocket: bool,
    /// Whether the client waits for a word before it sends its body.
    pub(crate) asks_first: bool,
    pub(crate) has_token: bool,
    /// The client's own word for the request.
    pub(crate) id: Option<&'b str>,
    /// How many bytes the head has.
    pub(crate) length: usize,
    fields: &'h [Header<'b>],
    /// Whether fields are named that belong to the connection (RFC 9110 section 7.6.1).
    names: bool,
}

/// A request's target (RFC 9112 section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target<'b> {
    /// The host, if the target names one: it then is the one that counts.
    pub(crate) host: Option<&'b str>,
    /// Empty if there is none.
    pub(crate) path: &'b str,
    pub(crate) query: Option<&'b str>,
}

/// An answer's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) framing: Framing,
    /// Whether the body goes on in chunks.
    pub(crate) chunked: bool,
    /// Whether the service keeps its connection.
    pub(crate) service_keeps: bool,
    /// Whether the client's connection stays open.
    pub(crate) keeps: bool,
    /// How many bytes the head has.
    pub(crate) length: usize,
}

/// Who gets an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client<'a> {
    /// Whether it asked for the head alone.
    pub(crate) head_only: bool,
    /// Whether it speaks HTTP/1.0.
    pub(crate) is_old: bool,
    pub(crate) keeps: bool,
    pub(crate) id: &'a str,
}

/// Room for [`read_request`].
pub(crate) fn slots<'b>() -> Slots<'b> {
    [const { MaybeUninit::uninit() }; FIELDS_MAX]
}

/// Reads a request's head; none if some of it is still to come.
///
/// # Errors
///
/// Why it is not passed on: what two servers in a row could read differently is not
/// (RFC 9112 sections 3.2, 6.1 and 6.3).
pub(crate) fn read_request<'h, 'b>(
    bytes: &'b [u8],
    slots: &'h mut Slots<'b>,
) -> Result<Option<Request<'h, 'b>>, Bad> {
    let mut parsed = httparse::Request::new(&mut []);
    let length = match parsed.parse_with_uninit_headers(bytes, slots) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Bad::TooMany),
        Err(_) => return Err(Bad::Unreadable),
    };
    let (method, target) = (parsed.method.unwrap_or_default(), parsed.path.unwrap_or_default());
    let is_old = parsed.version != Some(1);
    let fields: &[Header<'b>] = parsed.headers;
    let target = Target::of(target);
    let mut request = Request {
        method,
        target,
        is_old,
        framing: Framing::None,
        keeps: !is_old,
        websocket: false,
        asks_first: false,
        has_token: false,
        id: None,
        length,
        fields,
        names: false,
    };
    request.gather()?;
    Ok(Some(request))
}

impl<'b> Request<'_, 'b> {
    fn gather(&mut self) -> Result<(), Bad> {
        let (mut hosts, mut upgrade, mut to_websocket) = (0, false, false);
        for field in self.fields {
            match kind_of(field.name) {
                Kind::Host => hosts += 1,
                Kind::Connection => {
                    for word in words(field.value) {
                        if word.eq_ignore_ascii_case(b"close") {
                            self.keeps = false;
                        } else if word.eq_ignore_ascii_case(b"keep-alive") {
                            self.keeps |= self.is_old;
                        } else if word.eq_ignore_ascii_case(b"upgrade") {
                            upgrade = true;
                        } else {
                            self.names = true;
                        }
                    }
                }
                Kind::Upgrade => to_websocket = field.value.eq_ignore_ascii_case(b"websocket"),
                Kind::Length if self.framing == Framing::None => {
                    self.framing = Framing::Length(number(field.value).ok_or(Bad::Length)?);
                }
                Kind::Encoding if self.framing == Framing::None => {
                    if self.is_old || !field.value.eq_ignore_ascii_case(b"chunked") {
                        return Err(Bad::Encoding);
                    }
                    self.framing = Framing::Chunked;
                }
                Kind::Length | Kind::Encoding => return Err(Bad::Length),
                Kind::Expect => self.asks_first = !self.is_old,
                Kind::Token => self.has_token = true,
                Kind::Id => self.id = std::str::from_utf8(field.value).ok(),
                Kind::End | Kind::Hop | Kind::Proxy | Kind::Forwarded => {}
            }
        }
        if hosts > 1 || (hosts == 0 && !self.is_old && self.target.host.is_none()) {
            return Err(Bad::Host);
        }
        self.websocket = upgrade && to_websocket && self.method == "GET" && !self.is_old;
        Ok(())
    }

    /// All words of the fields of this name, which is a list, in their order.
    pub(crate) fn words_of(&self, name: &str) -> impl Iterator<Item = &'b str> {
        let fields = self.fields.iter().filter(move |it| it.name.eq_ignore_ascii_case(name));
        fields.flat_map(|it| words(it.value)).filter_map(|it| std::str::from_utf8(it).ok())
    }

    /// Whether `Connection` names this field; the host cannot be taken away so.
    fn is_named(&self, name: &str) -> bool {
        self.names && self.words_of("connection").any(|it| it.eq_ignore_ascii_case(name))
    }
}

impl<'b> Target<'b> {
    fn of(text: &'b str) -> Self {
        let (host, rest) = if text.starts_with('/') {
            (None, text)
        } else {
            // Absolute form; anything else has no path and is refused by that.
            match text.split_once("://") {
                Some((_, after)) => {
                    let end = after.find(['/', '?']).unwrap_or(after.len());
                    let rest = &after[end..];
                    (Some(&after[..end]), if rest.is_empty() { "/" } else { rest })
                }
                None => (None, ""),
            }
        };
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        Self { host, path, query }
    }
}

/// Writes a request's head for the service. `client` is the list that `X-Forwarded-For` becomes; `trusted` says
/// whether the peer is a proxy that may speak of its clients.
pub(crate) fn write_request(
    out: &mut Vec<u8>,
    request: &Request<'_, '_>,
    path: &str,
    (client, scheme, trusted): (&str, &str, bool),
    id: &str,
) {
    let mut put = |parts: &[&[u8]]| parts.iter().for_each(|it| out.extend_from_slice(it));
    put(&[request.method.as_bytes(), b" ", path.as_bytes()]);
    if let Some(query) = request.target.query {
        put(&[b"?", query.as_bytes()]);
    }
    put(&[b" HTTP/1.1\r\n"]);
    if let Some(host) = request.target.host {
        // A request that names its host in the first line means that one (RFC 9112 section 3.2.2).
        put(&[b"host: ", host.as_bytes(), b"\r\n"]);
    }
    for field in request.fields {
        let passes = match kind_of(field.name) {
            Kind::End | Kind::Token => !request.is_named(field.name),
            Kind::Host => request.target.host.is_none(),
            Kind::Proxy => trusted && !request.is_named(field.name),
            _ => false,
        };
        if passes {
            put(&[field.name.as_bytes(), b": ", field.value, b"\r\n"]);
        }
    }
    put(&[b"x-forwarded-for: ", client.as_bytes(), b"\r\nx-forwarded-proto: ", scheme.as_bytes()]);
    put(&[b"\r\nx-request-id: ", id.as_bytes(), b"\r\n"]);
    if request.websocket {
        put(&[b"connection: upgrade\r\nupgrade: websocket\r\n"]);
    }
    write_framing(out, request.framing);
    out.extend_from_slice(b"\r\n");
}

fn write_framing(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::None | Framing::UntilClose => {}
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Framing::Length(length) => {
            // Writing to a Vec does not fail.
            if write!(out, "content-length: {length}\r\n").is_err() {
                out.clear();
            }
        }
    }
}

/// Reads an answer's head and writes it for the client; none if some of it is still to come. Of interim answers
/// (1xx but 101) nothing is written.
///
/// # Errors
///
/// If it cannot be read.
pub(crate) fn read_answer(
    bytes: &[u8],
    client: Client<'_>,
    out: &mut Vec<u8>,
) -> Result<Option<Answer>, Bad> {
    let mut slots = slots();
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let length = match config.parse_response_with_uninit_headers(&mut parsed, bytes, &mut slots) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(_) => return Err(Bad::Unreadable),
    };
    let (status, fields) = (parsed.code.unwrap_or_default(), &*parsed.headers);
    let switched = status == 101;
    let mut answer = Answer {
        status,
        framing: Framing::UntilClose,
        chunked: false,
        service_keeps: parsed.version == Some(1),
        keeps: client.keeps,
        length,
    };
    if (100..200).contains(&status) && !switched {
        return Ok(Some(answer));
    }
    let mut names = false;
    for field in fields {
        match kind_of(field.name) {
            Kind::Length => answer.framing = Framing::Length(number(field.value).ok_or(Bad::Length)?),
            Kind::Encoding => answer.framing = Framing::Chunked,
            Kind::Connection => {
                answer.service_keeps &= !words(field.value).any(|it| it.eq_ignore_ascii_case(b"close"));
                names |= words(field.value)
                    .any(|it| !it.eq_ignore_ascii_case(b"close") && !it.eq_ignore_ascii_case(b"keep-alive"));
            }
            _ => {}
        }
    }
    let mut put = |parts: &[&[u8]]| parts.iter().for_each(|it| out.extend_from_slice(it));
    let digits = [status / 100, status / 10 % 10, status % 10].map(|it| b'0' + (it as u8));
    put(&[b"HTTP/1.1 ", &digits, b" ", parsed.reason.unwrap_or_default().as_bytes(), b"\r\n"]);
    let named = |name: &str| {
        let mut lines = fields.iter().filter(|it| kind_of(it.name) == Kind::Connection);
        names && lines.any(|it| words(it.value).any(|it| it.eq_ignore_ascii_case(name.as_bytes())))
    };
    for field in fields {
        if matches!(kind_of(field.name), Kind::End | Kind::Proxy | Kind::Token) && !named(field.name) {
            put(&[field.name.as_bytes(), b": ", field.value, b"\r\n"]);
        }
    }
    put(&[b"x-request-id: ", client.id.as_bytes(), b"\r\n"]);
    answer.finish(client, switched, out);
    Ok(Some(answer))
}

impl Answer {
    /// How the body goes on, and whether the connection does.
    fn finish(&mut self, client: Client<'_>, switched: bool, out: &mut Vec<u8>) {
        if switched {
            out.extend_from_slice(b"connection: upgrade\r\nupgrade: websocket\r\n\r\n");
            self.framing = Framing::None;
            return;
        }
        let told = self.framing;
        if client.head_only || matches!(self.status, 204 | 304) {
            // What the length says then is that of the body which a GET would have (RFC 9110 section 8.6).
            self.framing = Framing::None;
            if let Framing::Length(_) = told {
                write_framing(out, told);
            }
        } else if let Framing::Length(_) = told {
            write_framing(out, told);
        } else if client.is_old {
            self.keeps = false;
        } else {
            self.chunked = true;
            write_framing(out, Framing::Chunked);
        }
        self.service_keeps &= told != Framing::UntilClose || self.framing == Framing::None;
        let line: &[u8] = match (self.keeps, client.is_old) {
            (false, _) => b"connection: close\r\n\r\n",
            (true, true) => b"connection: keep-alive\r\n\r\n",
            (true, false) => b"\r\n",
        };
        out.extend_from_slice(line);
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
