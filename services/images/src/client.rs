//! Where other services and the CLI ask for images.

use axum::http::Method;
use serde::{Deserialize, Serialize};
use web::{Client, ClientError};

/// An image: a folder below the root with a kernel and an initrd. Paths are relative to `/` of port 8080.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The folder without its last part: `openchami/rocky`.
    pub name: String,
    /// The folder's last part: `test`.
    pub tag: String,
    /// The kernel's path.
    pub kernel: String,
    /// The initrd's path.
    pub initrd: String,
    /// The root file system's path, if it is a file of its own.
    pub root: Option<String>,
    /// All three together.
    pub bytes: u64,
    /// When the newest of them changed, RFC 3339.
    pub modified: String,
}

/// Every image, the newest first.
///
/// # Errors
///
/// If the service does not answer.
pub async fn list(client: &Client) -> Result<Vec<Image>, ClientError> {
    client.get("/pilothouse/v1/images").await
}

/// Keeps an image from being cleaned up, before parameters that name it are stored.
///
/// # Errors
///
/// If the service does not answer, or its database is not there.
pub async fn pin(client: &Client, service: &str, id: &str, image: &str) -> Result<(), ClientError> {
    let body = serde_json::json!({ "image": image });
    client.text(Method::PUT, &format!("/pins/{service}/{id}"), Some(&body)).await.map(drop)
}

/// Takes the pin away.
///
/// # Errors
///
/// As [`pin`].
pub async fn unpin(client: &Client, service: &str, id: &str) -> Result<(), ClientError> {
    client.text(Method::DELETE, &format!("/pins/{service}/{id}"), None::<&()>).await.map(drop)
}
