//! The token endpoint (RFC 6749 sections 2.3, 3.2 and 4.4), and `/token` as the bootcamp's login service has.

use std::collections::HashMap;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use web::Caller;
use zeroize::Zeroizing;

use super::{Auth, TokenAnswer, TokenRequest};
use crate::error::OauthError;
use crate::model::{self, Bearer};

/// A form longer than this is no token request.
const FORM_MAX: usize = 16 << 10;

type Form = HashMap<String, Zeroizing<String>>;

/// A client's identifier and secret, and whether they came by `Authorization: Basic`.
struct Credentials {
    id: String,
    secret: Zeroizing<String>,
    basic: bool,
}

pub(super) async fn give_client_token(
    State(auth): State<Auth>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<TokenAnswer, OauthError> {
    let form = parse_form(&headers, &body)?;
    let credentials = find_credentials(&headers, &form)?.ok_or(OauthError::Client { basic: true })?;
    match form.get("grant_type").map(|it| it.as_str()) {
        Some("client_credentials") => auth.give_to_client(&credentials, &form),
        Some(_) => Err(OauthError::Grant),
        None => Err(OauthError::Request("grant_type is missing")),
    }
}

/// A client by its secret, or an administrator or operator by their process on the head. Whoever comes over
/// the network has no process here, so without a secret they get nothing.
pub(super) async fn give_any_token(
    State(auth): State<Auth>,
    caller: Caller,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, OauthError> {
    let form = parse_form(&headers, &body)?;
    let answer = match find_credentials(&headers, &form)? {
        Some(credentials) => auth.give_to_client(&credentials, &form)?,
        None => auth.give_to_peer(&caller, &TokenRequest::default()).map_err(OauthError::Own)?,
    };
    Ok(answer.into_response())
}

impl Auth {
    fn give_to_client(&self, credentials: &Credentials, form: &Form) -> Result<TokenAnswer, OauthError> {
        let Credentials { id, secret, basic } = credentials;
        let role = self.clients.read(|it| it.role(id, secret));
        let Some(role) = role else {
            tracing::warn!("a client was refused: {:?} or its secret is not known", shorten(id));
            return Err(OauthError::Client { basic: *basic });
        };
        let asked = form.get("scope").map(|it| it.as_str());
        let scopes = model::narrow(&role.scopes(), asked).ok_or(OauthError::Scope)?;
        let bearer = Bearer { subject: id.clone(), is_client: true };
        self.give(bearer, &scopes, self.config.token_life.0).map_err(OauthError::Own)
    }
}

/// An identifier for the log, which a stranger chose.
fn shorten(id: &str) -> String {
    id.chars().take(64).collect()
}

/// The form's fields; each may be there once (RFC 6749 section 3.2), and an empty one counts as left out.
fn parse_form(headers: &HeaderMap, body: &[u8]) -> Result<Form, OauthError> {
    if body.len() > FORM_MAX {
        return Err(OauthError::Request("the form is longer than 16 KiB"));
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !body.is_empty() && !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(OauthError::Request("the body is to be application/x-www-form-urlencoded"));
    }
    let mut form = Form::new();
    for (key, value) in form_urlencoded::parse(body) {
        if form.insert(key.into_owned(), Zeroizing::new(value.into_owned())).is_some() {
            return Err(OauthError::Request("a parameter is there twice"));
        }
    }
    form.retain(|_, value| !value.is_empty());
    Ok(form)
}

/// One way of the two, not both (RFC 6749 section 2.3).
fn find_credentials(headers: &HeaderMap, form: &Form) -> Result<Option<Credentials>, OauthError> {
    let basic = headers.get(header::AUTHORIZATION).and_then(|it| it.as_bytes().split_at_checked(6));
    let basic = basic.filter(|it| it.0.eq_ignore_ascii_case(b"basic ")).map(|it| it.1.trim_ascii());
    match (basic, form.get("client_id"), form.get("client_secret")) {
        (Some(_), _, Some(_)) => Err(OauthError::Request("the client names its secret twice")),
        (Some(basic), _, None) => {
            let malformed = || OauthError::Client { basic: true };
            let text = STANDARD.decode(basic).map(Zeroizing::new).map_err(|_| malformed())?;
            let text = std::str::from_utf8(&text).map_err(|_| malformed())?;
            // Both are form-encoded before they are joined (section 2.3.1); ours are the same either way.
            let (id, secret) = text.split_once(':').ok_or_else(malformed)?;
            Ok(Some(Credentials { id: id.to_owned(), secret: secret.to_owned().into(), basic: true }))
        }
        (None, Some(id), Some(secret)) => {
            Ok(Some(Credentials { id: id.to_string(), secret: secret.clone(), basic: false }))
        }
        (None, None, Some(_)) => Err(OauthError::Request("client_id is missing")),
        (None, _, None) => Ok(None),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{find_credentials, parse_form};
    use axum::http::{HeaderMap, header};

    fn headers(authorization: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            "application/x-www-form-urlencoded; charset=utf-8".parse().unwrap(),
        );
        if let Some(it) = authorization {
            headers.insert(header::AUTHORIZATION, it.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_client_names_itself_one_way() {
        let basic = headers(Some("bAsIc Y2k6c2VjcmV0")); // ci:secret
        let empty = parse_form(&basic, b"").unwrap();
        let found = find_credentials(&basic, &empty).unwrap().unwrap();
        assert_eq!((found.id.as_str(), found.secret.as_str(), found.basic), ("ci", "secret", true));
        let form = parse_form(&headers(None), b"client_id=ci&client_secret=s%2B").unwrap();
        assert_eq!(find_credentials(&headers(None), &form).unwrap().unwrap().secret.as_str(), "s+");
        assert!(find_credentials(&basic, &form).is_err());
        assert!(find_credentials(&headers(Some("Basic %%%")), &empty).is_err());
        assert!(find_credentials(&headers(Some("Bearer x")), &empty).unwrap().is_none());
    }

    #[test]
    fn a_form_is_a_form() {
        assert!(parse_form(&headers(None), b"a=1&a=2").is_err());
        assert!(parse_form(&HeaderMap::new(), b"a=1").is_err());
        assert!(parse_form(&HeaderMap::new(), b"").unwrap().is_empty());
        assert!(parse_form(&headers(None), &vec![b'a'; 17 << 10]).is_err());
    }
}
