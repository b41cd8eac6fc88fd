//! Log-in of a program without a browser: it shows a code, and someone types it elsewhere (RFC 8628).

use std::sync::PoisonError;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use time::OffsetDateTime;
use web::{Caller, Json};
use zeroize::Zeroizing;

use super::authorize::wording;
use super::form::{Form, parse_fields, parse_form};
use super::page::{self, LogInPage};
use crate::api::{Auth, clock};
use crate::error::{Error, OauthError};
use crate::model::{PILOTCTL, Source, digest_of, is_scope, new_secret, new_user_code, normal_user_code};
use crate::store;

/// How long someone may take.
const LIFE: Duration = Duration::from_secs(600);
/// How often a device may ask, in seconds.
const INTERVAL_S: i32 = 5;
const TITLE: &str = "Log in a program";
const TEXT: &str = "A program shows a code and waits for you. Go on only if you started it yourself.";

/// For public clients: who has a secret has no need of it.
pub(super) async fn create(
    State(auth): State<Auth>,
    caller: Caller,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, OauthError> {
    let now = clock();
    let form = parse_form(&headers, &body)?;
    let client = auth.find_client(&headers, &form, now).await?;
    // Whoever is asked for a password for a device cannot see who asks: our own program alone may.
    if client.id != PILOTCTL {
        return Err(OauthError::Unauthorized("this client logs people in by a browser of their own"));
    }
    let scope = form.get("scope").map_or("openid", |it| it.as_str());
    if !is_scope(scope) || scope.len() > 2048 {
        return Err(OauthError::Scope);
    }
    {
        let mut throttle = auth.device_throttle.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = throttle.begin("", Source::new(caller.address), now.unix_timestamp());
        begun.map_err(Error::Throttled)?;
    }
    let (code, user_code) = (new_secret().map_err(Error::from)?, new_user_code().map_err(Error::from)?);
    let mut tx = auth.database.begin().await?;
    let names = (&*digest_of(&code), &*user_code);
    let room = store::insert_device(&mut *tx, names, (&client.id, scope), INTERVAL_S, now + LIFE).await?;
    tx.commit().await?;
    if !room {
        return Err(Error::Throttled(60).into());
    }
    let place = format!("{}/oauth2/device", auth.issuer);
    let answer = json!({
        "device_code": *code,
        "user_code": user_code,
        "verification_uri": place,
        "verification_uri_complete": format!("{place}?user_code={user_code}"),
        "expires_in": LIFE.as_secs(),
        "interval": INTERVAL_S,
    });
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response())
}

pub(super) async fn show(RawQuery(query): RawQuery) -> Response {
    let form = parse_fields(query.unwrap_or_default().as_bytes()).unwrap_or_default();
    show_form(StatusCode::OK, &form, None)
}

/// Where people come without having been sent by a client.
pub(super) async fn lead_there() -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, "/oauth2/device")]).into_response()
}

fn show_form(status: StatusCode, form: &Form, wrong: Option<&str>) -> Response {
    let text = |name: &str| form.get(name).map(|it| it.as_str()).unwrap_or_default();
    page::log_in(
        status,
        &LogInPage {
            title: TITLE,
            text: TEXT,
            wrong,
            asked: Some(("user_code", "Code", text("user_code"))),
            hidden: Vec::new(),
            name: text("username"),
            leads_to: None,
            may_refuse: true,
        },
    )
}

/// Someone's word: name and password say yes; to say no the code is enough.
pub(super) async fn decide(
    State(auth): State<Auth>,
    caller: Caller,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Ok(form) = parse_form(&headers, &body) else {
        return page::tell(StatusCode::BAD_REQUEST, TITLE, "The form cannot be read.", None);
    };
    if !page::is_own(&headers, form.get(page::FIELD).map(|it| it.as_str())) {
        let wrong = "The page was open for too long, or cookies are off. Try again.";
        return show_form(StatusCode::FORBIDDEN, &form, Some(wrong));
    }
    match auth.decide(&form, &caller, clock()).await {
        Ok(Some(true)) => page::tell(
            StatusCode::OK,
            TITLE,
            "Done. You can close this page and go back to the program.",
            None,
        ),
        Ok(Some(false)) => page::tell(StatusCode::OK, TITLE, "Refused. The program was told so.", None),
        Ok(None) => {
            let wrong = "No program waits under this code. Look again, or start it anew.";
            show_form(StatusCode::BAD_REQUEST, &form, Some(wrong))
        }
        Err(error) => match wording(&error) {
            (status, Some(text)) => show_form(status, &form, Some(&text)),
            (_, None) => error.into_response(),
        },
    }
}

impl Auth {
    /// Whether it was allowed; none if nobody waits under the code. The password comes first, so that the codes that
    /// wait are nothing for strangers to find out.
    async fn decide(&self, form: &Form, caller: &Caller, now: OffsetDateTime) -> Result<Option<bool>, Error> {
        let code = form.get("user_code").and_then(|it| normal_user_code(it));
        let Some(code) = code else { return Ok(None) };
        let refused = form.get("decision").is_some_and(|it| **it == "refuse");
        let password: Zeroizing<String> = form.get("password").cloned().unwrap_or_default();
        let name = form.get("username").map(|it| it.as_str()).unwrap_or_default();
        let account = if refused {
            // Counted too, since a code could be guessed at.
            let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
            let begun = throttle.begin("", Source::new(caller.address), now.unix_timestamp());
            begun.map_err(Error::Throttled)?;
            None
        } else {
            Some(self.log_in(name, password, caller, now).await?)
        };
        let mut tx = self.database.begin().await?;
        let Some((client, scope)) = store::find_device(&mut *tx, &code, now).await? else { return Ok(None) };
        match &account {
            Some(account) => {
                let session = self.begin_session(&mut tx, account, (&client, &scope, None), now).await?;
                store::allow_device(&mut *tx, &code, session.id).await?;
            }
            None => store::refuse_device(&mut *tx, &code).await?,
        }
        tx.commit().await?;
        Ok(Some(account.is_some()))
    }
}
