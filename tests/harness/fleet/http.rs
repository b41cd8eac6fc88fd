//! An HTTP/1.1 client as boot loaders have it: one request a connection, from a node's own address.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::{MsgFlags, recv};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpSocket, TcpStream};

/// So much of a body is kept: a script, or what cloud-init reads.
const KEPT_MAX: usize = 256 * 1024;
/// The head of an answer.
const HEAD_MAX: usize = 16 * 1024;
/// What is read at once.
const READ: usize = 32 * 1024;
/// Of what nobody looks at so much is waited for.
const LOW_WATER: usize = 128 * 1024;

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) bytes: u64,
    pub(super) text: String,
}

/// Who asks, and how patiently.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    pub(super) source: Ipv4Addr,
    /// For the next bytes.
    pub(super) wait: Duration,
    /// What every name stands for; none: there is no name server.
    pub(super) names: Option<Ipv4Addr>,
}

/// How the length of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Known(u64),
    Chunked,
    UntilEnd,
}

/// A URL's address, its host as written, and its path.
fn parse(url: &str, names: Option<Ipv4Addr>) -> Result<(SocketAddr, &str, &str), String> {
    let rest = url.strip_prefix("http://").ok_or_else(|| format!("{url:?} is no http URL"))?;
    let at = rest.find('/').unwrap_or(rest.len());
    let (host, path) = rest.split_at(at);
    let (name, port) = host.rsplit_once(':').unwrap_or((host, "80"));
    let port = port.parse().map_err(|_| format!("{host:?} has no port"))?;
    let address = name.parse().ok().or(names).ok_or_else(|| format!("the name {name} cannot be resolved"))?;
    Ok((SocketAddr::new(address.into(), port), host, if path.is_empty() { "/" } else { path }))
}

impl Caller {
    /// Fetches a whole body; `cut` ends the connection after so many bytes of it.
    ///
    /// # Errors
    ///
    /// What is wrong with the connection. Any status is an answer.
    pub(super) async fn get(self, url: &str, cut: Option<u64>) -> Result<Answer, String> {
        let (address, host, path) = parse(url, self.names)?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: fleet\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        );
        self.ask(address, &request, cut).await.map_err(|it| format!("{url}: {it}"))
    }

    /// Sends a form.
    pub(super) async fn post(self, url: &str, form: &str) -> Result<Answer, String> {
        let (address, host, path) = parse(url, self.names)?;
        let length = form.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: fleet\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{form}"
        );
        self.ask(address, &request, None).await.map_err(|it| format!("{url}: {it}"))
    }

    async fn ask(self, address: SocketAddr, request: &str, cut: Option<u64>) -> Result<Answer, String> {
        let connect = async {
            let socket = TcpSocket::new_v4()?;
            socket.bind((self.source, 0).into())?;
            let mut stream = socket.connect(address).await?;
            stream.write_all(request.as_bytes()).await?;
            Ok::<_, std::io::Error>(stream)
        };
        let stream = match tokio::time::timeout(self.wait, connect).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(format!("cannot connect: {error}")),
            Err(_) => return Err("no connection in time".to_owned()),
        };
        Body { stream, wait: self.wait, buffer: vec![0; READ], bytes: 0, kept: Vec::new() }.read(cut).await
    }
}

/// An answer that is read.
struct Body {
    stream: TcpStream,
    wait: Duration,
    buffer: Vec<u8>,
    bytes: u64,
    kept: Vec<u8>,
}

impl Body {
    async fn fill(&mut self) -> Result<usize, String> {
        match tokio::time::timeout(self.wait, self.stream.read(&mut self.buffer)).await {
            Ok(Ok(length)) => Ok(length),
            Ok(Err(error)) => Err(format!("cannot read: {error}")),
            Err(_) => Err("no more bytes in time".to_owned()),
        }
    }

    fn take(&mut self, from: usize, to: usize) {
        self.bytes += (to - from) as u64;
        let room = KEPT_MAX.saturating_sub(self.kept.len());
        self.kept.extend_from_slice(&self.buffer[from..to.min(from + room)]);
    }

    /// Takes what nobody looks at without a copy, and wakes for many packets at once: thousands of machines share the
    /// processor here.
    async fn discard(&mut self, whole: u64) -> Result<(), String> {
        let mut low = 0;
        while self.bytes < whole {
            let left = usize::try_from(whole - self.bytes).unwrap_or(usize::MAX);
            if low != left.min(LOW_WATER) {
                low = left.min(LOW_WATER);
                set_low_water(&self.stream, low).map_err(|it| format!("cannot wait for bytes: {it}"))?;
            }
            match tokio::time::timeout(self.wait, self.stream.readable()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(format!("cannot read: {error}")),
                Err(_) => return Err("no more bytes in time".to_owned()),
            }
            let room = left.min(self.buffer.len());
            let buffer = &mut self.buffer[..room];
            let taken = self.stream.try_io(Interest::READABLE, || {
                Ok(recv(self.stream.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC)?)
            });
            match taken {
                Ok(0) => return Ok(()),
                Ok(length) => self.bytes += length as u64,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(format!("cannot read: {error}")),
            }
        }
        Ok(())
    }

