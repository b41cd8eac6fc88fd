//! `pilotctl token` and `pilotctl ca-cert`, the bootcamp's `gen_access_token` and `get_ca_cert`.

use std::io::Write;

use axum::http::Method;
use domain::Service;
use serde_json::Value;

use crate::Head;
use crate::error::Failure;

/// Prints an access token for the APIs, for use as `export DEMO_ACCESS_TOKEN=$(gen_access_token)`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How long it is good, 60 to 86400 seconds
    #[arg(long, default_value_t = 43_200)]
    seconds: u32,
    /// viewer, operator or admin; at most the caller's own role
    #[arg(long, default_value = "admin")]
    role: String,
}

pub(crate) async fn run(head: &Head, arguments: &Arguments) -> Result<(), Failure> {
    let body = serde_json::json!({"seconds": arguments.seconds, "role": arguments.role});
    let client = head.client(Service::Auth);
    let answer: Value = client.call(Method::POST, "/pilothouse/v1/tokens", Some(&body)).await?;
    match answer["access_token"].as_str() {
        Some(token) => {
            println!("{token}");
            Ok(())
        }
        None => Err(Failure::failed("the answer of auth holds no token")),
    }
}

pub(crate) async fn root_certificate(head: &Head) -> Result<(), Failure> {
    let client = head.client(Service::Ca);
    let pem = client.text(Method::GET, "/pilothouse/v1/root.pem", None::<&()>).await?;
    std::io::stdout().write_all(&pem)?;
    Ok(())
}
