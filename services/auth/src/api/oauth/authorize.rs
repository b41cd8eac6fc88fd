//! The authorization endpoint: where a client sends people to log in (RFC 6749 section 4.1, RFC 7636, RFC 9207).

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use time::OffsetDateTime;
use web::Caller;
use zeroize::Zeroizing;

use super::form::{Form, parse_fields, parse_form};
use super::page::{self, LogInPage};
use crate::api::{Auth, clock};
use crate::error::{Error, OauthError};
use crate::model::{Client, digest_of, is_challenge, is_scope, new_secret};
use crate::store;

/// How long a code is good: the client fetches its token at once.
const CODE_LIFE: Duration = Duration::from_secs(60);
/// The parameters that the log-in form takes along.
const TAKEN_ALONG: [&str; 9] = [
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "response_mode",
];
/// The longest `state` or `nonce`.
const LENGTH_MAX: usize = 2048;
const TITLE: &str = "Log in";

/// What a client asks for, checked.
struct Ask {
    client: Client,
    redirect_uri: String,
    scope: String,
    state: Option<String>,
    nonce: Option<String>,
    challenge: String,
}

/// Why it is not done: shown to the person if we do not know where to send them, else told to the client.
enum Refusal {
    Shown(&'static str),
    Told { redirect_uri: String, state: Option<String>, error: &'static str, text: &'static str },
}

pub(super) async fn show(State(auth): State<Auth>, RawQuery(query): RawQuery) -> Response {
    let form = parse_fields(query.unwrap_or_default().as_bytes());
    let Ok(form) = form else { return refuse(&auth, &Refusal::Shown("the request has a parameter twice")) };
    show_form(&auth, &form)
}

fn show_form(auth: &Auth, form: &Form) -> Response {
    match auth.read_ask(form) {
        Ok(ask) if form.get("prompt").is_some_and(|it| **it == "none") => {
            let error = ("login_required", "nobody stays logged in here");
            let told = Refusal::Told {
                redirect_uri: ask.redirect_uri,
                state: ask.state,
                error: error.0,
                text: error.1,
            };
            refuse(auth, &told)
        }
        Ok(ask) => log_in_page(auth, StatusCode::OK, form, &ask, None),
        Err(refusal) => refuse(auth, &refusal),
    }
}

/// The form that comes back. Without a name it is a request of a client that posts (OpenID Connect Core 3.1.2.1).
pub(super) async fn log_in(
    State(auth): State<Auth>,
    caller: Caller,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Ok(form) = parse_form(&headers, &body) else {
        return refuse(&auth, &Refusal::Shown("the form cannot be read"));
    };
    let Some(name) = form.get("username") else { return show_form(&auth, &form) };
    let ask = match auth.read_ask(&form) {
        Ok(ask) => ask,
        Err(refusal) => return refuse(&auth, &refusal),
    };
    if !page::is_own(&headers, form.get(page::FIELD).map(|it| it.as_str())) {
        let wrong = Some("The page was open for too long, or cookies are off. Try again.");
        return log_in_page(&auth, StatusCode::FORBIDDEN, &form, &ask, wrong);
    }
    let password = form.get("password").cloned().unwrap_or_default();
    match auth.give_code(&ask, name, password, &caller, clock()).await {
        Ok(code) => {
            let pairs = [("code", &**code), ("state", ask.state.as_deref().unwrap_or_default())];
            redirect(&auth, &ask.redirect_uri, &pairs)
        }
        Err(error) => {
            let (status, text) = wording(&error);
            let Some(text) = text else { return error.into_response() };
            log_in_page(&auth, status, &form, &ask, Some(&text))
        }
    }
}

/// What a failed log-in is told; none if it is nothing for people.
pub(super) fn wording(error: &Error) -> (StatusCode, Option<String>) {
    match error {
        Error::LogIn => (StatusCode::UNAUTHORIZED, Some("Name or password is not right.".to_owned())),
        Error::Throttled(seconds) => {
            let minutes = (seconds + 59) / 60;
            (StatusCode::TOO_MANY_REQUESTS, Some(format!("Too many tries. Come back in {minutes} min.")))
        }
        Error::Password(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, Some("Too many at once. Try again.".to_owned()))
        }
        Error::Unavailable(_) => {
            let text = "Nobody can log in for the moment. Try again in a minute.";
            (StatusCode::SERVICE_UNAVAILABLE, Some(text.to_owned()))
        }
        _ => (StatusCode::INTERNAL_SERVER_ERROR, None),
    }
}

/// Where codes go that people carry by hand.
pub(super) async fn show_code(RawQuery(query): RawQuery) -> Response {
    let form = parse_fields(query.unwrap_or_default().as_bytes()).unwrap_or_default();
    match form.get("code") {
        Some(code) => {
            page::tell(StatusCode::OK, TITLE, "Paste this where you were asked for it:", Some(code))
        }
        None => page::tell(StatusCode::BAD_REQUEST, TITLE, "There is no code here; begin anew.", None),
    }
}

