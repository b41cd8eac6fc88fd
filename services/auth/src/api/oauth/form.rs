//! Forms, and what a client proves itself by in them (RFC 6749 sections 2.3 and 3.2).

use std::collections::HashMap;

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::error::OauthError;

/// A form longer than this is no request of ours.
const FORM_MAX: usize = 16 << 10;

pub(super) type Form = HashMap<String, Zeroizing<String>>;

/// A client's identifier and secret, and whether they came by `Authorization: Basic`.
pub(super) struct Credentials {
    pub(super) id: String,
    pub(super) secret: Zeroizing<String>,
    pub(super) basic: bool,
}

/// The fields of a query or a form; each may be there once, and an empty one counts as left out.
pub(super) fn parse_fields(text: &[u8]) -> Result<Form, OauthError> {
    if text.len() > FORM_MAX {
        return Err(OauthError::Request("the form is longer than 16 KiB"));
    }
    let mut form = Form::new();
    for (key, value) in form_urlencoded::parse(text) {
        if form.insert(key.into_owned(), Zeroizing::new(value.into_owned())).is_some() {
            return Err(OauthError::Request("a parameter is there twice"));
        }
    }
    form.retain(|_, value| !value.is_empty());
    Ok(form)
}

/// The fields of a body that is a form.
pub(super) fn parse_form(headers: &HeaderMap, body: &[u8]) -> Result<Form, OauthError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !body.is_empty() && !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(OauthError::Request("the body is to be application/x-www-form-urlencoded"));
    }
    parse_fields(body)
}

/// One way of the two, not both (RFC 6749 section 2.3).
pub(super) fn find_credentials(headers: &HeaderMap, form: &Form) -> Result<Option<Credentials>, OauthError> {
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
            if secret.is_empty() {
                return Err(malformed());
            }
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
