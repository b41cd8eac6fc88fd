//! Where other services and the CLI ask for images.

use axum::body::{Body, Bytes};
use axum::http::Method;
use futures_util::StreamExt;
use http_body_util::BodyExt;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use web::{Client, ClientError};

/// What stays as it is in a query or a part of a path.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The most bytes of a blob that one request carries; below what a service or the gateway takes as a body.
pub const PIECE_MAX: usize = 8 << 20;

/// An image: of the store, or a folder below the root with a kernel and an initrd. Paths are relative to `/` of
/// port 8080.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The name: `openchami/rocky`; of a folder, its path without the last part.
    pub name: String,
    /// The tag: `test`; of a folder, its last part.
    pub tag: String,
    /// What it runs on: `x86_64`, `arm64`; none for a folder, which does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// `sha256:…` of its manifest; none for a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The kernel's path.
    pub kernel: String,
    /// The initrd's path.
    pub initrd: String,
    /// The root file system's path, if it is a file of its own.
    pub root: Option<String>,
    /// All three together.
    pub bytes: u64,
    /// When it was published, or the newest file of the folder changed, RFC 3339.
    pub modified: String,
    /// Who keeps it from being removed: `boot/compute`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<String>,
}

/// A file of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// `sha256:…`; none for a file of a folder, which may change any time.
    pub digest: Option<String>,
    /// How long it is.
    pub bytes: u64,
    /// Where it is below `/` of port 8080, without the slash: `blobs/sha256/…`.
    pub path: String,
}

/// What a reference stands for now, on one architecture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// As it was asked for: `compute:latest`, `sha256:…`.
    pub reference: String,
    /// `x86_64`, `arm64`; none for a folder.
    pub architecture: Option<String>,
    /// `sha256:…` of the manifest: a reference that always stands for the same bytes. None for a folder.
    pub digest: Option<String>,
    /// The kernel.
    pub kernel: Part,
    /// The initrd.
    pub initrd: Part,
    /// The root file system, if it is a file of its own.
    pub root: Option<Part>,
}

/// What is published: digests of blobs that were uploaded before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewImage {
    /// The name.
    pub name: String,
    /// The tag; what it stood for on this architecture before, it no longer does.
    pub tag: String,
    /// `x86_64`, `arm64`, `riscv64`, `loong64`, or another word for one of them.
    pub architecture: String,
    /// `sha256:…` of the kernel.
    pub kernel: String,
    /// `sha256:…` of the initrd.
    pub initrd: String,
    /// `sha256:…` of the root file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
}

/// An upload under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// Its name in paths.
    pub id: String,
    /// So many bytes are there; the next piece begins here.
    pub received: u64,
}

/// A blob that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    /// `sha256:…`
    pub digest: String,
    /// How long it is.
    pub bytes: u64,
}

/// A step of a verification: one a blob, and one now and then in between.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// `sha256:…`
    pub digest: String,
    /// Bytes read so far, over all blobs.
    pub done: u64,
    /// Bytes of all blobs.
    pub all: u64,
    /// Whether it is what it is called; none while it is still read.
    pub sound: Option<bool>,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The images that need it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
}

/// What a clean-up took away, or would.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cleaned {
    /// Manifests that no tag and no pin names.
    pub manifests: Vec<String>,
    /// Blobs that no manifest names.
    pub blobs: Vec<Blob>,
    /// Uploads that nobody finished.
    pub uploads: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

fn escaped(text: &str) -> impl std::fmt::Display {
    utf8_percent_encode(text, PLAIN)
}

/// Every image, the newest first.
///
/// # Errors
///
/// If the service does not answer.
pub async fn list(client: &Client) -> Result<Vec<Image>, ClientError> {
    client.get("/pilothouse/v1/images").await
}

/// What `name:tag` or `sha256:…` stands for, on this architecture (iPXE's word or the kernel's: `x86_64`, `arm64`);
/// without one, on the only one there is, else on x86_64.
///
/// # Errors
///
/// If the service does not answer, or there is no such image: [`ClientError::Status`] with 404.
pub async fn resolve(
    client: &Client,
    reference: &str,
    architecture: Option<&str>,
) -> Result<Resolved, ClientError> {
    let mut path = format!("/pilothouse/v1/images/resolve?reference={}", escaped(reference));
    if let Some(architecture) = architecture {
        path += &format!("&architecture={}", escaped(architecture));
    }
    client.get(&path).await
}

/// Keeps an image (`name:tag` or `sha256:…`) from being removed and cleaned up, before parameters that name it are
/// stored. Pinning the same id again moves the pin.
///
/// # Errors
///
/// If the service does not answer, or its database is not there.
pub async fn pin(client: &Client, service: &str, id: &str, image: &str) -> Result<(), ClientError> {
    let body = serde_json::json!({ "image": image });
    let path = format!("/pins/{service}/{}", escaped(id));
    client.text(Method::PUT, &path, Some(&body)).await.map(drop)
}