impl Auth {
    fn read_ask(&self, form: &Form) -> Result<Ask, Refusal> {
        let text = |name: &str| form.get(name).map(|it| it.to_string());
        let client = text("client_id").and_then(|id| self.directory.read(|it| it.client(&id)));
        let client = client.ok_or(Refusal::Shown("no such client is registered here"))?;
        let redirect_uri = text("redirect_uri").filter(|it| client.may_redirect(it));
        let redirect_uri =
            redirect_uri.ok_or(Refusal::Shown("the redirect_uri is not registered for this client"))?;
        let state = text("state").filter(|it| it.len() <= LENGTH_MAX);
        let nonce = text("nonce").filter(|it| it.len() <= LENGTH_MAX);
        let scope = text("scope").unwrap_or_else(|| "openid".to_owned());
        let challenge = text("code_challenge").filter(|it| is_challenge(it));
        let method = text("code_challenge_method");
        let wrong = if form.contains_key("request") || form.contains_key("request_uri") {
            Some(("request_not_supported", "parameters come as they are"))
        } else if text("response_type").as_deref() != Some("code") {
            Some(("unsupported_response_type", "response_type is code"))
        } else if text("response_mode").is_some_and(|it| it != "query") {
            Some(("invalid_request", "response_mode is query"))
        } else if challenge.is_none() || method.as_deref() != Some("S256") {
            Some(("invalid_request", "PKCE is required: code_challenge, and code_challenge_method S256"))
        } else if !is_scope(&scope) || scope.len() > LENGTH_MAX {
            Some(("invalid_scope", "the discovery document names the scopes there are"))
        } else if state.is_none() && form.contains_key("state") {
            Some(("invalid_request", "state is too long"))
        } else {
            None
        };
        match (wrong, challenge) {
            (None, Some(challenge)) => Ok(Ask { client, redirect_uri, scope, state, nonce, challenge }),
            (wrong, _) => {
                let (error, text) = wrong.unwrap_or(("invalid_request", "PKCE is required"));
                Err(Refusal::Told { redirect_uri, state, error, text })
            }
        }
    }

    async fn give_code(
        &self,
        ask: &Ask,
        name: &str,
        password: Zeroizing<String>,
        caller: &Caller,
        now: OffsetDateTime,
    ) -> Result<Zeroizing<String>, Error> {
        let account = self.log_in(name, password, caller, now).await?;
        let code = new_secret()?;
        let mut tx = self.database.begin().await?;
        let what = (&*ask.client.id, &*ask.scope, ask.nonce.as_deref());
        let session = self.begin_session(&mut tx, &account, what, now).await?;
        let place = (&*ask.redirect_uri, &*ask.challenge);
        store::insert_code(&mut *tx, &digest_of(&code), session.id, place, now + CODE_LIFE).await?;
        tx.commit().await?;
        Ok(code)
    }
}

fn log_in_page(auth: &Auth, status: StatusCode, form: &Form, ask: &Ask, wrong: Option<&str>) -> Response {
    let text = format!("{} of the cluster {} asks who you are.", ask.client.id, auth.cluster);
    let hidden = TAKEN_ALONG.iter().filter_map(|it| Some((*it, form.get(*it)?.as_str()))).collect();
    let place = ask.redirect_uri.parse::<Uri>().ok();
    let place = place.and_then(|it| Some(format!("{}://{}", it.scheme_str()?, it.authority()?)));
    let name = form.get("username").map(|it| it.as_str()).unwrap_or_default();
    page::log_in(
        status,
        &LogInPage {
            title: TITLE,
            text: &text,
            wrong,
            asked: None,
            hidden,
            name,
            leads_to: place.as_deref(),
            may_refuse: false,
        },
    )
}

fn refuse(auth: &Auth, refusal: &Refusal) -> Response {
    match refusal {
        Refusal::Shown(text) => {
            let text = format!("{text}. Tell whoever runs the program that sent you here.");
            page::tell(StatusCode::BAD_REQUEST, TITLE, &text, None)
        }
        Refusal::Told { redirect_uri, state, error, text } => {
            let pairs = [
                ("error", *error),
                ("error_description", *text),
                ("state", state.as_deref().unwrap_or_default()),
            ];
            redirect(auth, redirect_uri, &pairs)
        }
    }
}

/// To a registered address, with these parameters, whichever are not empty.
fn redirect(auth: &Auth, to: &str, pairs: &[(&str, &str)]) -> Response {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs.iter().filter(|it| !it.1.is_empty())).append_pair("iss", &auth.issuer);
    let glue = if to.contains('?') { '&' } else { '?' };
    let place = Zeroizing::new(format!("{to}{glue}{}", query.finish()));
    match HeaderValue::from_str(&place) {
        Ok(place) => {
            let headers = [
                (header::LOCATION, place),
                (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
                (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
            ];
            (StatusCode::SEE_OTHER, headers).into_response()
        }
        Err(_) => OauthError::Request("the redirect_uri is no address").into_response(),
    }
}
