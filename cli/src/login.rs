//! `pilotctl login` and `logout`: a log-in at a head from another machine, kept in a file and renewed silently.

mod browser;
mod http;
mod session;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use zeroize::Zeroizing;

use crate::error::Failure;
use http::{Site, form, text};
use session::Session;

pub(crate) use session::access_token;

/// What we are to auth: a program that everybody has, so it proves itself by nothing.
const CLIENT: &str = "pilotctl";
/// All that the person may, and to be renewed.
const SCOPE: &str = "openid offline_access pilothouse";
const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// Log in at a head from elsewhere; on the head itself there is no need to.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pilotctl login --head https://demo.openchami.cluster:8443 --cacert root.pem
  pilotctl login --device                    shows a code to type in a browser elsewhere
  export DEMO_ACCESS_TOKEN=$(pilotctl token)

The log-in is kept in $XDG_STATE_HOME/pilothouse/session.json, for you alone, and is renewed when it is used.")]
pub(crate) struct LoginArguments {
    /// The head's address; that of the last log-in, if there was one
    #[arg(long, value_name = "URL", env = "PILOTHOUSE_HEAD")]
    head: Option<String>,
    /// Show a code instead of opening a browser
    #[arg(long)]
    device: bool,
    /// The cluster's root certificate, if this machine does not know it; get_ca_cert prints it on the head
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
}

pub(crate) async fn log_in(arguments: &LoginArguments) -> Result<(), Failure> {
    let last = Session::load().ok().flatten();
    let head = arguments.head.clone().or_else(|| last.as_ref().map(|it| it.head.clone()));
    let head =
        head.ok_or_else(|| Failure::usage("which head? pilotctl login --head https://CLUSTER.DOMAIN:8443"))?;
    let head = head.trim_end_matches('/').to_owned();
    let cacert = match (&arguments.cacert, last) {
        (Some(file), _) => Some(std::path::absolute(file)?),
        (None, Some(last)) if last.head == head => last.cacert.clone(),
        _ => None,
    };
    let site = Site::new(cacert.clone());
    let document = site.discover(&head).await?;
    let given = if arguments.device || !browser::is_there() {
        by_device(&site, &document).await?
    } else {
        browser::log_in(&site, &document, &head).await?
    };
    let session = Session::new(head, cacert, &document, &given)?;
    session.keep()?;
    eprintln!("You are logged in at {}. pilotctl token prints a token.", session.head);
    Ok(())
}

pub(crate) async fn log_out() -> Result<(), Failure> {
    let Some(session) = Session::load()? else { return Ok(()) };
    let body = form(&[("client_id", CLIENT), ("token", &session.refresh_token)]);
    let told = Site::new(session.cacert.clone()).post(&session.revocation_endpoint, &body).await;
    Session::forget()?;
    // The file is gone either way; what nobody heard of ends by itself.
    if let Err(failure) = told {
        eprintln!("pilotctl: {} was not told: {}", session.head, failure.message);
    }
    Ok(())
}

/// RFC 8628.
async fn by_device(site: &Site, document: &Value) -> Result<Value, Failure> {
    let place = text(document, "device_authorization_endpoint")?;
    let (_, begun) = site.post(place, &form(&[("client_id", CLIENT), ("scope", SCOPE)])).await?;
    let code = Zeroizing::new(text(&begun, "device_code")?.to_owned());
    eprintln!(
        "Open {} in a browser and type the code\n\n    {}\n",
        text(&begun, "verification_uri")?,
        text(&begun, "user_code")?
    );
    let body = form(&[("grant_type", DEVICE_CODE), ("client_id", CLIENT), ("device_code", &code)]);
    let mut wait = begun["interval"].as_u64().unwrap_or(5).clamp(1, 60);
    loop {
        tokio::time::sleep(Duration::from_secs(wait)).await;
        let (status, answer) = site.ask(text(document, "token_endpoint")?, Some(&body)).await?;
        match answer["error"].as_str() {
            None if status.is_success() => return Ok(answer),
            Some("authorization_pending") => {}
            Some("slow_down") => wait += 5,
            Some("access_denied") => return Err(Failure::refused("the log-in was refused in the browser")),
            Some("expired_token") => {
                return Err(Failure::refused("the code has expired; run pilotctl login --device again"));
            }
            _ => return Err(http::refusal(place, status, &answer)),
        }
    }
}
