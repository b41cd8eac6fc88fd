//! Files as answers: opened below a root, with validators and ranges, streamed and counted.

use std::io::{self, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use futures_util::Stream;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;
use web::Problem;

use crate::model::{Span, Wanted, segments, wanted};

/// What is read at once: large enough that system calls hardly count, small enough for a thousand readers.
const CHUNK_BYTES: usize = 128 << 10;

/// A file that was opened, and what it is known by.
pub(crate) struct Opened {
    file: std::fs::File,
    length: u64,
    etag: String,
    modified: String,
}

/// How a transfer ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer {
    /// Bytes that went out.
    pub(crate) sent: u64,
    /// Bytes that were asked for.
    pub(crate) asked: u64,
    /// Bytes of the whole file.
    pub(crate) file: u64,
    /// When it began.
    pub(crate) started: Instant,
}

/// Told once when a transfer has ended.
pub(crate) type Ended = Box<dyn FnOnce(Transfer) + Send>;

/// Opens a regular file below the root. Links may lead about inside of it, never out. (openat2(2) would do in one call,
/// but systemd's RestrictSUIDSGID= filters it away, so that this walks where it must.)
///
/// # Errors
///
/// `NotFound` for whatever may not be served, so that nobody learns what else there is.
pub(crate) fn open(root: &Path, path: &str) -> io::Result<Opened> {
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    let relative = segments(path).ok_or_else(missing)?.join("/");
    let folder = Dir::open_ambient_dir(root, ambient_authority())?;
    // A pipe would keep who opens it waiting.
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK);
    let opened = folder.open_with(relative, &options).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied if error.raw_os_error().is_none() => missing(), // It leads out.
        io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename => missing(),
        _ if error.raw_os_error() == Some(libc::ELOOP) => missing(),
        _ => error,
    })?;
    let file = opened.into_std();
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(missing());
    }
    let changed = OffsetDateTime::from(metadata.modified()?);
    let nanos = changed.unix_timestamp_nanos();
    Ok(Opened {
        file,
        length: metadata.len(),
        etag: format!("\"{:x}-{:x}-{nanos:x}\"", metadata.ino(), metadata.len()),
        modified: http_date(changed),
    })
}

/// RFC 9110 section 5.6.7: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(time: OffsetDateTime) -> String {
    let text = time.to_offset(time::UtcOffset::UTC).replace_nanosecond(0).unwrap_or(time).format(&Rfc2822);
    text.unwrap_or_default().replace("+0000", "GMT")
}

impl Opened {
    /// The answer to a GET or HEAD, after the preconditions and the range (RFC 9110 sections 13.2.2 and 14).
    pub(crate) async fn answer(self, method: &Method, headers: &HeaderMap, ended: Ended) -> Response {
        let field = |name| headers.get(name).and_then(|it: &HeaderValue| it.to_str().ok());
        let matches = |list: &str| {
            list.split(',').any(|it| it.trim().trim_start_matches("W/") == self.etag || it.trim() == "*")
        };
        let unchanged = match field(header::IF_NONE_MATCH) {
            Some(list) => matches(list),
            None => field(header::IF_MODIFIED_SINCE).is_some_and(|it| it == self.modified),
        };
        if field(header::IF_MATCH).is_some_and(|it| !matches(it)) {
            return Problem::new(StatusCode::PRECONDITION_FAILED, "the file is another one now")
                .into_response();
        }
        if unchanged {
            return self.describe((StatusCode::NOT_MODIFIED, ()).into_response());
        }
        let same = field(header::IF_RANGE).is_none_or(|it| it == self.etag || it == self.modified);
        let range = field(header::RANGE).filter(|_| same && method == Method::GET);
        let (status, span) = match wanted(range, self.length) {
            Wanted::All => (StatusCode::OK, Span { first: 0, last: self.length.saturating_sub(1) }),
            Wanted::Part(span) => (StatusCode::PARTIAL_CONTENT, span),
            Wanted::Nothing => {
                let mut response = StatusCode::RANGE_NOT_SATISFIABLE.into_response();
                insert(response.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{}", self.length));
                return self.describe(response);
            }
        };
        let length = if self.length == 0 { 0 } else { span.last - span.first + 1 };
        let body = if method == Method::HEAD {
            Body::empty()
        } else {
            match self.file.try_clone() {
                Ok(file) => match stream(file, span.first, (length, self.length), ended).await {
                    Ok(body) => body,
                    Err(error) => return Problem::internal(&error).into_response(),
                },
                Err(error) => return Problem::internal(&error).into_response(),
            }
        };
        let mut response = (status, body).into_response();
        let fields = response.headers_mut();
        fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        if status == StatusCode::PARTIAL_CONTENT {
            let range = format!("bytes {}-{}/{}", span.first, span.last, self.length);
            insert(fields, header::CONTENT_RANGE, &range);
        }
        self.describe(response)
    }

    fn describe(&self, mut response: Response) -> Response {
        let fields = response.headers_mut();
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        fields.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        insert(fields, header::ETAG, &self.etag);
        insert(fields, header::LAST_MODIFIED, &self.modified);
        response
    }
}

fn insert(fields: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        fields.insert(name, value);
    }
}

/// The body of `asked` bytes from `first` on, of a file of `whole` bytes.
async fn stream(
    file: std::fs::File,
    first: u64,
    (asked, whole): (u64, u64),
    ended: Ended,
) -> io::Result<Body> {
    let mut file = File::from_std(file);
    file.set_max_buf_size(CHUNK_BYTES);
    file.seek(SeekFrom::Start(first)).await?;
    let inner = ReaderStream::with_capacity(file.take(asked), CHUNK_BYTES);
    let transfer = Transfer { sent: 0, asked, file: whole, started: Instant::now() };
    let counted = Counted { inner, transfer, ended: Some(ended) };
    Ok(Body::from_stream(counted))
}

/// Counts what goes out and tells once how it ended, also when the client went away.
struct Counted {
    inner: ReaderStream<tokio::io::Take<File>>,
    transfer: Transfer,
    ended: Option<Ended>,
}

impl Stream for Counted {
    type Item = io::Result<Bytes>;
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let polled = Pin::new(&mut self.inner).poll_next(context);
        if let Poll::Ready(Some(Ok(chunk))) = &polled {
            self.transfer.sent += chunk.len() as u64;
        }
        polled
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(ended) = self.ended.take() {
            ended(self.transfer);
        }
    }
}
