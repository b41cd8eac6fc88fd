//! The pages that people see: plain HTML without scripts, which no other page may frame or post to.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use crate::model::{digest_of, new_secret, same};

/// Binds a form to the browser it was shown in. By its prefix no other host and no plain connection can set it
/// (RFC 6265bis section 4.1.3.2).
const COOKIE: &str = "__Host-pilothouse-form";
/// The form's own half.
pub(super) const FIELD: &str = "form_token";

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:24rem;margin:4rem auto;padding:0 1rem;\
    color:#1b1f24;background:#fff}label{display:block;margin:1rem 0 .25rem}input{font:inherit;width:100%;\
    box-sizing:border-box;padding:.5rem}button{font:inherit;padding:.5rem 1.25rem;margin:1.25rem .5rem 0 0}\
    .wrong{color:#b00020}code{font-size:1.25rem;word-break:break-all}";

/// A form with a name and a password.
pub(super) struct LogInPage<'a> {
    pub(super) title: &'a str,
    /// A sentence about what happens next.
    pub(super) text: &'a str,
    /// What was wrong with the last try.
    pub(super) wrong: Option<&'a str>,
    /// What is asked beside, with its value so far: name, label, value.
    pub(super) asked: Option<(&'a str, &'a str, &'a str)>,
    /// What goes along unseen.
    pub(super) hidden: Vec<(&'a str, &'a str)>,
    /// The name that was typed before.
    pub(super) name: &'a str,
    /// Where the browser may be sent from here, beside ourselves.
    pub(super) leads_to: Option<&'a str>,
    /// Whether there is a button that says no.
    pub(super) may_refuse: bool,
}

/// The page, with a new cookie that its form answers to.
pub(super) fn log_in(status: StatusCode, page: &LogInPage<'_>) -> Response {
    let Ok(secret) = new_secret() else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let mut form = String::from("<form method=\"post\" autocomplete=\"on\">");
    let token = form_token(&secret);
    for (name, value) in page.hidden.iter().copied().chain([(FIELD, &*token)]) {
        form += &format!("<input type=\"hidden\" name=\"{}\" value=\"{}\">", escape(name), escape(value));
    }
    if let Some((name, label, value)) = page.asked {
        let (name, label, value) = (escape(name), escape(label), escape(value));
        form += &format!(
            "<label for=\"{name}\">{label}</label><input id=\"{name}\" name=\"{name}\" value=\"{value}\" \
             autocomplete=\"off\" autocapitalize=\"characters\" spellcheck=\"false\" required>"
        );
    }
    form += &format!(
        "<label for=\"username\">Name</label><input id=\"username\" name=\"username\" value=\"{}\" \
         autocomplete=\"username\" autocapitalize=\"none\" spellcheck=\"false\" required autofocus>\
         <label for=\"password\">Password</label><input id=\"password\" name=\"password\" type=\"password\" \
         autocomplete=\"current-password\" required><button name=\"decision\" value=\"allow\">Log in</button>",
        escape(page.name)
    );
    if page.may_refuse {
        form += "<button name=\"decision\" value=\"refuse\" formnovalidate>Refuse</button>";
    }
    form += "</form>";
    let wrong = page.wrong.map(|it| format!("<p class=\"wrong\" role=\"alert\">{}</p>", escape(it)));
    let body = format!("<p>{}</p>{}{form}", escape(page.text), wrong.unwrap_or_default());
    let mut response = whole(status, page.title, &body, page.leads_to);
    let cookie = format!("{COOKIE}={}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=1800", *secret);
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

/// A page that says one thing; `code` stands apart, to be copied.
pub(super) fn tell(status: StatusCode, title: &str, text: &str, code: Option<&str>) -> Response {
    let code = code.map(|it| format!("<p><code>{}</code></p>", escape(it))).unwrap_or_default();
    whole(status, title, &format!("<p>{}</p>{code}", escape(text)), None)
}

fn whole(status: StatusCode, title: &str, body: &str, leads_to: Option<&str>) -> Response {
    let title = escape(title);
    let text = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head>\
         <body><h1>{title}</h1>{body}</body></html>\n"
    );
    let leads_to = leads_to.map(|it| format!(" {it}")).unwrap_or_default();
    let policy = format!(
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'{leads_to}; base-uri 'none'; \
         frame-ancestors 'none'"
    );
    let mut response = (status, Html(text)).into_response();
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Whether a form comes from the page that we showed in this browser, and from no other page.
pub(super) fn is_own(headers: &HeaderMap, token: Option<&str>) -> bool {
    let text = |name| headers.get(name).and_then(|it: &HeaderValue| it.to_str().ok());
    // A browser names the page that posts; behind another name of ours it is still the host it asked.
    let foreign = text(header::ORIGIN).is_some_and(|origin| {
        let host = text(header::HOST).unwrap_or_default();
        origin.split_once("://").is_none_or(|(_, authority)| authority != host)
    });
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|it| it.to_str().ok());
    let mut cookies = cookies.flat_map(|it| it.split(';')).filter_map(|it| it.trim().split_once('='));
    let secret = cookies.find(|it| it.0 == COOKIE).map(|it| it.1);
    match (secret, token) {
        (Some(secret), Some(token)) => !foreign && same(&form_token(secret), token),
        _ => false,
    }
}

fn form_token(secret: &str) -> String {
    digest_of(&format!("form {secret}"))
}

fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for it in text.chars() {
        match it {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            it if it.is_control() => safe.push('?'),
            it => safe.push(it),
        }
    }
    safe
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use axum::http::{HeaderMap, header};

    use super::{COOKIE, escape, form_token, is_own};

    #[test]
    fn a_form_is_taken_from_its_own_page_alone() {
        let headers = |cookie: &str, origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "demo.openchami.cluster:8443".parse().unwrap());
            headers.insert(header::COOKIE, cookie.parse().unwrap());
            if let Some(it) = origin {
                headers.insert(header::ORIGIN, it.parse().unwrap());
            }
            headers
        };
        let (cookie, token) = (format!("a=b; {COOKIE}=secret"), form_token("secret"));
        assert!(is_own(&headers(&cookie, None), Some(&token)));
        assert!(is_own(&headers(&cookie, Some("https://demo.openchami.cluster:8443")), Some(&token)));
        for origin in ["null", "https://evil.example", "https://demo.openchami.cluster"] {
            assert!(!is_own(&headers(&cookie, Some(origin)), Some(&token)), "{origin}");
        }
        assert!(!is_own(&headers(&cookie, None), None) && !is_own(&headers(&cookie, None), Some("secret")));
        assert!(!is_own(&headers("a=b", None), Some(&token)));
    }

    #[test]
    fn what_strangers_say_is_text() {
        assert_eq!(escape("<a href='x\"&\u{1b}'>"), "&lt;a href=&#39;x&quot;&amp;?&#39;&gt;");
    }
}
