//! The answer's BMC account goes to inventory, over its socket: one request of HTTP/1.1, written by hand
//! because the supervisor links no HTTP.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use domain::document::BmcSecret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::Instant;

/// How long inventory may take until it takes writes: PostgreSQL starts and migrates meanwhile.
const READY_MAX: Duration = Duration::from_secs(120);
/// How long one request may take.
const REQUEST_MAX: Duration = Duration::from_secs(15);
/// What is read of an answer.
const ANSWER_MAX: u64 = 8192;

/// Makes an account the default one of all BMCs. Tries again while inventory cannot write yet.
///
/// # Errors
///
/// If inventory refuses, or is not ready in time.
pub(crate) async fn put_default(socket: &Path, account: &BmcSecret) -> anyhow::Result<()> {
    let body = serde_json::json!({ "user": account.user, "password": account.password }).to_string();
    let deadline = Instant::now() + READY_MAX;
    loop {
        let problem = match tokio::time::timeout(REQUEST_MAX, put(socket, &body)).await {
            Ok(Ok((200..=299, _))) => return Ok(()),
            Ok(Ok((503, text))) => anyhow::anyhow!("inventory answered 503: {text}"),
            Ok(Ok((status, text))) => bail!("inventory refused the BMC account with {status}: {text}"),
            Ok(Err(error)) => error,
            Err(_) => anyhow::anyhow!("inventory did not answer within {REQUEST_MAX:?}"),
        };
        if Instant::now() > deadline {
            return Err(problem.context("hand the BMC account to inventory"));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn put(socket: &Path, body: &str) -> anyhow::Result<(u16, String)> {
    let mut stream = UnixStream::connect(socket).await.context("connect to inventory")?;
    let request = format!(
        "PUT /pilothouse/v1/bmc-credentials/default HTTP/1.1\r\nHost: inventory\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.context("write the request")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer).await.context("read the answer")?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).and_then(|it| it.parse().ok());
    let text = answer.split_once("\r\n\r\n").map_or("", |it| it.1);
    Ok((status.context("inventory's answer is no HTTP")?, text.trim().to_owned()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use domain::document::BmcSecret;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn the_account_is_tried_again_until_it_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("inventory.sock");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let server = tokio::spawn(async move {
            let mut seen = String::new();
            for answer in ["503 Service Unavailable", "204 No Content"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).await.unwrap();
                seen = String::from_utf8_lossy(&request[..length]).into_owned();
                stream.write_all(format!("HTTP/1.1 {answer}\r\n\r\n").as_bytes()).await.unwrap();
            }
            seen
        });
        let account = BmcSecret { user: "admin".into(), password: "pass\"word".into() };
        super::put_default(&socket, &account).await.unwrap();
        let request = server.await.unwrap();
        assert!(request.starts_with("PUT /pilothouse/v1/bmc-credentials/default HTTP/1.1\r\n"), "{request}");
        assert!(request.ends_with(r#"{"user":"admin","password":"pass\"word"}"#), "{request}");
    }
}
