//! Log-in by the browser of this machine, which comes back to us on the loopback interface (RFC 8252, RFC 7636).

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::http::{Site, form, text};
use super::{CLIENT, SCOPE};
use crate::error::Failure;

/// What opens the desktop's browser.
const OPENER: &str = "/usr/bin/xdg-open";
/// How long someone may take to log in.
const PATIENCE: Duration = Duration::from_secs(600);
/// The longest request of a browser that is read, and how long it may take.
const REQUEST_MAX: usize = 16 << 10;
const REQUEST_TIME: Duration = Duration::from_secs(10);
const DONE: &str = "You are logged in. Close this page and go back to the terminal.\n";

/// Whether there is a desktop here, and what opens its browser.
pub(super) fn is_there() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|it| !it.is_empty());
    Path::new(OPENER).exists() && (set("DISPLAY") || set("WAYLAND_DISPLAY"))
}

pub(super) async fn log_in(site: &Site, document: &Value, head: &str) -> Result<Value, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let redirect = format!("http://127.0.0.1:{}/callback", listener.local_addr()?.port());
    let state = Uuid::new_v4().simple().to_string();
    let verifier = Zeroizing::new(format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()));
    let challenge = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()));
    let query = form(&[
        ("response_type", "code"),
        ("client_id", CLIENT),
        ("redirect_uri", &redirect),
        ("scope", SCOPE),
        ("state", &state),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ]);
    let url = format!("{}?{}", text(document, "authorization_endpoint")?, *query);
    eprintln!("Log in with your browser; if it does not open by itself, at\n\n    {url}\n");
    let mut opener = Command::new(OPENER);
    opener.arg(&url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Err(error) = opener.spawn() {
        eprintln!("pilotctl: the browser does not open: {error}");
    }
    let waited = tokio::time::timeout(PATIENCE, wait_for_code(&listener, &state, head)).await;
    let code = waited.map_err(|_| Failure::failed("nobody logged in; run pilotctl login again"))??;
    let body = form(&[
        ("grant_type", "authorization_code"),
        ("client_id", CLIENT),
        ("redirect_uri", &redirect),
        ("code_verifier", &verifier),
        ("code", &code),
    ]);
    Ok(site.post(text(document, "token_endpoint")?, &body).await?.1)
}

/// Other requests, a browser's own or a stranger's, are passed over.
async fn wait_for_code(
    listener: &TcpListener,
    state: &str,
    head: &str,
) -> Result<Zeroizing<String>, Failure> {
    loop {
        let (stream, _) = listener.accept().await?;
        let asked = tokio::time::timeout(REQUEST_TIME, answer(stream, state, head)).await;
        if let Ok(Ok(Some(found))) = asked {
            return found;
        }
    }
}

type Found = Option<Result<Zeroizing<String>, Failure>>;

async fn answer(mut stream: TcpStream, state: &str, head: &str) -> std::io::Result<Found> {
    let mut request = Zeroizing::new(Vec::new());
    let mut buffer = [0; 1024];
    while !request.windows(4).any(|it| it == b"\r\n\r\n") && request.len() < REQUEST_MAX {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            break;
        }
        request.extend_from_slice(&buffer[..count]);
    }
    let found = read_callback(&String::from_utf8_lossy(&request), state, head);
    let (status, body) = match &found {
        Some(Ok(_)) => ("200 OK", DONE),
        Some(Err(_)) => ("400 Bad Request", "The log-in failed; the terminal says why.\n"),
        None => ("404 Not Found", "There is nothing here.\n"),
    };
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {length}\r\n\
         cache-control: no-store\r\nconnection: close\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(found)
}

/// The code, if this is the answer to our question: by its state, and from whom we asked (RFC 9207).
fn read_callback(request: &str, state: &str, head: &str) -> Found {
    let target = request.lines().next()?.strip_prefix("GET ")?.split(' ').next()?;
    let query = target.strip_prefix("/callback?")?;
    let find = |name: &str| {
        form_urlencoded::parse(query.as_bytes()).find(|it| it.0 == name).map(|it| it.1.into_owned())
    };
    if find("state").as_deref() != Some(state) || find("iss").as_deref() != Some(head) {
        return None;
    }
    if let Some(code) = find("code") {
        return Some(Ok(Zeroizing::new(code)));
    }
    let why = find("error_description").or_else(|| find("error")).unwrap_or_default();
    Some(Err(Failure::refused(format!(
        "the head refused the log-in: {}",
        why.replace(char::is_control, "?")
    ))))
}

#[cfg(test)]
mod tests {
    use super::read_callback;

    #[test]
    fn only_the_answer_to_our_own_question_counts() {
        let read = |target: &str| read_callback(&format!("GET {target} HTTP/1.1\r\n\r\n"), "s", "https://h");
        let code = read("/callback?code=c%2B&state=s&iss=https%3A%2F%2Fh").and_then(Result::ok);
        assert_eq!(code.as_deref().map(String::as_str), Some("c+"));
        for target in [
            "/favicon.ico",
            "/callback",
            "/callback?code=c",
            "/callback?code=c&state=x&iss=https://h",
            "/callback?code=c&state=s&iss=https://evil.example",
        ] {
            assert!(read(target).is_none(), "{target}");
        }
        assert!(read("/callback?error=access_denied&state=s&iss=https://h").is_some_and(|it| it.is_err()));
    }
}