    async fn read(mut self, cut: Option<u64>) -> Result<Answer, String> {
        let mut head = Vec::new();
        let (end, read) = loop {
            let length = self.fill().await?;
            if length == 0 || head.len() > HEAD_MAX {
                return Err("no answer".to_owned());
            }
            head.extend_from_slice(&self.buffer[..length]);
            if let Some(at) = head.windows(4).position(|it| it == b"\r\n\r\n") {
                break (at + 4, length);
            }
        };
        let begin = read - (head.len() - end);
        let head = String::from_utf8_lossy(&head[..end]).into_owned();
        let status = head.get(9..12).and_then(|it| it.parse().ok()).ok_or("no status")?;
        self.take(begin, read);
        let length = length_of(&head);
        if let Length::Known(whole) = length
            && whole > KEPT_MAX as u64
            && cut.is_none()
        {
            self.discard(whole).await?;
        }
        loop {
            if let Length::Known(whole) = length
                && self.bytes >= whole
            {
                break;
            }
            if cut.is_some_and(|it| self.bytes >= it) {
                return Err(format!("the connection was lost after {} bytes", self.bytes));
            }
            match self.fill().await? {
                0 => break,
                length => self.take(0, length),
            }
        }
        if let Length::Known(whole) = length
            && self.bytes != whole
        {
            return Err(format!("{} bytes of {whole}", self.bytes));
        }
        let body = if length == Length::Chunked { dechunked(&self.kept)? } else { self.kept };
        Ok(Answer { status, bytes: self.bytes, text: String::from_utf8_lossy(&body).into_owned() })
    }
}

/// SO_RCVLOWAT (socket(7)), which no library has.
fn set_low_water(stream: &TcpStream, bytes: usize) -> std::io::Result<()> {
    let bytes = libc::c_int::try_from(bytes).map_err(std::io::Error::other)?;
    #[expect(unsafe_code, reason = "the option is an int that outlives the call, and its length is told")]
    let set = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVLOWAT,
            (&raw const bytes).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if set == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

fn length_of(head: &str) -> Length {
    let field = |name: &str| {
        head.lines().filter_map(|it| it.split_once(':')).find(|it| it.0.eq_ignore_ascii_case(name))
    };
    if field("transfer-encoding").is_some_and(|it| it.1.trim().eq_ignore_ascii_case("chunked")) {
        return Length::Chunked;
    }
    let length = field("content-length").and_then(|it| it.1.trim().parse().ok());
    length.map_or(Length::UntilEnd, Length::Known)
}

/// A body without its chunks' heads (RFC 9112 section 7.1); it has to be kept whole.
fn dechunked(mut rest: &[u8]) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        let at = rest.windows(2).position(|it| it == b"\r\n").ok_or("a chunk without an end")?;
        let size = std::str::from_utf8(&rest[..at]).unwrap_or_default();
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)
            .map_err(|it| format!("a chunk's size: {it}"))?;
        if size == 0 {
            return Ok(body);
        }
        let chunk = rest.get(at + 2..at + 2 + size).ok_or("a chunk is cut off")?;
        body.extend_from_slice(chunk);
        rest = rest.get(at + 4 + size..).ok_or("a chunk is cut off")?;
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{Length, dechunked, length_of, parse};

    #[test]
    fn a_url_has_an_address_and_a_path() {
        let (address, host, path) = parse("http://10.0.0.1:8081/a?b=c", None).unwrap();
        assert_eq!((address.to_string().as_str(), host, path), ("10.0.0.1:8081", "10.0.0.1:8081", "/a?b=c"));
        assert_eq!(parse("http://10.0.0.1", None).unwrap().0.port(), 80);
        assert!(parse("http://head:80/a", None).unwrap_err().contains("cannot be resolved"));
        let named = parse("http://head/a", Some([10, 0, 0, 2].into())).unwrap();
        assert_eq!((named.0.to_string().as_str(), named.1), ("10.0.0.2:80", "head"));
    }

    #[test]
    fn a_body_has_a_length_or_chunks() {
        assert_eq!(length_of("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"), Length::Known(7));
        assert_eq!(length_of("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"), Length::Chunked);
        assert_eq!(length_of("HTTP/1.1 200 OK\r\n\r\n"), Length::UntilEnd);
        assert_eq!(dechunked(b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n").unwrap(), b"abcde");
        assert!(dechunked(b"3\r\nab").is_err());
    }
}