/// Takes the pin away; none there is no mistake.
///
/// # Errors
///
/// As [`pin`].
pub async fn unpin(client: &Client, service: &str, id: &str) -> Result<(), ClientError> {
    let path = format!("/pins/{service}/{}", escaped(id));
    match client.text(Method::DELETE, &path, None::<&()>).await {
        Err(ClientError::Status { status, .. }) if status.as_u16() == 404 => Ok(()),
        done => done.map(drop),
    }
}

/// Makes a tag stand for an image, at once and whole.
///
/// # Errors
///
/// If the service does not answer, its database is not there, or a blob is not.
pub async fn publish(client: &Client, image: &NewImage) -> Result<Resolved, ClientError> {
    client.call(Method::POST, "/pilothouse/v1/images", Some(image)).await
}

/// Takes a tag away, on one architecture or on all. What it stood for goes with the next clean-up.
///
/// # Errors
///
/// If there is none, or it is pinned (409, which names the pin).
pub async fn remove(client: &Client, reference: &str, architecture: Option<&str>) -> Result<(), ClientError> {
    let mut path = format!("/pilothouse/v1/images?reference={}", escaped(reference));
    if let Some(architecture) = architecture {
        path += &format!("&architecture={}", escaped(architecture));
    }
    client.text(Method::DELETE, &path, None::<&()>).await.map(drop)
}

/// Whether a blob is there already.
///
/// # Errors
///
/// If the service does not answer.
pub async fn find_blob(client: &Client, digest: &str) -> Result<Option<Blob>, ClientError> {
    match client.get(&format!("/pilothouse/v1/blobs/{}", escaped(digest))).await {
        Err(ClientError::Status { status, .. }) if status.as_u16() == 404 => Ok(None),
        found => found.map(Some),
    }
}

/// Begins an upload.
///
/// # Errors
///
/// If the service does not answer, or has no room.
pub async fn begin_upload(client: &Client) -> Result<Upload, ClientError> {
    client.call(Method::POST, "/pilothouse/v1/uploads", None::<&()>).await
}

/// Adds a piece of at most [`PIECE_MAX`] bytes; it begins where the upload stands.
///
/// # Errors
///
/// As [`begin_upload`]; 409 if the upload does not stand there.
pub async fn send_piece(client: &Client, upload: &Upload, piece: Bytes) -> Result<Upload, ClientError> {
    let path = format!("/pilothouse/v1/uploads/{}?offset={}", upload.id, upload.received);
    let answer = client.bytes(Method::PUT, &path, Body::from(piece)).await?;
    read(&answer)
}

/// Ends an upload: what was sent is a blob from now on, if it is what the digest says.
///
/// # Errors
///
/// As [`begin_upload`]; 422 if it is something else.
pub async fn finish_upload(client: &Client, upload: &Upload, digest: &str) -> Result<Blob, ClientError> {
    let path = format!("/pilothouse/v1/uploads/{}?digest={}", upload.id, escaped(digest));
    client.call(Method::POST, &path, None::<&()>).await
}

/// Gives an upload up.
///
/// # Errors
///
/// If the service does not answer.
pub async fn cancel_upload(client: &Client, upload: &Upload) -> Result<(), ClientError> {
    let path = format!("/pilothouse/v1/uploads/{}", upload.id);
    client.text(Method::DELETE, &path, None::<&()>).await.map(drop)
}

/// Reads every blob of an image, or of all, anew; `told` hears of each step.
///
/// # Errors
///
/// If the service does not answer, or stops in between.
pub async fn verify(
    client: &Client,
    reference: Option<&str>,
    mut told: impl FnMut(Verified),
) -> Result<(), ClientError> {
    let query = reference.map(|it| format!("?reference={}", escaped(it))).unwrap_or_default();
    let path = format!("/pilothouse/v1/images/verify{query}");
    let answer = client.send(Method::POST, &path, Body::empty()).await?;
    let status = answer.status();
    let mut body = answer.into_body().into_data_stream();
    let mut text = Vec::new();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|it| ClientError::Broken("images.sock".into(), it.into()))?;
        text.extend_from_slice(&piece);
        if !status.is_success() {
            continue;
        }
        while let Some(end) = text.iter().position(|it| *it == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            told(read(&line)?);
        }
    }
    if status.is_success() {
        return Ok(());
    }
    let problem: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let detail = problem["detail"].as_str().unwrap_or("the verification was refused").to_owned();
    Err(ClientError::Status { status, detail })
}

/// Takes away what nothing names and what is at least an hour old; with `dry` only says what that would be.
///
/// # Errors
///
/// If the service does not answer, or its database is not there.
pub async fn clean_up(client: &Client, dry: bool) -> Result<Cleaned, ClientError> {
    client.call(Method::POST, &format!("/pilothouse/v1/images/gc?dry={dry}"), None::<&()>).await
}

fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(text).map_err(|it| ClientError::Body("images.sock".into(), it))
}
